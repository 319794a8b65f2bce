"""The probe's small doors: names and trust, which protocol a port speaks, the alarm, the clock, files, pictures."""

import asyncio
import base64
import random
import socket
import ssl
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from infra.errors import DocumentError, EndpointError, HostError
from serving.probe import address, kernel_stamps, process, protocol
from serving.probe.alarm import Alarm
from serving.probe.images import data_url, png
from serving.probe.spec import Load, Target
from serving.probe.tls import Tls, TlsFault

# Names and trust


@pytest.mark.parametrize(
    ("url", "asked"),
    [
        ("http://host/base", ("host", 80)),
        ("https://host", ("host", 443)),
        ("https://host:8443", ("host", 8443)),
        ("http://[::1]:9", ("::1", 9)),
        ("https://[fe80::1%25eth0]:9", ("fe80::1%eth0", 9)),
    ],
)
def test_the_address_behind_a_url(monkeypatch: pytest.MonkeyPatch, url: str, asked: tuple[str, int]) -> None:
    found: list[object] = []

    def getaddrinfo(*words: object, **more: object) -> list[tuple[object, ...]]:
        found.append((*words, more))
        return [(socket.AF_INET6, 0, 0, "", ("::1", 1)), (socket.AF_INET, 0, 0, "", ("127.0.0.1", 1))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    made = address.resolve(Target(base_url=url))
    assert found == [(*asked, {"type": socket.SOCK_STREAM})]
    assert (made.family, made.address, made.server_hostname) == (
        socket.AF_INET6, ("::1", 1), asked[0].removesuffix("%eth0"),
    )  # fmt: skip
    assert (made.tls is not None) == url.startswith("https")


def test_a_name_nobody_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    def getaddrinfo(*words: object, **more: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(EndpointError) as caught:
        address.resolve(Target(base_url="http://nowhere"))
    assert caught.value.message == "nowhere cannot be resolved: Name or service not known."
    assert caught.value.hint == "Check the host's name."
    with pytest.raises(EndpointError) as caught:
        address.resolve(Target(base_url="http://[fe80::1%25wlan9]"))
    assert (caught.value.message, caught.value.hint) == (
        "fe80::1%wlan9 cannot be resolved: Name or service not known.", "Check the interface behind the %: ip link",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda path: None, "there is no such file"),
        (lambda path: path.mkdir(), "it is no regular file"),
        (
            lambda path: path.write_text("no certificate"),
            "[X509: NO_CERTIFICATE_OR_CRL_FOUND] no certificate",
        ),
    ],
)
def test_an_authority_that_is_none(tmp_path: Path, make: Callable[[Path], object], why: str) -> None:
    path = tmp_path / "ca.pem"
    make(path)
    with pytest.raises(DocumentError) as caught:
        address.tls_context(Target(base_url="https://host", ca_file=path))
    assert caught.value.message.startswith(f"{path} holds no certificate that can be read: {why}")
    assert caught.value.hint == "Give a PEM file: --ca-file ca.pem"


def test_the_system_is_trusted_unless_told_otherwise() -> None:
    context = address.tls_context(Target(base_url="https://host"))
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


# Which protocol


@pytest.fixture
def port() -> Iterator[Callable[[bytes], tuple[int, list[bytes]]]]:
    """A port whose every caller hears that; with what they said first."""
    opened: list[socket.socket] = []

    def start(says: bytes) -> tuple[int, list[bytes]]:
        listener = socket.create_server(("127.0.0.1", 0))
        opened.append(listener)
        heard: list[bytes] = []

        def serve() -> None:
            try:
                while True:
                    caller, _ = listener.accept()
                    with caller:
                        heard.append(caller.recv(4096))
                        caller.sendall(says)
            except OSError:
                return

        threading.Thread(target=serve, daemon=True).start()
        return listener.getsockname()[1], heard

    yield start
    for listener in opened:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


Port = Callable[[bytes], tuple[int, list[bytes]]]


def test_a_port_that_speaks_plain_http_in_place_of_tls(port: Port) -> None:
    number, heard = port(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    found = protocol.other_protocol(f"https://127.0.0.1:{number}/base")
    assert found is not None
    assert found.message == f"https://127.0.0.1:{number}/base speaks plain HTTP, not TLS."
    assert found.hint == f"Say http://127.0.0.1:{number}/base"
    assert heard[0] == b"GET /v1/models HTTP/1.0\r\nhost: 127.0.0.1\r\n\r\n"


def test_a_port_that_speaks_neither_is_what_it_is(port: Port) -> None:
    number, _ = port(b"SSH-2.0-OpenSSH\r\n")
    assert protocol.other_protocol(f"https://127.0.0.1:{number}") is None
    assert protocol.other_protocol(f"http://127.0.0.1:{number}") is None
    assert not protocol.speaks_tls("127.0.0.1", port(b"HTTP/1.1 400 X\r\n")[0])


@pytest.mark.parametrize(
    ("url", "asked"),
    [
        ("https://host", ("http", "host", 443)),
        ("http://host", ("tls", "host", 80)),
        ("http://host:5", ("tls", "host", 5)),
        ("https://host:5", ("http", "host", 5)),
    ],
)
def test_each_is_asked_for_the_other(
    monkeypatch: pytest.MonkeyPatch, url: str, asked: tuple[str, str, int]
) -> None:
    found: list[object] = []
    monkeypatch.setattr(protocol, "speaks_http", lambda host, port: found.append(("http", host, port)))
    monkeypatch.setattr(protocol, "speaks_tls", lambda host, port: found.append(("tls", host, port)))
    assert (protocol.other_protocol(url), found) == (None, [asked])


def test_a_port_that_speaks_tls_in_place_of_plain_http(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "speaks_tls", lambda host, port: True)
    found = protocol.other_protocol("http://host:5/x")
    assert found is not None
    assert (found.message, found.hint) == (
        "http://host:5/x speaks TLS, not plain HTTP.",
        "Say https://host:5/x",
    )


def test_a_trial_has_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[object] = []

    def create_connection(address: object, limit_s: float) -> None:
        limits.append((address, limit_s))
        raise OSError

    monkeypatch.setattr(socket, "create_connection", create_connection)
    assert (protocol.speaks_http("host", 5), protocol.speaks_tls("host", 5)) == (False, False)
    assert limits == [(("host", 5), 1.0)] * 2


# TLS without a socket


def test_a_handshake_that_fails_says_why() -> None:
    context = ssl.create_default_context()
    layer = Tls(context, "host")
    assert not layer.shake()
    assert layer.to_send()[:1] == b"\x16"
    layer.received(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    with pytest.raises(TlsFault, match="the TLS handshake failed: [A-Z_]+$"):
        layer.shake()
    layer = Tls(context, "host")
    layer.shake()
    layer.received(b"")
    with pytest.raises(TlsFault, match="the TLS handshake failed: "):
        layer.shake()


# The alarm and the clock


def rung(made: Alarm, loop: asyncio.AbstractEventLoop, times: list[int], number: int) -> None:
    """Until it has rung so often."""
    while len(times) < number:
        loop.call_later(0.001, loop.stop)
        loop.run_forever()


@pytest.mark.parametrize("has_timer", [True, False])
def test_an_alarm_rings_when_it_is_due_and_not_before(
    monkeypatch: pytest.MonkeyPatch, has_timer: bool
) -> None:
    loop, times = asyncio.new_event_loop(), list[int]()
    if not has_timer:
        monkeypatch.setattr("ctypes.CDLL", lambda name: SimpleNamespace())
    made = Alarm(loop, lambda: times.append(time.monotonic_ns()))
    due_ns = time.monotonic_ns() + 30_000_000
    made.set(due_ns)
    rung(made, loop, times, 1)
    made.set(-5)  # long ago
    rung(made, loop, times, 2)
    made.close()
    made.close()
    loop.close()
    assert len(times) == 2
    assert times[0] >= due_ns - (0 if has_timer else 1_000_000)


def test_setting_an_alarm_again_moves_it() -> None:
    loop, times = asyncio.new_event_loop(), list[int]()
    made = Alarm(loop, lambda: times.append(time.monotonic_ns()))
    first_ns = time.monotonic_ns() + 20_000_000
    made.set(first_ns)
    made.set(first_ns + 20_000_000)
    rung(made, loop, times, 1)
    made.close()
    loop.close()
    assert times[0] >= first_ns + 20_000_000


def test_an_alarm_the_kernel_refuses_rings_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    loop, times = asyncio.new_event_loop(), list[int]()
    made = Alarm(loop, lambda: times.append(0))
    made._libc = SimpleNamespace(timerfd_settime=lambda *words: -1)  # type: ignore[assignment]
    made.set(time.monotonic_ns() + 10**18)
    rung(made, loop, times, 1)
    made.close()
    loop.close()


@pytest.mark.parametrize(("asks_at", "is_stamped"), [(1, True), (4, True), (None, False)])
def test_a_run_waits_until_the_kernel_stamps(
    monkeypatch: pytest.MonkeyPatch, asks_at: int | None, is_stamped: bool
) -> None:
    """It begins to a while after it was asked: here the fourth time that it is asked, or never."""
    real, asked = kernel_stamps.ask_kernel_stamps, count(1)

    def ask(sock: socket.socket) -> bool:
        return next(asked) != asks_at or real(sock)

    monkeypatch.setattr(kernel_stamps, "ask_kernel_stamps", ask)
    assert kernel_stamps.await_stamps(60.0 if asks_at else 0.05) == is_stamped
    assert not asks_at or next(asked) >= asks_at + 1


def test_where_no_stamps_are_to_be_had_none_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_stamps, "ask_kernel_stamps", lambda _: False)
    assert not kernel_stamps.await_stamps(1e6)


def test_the_offset_of_the_clocks_is_that_of_the_quickest_look(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = iter([(0, 1000, 90), (100, 2130, 110), (200, 3000, 290), (300, 4000, 390), (400, 5000, 490)])
    look = iter([number for before, real, after in looks for number in (before, real, after)])
    stepped = SimpleNamespace(monotonic_ns=lambda: next(look), time_ns=lambda: next(look))
    monkeypatch.setattr(kernel_stamps, "time", stepped)
    assert kernel_stamps.realtime_offset_ns() == 2130 - 105


def test_kernel_stamps_are_asked_for_where_there_are_any(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    sock: Any = SimpleNamespace(setsockopt=lambda *words: asked.append(words))
    assert kernel_stamps.ask_kernel_stamps(sock)
    assert asked == [(socket.SOL_SOCKET, 35, 1)]

    def refuse(*words: object) -> None:
        raise OSError

    sock = SimpleNamespace(setsockopt=refuse)
    assert not kernel_stamps.ask_kernel_stamps(sock)
    monkeypatch.setattr("sys.platform", "darwin")
    assert not kernel_stamps.ask_kernel_stamps(SimpleNamespace())  # type: ignore[arg-type]


# Files


@pytest.mark.parametrize(
    ("limits", "connections", "raised", "refused"),
    [
        ((64, 240), 200, [(240, 240)], False),
        ((240, 240), 200, [], False),
        ((239, 239), 200, [], True),
        ((-1, -1), 10**6, [], False),
    ],
)
def test_how_many_files_a_process_may_open(
    monkeypatch: pytest.MonkeyPatch,
    limits: tuple[int, int],
    connections: int,
    raised: list[tuple[int, int]],
    refused: bool,
) -> None:
    found: list[tuple[int, int]] = []
    stand_in = SimpleNamespace(
        RLIMIT_NOFILE=7, getrlimit=lambda which: limits, setrlimit=lambda which, both: found.append(both)
    )
    monkeypatch.setattr(process, "resource", stand_in)
    if refused:
        with pytest.raises(HostError) as caught:
            process.raise_file_limit(connections)
        assert caught.value.message == (
            "A process may open only 239 files here, and 200 connections at once need more."
        )
        assert caught.value.hint == "Allow more: ulimit -Hn 240; or ask for fewer at once."
    else:
        process.raise_file_limit(connections)
    assert found == raised


# Pictures


def test_a_picture_is_whole_and_of_blocks() -> None:
    data = png((40, 20), random.Random(0))
    kinds, at = [], 8
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        body = data[at + 4 : at + 8 + length]
        assert struct.unpack(">I", data[at + 8 + length : at + 12 + length]) == (zlib.crc32(body),)
        kinds.append(body)
        at += 12 + length
    header, pixels, end = kinds
    assert (data[:8], header, end) == (
        b"\x89PNG\r\n\x1a\n",
        b"IHDR" + struct.pack(">IIBBBBB", 40, 20, 8, 2, 0, 0, 0),
        b"IEND",
    )
    rows = zlib.decompress(pixels[4:])
    rng = random.Random(0)
    blocks = [b"".join(rng.randbytes(3) * 16 for _ in range(3))[:120] for _ in range(2)]
    assert rows == (b"\0" + blocks[0]) * 16 + (b"\0" + blocks[1]) * 4
    assert data_url((40, 20), random.Random(0)) == f"data:image/png;base64,{base64.b64encode(data).decode()}"


# How long all may be silent


@pytest.mark.parametrize(
    ("stall_timeout_s", "silence_s"),
    [(3.0, 3.0), (66.0, 66.0), (120.0, 66.0), (121.0, 66.55), (600.0, 330.0)],
)
def test_a_server_is_taken_for_hung(stall_timeout_s: float, silence_s: float) -> None:
    assert Load(shape="burst", stall_timeout_s=stall_timeout_s).silence_limit_s == pytest.approx(silence_s)
