"""Whom the Hub's door asks, by which way, what it says of who is not reached, and when it cuts a question off."""

import http.client
import socket
import ssl
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest

from infra.errors import CorralError, EndpointError
from infra.fetch import hub_wire
from infra.fetch.hub_answers import AGAIN, Passing, Source
from infra.fetch.hub_wire import PATIENCE_S, Wire

SOURCE = Source("https://hub", "some/model", "c" * 40)


@pytest.fixture(autouse=True)
def no_way_of_yours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://hub/a", ("https", "hub", 443)),
        ("http://hub", ("http", "hub", 80)),
        ("http://hub:8080/", ("http", "hub", 8080)),
        ("https://[::1]:9/", ("https", "::1", 9)),
    ],
)
def test_whom_an_address_belongs_to(url: str, origin: hub_wire.Origin) -> None:
    assert hub_wire.origin(urlsplit(url)) == origin


@pytest.mark.parametrize("url", ["ftp://hub", "hub", "https://", "https://hub:99999", "https://hub:x"])
def test_what_is_no_address_of_a_hub(url: str) -> None:
    with pytest.raises(EndpointError) as error:
        hub_wire.origin(urlsplit(url))
    assert (type(error.value), error.value.message, error.value.hint) == (
        EndpointError,
        f"'{url}' is no address of a Hub.",
        "Look at HF_ENDPOINT: https://huggingface.co, or that of a mirror.",
    )


def test_of_an_address_that_is_none_no_more_is_told_than_a_line() -> None:
    with pytest.raises(EndpointError) as error:
        hub_wire.origin(urlsplit("ftp://" + "é" * 300))
    assert error.value.message == f"{ascii('ftp://' + 'é' * 194)} is no address of a Hub."


PROXY = "http://me:p%40ss@proxy:3128"


def way(url: str) -> tuple[Any, ...]:
    """How it is asked there: what the connection is, whom it is to, and through whom."""
    made: Any = hub_wire.connection_to(urlsplit(url))
    assert made.timeout == PATIENCE_S
    tunnel = (made._tunnel_host, made._tunnel_port, made._tunnel_headers) if made._tunnel_host else ()
    return type(made), made.host, made.port, *tunnel


def test_which_way_an_address_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, tls = http.client.HTTPConnection, http.client.HTTPSConnection
    assert way("http://hub") == (plain, "hub", 80)
    assert way("https://hub:8443") == (tls, "hub", 8443)
    monkeypatch.setenv("http_proxy", "proxy:3128")
    monkeypatch.setenv("https_proxy", PROXY)
    monkeypatch.setenv("no_proxy", "inside")
    assert way("http://hub") == (plain, "proxy", 3128)
    kind, host, port, *tunnel = way("https://hub")
    assert (kind, host, port, tunnel[:2]) == (tls, "proxy", 3128, ["hub", 443])
    assert tunnel[2].items() >= {"Proxy-Authorization": "Basic bWU6cEBzcw=="}.items()
    assert way("http://inside") == (plain, "inside", 80)
    assert way("https://inside") == (tls, "inside", 443)


def test_what_a_proxys_address_says_of_its_user() -> None:
    said = {
        address: hub_wire.credentials(urlsplit(address))
        for address in ("http://proxy", "http://me@proxy", "http://:x@proxy")
    }
    assert said == {
        "http://proxy": {},
        "http://me@proxy": {"Proxy-Authorization": "Basic bWU6"},
        "http://:x@proxy": {"Proxy-Authorization": "Basic Ong="},
    }


@pytest.mark.parametrize("proxy", ["socks5://proxy:1", "https://proxy", "http://:3128"])
def test_a_proxy_of_another_kind_is_not_spoken_to(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", proxy)
    with pytest.raises(EndpointError) as error:
        hub_wire.connection_to(urlsplit("https://hub"))
    assert (error.value.message, error.value.hint) == (
        f"corral speaks to no proxy of the kind '{urlsplit(proxy).scheme}'.",
        "Name an HTTP proxy: HTTPS_PROXY=http://proxy:3128, or exempt the Hub: NO_PROXY",
    )


def untrusted() -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError("x")
    error.verify_message = "self-signed certificate."
    return error


@pytest.mark.parametrize(
    ("error", "straight", "by_proxy"),
    [
        (socket.gaierror(-2, "no"), "has no address: the name cannot be resolved.", ""),
        (TimeoutError(), "does not answer within 30 s.", ""),
        (OSError(111, "Connection refused"), "cannot be reached: Connection refused.", ""),
        (OSError("Tunnel connection failed: 403"), "cannot be reached: OSError.", "does not let us through to hub."),
        (http.client.BadStatusLine("x"), "cannot be reached: BadStatusLine.", ""),
    ],
)  # fmt: skip
def test_who_is_not_reached_may_be_reached_later(
    error: BaseException, straight: str, by_proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told() -> tuple[type[CorralError], str, str]:
        made = hub_wire.unreachable(urlsplit("https://hub"), error)
        return type(made), made.message, made.hint

    assert told() == (Passing, f"The Hub at hub {straight}", AGAIN)
    monkeypatch.setenv("https_proxy", PROXY)
    assert told() == (Passing, f"The proxy proxy {by_proxy or straight}", AGAIN)


def test_a_certificate_that_is_not_trusted_will_not_be_later() -> None:
    made = hub_wire.unreachable(urlsplit("https://hub"), untrusted())
    assert (type(made), made.message, made.hint) == (
        EndpointError,
        "The certificate of hub is not trusted: self-signed certificate.",
        "Where a proxy inspects TLS, name its authority: SSL_CERT_FILE=/etc/ssl/company.pem; else compare date -u",
    )


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (TimeoutError(), "The Hub does not answer about x within 30 s."),
        (
            ConnectionResetError(104, "reset by peer"),
            "The connection to the Hub broke off at x (reset by peer).",
        ),
        (OSError(), "The connection to the Hub broke off at x (OSError)."),
        (
            http.client.IncompleteRead(b""),
            "The Hub's answer about x broke off, or is no HTTP (IncompleteRead).",
        ),
    ],
)
def test_a_conversation_that_broke_off_is_worth_another_try(error: BaseException, said: str) -> None:
    wire = Wire(SOURCE)
    wire.asking_since = 1.0
    made = wire._broken("x", error)
    assert (type(made), made.message, made.wait_s) == (Passing, said, None)
    assert vars(wire)["asking_since"] is None
    wire.cut()
    assert wire._broken("x", error).message == "The Hub stalls: too little of x comes."


class Looked(Wire):
    """Notes when it is cut off."""

    is_off = False

    def cut(self) -> None:
        self.is_off = True


def test_a_question_is_cut_off_that_brings_too_little_for_long() -> None:
    wire = Looked(SOURCE)

    def looked(now_s: float, received: int, asked_s: float | None = 5.0) -> bool:
        wire.asking_since, wire.received, wire.is_off = asked_s, received, False
        wire.look(now_s, stall_s=10, least_bytes=100)
        return wire.is_off

    assert [looked(now_s, 0, None) for now_s in (0, 99)] == [False, False]  # nobody asks
    assert [looked(now_s, 0) for now_s in (100, 109.9, 110)] == [False, False, True]
    # Anew from then on, and whenever enough came, or another question began.
    assert [looked(*at) for at in ((111, 0), (120, 99), (121, 99))] == [False, False, True]
    assert [looked(*at) for at in ((200, 1000), (209, 1100), (218, 1199), (219, 1199))] == [False] * 3 + [
        True
    ]
    assert [looked(*at) for at in ((300, 2000, 6.0), (309, 2000, 7.0), (318, 2000, 7.0))] == [False] * 3
    assert looked(319, 2000, 7.0)
    assert [looked(400, 2000, 8.0), looked(405, 2000, None), looked(412, 2000, 8.0)] == [False] * 3


def test_who_hung_up_asks_by_a_new_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    happened: list[str] = []

    class Line:
        def connect(self) -> None:
            happened.append("connect")

        def request(self, method: str, path: str, headers: dict[str, str]) -> None:
            happened.append(f"{method} {path}")

        def getresponse(self) -> Any:
            return SimpleNamespace(status=200)

        def close(self) -> None:
            happened.append("close")

    monkeypatch.setattr(hub_wire, "connection_to", lambda _: Line())
    wire = Wire(SOURCE)
    for path in ("a", "b"):
        wire.ask(f"https://hub/{path}", path)
    wire.close()
    wire.ask("https://hub/c", "c")
    assert happened == ["connect", "GET /a", "GET /b", "close", "connect", "GET /c"]
