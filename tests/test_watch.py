"""The watch on the host: time limit and idle stop, judged by the server's own counters and a clock of ours."""

import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Event, Thread
from types import SimpleNamespace
from typing import NoReturn

import pytest

from infra.onhost import watch

METRICS = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
vllm:num_requests_running{{engine="0",model_name="a b"}} {running}
vllm:num_requests_waiting{{engine="0",model_name="a b"}} 0.0
vllm:prompt_tokens_total{{engine="0",model_name="a b"}} {tokens}
vllm:generation_tokens_total{{engine="0",model_name="a b"}} 7.0
"""


UP_S = 1e9  # it has never been stopped
NOBODY = "http://127.0.0.1:9/metrics"


def test_what_the_server_did_is_told_by_its_counters() -> None:
    assert watch.work_done(METRICS.format(running=0.0, tokens=12.0)) == "12,7"
    assert watch.work_done(METRICS.format(running=1.0, tokens=12.0)) == "busy"


def test_idle_time_counts_from_the_last_change(tmp_path: Path) -> None:
    note = tmp_path / "activity"
    seen = [
        (1000.0, "12,7"),
        (1060.0, "12,7"),
        (1120.0, "13,7"),
        (1180.0, "13,7"),
        (1240.0, "busy"),
        (1300.0, "busy"),
    ]
    assert [watch.idle_for(note, what, now_s, UP_S) for now_s, what in seen] == [0, 60, 0, 60, 0, 0]


def test_a_clock_set_back_begins_the_count_again(tmp_path: Path) -> None:
    note = tmp_path / "activity"
    assert [watch.idle_for(note, "1,1", now_s, UP_S) for now_s in (5000.0, 1000.0, 1060.0)] == [0, 0, 60]


@pytest.mark.parametrize("seen", ["12,7", "failed", "not started"])
def test_a_host_that_was_stopped_begins_to_count_when_it_has_booted(seen: str, tmp_path: Path) -> None:
    note = tmp_path / "activity"
    idle = []
    for now_s, up_s in [(1000.0, 500.0), (1060.0, 560.0), (90000.0, 30.0), (90060.0, 90.0)]:
        idle.append(watch.idle_for(note, seen, now_s, up_s))
        if not idle[-1]:
            os.utime(note, (now_s, now_s))  # it was written
    assert idle == [0, 60, 0, 60]


def test_a_limit_from_before_a_stop_waits_to_be_told_of_a_later_one(tmp_path: Path) -> None:
    given = watch.parsed(options(tmp_path, NOBODY, 0))
    limit = tmp_path / "expires-at"
    limit.write_text("5000\n")
    os.utime(limit, (1000.0, 1000.0))
    moments = [(5000.0, 4000.0), (9000.0, 30.0), (9869.0, 899.0), (9870.0, 900.0)]
    reached = "its time limit is reached"
    assert [watch.reason_to_end(given, *moment) for moment in moments] == [reached, "", "", reached]
    os.utime(limit, (9100.0, 9100.0))  # it was told, and that is the end it has
    assert watch.reason_to_end(given, 9200.0, 230.0) == reached


def options(root: Path, metrics: str, idle_minutes: int) -> list[str]:
    return [
        "--root",
        str(root),
        "--unit",
        "x.service",
        "--metrics",
        metrics,
        "--idle-minutes",
        str(idle_minutes),
    ]


@pytest.fixture
def metrics_url() -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(METRICS.format(running=0.0, tokens=12.0).encode())

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/metrics"
        server.shutdown()
        thread.join()


def test_an_idle_server_is_ended_after_its_minutes(tmp_path: Path, metrics_url: str) -> None:
    given = watch.parsed(options(tmp_path, metrics_url, 30))
    reasons = [watch.reason_to_end(given, now_s, UP_S) for now_s in (0.0, 1799.0, 1800.0)]
    assert reasons == ["", "", "no request for 30 minutes"]


def test_an_idle_server_is_ended_where_the_disk_takes_no_note(
    tmp_path: Path, metrics_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What its folder holds is what a full disk made of it; /run is in memory."""
    root, run = tmp_path / "root", tmp_path / "run"
    (root / "activity").mkdir(parents=True)  # whoever writes it is refused
    run.mkdir()
    (root / "expires-at").touch()
    given = watch.parsed(options(root, metrics_url, 30))
    moments = (0.0, 1799.0, 1800.0)
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(run))
    reasons = [watch.reason_to_end(given, now_s, UP_S) for now_s in moments]
    assert reasons == ["", "", "no request for 30 minutes"]
    nowhere = tmp_path / "nowhere" / "activity"
    assert [watch.idle_for(nowhere, "1,1", now_s, UP_S) for now_s in moments] == [0, 0, 0]


def test_the_time_limit_holds_whatever_the_server_does(tmp_path: Path) -> None:
    given = watch.parsed(options(tmp_path, NOBODY, 0))
    (tmp_path / "expires-at").write_text("5000\n")
    assert [watch.reason_to_end(given, now_s, UP_S) for now_s in (4999.0, 5000.0)] == [
        "",
        "its time limit is reached",
    ]


@pytest.mark.parametrize(
    ("state", "phase", "seen"),
    [
        ("active", "prepared", "busy"),
        ("activating", "prepared", "busy"),
        ("failed", "prepared", "failed"),
        ("inactive", "fetching the weights", "busy"),
        ("inactive", None, "busy"),
        ("inactive", "prepared", "not started"),
        ("inactive", "failed: weights, line 9", "not started"),
        ("inactive", "failed: start: gave up after 3 starts", "not started"),
        ("inactive", "interrupted by EC2: spot notice", "not started"),
    ],
)
def test_a_loading_server_is_not_idle_but_one_that_will_not_come_is(
    state: str, phase: str | None, seen: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "state", lambda unit: state)
    if phase:
        (tmp_path / "phase").write_text(f"{phase}\n")
    assert watch.activity(NOBODY, "x.service", tmp_path) == seen


def test_a_box_that_works_for_another_is_idle_when_that_one_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "state", lambda unit: "active")
    (tmp_path / "phase").write_text("prepared\n")
    (tmp_path / "first").write_text("127.0.0.1\n")
    assert watch.activity(NOBODY, "x.service", tmp_path) == "busy"

    def silent(*_: object, **__: object) -> NoReturn:
        raise TimeoutError

    monkeypatch.setattr(socket, "create_connection", silent)
    assert watch.activity(NOBODY, "x.service", tmp_path) == "alone"


# --- the judge, who asks too


def metrics(running: float, prompt: float) -> str:
    return METRICS.format(running=running, tokens=prompt)


@pytest.mark.parametrize(
    ("looks", "seen", "waits"),
    [
        ([("4 2", metrics(0, 12), "4 2")], "8,5", 0),
        ([(None, metrics(0, 12), None)], "12,7", 0),
        # While he asks, his is the request that runs; and what it took is counted at its end.
        ([("4 2 and more", metrics(1, 12), "4 2 and more"), ("6 3", metrics(0, 14), "6 3")], "8,4", 1),
        ([("4 2", metrics(0, 14), "6 3"), ("6 3", metrics(0, 14), "6 3")], "8,4", 1),
        ([("", metrics(0, 14), "6 3"), ("6 3", metrics(0, 14), "6 3")], "8,4", 1),
        ([("4 2", metrics(1, 12), "4 2")], "busy", 0),
        ([("4 2 and more", metrics(0, 12), "4 2 and more")] * 21, "busy", 20),
        ([("nonsense", metrics(0, 12), "nonsense")] * 21, "busy", 20),
    ],
    ids=[
        "his",
        "no judge",
        "while he asks",
        "he asked meanwhile",
        "he notes it",
        "others",
        "for ever",
        "no numbers",
    ],
)
def test_what_the_judge_asks_is_nobodys_request(
    looks: list[tuple[str | None, str, str | None]],
    seen: str,
    waits: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of each look: what he had noted before, what the server said, what he had noted then."""
    asked, left, waited = tmp_path / "asked", list(looks), []

    def note(text: str | None) -> None:
        if text is not None:
            asked.write_text(f"{text}\n")

    def said_at(url: str) -> str:
        _, text, after = left.pop(0)
        note(after)
        return text

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        note(left[0][0])

    note(looks[0][0])
    monkeypatch.setattr(watch, "said_at", said_at)
    monkeypatch.setattr(watch, "time", SimpleNamespace(sleep=sleep, monotonic=lambda: sum(waited)))
    assert watch.activity(NOBODY, "x.service", tmp_path, asked) == seen
    assert (waited, left) == ([1.0] * waits, [])


# --- a server that means ill


@contextmanager
def hostile(does: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[tuple[str, list[str]]]:
    """A server that answers like that; its metrics' address, and what it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            with suppress(OSError):
                does(self)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/metrics", asked
        finally:
            server.shutdown()
            thread.join()


def redirect(code: int, where: str) -> Callable[[BaseHTTPRequestHandler], None]:
    def does(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        handler.send_header("Location", where)
        handler.end_headers()

    return does


def raw(*pieces: bytes) -> Callable[[BaseHTTPRequestHandler], None]:
    def does(handler: BaseHTTPRequestHandler) -> None:
        for piece in pieces:
            handler.wfile.write(piece)

    return does


def endless(head: bytes, again: bytes) -> Callable[[BaseHTTPRequestHandler], None]:
    """Say that again until nobody listens."""

    def does(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(head)
        while True:
            handler.wfile.write(again)

    return does


OK = b"HTTP/1.0 200 OK\r\n\r\n"


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    "where", ["{}/prompt", "/prompt", "//127.0.0.1/prompt", "file:///etc/passwd", "ftp://127.0.0.1/prompt"]
)
def test_root_carries_nothing_out_for_a_server_that_redirects_it(
    code: int, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "state", lambda unit: "active")
    with (
        hostile(raw(OK)) as (elsewhere, carried),
        hostile(redirect(code, where.format(elsewhere.removesuffix("/metrics")))) as (metrics, asked),
    ):
        assert watch.activity(metrics, "x.service", tmp_path) == "busy"
    assert (asked, carried) == (["/metrics"], [])


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "all_proxy", "https_proxy"])
def test_root_asks_no_proxy(
    name: str, metrics_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hostile(raw(OK)) as (proxy, carried):
        monkeypatch.setenv(name, proxy)
        assert watch.activity(metrics_url, "x.service", tmp_path) == "12,7"
    assert carried == []


@pytest.mark.parametrize(
    "does",
    [
        endless(OK, b"vllm:prompt_tokens_total 1\n" * 1000),
        endless(b"HTTP/1.0 200 OK\r\n", b"X: y\r\n" * 1000),
        endless(b"HTTP/1.0 200 ", b"O" * 60000),
        endless(OK + b"vllm:prompt_tokens_total ", b"1" * 60000),
        raw(b"no HTTP at all"),
        raw(b""),
        raw(b"HTTP/1.0 abc\r\n\r\n"),
        raw(OK, b"vllm:prompt_tokens_total x\n"),
        raw(OK, b"\xff\xfe\n"),
        raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
        raw(b"HTTP/1.0 500 No\r\n\r\n", METRICS.format(running=0.0, tokens=12.0).encode()),
    ],
    ids=[
        *(
            "endless counters",
            "endless headers",
            "an endless status",
            "an endless number",
            "no HTTP",
            "nothing",
        ),
        *("no status", "no number", "no text", "no chunk", "an error"),
    ],
)
def test_whatever_a_server_answers_the_look_ends(
    does: Callable[[BaseHTTPRequestHandler], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "state", lambda unit: "active")
    with hostile(does) as (metrics, _):
        assert watch.activity(metrics, "x.service", tmp_path) == "busy"


@pytest.mark.parametrize("head", [b"", b"HTTP/1.0 200 OK\r\nX: ", OK, b"HTTP/1.1 100 Continue\r\n\r\n"])
def test_a_server_that_never_ends_its_answer_holds_nobody_up(
    head: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "state", lambda unit: "active")
    monkeypatch.setattr(watch, "PATIENCE_S", 0.2)
    over = Event()

    def does(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(head)
        while not over.wait(0.05):  # each byte comes before the socket's own patience ends
            handler.wfile.write(head[-25:] if b" 100 " in head else b"x")

    with hostile(does) as (metrics, _):
        try:
            assert watch.activity(metrics, "x.service", tmp_path) == "busy"
        finally:
            over.set()
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_without_limits_it_never_ends_anything(tmp_path: Path) -> None:
    given = watch.parsed(options(tmp_path, NOBODY, 0))
    assert watch.reason_to_end(given, 1e12, UP_S) == ""
    assert list(tmp_path.iterdir()) == []


def test_notes_go_where_there_is_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = {"memory": 1, "disk": 1}
    monkeypatch.setattr("os.statvfs", lambda path: SimpleNamespace(f_bavail=free[Path(path).name]))
    memory, disk = tmp_path / "memory", tmp_path / "disk"
    assert watch.with_room(memory, disk) == memory
    free["memory"] = 0
    assert watch.with_room(memory, disk) == disk
    monkeypatch.undo()
    assert watch.with_room(tmp_path / "nowhere", disk) == disk
