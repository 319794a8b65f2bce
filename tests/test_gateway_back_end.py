"""A gateway before a back end of another version than it was made for, or before none that it knows."""

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from doors import NAME, Door, door
from stubbed import until

from deploy.gateway import rotation
from deploy.gateway.gateway_text import why_not

pytestmark = pytest.mark.usefixtures("has_haproxy")

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 2}
LATER = {
    "prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5, "prompt_tokens_details": {"cached_tokens": 4000},
    "completion_tokens_details": {"reasoning_tokens": 7000, "accepted_prediction_tokens": 8000}, "tokens_next": 9000,
}  # fmt: skip
"""Usage with what later versions tell beside it."""


class Other(BaseHTTPRequestHandler):
    """Of HTTP/1.0: an answer's end is the connection's. What it says is its class's."""

    health, status, kind, body = 200, 200, "application/json", b""

    def do_GET(self) -> None:
        self.say(self.health if self.path == "/health" else 404, "text/plain", b"")

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.say(self.status, self.kind, self.body)

    def say(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing to the terminal."""


@contextmanager
def before(folder: Path, monkeypatch: pytest.MonkeyPatch, **says: Any) -> Iterator[Door]:
    """A gateway, and such a one behind it."""
    home = folder / "home"
    monkeypatch.setenv("CORRAL_HOME", str(home))
    with door(home, queue_s=0.2) as front:
        at = ("127.0.0.1", front.deployment.plan.serve.port)
        with ThreadingHTTPServer(at, type("Says", (Other,), says)) as server:
            Thread(target=server.serve_forever, daemon=True).start()
            try:
                yield front
            finally:
                server.shutdown()


def state(front: Door) -> str:
    (server,) = rotation.in_front(front.folder)
    return server.state


@pytest.mark.parametrize("is_stream", [False, True])
def test_what_a_later_version_tells_beside_it_is_not_counted(
    is_stream: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = json.dumps({"object": "later", "usage": LATER, "choices": []})
    body = f"data: {answer}\n\ndata: [DONE]\n\n" if is_stream else answer
    kind = "text/event-stream" if is_stream else "application/json"
    with before(tmp_path, monkeypatch, body=body.encode(), kind=kind) as front:
        until(lambda: state(front) == "UP")
        status, head, said = front.ask(
            "/v1/chat/completions", CHAT | {"stream": is_stream, "later": {"n": 99}}
        )
        assert (status, head["content-type"]) == (200, kind)
        assert said == (body.encode() if is_stream else json.loads(answer))
        until(lambda: bool(front.audit()))
        (line,) = front.audit()
        assert (line["input_tokens"], line["output_tokens"], line["end"]) == (3, 2, "----")


def test_an_error_in_its_own_words_goes_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    html = b"<h1>Method Not Allowed</h1>"
    with before(tmp_path, monkeypatch, status=405, kind="text/html", body=html) as front:
        until(lambda: state(front) == "UP")
        status, head, said = front.ask("/v1/responses", {"input": "a"})
        assert (status, head["content-type"], said) == (405, "text/html", html)


def test_one_that_does_not_know_health_gets_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is behind it is no engine that is ready: it is never asked, and callers are told to come again."""
    with before(tmp_path, monkeypatch, health=404) as front:
        until(lambda: state(front) == "DOWN")
        until(lambda: rotation.in_front(front.folder)[0].check != "L4CON")  # before it listened
        (server,) = rotation.in_front(front.folder)
        assert (server.check, server.check_said) == ("L7STS", "Layer7 wrong status, 404, Not Found")
        status, head, said = front.ask("/v1/chat/completions", CHAT)
        assert (status, head["retry-after"], said["error"]["code"]) == (503, "5", "unavailable")
        assert front.ask("/health", key=None)[0] == 503


@pytest.mark.parametrize(("closes", "codes"), [(True, ("SOCKERR", "L7RSP")), (False, ("L7TOUT",))])
def test_one_that_takes_a_connection_and_answers_nothing_is_told_as_that(
    closes: bool, codes: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tunnel's end without an engine behind it; and an engine that hangs."""
    monkeypatch.setenv("CORRAL_HOME", str(tmp_path / "home"))
    taken: list[socket.socket] = []

    def take(listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                taken.append(listener.accept()[0])
                if closes:
                    taken.pop().close()

    with door(tmp_path / "home", queue_s=0.2) as front, ExitStack() as stack:
        at = ("127.0.0.1", front.deployment.plan.serve.port)
        listener = stack.enter_context(socket.create_server(at))
        Thread(target=take, args=(listener,), daemon=True).start()
        until(lambda: rotation.in_front(front.folder)[0].check not in ("INI", "L4CON"))
        until(lambda: state(front) == "DOWN")
        (server,) = rotation.in_front(front.folder)
        assert server.check in codes
        assert why_not(NAME, server) == (
            f"its /health gives no answer ({server.check}: {server.check_said})",
            f"look, which opens its way again: corral status {NAME}",
        )
    for each in taken:
        each.close()
