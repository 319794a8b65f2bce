"""The chain of health against a real socket: every way a server can look well and not be."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from fake_aws import Clock

from infra.errors import ServerError
from serving.vllm.endpoint import Endpoint
from serving.vllm.health import CANARY_DEADLINE_S, Verdict, judge, look, wait_until_ready


class Server:
    """A server whose every answer can be changed while it runs."""

    def __init__(self) -> None:
        self.health = 200
        self.models = ["m"]
        self.completion = 200
        self.model = "m"
        self.tokens = 7
        self.silent = False
        """Whether its metrics say nothing of tokens."""
        self.hangs = threading.Event()
        self.release = threading.Event()


@pytest.fixture
def running() -> Iterator[tuple[Server, Endpoint]]:
    server = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/health":
                self.answer(server.health, {})
            elif self.path == "/metrics":
                self.answer(200, None if server.silent else server.tokens)
            else:
                self.answer(200, {"data": [{"id": name} for name in server.models]})

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if server.hangs.is_set():
                server.release.wait()
                return
            usage = {"prompt_tokens": 1, "completion_tokens": 1}
            self.answer(
                server.completion, {"model": server.model, "choices": [{"text": "a"}], "usage": usage}
            )

        def answer(self, status: int, body: object) -> None:
            said = f"vllm:generation_tokens_total{{}} {body}" if isinstance(body, int) else json.dumps(body)
            data = said.encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *arguments: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
    yield (
        server,
        Endpoint(base_url=f"http://127.0.0.1:{http.server_address[1]}", served_model_name="m"),
    )
    server.release.set()
    http.shutdown()
    http.server_close()


Break = Callable[[Server], None]


def seen(endpoint: Endpoint, canary_deadline_s: float = CANARY_DEADLINE_S) -> Verdict:
    return judge(look(endpoint, canary_deadline_s), endpoint.served_model_name)


def silent_hang(server: Server) -> None:
    server.silent = True
    server.hangs.set()


CASES: dict[str, tuple[Break, str, str]] = {
    "well": (lambda server: None, "serving", "it answered a completion"),
    "200 and no model": (lambda server: server.models.clear(), "degraded", "it serves no model and not m"),
    "wrong model": (
        lambda server: setattr(server, "models", ["other"]),
        "degraded",
        "it serves other and not m",
    ),
    "503 after its start": (
        lambda server: setattr(server, "health", 503),
        "dead",
        "/health answers 503: the engine behind it has died",
    ),
    "hang": (
        lambda server: server.hangs.set(),
        "hung",
        "/health answers 200, but a completion of one token does not come",
    ),
    "hang, and nobody knows whether it works": (
        silent_hang,
        "degraded",
        "did not answer within",
    ),
    "401": (lambda server: setattr(server, "completion", 401), "degraded", "refused the API key"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_a_server_does_and_the_state_it_is_in(case: str, running: tuple[Server, Endpoint]) -> None:
    server, endpoint = running
    assert seen(endpoint).state == "serving"  # it was well before
    breaking, state, detail = CASES[case]
    breaking(server)
    found = seen(endpoint, 0.3) if server.hangs.is_set() else seen(endpoint)
    assert (found.state, detail in found.detail) == (state, True), found


def test_a_load_that_takes_longer_than_its_time_ends_the_waiting(running: tuple[Server, Endpoint]) -> None:
    server, endpoint = running
    server.models.clear()
    clock = Clock(0)
    with pytest.raises(ServerError, match=r"not ready after 2 s; it is degraded: it serves no model"):
        wait_until_ready(lambda: seen(endpoint), 2, clock.sleep, clock)
    assert clock() == 2
