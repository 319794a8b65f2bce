"""What a server can say that none should: each is one sentence in bounded time, and nothing stays behind."""

import gzip
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from itertools import repeat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import asking
import pytest
from fake_aws import Clock
from probing import a_point, a_sweep, on_any_machine
from scripted import Answer, Scripted, answer, drip, events, flood

from deploy.cli.main import run as corral
from infra.errors import EndpointError
from serving.probe import pacing, questions, sending
from serving.probe import run as running
from serving.probe.page import sweep_page
from serving.probe.questions import Server
from serving.probe.run_records import Refused

Serve = Callable[..., str]


@pytest.fixture(autouse=True)
def any_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    on_any_machine(monkeypatch)


@pytest.fixture
def scripted() -> Iterator[Serve]:
    started: list[Scripted] = []

    def start(**says: Callable[[], Answer]) -> str:
        paths = {"models": "/v1/models", "post": "/v1/completions", "tokenize": "/tokenize"}
        started.append(Scripted({paths[name]: said for name, said in says.items()}))
        return started[-1].url

    yield start
    for each in started:
        each.close()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock by which the probe has patience: it stands at 0, and sleeping moves it."""
    clock = Clock(0)
    monkeypatch.setattr(questions, "time", SimpleNamespace(monotonic=clock, sleep=clock.sleep))
    return clock


def refused(url: str, folder: Path, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[str, str]:
    """The sentence and the hint of a probe that must end with exit code 8; one that hangs ends by the test's limit."""
    code = corral(["probe", url, "--requests", "4", "--output", str(folder / "out" / "deep"), *options])
    error, hint = capsys.readouterr().err.splitlines()[-2:]
    assert (code, (folder / "out").exists()) == (8, False), error
    assert error.startswith("error: ")
    assert error.isprintable()
    return error.removeprefix("error: ").replace(url, "URL"), hint.removeprefix("hint: ")


NO_LIST = "URL/v1/models answers with application/json that is no list of models."
TOO_LARGE = "URL does not speak HTTP as a model server does: more than 16,777,216 bytes for a short question."


@pytest.mark.parametrize(
    ("models", "sentence"),
    [
        (lambda: answer(b'{"data": [{"id": 5}]}'), NO_LIST),
        (lambda: answer(b'{"data": [{"id": "m\\ud800"}]}'), NO_LIST),
        (lambda: answer(b'{"data": [{"id": "m\\u001b[2J"}]}'), NO_LIST),
        (lambda: answer(b'{"data": [{"id": "%s"}]}' % (b"m" * 2000)), NO_LIST),
        (lambda: answer(b"[" * 100_000), NO_LIST),
        (lambda: answer(gzip.compress(bytes(1 << 25)), 200, "content-encoding: gzip"), TOO_LARGE),
        (lambda: flood(bytes(1 << 20), b"HTTP/1.1 200 OK\r\n\r\n"), TOO_LARGE),
        (
            lambda: answer(b"<html><title>502\nBad Gateway</title><p>nginx", 500, kind="text/html"),
            "URL/v1/models answers 500: an HTML page: 502 Bad Gateway.",
        ),
        (lambda: answer(b"", 500), "URL/v1/models answers 500: an empty body."),
    ],
)
def test_a_list_of_models_that_is_none(
    scripted: Serve,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    models: Callable[[], Answer],
    sentence: str,
) -> None:
    assert refused(scripted(models=models), tmp_path, capsys)[0] == sentence


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\n\r\n"])
def test_an_answer_that_drips_has_no_more_time_than_one_that_is_silent(
    scripted: Serve, tmp_path: Path, capsys: pytest.CaptureFixture[str], head: bytes
) -> None:
    url = scripted(models=lambda: drip(head + b"HTTP/1.1 200 OK\r\nx: " + b"x" * 9999, 0.02))
    said = refused(url, tmp_path, capsys, "--timeout-s", "0.2")
    assert said == ("URL does not answer within 0.2 seconds.", "Is the server still loading its model?")


TOKEN = {"choices": [{"text": "a", "finish_reason": None}]}
NO_STREAM = "URL/v1/completions does not stream an answer: "


@pytest.mark.parametrize(
    ("post", "said"),
    [
        (lambda: events({"choices": [{"text": 7}]}), "an event that is not as it should be"),
        (lambda: events({"choices": [{"text": ["a"]}]}), "an event that is not as it should be"),
        (
            lambda: events({"choices": [{"text": "a", "finish_reason": {"x": 1}}]}),
            "an event that is not as it should be",
        ),
        (lambda: events(TOKEN, {"choices": [], "usage": "lots"}), "the stream ended without [DONE]"),
        (lambda: events(TOKEN, {"message": "over\nloaded"}), "over loaded."),
        (
            lambda: events(
                TOKEN, {"choices": [{"text": "", "finish_reason": "error"}], "error": {"message": "dead"}}
            ),
            "dead.",
        ),
        (lambda: answer(b"boom\x1b[2J\nbang", 500, kind="text/plain"), "HTTP 500: boom\ufffd[2J bang."),
        (lambda: answer(b"<title>Oops</title>", 500, kind="text/html"), "HTTP 500: an HTML page: Oops."),
        (lambda: answer(b"x", 400, "content-encoding: gzip"), "HTTP 400: a body in gzip."),
        (
            lambda: answer(b"x", 200, "content-encoding: gzip", kind="text/event-stream"),
            "the answer is text/event-stream in gzip, which was not asked for, not a stream: b'x'.",
        ),
        (lambda: flood(b"x" * 65536, b"HTTP/1.1 500 X\r\ncontent-type: text/plain\r\n\r\n"), "HTTP 500: xxx"),
        (
            lambda: flood(b"HTTP/1.1 102 X\r\n\r\n" * 99),
            "HTTP 102: more than 100 interim answers, and no end.",
        ),
        (
            lambda: flood(
                b"data: " + b"x" * 65536 + b"\n", b"HTTP/1.1 200 X\r\ncontent-type: text/event-stream\r\n\r\n"
            ),
            "an event without an end.",
        ),
        (lambda: answer(b"", 200, "content-length: " + "9" * 5000), "content-length '999999999"),
    ],
)
def test_an_answer_that_is_none(
    scripted: Serve,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    post: Callable[[], Answer],
    said: str,
) -> None:
    assert refused(scripted(post=post), tmp_path, capsys)[0].startswith(NO_STREAM + said)


def test_a_server_that_starts_is_waited_for_and_that_is_said(scripted: Serve, clock: Clock) -> None:
    answers = iter(
        [
            answer(b"{}", 503, "retry-after: 0"),
            answer(b"{}", 502, "retry-after: 3"),
            answer(b"{}", 504),
            answer(b'{"data": [{"id": "m"}]}'),
        ]
    )
    said: list[str] = []
    server = Server(asking.target_of(scripted(models=lambda: next(answers))))
    assert server.models(said.append) == [{"id": "m"}]
    server.close()
    assert said == ["HTTP 503: it may be starting; asking again for 10 s"]
    assert clock() == 0.5 + 3 + 1


def test_each_question_has_a_connection_of_its_own(clock: Clock) -> None:
    """A kept one, which the server closes just as the next question leaves, would lose that question."""
    asked: list[int] = []

    def listed(sock: socket.socket) -> None:
        with sock:
            asked.append(sock.getpeername()[1])
            while b"\r\n\r\n" not in sock.recv(4096):
                pass
            sock.sendall(answer(b'{"data": [{"id": "m"}]}'))
            closed.append(sock.recv(4096))  # nothing more is asked here

    closed: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = Server(asking.target_of(f"http://127.0.0.1:{listener.getsockname()[1]}"))
        for _ in range(3):
            answering = threading.Thread(target=lambda: listed(listener.accept()[0]))
            answering.start()
            assert server.models() == [{"id": "m"}]
            answering.join()
        server.close()
    assert (len(set(asked)), closed) == (3, [b""] * 3)


@pytest.mark.parametrize(
    ("retry_after", "asked", "waited_s"), [("retry-after: 3", 4, 9), ("retry-after: 60", 1, 0)]
)
def test_a_server_that_does_not_get_ready_is_not_waited_for_long(
    scripted: Serve,
    clock: Clock,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    retry_after: str,
    asked: int,
    waited_s: float,
) -> None:
    """For ten seconds at most; one that names a longer wait than that is not asked again."""
    loading = answer(b'{"error": {"message": "loading"}}', 503, retry_after)
    hint = "Is it still starting? Try again when it is ready. What corral started is in: corral status"
    answers = repeat(loading, asked)
    assert refused(scripted(models=lambda: next(answers)), tmp_path, capsys) == (
        "URL/v1/models answers 503: loading.",
        hint,
    )
    assert (clock(), list(answers)) == (waited_s, [])
    answers = repeat(loading, asked)
    said = refused(scripted(post=lambda: next(answers)), tmp_path, capsys)
    assert said == (
        f"{NO_STREAM}HTTP 503: loading.",
        "Is it still starting? Try again when it is ready, or look at its log.",
    )
    assert (clock(), list(answers)) == (2 * waited_s, [])


def test_a_trial_that_is_refused_waits_for_nothing(
    scripted: Serve, clock: Clock, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = repeat(answer(b'{"error": "slow down"}', 429, "retry-after: 2"), 1)
    assert refused(scripted(post=lambda: next(answers)), tmp_path, capsys) == (
        "URL/v1/completions is rate-limited: HTTP 429: slow down.",
        "Wait 2 s and try again, or measure with a key that has a higher limit.",
    )
    assert clock() == 0


@pytest.mark.parametrize(
    ("asked", "pause_s"),
    [("3", 3.0), ("1.5", 1.5), ("0", 0.1), ("-3", 0.1), ("soon", 0.1), ("²", 0.1), ("nan", 0.1)]
    + [("1e400", 0.1), ("99999999999", 10.0), ("Wed, 21 Oct 2099 07:28:00 GMT", 10.0)]
    + [("Wed, 21 Oct 2015 07:28:00 GMT", 0.1)],
)
def test_what_a_server_asks_to_wait_is_heeded_within_reason(asked: str, pause_s: float) -> None:
    assert pacing.pause_s(Refused("slow down", asked)) == pause_s


@pytest.mark.parametrize(
    ("takes_s", "prompts", "says"),
    [
        (0.1, "prompt lengths: exact", []),
        (
            0.2,
            "prompt lengths: approximate",
            ["its tokenizer was not done after 15 s: prompt lengths are approximate"],
        ),
    ],
)
def test_a_tokenizer_that_takes_its_time_is_not_waited_for(
    fake_llm: Callable[..., str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    takes_s: float,
    prompts: str,
    says: list[str],
) -> None:
    """129 questions are to be asked of it before any prompt is made; only its answers move the clock."""
    clock, count = Clock(0), Server.count_tokens

    def slowly(server: Server, *asked: Any) -> int | None:
        clock.sleep(takes_s)
        return count(server, *asked)

    monkeypatch.setattr(Server, "count_tokens", slowly)
    monkeypatch.setattr(running, "time", SimpleNamespace(**vars(time) | {"monotonic": clock}))
    said: list[str] = []
    target, load, work = (
        asking.target_of(fake_llm()),
        asking.load_of(requests=2),
        asking.workload_of("8", "8"),
    )
    report = running.run(target, load, work, tmp_path, say=said.append)
    assert report.succeeded == 2
    calibrating = ["learning from the server's usage how long prompts are"] if says else []
    assert said == [
        f"{target.base_url} serves fake with vLLM 0.0-fake", *says, "trying one request", *calibrating,
    ]  # fmt: skip
    assert report.notes[0].startswith(prompts)
    assert clock() < 15 + 2 * takes_s


def test_a_port_that_speaks_no_tls_is_named_at_once(
    fake_llm: Callable[..., str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The fake server waits for the end of a request line, which a TLS hello does not have."""
    monkeypatch.setattr(questions, "SHAKE_HANDS_S", 0.2)
    url = fake_llm().replace("http:", "https:")
    assert refused(url, tmp_path, capsys) == (
        "URL speaks plain HTTP, not TLS.",
        f"Say {url.replace('https:', 'http:')}",
    )


def test_a_mistake_of_ours_in_a_callback_ends_the_run(
    scripted: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In place of a traceback of the loop's and a request that never ends."""

    def mistake(*_: object) -> float:
        raise LookupError("a mistake")

    monkeypatch.setattr(sending, "pause_s", mistake)
    url = scripted(post=lambda: answer(b"", 500))
    with pytest.raises(LookupError, match="a mistake"):
        running.run(
            asking.target_of(url), asking.load_of(requests=2), asking.workload_of("8", "8"), tmp_path / "out"
        )
    assert not (tmp_path / "out").exists()


def test_what_a_sweep_measured_stays_when_the_server_takes_no_more(
    scripted: Serve, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from serving.probe import sweep

    whole = events({"choices": [{"text": "a", "finish_reason": "stop"}]}, "[DONE]")
    url = scripted(post=lambda: whole)

    def once(*words: Any) -> object:
        monkeypatch.setattr(sweep, "run", refuse)
        return running.run(*words)

    def refuse(*_: Any) -> object:
        raise EndpointError("URL answers 500: boom.", "Look.")

    monkeypatch.setattr(sweep, "run", once)
    monkeypatch.setattr(sweep, "sweep_page", lambda found: "")
    assert corral(["probe", "sweep", url, "--duration-s", "0.5", "--output", str(tmp_path), "--json"]) == 8
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert (len(found["points"]), found["answer"], found["reason"]) == (
        1,
        "ended_early",
        "URL answers 500: boom.",
    )
    assert json.loads((tmp_path / "sweep.json").read_text()) == found
    assert err.splitlines()[-2] == (
        "error: The sweep ended early; the steps until then are kept: URL answers 500: boom."
    )


def test_a_sweep_in_which_nothing_succeeded_has_a_page_all_the_same() -> None:
    """Warnings are errors here: there is nothing to draw on a logarithmic scale."""
    none = dict.fromkeys(("ttft_p50_s", "ttft_p99_s", "tpot_p50_s", "tpot_p99_s"))
    step = a_point(1.0, output_tokens_per_s=0.0, failed=9, sent=9, verdict="refused", **none)
    found = a_sweep(step, over="rate", answer="refused_beyond", best=None)
    assert sweep_page(found).count("<svg") == 2
