"""A server is asked to end once it has no request: on a clock that moves by waiting, and against what it may answer."""

import math
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from infra.errors import AuthError, EndpointError
from infra.onhost import idle
from serving.vllm import client, health, stopping
from serving.vllm.endpoint import Endpoint

GONE = None
LATE = math.inf


@pytest.mark.parametrize(
    ("requests", "hurried_at_s", "took_s", "is_idle", "told"),
    [
        ([0] * 5, 99, 2.0, True, []),
        # One between two looks: it is counted anew.
        (
            [0, 0, 0, 0, 1, 0, 0, 0, 0, 0],
            99,
            4.5,
            True,
            ["1 request runs or waits; waiting up to 60 s until there are none"],
        ),
        ([GONE], 99, 0.0, False, []),
        ([3, GONE], 99, 0.5, False, ["3 requests run or wait; waiting up to 60 s until there are none"]),
        (
            [LATE],
            99,
            60.0,
            False,
            [
                "it does not say how many requests it has; waiting up to 60 s until there are none",
                "it does not say how many requests it has after 60 s; "
                "they have the server's own --shutdown-timeout from here",
            ],
        ),
        (
            [3],
            99,
            60.0,
            False,
            [
                "3 requests run or wait; waiting up to 60 s until there are none",
                "3 requests run or wait after 60 s; they have the server's own --shutdown-timeout from here",
            ],
        ),
        (
            [3],
            7,
            7.0,
            False,
            ["3 requests run or wait; waiting up to 60 s until there are none", "not waiting for requests"],
        ),
        ([3], 0, 0.0, False, ["not waiting for requests"]),
    ],
)
def test_none_runs_or_waits_five_times_in_a_row_or_the_time_is_over(
    requests: list[float | None], hurried_at_s: float, took_s: float, is_idle: bool, told: list[str]
) -> None:
    now_s, said, left = [0.0], list[str](), list(requests)

    def sleep(seconds: float) -> None:
        now_s[0] += seconds

    found = idle.wait(
        lambda: left.pop(0) if len(left) > 1 else left[0],
        60,
        lambda: now_s[0] >= hurried_at_s,
        said.append,
        sleep,
        lambda: now_s[0],
    )
    assert (found, now_s[0], said) == (is_idle, took_s, told)


TWO_ENGINES = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
vllm:num_requests_running{engine="0",model_name="scout"} 2.0
vllm:num_requests_running{engine="1",model_name="scout"} 0.0
vllm:num_requests_waiting{engine="0",model_name="scout"} 1.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="scout",reason="capacity"} 9.0
"""


@pytest.mark.parametrize(
    ("text", "found"), [(TWO_ENGINES, 3.0), ("", None), ("vllm:num_requests_running x\n", None)]
)
def test_what_a_server_says_it_has(text: str, found: float | None) -> None:
    assert idle.in_metrics(text) == found


@pytest.fixture
def answering() -> Iterator[Callable[[int, str], str]]:
    """The address of a server that answers so."""
    begun: list[HTTPServer] = []

    def serve(status: int, text: str) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status if self.path == "/metrics" else 404)
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_: object) -> None:
                pass

        begun.append(HTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=begun[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{begun[-1].server_port}"

    yield serve
    for server in begun:
        server.shutdown()
        server.server_close()


def test_what_a_host_hears_of_its_server(answering: Callable[[int, str], str]) -> None:
    asked = [answering(200, TWO_ENGINES), answering(404, TWO_ENGINES), "http://127.0.0.1:9"]
    assert list(map(idle.requests_at, asked)) == [3.0, None, None]


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ({"vllm:num_requests_running": 2.0, "vllm:num_requests_waiting": 1.0}, 3.0),
        ({"other": 1.0}, None),
        (client.TooLate("late", ""), math.inf),
        (EndpointError("refused", ""), None),
        (AuthError("no key", ""), None),
    ],
)
def test_what_is_heard_of_it_from_here(
    said: dict[str, float] | Exception, found: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def metrics(endpoint: Endpoint) -> dict[str, float]:
        if isinstance(said, Exception):
            raise said
        return said

    monkeypatch.setattr(client, "metrics", metrics)
    assert stopping.requests_of(Endpoint(base_url="http://h:8000", served_model_name="scout")) == found


def test_one_in_which_nothing_moves_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s, said = [0.0], list[str]()
    monkeypatch.setattr(client, "metrics", lambda endpoint: {"vllm:num_requests_running": 1.0})
    monkeypatch.setattr(health, "reading", lambda endpoint: {"vllm:generation_tokens_total": 5.0})

    def sleep(seconds: float) -> None:
        now_s[0] += seconds

    at = Endpoint(base_url="http://h:8000", served_model_name="scout")
    stopping.until_idle(at, 3600, lambda: False, said.append, sleep, lambda: now_s[0])
    assert said == [
        "stop: 1 request runs or waits; waiting up to 3600 s until there are none",
        "stop: not waiting for requests",
    ]
    assert stopping.STILL_S <= now_s[0] < 2 * stopping.STILL_S + 2 * stopping.READ_EVERY_S
