"""The judge beside a server: what it sees of one that answers so, and the code it ends with."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from infra.onhost import codes, judge, judging
from infra.onhost.judge import Look, Policy

MODEL = "it's 100% ü"
METRICS = """\
# HELP vllm:num_requests_running Number of requests.
vllm:num_requests_running{engine="0",model_name="a b"} 1.0
vllm:kv_cache_usage_perc{engine="0"} 0.25
vllm:generation_tokens_total{engine="0"} 7.0
vllm:generation_tokens_total{engine="1"} 5.0
vllm:request_success_total{engine="0"} 3.0
vllm:prompt_tokens_total{engine="0"} nan
nothing
"""
MODELS = json.dumps({"data": [{"id": "other"}, {"id": MODEL}]})
USAGE = {"prompt_tokens": 2, "completion_tokens": 1}
COMPLETION: dict[str, Any] = {"model": MODEL, "choices": [{"text": "a"}], "usage": USAGE}
RIGHT = {
    "/health": (200, ""),
    "/v1/models": (200, MODELS),
    "/metrics": (200, METRICS),
    "/v1/completions": (200, json.dumps(COMPLETION)),
}
READING = {
    "vllm:num_requests_running": 1.0,
    "vllm:kv_cache_usage_perc": 0.25,
    "vllm:generation_tokens_total": 12.0,
}
DEEP = "[" * 100_000


@contextmanager
def serving(answers: dict[str, tuple[int, str] | None], heard: list[tuple[str, ...]]) -> Iterator[str]:
    """A server with these answers; for None it never ends one."""
    over = Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"] or 0)).decode()
            heard.append((self.path, self.headers["Authorization"] or "", body))
            answer = answers[self.path]
            if body and self.headers["Content-Type"] != "application/json":  # as vLLM does
                answer = (415, "")
            if answer is None:
                over.wait(30)
                return
            self.send_response(answer[0])
            self.send_header("Location", "/health")
            self.end_headers()
            self.wfile.write(answer[1].encode())

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            over.set()
            server.shutdown()
            thread.join()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What never comes is not waited for for long; a proxy of the host's is not asked."""
    for name in ("HEALTH_S", "ASK_S", "COMPLETION_S"):
        monkeypatch.setattr(judging, name, 0.3)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")


def looked(
    answers: dict[str, Any], folder: Path, key: str = "sk-1"
) -> tuple[Look, list[tuple[str, ...]], str]:
    """What a look at a server with such answers finds, what the server was asked, and what the judge has used."""
    heard: list[tuple[str, ...]] = []
    with serving(RIGHT | answers, heard) as url:
        look = judging.Server(url, MODEL, key, folder / "asked").look()
    asked = folder / "asked"
    return look._replace(at_s=0.0), heard, asked.read_text() if asked.exists() else ""


def test_a_server_that_is_well_is_asked_with_its_key_and_what_that_took_is_counted(tmp_path: Path) -> None:
    look, heard, used = looked({}, tmp_path)
    assert look == Look(0.0, "ok", "ok", "ok", "ok", (READING, READING))
    body = {"model": MODEL, "prompt": "Hello", "max_tokens": 1, "temperature": 0}
    asked = [(path, "Bearer sk-1", "") for path in ("/health", "/v1/models", "/metrics")]
    assert heard == [*asked, ("/v1/completions", "Bearer sk-1", json.dumps(body))]
    assert used == "2 1\n"
    assert looked({}, tmp_path)[2] == "4 2\n"


def wrong(**changes: Any) -> tuple[int, str]:
    return 200, json.dumps(COMPLETION | changes)


@pytest.mark.parametrize(
    ("answer", "how", "is_denied"),
    [
        ((500, "no"), "error", False),
        ((301, ""), "error", False),
        ((401, "no"), "error", True),
        ((403, "no"), "error", True),
        ((429, "full"), "hang", False),
        ((503, "full"), "hang", False),
        (None, "hang", False),
        ((200, "<html>"), "error", False),
        ((200, DEEP), "error", False),
        ((200, "[]"), "error", False),
        (wrong(model="another"), "error", False),
        (wrong(choices=[]), "error", False),
        (wrong(choices=[{"text": None}]), "error", False),
        (wrong(usage={"prompt_tokens": 2, "completion_tokens": 0}), "error", False),
    ],
)
def test_a_completion_that_is_none_is_told(answer: Any, how: str, is_denied: bool, tmp_path: Path) -> None:
    look, heard, used = looked({"/v1/completions": answer}, tmp_path)
    assert (look.health, look.models, look.metrics, look.completion) == ("ok", "ok", "ok", how)
    assert (look.is_denied, look.readings) == (is_denied, (READING, READING))
    assert [path for path, *_ in heard][2:] == ["/metrics", "/v1/completions", "/metrics"]
    assert used == "0 0\n"


@pytest.mark.parametrize(
    ("answer", "how"),
    [
        ((404, ""), "error"),
        (None, "hang"),
        ((200, "{}"), "error"),
        ((200, DEEP), "error"),
        ((200, '{"data": [{"id": "another"}]}'), "error"),
    ],
)
def test_a_server_that_does_not_list_its_model_is_told(answer: Any, how: str, tmp_path: Path) -> None:
    look, *_ = looked({"/v1/models": answer}, tmp_path)
    assert look == Look(0.0, "ok", how, "ok", "ok", (READING, READING))  # type: ignore[arg-type]


@pytest.mark.parametrize(("answer", "how"), [((404, ""), "error"), (None, "hang")])
def test_without_metrics_nothing_is_read(answer: Any, how: str, tmp_path: Path) -> None:
    look, *_ = looked({"/metrics": answer}, tmp_path)
    assert look == Look(0.0, "ok", "ok", how, "ok", ())  # type: ignore[arg-type]


def test_metrics_without_end_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "MOST_BYTES", 600)
    assert looked({"/metrics": (200, METRICS * 2)}, tmp_path)[0].metrics == "error"


def test_what_does_not_answer_or_listen_is_asked_no_more(tmp_path: Path) -> None:
    look, heard, used = looked({"/health": None}, tmp_path)
    assert (look, len(heard), used) == (Look(0.0, *["hang"] * 4), 1, "")  # type: ignore[arg-type]
    look = judging.Server("http://127.0.0.1:9", MODEL, "", tmp_path / "asked").look()
    assert look._replace(at_s=0.0) == Look(0.0, *["refuse"] * 4)  # type: ignore[arg-type]


def test_a_server_without_a_key_is_asked_without_one(tmp_path: Path) -> None:
    look, heard, _ = looked({}, tmp_path, key="")
    assert ({key for _, key, _ in heard}, look.completion) == ({""}, "ok")


# --- the code it ends with

WELL = Look(0.0, "ok", "ok", "ok", "ok")
LOADING = Look(0.0, *["refuse"] * 4)  # type: ignore[arg-type]
SILENT = Look(0.0, *["hang"] * 4)  # type: ignore[arg-type]


def ended(was_ready: bool, look_at: Callable[[float], Look], limit_s: float = 1e5) -> tuple[int | str, float]:
    """The code, and after how long; "nothing" where it has none in that time."""
    now_s = 0.0

    def look() -> Look:
        if now_s > limit_s:
            raise TimeoutError
        return look_at(now_s)._replace(at_s=now_s)

    def sleep(seconds: float) -> None:
        nonlocal now_s
        now_s += seconds

    try:
        return judging.code(look, was_ready, Policy(load_s=3000.0), sleep), now_s
    except TimeoutError:
        return "nothing", limit_s


@pytest.mark.parametrize(
    ("was_ready", "look_at", "code", "after_s"),
    [
        (False, lambda now_s: WELL if now_s >= 700 else LOADING, codes.READY, 700.0),
        (True, lambda now_s: WELL, "nothing", 1e5),
        (False, lambda now_s: LOADING, codes.code_of("late"), 3000.0),
        (True, lambda now_s: SILENT if now_s >= 300 else WELL, codes.code_of("frozen"), 330.0),
        (True, lambda now_s: WELL if now_s % 60 else SILENT, "nothing", 1e5),
    ],
    ids=["gets ready", "stays well", "never gets ready", "freezes", "stutters"],
)
def test_it_ends_with_what_is_to_be_done(
    was_ready: bool, look_at: Callable[[float], Look], code: int | str, after_s: float
) -> None:
    assert ended(was_ready, look_at) == (code, after_s)


@pytest.mark.parametrize("marks", [(), ("run",), ("root",), ("run", "root")])
def test_a_server_that_was_ready_is_known_by_its_mark_wherever_there_was_room(
    marks: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = []

    def code(look: object, was_ready: bool, *rest: object) -> int:
        heard.append(was_ready)
        return 0

    monkeypatch.setattr(judging, "code", code)
    words = ["--url", "http://127.0.0.1:1", "--model", MODEL, "--load-s", "600", "--asked", "asked"]
    for place in ("root", "run"):
        (tmp_path / place).mkdir()
        words += ["--ready", str(tmp_path / place / "ready")]
    for place in marks:
        (tmp_path / place / "ready").touch()
    monkeypatch.setattr(sys, "argv", ["judging", *words])
    with pytest.raises(SystemExit):
        judging.main()
    assert heard == [bool(marks)]


def test_every_ill_that_ends_a_server_has_a_code() -> None:
    assert {*codes.ILL, *judge.ALIVE} == set(judge.WORDS)
    assert len(set(codes.ILL)) == len(codes.ILL)


def test_a_judge_that_can_note_nothing_judges_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "asked").mkdir()
    heard: list[tuple[str, ...]] = []
    with serving({**RIGHT}, heard) as url:
        look = judging.Server(url, MODEL, "sk-1", tmp_path / "asked").look()
    assert look._replace(at_s=0.0) == Look(0.0, "ok", "ok", "ok", "ok", (READING, READING))


def test_what_it_notes_takes_the_room_that_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full memory takes no new page, and the one it has."""
    path = tmp_path / "asked"
    path.write_text("2 1 and more\n")
    before = path.stat().st_ino
    monkeypatch.setattr(Path, "write_text", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
    judging.write_over(path, "4 2\n")
    assert (path.read_text(), path.stat().st_ino) == ("4 2\n", before)
