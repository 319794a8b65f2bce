"""Which protocol a port speaks in place of the one in the URL: what is asked, and what is told of it."""

import pytest

from infra.errors import EndpointError
from serving.probe import protocol


@pytest.mark.parametrize(
    ("url", "speaks", "asked", "message", "hint"),
    [
        ("https://h:8/v1?a=1", "http", ("http", "h", 8), "https://h:8/v1?a=1 speaks plain HTTP, not TLS.",
         "Say http://h:8/v1?a=1"),
        ("https://h/v1", "http", ("http", "h", 443), "https://h/v1 speaks plain HTTP, not TLS.", "Say http://h/v1"),
        ("http://h:8", "tls", ("tls", "h", 8), "http://h:8 speaks TLS, not plain HTTP.", "Say https://h:8"),
        ("http://h", "tls", ("tls", "h", 80), "http://h speaks TLS, not plain HTTP.", "Say https://h"),
        ("https://h:8", "", ("http", "h", 8), None, None),
        ("https://h:8", "tls", ("http", "h", 8), None, None),
        ("http://h:8", "", ("tls", "h", 8), None, None),
        ("http://h:8", "http", ("tls", "h", 8), None, None),
    ],
)  # fmt: skip
def test_the_other_protocol_is_asked_for_and_told(
    url: str,
    speaks: str,
    asked: tuple[str, str, int],
    message: str | None,
    hint: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    questions: list[tuple[str, str, int]] = []

    def asks(what: str, host: str, port: int) -> bool:
        questions.append((what, host, port))
        return what == speaks

    monkeypatch.setattr(protocol, "proxy_of", lambda _: None)
    monkeypatch.setattr(protocol, "speaks_http", lambda host, port: asks("http", host, port))
    monkeypatch.setattr(protocol, "speaks_tls", lambda host, port: asks("tls", host, port))
    error = protocol.other_protocol(url)
    assert questions == [asked]
    assert (error and (type(error), error.message, error.hint)) == (
        message and (EndpointError, message, hint)
    )


def test_behind_a_proxy_or_at_a_socket_nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("speaks_http", "speaks_tls"):
        monkeypatch.setattr(protocol, name, lambda *_: True)
    assert protocol.other_protocol("http+unix://%2Frun%2Fs.sock") is None
    monkeypatch.setattr(protocol, "proxy_of", lambda _: "http://proxy:3128")
    assert protocol.other_protocol("http://h:8") is None
