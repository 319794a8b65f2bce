"""Where a probe connects: every address of a name, Unix sockets, and the proxy that the environment names."""

import gc
import re
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import own_tls
import ports
import pytest

from infra.errors import CorralError, EndpointError, UsageError
from serving.probe import address
from serving.probe.address import address_of, connect_request, in_turn, resolve, way_to
from serving.probe.endpoint_options import split_url
from serving.probe.lengths import Lengths
from serving.probe.report import ProbeReport
from serving.probe.run import run
from serving.probe.spec import Load, Target, Workload
from serving.probe.tls import Tls, TlsFault
from serving.vllm.http_door import Way
from serving.vllm.proxy import Proxy, proxy_of
from serving.vllm.unix_url import over_tcp, shown, socket_path, spelt_out

Fake = Callable[..., str]
POSTED = "POST http://model.corp:8000/v1/completions"
VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def probed(url: str, folder: Path, **target: Any) -> ProbeReport:
    return run(
        Target(base_url=url, **target),
        Load(shape="concurrency", concurrency=2, requests=4),
        Workload(input_tokens=Lengths(low=9), output_tokens=Lengths(low=5)),
        folder / "results",
    )


# The addresses of a name


@contextmanager
def listening(host: str) -> Iterator[int]:
    """A server there, at a port that no other address has."""
    port = ports.free_port()
    with socket.create_server((host, port), family=family_of(host)):
        yield port


def family_of(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


@contextmanager
def full(host: str, port: int) -> Iterator[None]:
    """A server there whose queue is full: nobody who connects hears anything."""
    family = family_of(host)
    with ExitStack() as stack:
        server = stack.enter_context(socket.socket(family))
        server.bind((host, port))
        server.listen(0)
        for _ in range(3):
            waiting = stack.enter_context(socket.socket(family))
            waiting.setblocking(False)
            waiting.connect_ex((host, port))
        yield


def two_addresses(monkeypatch: pytest.MonkeyPatch, first: str, second: str) -> None:
    """The name `both` has these two, in that order."""
    asked = socket.getaddrinfo

    def told(host: Any, port: Any, *args: Any, **named: Any) -> list[Any]:
        if host != "both":
            return asked(host, port, *args, **named)
        each = [asked(address, port, *args, **named) for address in (first, second)]
        return each[0] + each[1]

    monkeypatch.setattr(socket, "getaddrinfo", told)


@pytest.mark.parametrize(
    ("first", "second"), [("::1", "127.0.0.1"), ("127.0.0.1", "::1"), ("127.0.0.2", "127.0.0.1")]
)
def test_the_address_that_answers_is_taken(monkeypatch: pytest.MonkeyPatch, first: str, second: str) -> None:
    two_addresses(monkeypatch, first, second)
    with listening(second) as port:
        assert address_of("both", port)[1][:2] == (second, port)


def test_an_address_that_is_silent_is_waited_for_only_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    two_addresses(monkeypatch, "::1", "127.0.0.1")
    with listening("127.0.0.1") as port, full("::1", port):
        assert address_of("both", port) == (socket.AF_INET, ("127.0.0.1", port))
        assert way_to(Target(base_url=f"http://both:{port}")) == Way(None, "0.0.0.0")  # noqa: S104


def test_where_none_answers_the_first_one_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    two_addresses(monkeypatch, "::1", "127.0.0.1")
    port = ports.free_port()
    assert address_of("both", port)[1][:2] == ("::1", port)
    monkeypatch.setattr(address, "first_to_answer", lambda addresses: pytest.fail("it has one address"))
    assert address_of("127.0.0.1", port) == (socket.AF_INET, ("127.0.0.1", port))


def test_a_server_on_ipv4_is_probed_by_a_name_that_is_ipv6_first(
    fake_llm: Fake, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    port = int(fake_llm(itl_ms=1).rpartition(":")[2])
    two_addresses(monkeypatch, "::1", "127.0.0.1")
    with full("::1", port):
        report = probed(f"http://both:{port}", tmp_path)
    assert (report.succeeded, report.errors) == (4, {})


def test_the_families_are_tried_in_turn() -> None:
    four, six = [(socket.AF_INET, each) for each in "abc"], [(socket.AF_INET6, each) for each in "xy"]
    assert in_turn([*six, *four]) == [six[0], four[0], six[1], four[1], four[2]]
    assert in_turn([*four, *six]) == [four[0], six[0], four[1], six[1], four[2]]


# Addresses of one link


@pytest.mark.parametrize("typed", ["[::1%1]", "[::1%251]"])
def test_an_address_with_its_interface_is_probed_and_told_without_it(
    fake_llm: Fake, tmp_path: Path, typed: str
) -> None:
    """By the loopback's number: an interface's name is for addresses of a link alone, and the loopback has none."""
    host, port = fake_llm(itl_ms=1).removeprefix("http://").split(":")
    hosts = set()

    class Through(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.create_connection((host, int(port))) as server:
                first = self.request.recv(65536)
                hosts.add(re.findall(rb"(?i)\r\nhost: ([^\r]+)", first)[0])
                server.sendall(first)
                join(self.request, server)

    class Listener(socketserver.ThreadingTCPServer):
        address_family, daemon_threads = socket.AF_INET6, True

    with Listener(("::1", 0), Through) as listener:
        threading.Thread(target=listener.serve_forever, daemon=True).start()
        report = probed(split_url(f"http://{typed}:{listener.server_address[1]}").base_url, tmp_path)
        listener.shutdown()
    assert (report.succeeded, report.errors, report.output_tokens) == (4, {}, 20)
    assert (report.url, hosts) == (
        f"http://[::1%251]:{listener.server_address[1]}", {b"[::1]:%d" % listener.server_address[1]},
    )  # fmt: skip


# Unix sockets


def test_the_urls_of_a_unix_socket() -> None:
    for url in ("unix:/run/v llm.sock", "unix:///run/v llm.sock", "http+unix://%2Frun%2Fv%20llm.sock"):
        full_url = spelt_out(url)
        assert (full_url, socket_path(full_url)) == ("http+unix://%2Frun%2Fv%20llm.sock", "/run/v llm.sock")
        assert over_tcp(full_url) == "http://localhost"
    assert split_url("unix:/a.sock:/v1/chat/completions")[:2] == ("http+unix://%2Fa.sock", "chat")
    assert split_url("unix:/a.sock:/v1") == split_url("unix:/a.sock") == ("http+unix://%2Fa.sock", None, None)
    assert socket_path("http://h") is None
    assert over_tcp("https://h/x") == "https://h/x"
    for wrong in ("http+unix://a.sock", f"unix:/{'x' * 107}", "http+unix://", "http+unix://%2Fa%00"):
        with pytest.raises(UsageError):
            split_url(wrong)


def test_a_socket_is_said_as_it_is_typed() -> None:
    for typed, said in (
        ("unix:/run/v llm.sock", "unix:/run/v llm.sock"),
        ("http+unix://%2Fa.sock", "unix:/a.sock"),
        ("unix:/a.sock:/base", "unix:/a.sock:/base"),
    ):
        assert (shown(split_url(typed).base_url), Target(base_url=split_url(said).base_url).url) == (
            said,
            said,
        )
    assert shown("http+unix://%2Fa.sock/v1/models?x=1") == "unix:/a.sock:/v1/models?x=1"
    for other in ("http://h/x", "http+unix://%2Fa%3Ab.sock/x", "http+unix://%2Fa%0A.sock"):
        assert shown(other) == other


@pytest.fixture
def behind(tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """A Unix socket whose bytes go to and fro a server; its URL."""
    with ExitStack() as stack:

        def before(url: str) -> str:
            host, port = url.removeprefix("http://").split(":")

            class Through(socketserver.BaseRequestHandler):
                def handle(self) -> None:
                    with socket.create_connection((host, int(port))) as server:
                        join(self.request, server)

            path = tmp_path / "s.sock"
            listener = stack.enter_context(socketserver.ThreadingUnixStreamServer(str(path), Through))
            listener.daemon_threads = True
            threading.Thread(target=listener.serve_forever, daemon=True).start()
            stack.callback(listener.shutdown)
            return f"unix:{path}"

        yield before


def join(one: socket.socket, other: socket.socket) -> None:
    """What either says goes to the other, until both are done."""

    def pass_on(source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    back = threading.Thread(target=pass_on, args=(other, one), daemon=True)
    back.start()
    pass_on(one, other)
    back.join()


def test_a_server_on_a_unix_socket_is_probed(
    fake_llm: Fake, behind: Callable[[str], str], tmp_path: Path
) -> None:
    base_url = split_url(behind(fake_llm(itl_ms=1))).base_url
    assert resolve(Target(base_url=base_url))[:2] == (socket.AF_UNIX, str(tmp_path / "s.sock"))
    report = probed(base_url, tmp_path)
    assert (report.succeeded, report.errors, report.output_tokens) == (4, {}, 20)
    assert (report.client.stamps, report.exact_input_fraction) == ("user", 1.0)
    assert report.url == f"unix:{tmp_path}/s.sock"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_unix_socket_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(EndpointError) as refused:
        probed(split_url(f"unix:{tmp_path}/none.sock").base_url, tmp_path)
    assert refused.value.message.startswith(f"unix:{tmp_path}/none.sock cannot be reached: ")
    del refused
    gc.collect()  # httpcore2 forgets the socket that it could not connect


# Proxies

ENVIRONMENTS: list[tuple[dict[str, str], str, Proxy | None]] = [
    ({}, "http://h", None),
    ({"HTTP_PROXY": "http://p:3128"}, "http://h", Proxy("p", 3128, None)),
    ({"http_proxy": "p:3128"}, "http://h:8000", Proxy("p", 3128, None)),
    ({"HTTP_PROXY": "http://p:3128"}, "https://h", None),
    (
        {"HTTPS_PROXY": "http://us%40er:s%3Aecret@p"},
        "https://h",
        Proxy("p", 80, "Basic dXNAZXI6czplY3JldA=="),
    ),
    ({"ALL_PROXY": "http://[::9]:1"}, "https://h", Proxy("::9", 1, None)),
    ({"HTTP_PROXY": "http://p", "NO_PROXY": "h"}, "http://h:8000", None),
    ({"HTTP_PROXY": "http://p", "NO_PROXY": "h:8000"}, "http://h:8000", None),
    ({"HTTP_PROXY": "http://p", "NO_PROXY": "h:8001"}, "http://h:8000", Proxy("p", 80, None)),
    ({"HTTP_PROXY": "http://p", "NO_PROXY": ".corp"}, "http://gpu.corp", None),
    ({"HTTP_PROXY": "http://p", "NO_PROXY": "*"}, "http://h", None),
    ({"HTTP_PROXY": "http://p", "NO_PROXY": "x, 10.0.0.0/8"}, "http://10.1.2.3:8000", None),
    ({"HTTP_PROXY": "http://p", "NO_PROXY": "10.0.0.0/8"}, "http://11.1.2.3", Proxy("p", 80, None)),
    ({"HTTP_PROXY": "http://p"}, "http://localhost:8000", None),
    ({"HTTP_PROXY": "http://p"}, "http://127.0.0.9:8000", None),
    ({"HTTP_PROXY": "http://p"}, "http://[::1]:8000", None),
    ({"HTTP_PROXY": "http://p"}, "http+unix://%2Fa.sock", None),
]


@pytest.mark.parametrize(("environment", "url", "proxy"), ENVIRONMENTS)
def test_which_proxy_the_environment_names(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], url: str, proxy: Proxy | None
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert proxy_of(url) == proxy


def test_no_proxy_reaches_an_address_of_one_link(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://p:3128")
    urls = ("http://[fe80::1%25eth0]:8000", "http://[fd00::1]:8000")
    assert [proxy_of(url) is None for url in urls] == [True, False]


@pytest.mark.parametrize(
    "value", ["socks5://p:1080", "https://p:443", "http://p:none", "http://", "https://u:secret@p"]
)
def test_another_proxy_is_refused_aloud(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("HTTPS_PROXY", value)
    with pytest.raises(UsageError) as refused:
        proxy_of("https://h:8443/v1")
    assert refused.value.message.endswith("for h: only an http:// proxy is spoken to.")
    assert "secret" not in refused.value.message
    assert refused.value.hint == "Go without it: NO_PROXY=h corral ..."


class Proxying(socketserver.StreamRequestHandler):
    """An HTTP proxy that knows one server, whatever its name: tunnels, and requests in the absolute form."""

    server: "ProxyServer"

    def handle(self) -> None:
        while first := self.rfile.readline():
            head = [first]
            while (line := self.rfile.readline()).strip():
                head.append(line)
            self.server.asked.append(first.decode().strip())
            if self.server.wants and self.server.wants not in (line.strip() for line in head):
                self.wfile.write(b"HTTP/1.1 407 Who are you\r\ncontent-length: 0\r\n\r\n")
                return
            with socket.create_connection(("127.0.0.1", self.server.port)) as server:
                if first.startswith(b"CONNECT "):
                    self.wfile.write(b"HTTP/1.1 200 There you go\r\nx: y\r\n\r\n")
                    join(self.connection, server)
                    return
                method, url, version = first.split(b" ")
                path = b"/" + url.removeprefix(b"http://").partition(b"/")[2]
                kept = [line for line in head[1:] if not line.lower().startswith((b"proxy-", b"connection:"))]
                length = next(
                    (int(each[15:]) for each in kept if each.lower().startswith(b"content-length:")), 0
                )
                server.sendall(
                    b" ".join([method, path, version]) + b"".join(kept) + b"connection: close\r\n\r\n"
                )
                server.sendall(self.rfile.read(length))
                while data := server.recv(65536):
                    self.wfile.write(data)
                return


class ProxyServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    wants = b""
    port = 0

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Proxying)
        self.asked: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


@pytest.fixture
def proxy() -> Iterator[ProxyServer]:
    with ProxyServer() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_a_server_behind_a_proxy_is_probed(
    fake_llm: Fake, proxy: ProxyServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    proxy.port = int(fake_llm(framing="close", itl_ms=1, vllm=False).rpartition(":")[2])
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    report = probed("http://model.corp:8000", tmp_path)
    assert (report.succeeded, report.errors, report.output_tokens) == (4, {}, 20)
    asked = {f"{each} HTTP/1.1" for each in ("GET http://model.corp:8000/v1/models", POSTED)}
    assert asked <= set(proxy.asked)
    assert (
        f"through the proxy {proxy.url}, which the environment names: its time is in the figures"
        in report.notes
    )


def test_a_server_with_tls_is_probed_through_a_tunnel(
    fake_llm: Fake, proxy: ProxyServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The certificate is the server's own, and the proxy wants to know whose tunnel it is."""
    certificate, key = tmp_path / "own.pem", tmp_path / "own.key"
    own_tls.made(certificate, key, "-subj", "/CN=own", "-addext", "subjectAltName=DNS:model.corp")
    both = tmp_path / "both.pem"
    both.write_text(certificate.read_text() + key.read_text())
    proxy.port = int(fake_llm(itl_ms=1, certificate=str(both)).rpartition(":")[2])
    proxy.wants = b"proxy-authorization: Basic dXNlcjpzZWNyZXQ="
    monkeypatch.setenv("HTTPS_PROXY", proxy.url.replace("//", "//user:secret@"))
    report = probed("https://model.corp", tmp_path, ca_file=certificate)
    assert (report.succeeded, report.errors, report.output_tokens) == (4, {}, 20)
    assert (report.client.stamps, set(proxy.asked)) == ("kernel", {"CONNECT model.corp:443 HTTP/1.1"})
    assert (
        f"through the proxy {proxy.url}, which the environment names: its time is in the figures"
        in report.notes
    )


def test_a_proxy_that_refuses_is_told(
    proxy: ProxyServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    proxy.wants = b"proxy-authorization: none has it"
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    with pytest.raises(CorralError) as refused:
        probed("https://model.corp", tmp_path)
    assert refused.value.message.startswith(
        f"The proxy {proxy.url}, which the environment names, does not let us through to https://model.corp: "
    )
    assert "407" in refused.value.message
    assert (
        refused.value.hint
        == "Go without it: NO_PROXY=model.corp corral ...; or name its user in that variable."
    )


def tunnelled(*said: bytes) -> Tls:
    tls = Tls(ssl.create_default_context(), "h", connect_request("h", 443, Proxy("p", 1, None)))
    assert tls.shake() is False
    assert tls.to_send() == b"CONNECT h:443 HTTP/1.1\r\nhost: h:443\r\n\r\n"
    assert tls.to_send() == b""
    for piece in said:
        tls.received(piece)
        tls.shake()
    return tls


def test_a_tunnel_that_is_made_begins_the_handshake() -> None:
    tls = tunnelled(b"HTTP/1.1 200 ", b"OK\r\nvia: x\r\n\r\n")
    assert tls.to_send().startswith(b"\x16\x03\x01")  # a hello


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (b"HTTP/1.1 407 Who\r\n\r\n", "the proxy makes no tunnel: HTTP/1.1 407 Who"),
        (b"HTTP/1.1\r\n\r\n", "the proxy makes no tunnel: HTTP/1.1"),
        (b"SSH-2.0 x\r\n\r\n", "the proxy makes no tunnel: SSH-2.0 x"),
        (b"x" * 65537, "the proxy's answer has no end"),
        (b"", "the proxy closed the connection"),
    ],
)
def test_a_tunnel_that_is_not_made(said: bytes, message: str) -> None:
    with pytest.raises(TlsFault) as fault:
        tunnelled(said)
    assert (str(fault.value), fault.value.error_class) == (message, "proxy")
