"""The probe against a server that knows the truth: counts exact, every failure in its class."""

import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asking
import httpx2
import pytest

from deploy.cli.main import run as corral
from serving.probe import attack, metrics, results
from serving.probe.report import ProbeReport
from serving.probe.report_text import report_text
from serving.probe.run import run

Fake = Callable[..., str]


def probe(
    url: str, folder: Path, load: dict[str, Any], work: dict[str, Any] | None = None, **target: Any
) -> ProbeReport:
    workload = asking.workload_of(**({"input_tokens": "32", "output_tokens": "20"} | (work or {})))
    return run(asking.target_of(url, **target), asking.load_of(**load), workload, folder)


def truth(url: str) -> dict[str, Any]:
    answer: dict[str, Any] = httpx2.get(f"{url}/truth", trust_env=False).json()
    return answer


@pytest.mark.parametrize("api", ["completions", "chat", "messages"])
def test_closed_loop_counts_are_exact(fake_llm: Fake, tmp_path: Path, api: str) -> None:
    url = fake_llm()
    report = probe(url, tmp_path, {"concurrency": 8, "requests": 40}, api=api)
    assert (report.sent, report.succeeded, report.errors) == (40, 40, {})
    assert (report.input_tokens, report.output_tokens, report.chunks) == (40 * 32, 40 * 20, 40 * 20)
    assert report.exact_input_fraction == 1.0
    assert report.finish_reasons == {"max_tokens" if api == "messages" else "length": 40}
    assert report.server.generation_tokens == 40 * 20


def test_open_loop_sends_by_its_schedule(fake_llm: Fake, tmp_path: Path) -> None:
    url = fake_llm()
    report = probe(url, tmp_path, {"request_rate": 100.0, "requests": 60})
    assert (report.sent, report.succeeded, report.output_tokens) == (60, 60, 60 * 20)
    assert report.latency_from == "schedule"
    assert set(report.from_send) == {"ttft_s", "e2e_s"}
    said = report_text(report, tmp_path)
    assert 'from when each request was due; "sent": from its sending' in said
    assert [line.split()[0] for line in said.splitlines() if " sent  " in line] == ["TTFT", "E2E"]


def test_the_trial_and_the_warm_up_leave_nothing_in_the_loads_cache(fake_llm: Fake, tmp_path: Path) -> None:
    """The user's lines come again in the load; had the warm-up its cache_salt, they would be hit there."""
    prompts, url = tmp_path / "prompts.jsonl", fake_llm()
    prompts.write_text('{"prompt": "one"}\n{"prompt": "two"}')
    probe(url, tmp_path / "run", {"requests": 4, "warmup_requests": 1}, {"prompts": prompts})
    salts = [(body["prompt"], body["cache_salt"]) for body in truth(url)["bodies"]]
    before, load = {salt for _, salt in salts[:2]}, {salt for _, salt in salts[2:]}
    assert (len(salts), len(before), len(load)) == (6, 1, 1)
    assert not before & load


def test_a_conversation_that_completions_cannot_say_is_refused_before_any_request(
    fake_llm: Fake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts, url = tmp_path / "prompts.jsonl", fake_llm()
    prompts.write_text('{"messages": [{"role": "system", "content": "a"}, {"role": "user", "content": "b"}]}')
    options = [
        "--prompts",
        str(prompts),
        "--requests",
        "1",
        "--output-tokens",
        "1",
        "--output",
        str(tmp_path / "run"),
    ]
    assert corral(["probe", url, *options]) == 2
    assert "is a conversation; the completions API takes one text" in capsys.readouterr().err
    assert truth(url)["bodies"] == []
    assert corral(["probe", url, *options, "--api", "chat"]) == 0


def test_each_step_of_a_sweep_has_prompts_of_its_own(
    fake_llm: Fake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A server without cache_salt would else have every step's prompts from the step before."""
    url = fake_llm(vllm=False)
    options = "--limit 4 --duration-s 1 --repeat-limit-s 1"
    options += " --input-tokens 24 --output-tokens 1 --goodput ttft:60000 --goodput e2el:90000"
    assert corral(["probe", "sweep", url, *options.split(), "--output", str(tmp_path)]) == 0
    prompts = [body["prompt"] for body in truth(url)["bodies"]]
    assert len(set(prompts)) == len(prompts) > 20
    told = capsys.readouterr()
    assert (
        "up to 4 at a time 95% meet TTFT <= 60,000 ms, E2E <= 90,000 ms, and the most may be higher"
        in told.out
    )
    # Which of them is repeated is for what was measured to say.
    steps = Counter(folder.name.split("-")[1] for folder in tmp_path.glob("concurrency*"))
    assert set(steps) == {"1", "4"}
    assert max(steps.values()) > 1
    assert re.search(
        r"in flight  [\d.]+ requests/s  \d+ output tokens/s  TTFT p50 [\d.]+ p99 [\d.]+ ms", told.err
    )


def test_the_report_is_made_again_exactly_from_the_raw_results(fake_llm: Fake, tmp_path: Path) -> None:
    report = probe(fake_llm(), tmp_path, {"concurrency": 4, "requests": 20})
    assert metrics.report(*results.read(tmp_path / "results.jsonl")) == report
    assert ProbeReport.read(tmp_path / "probe.json") == report


@pytest.mark.parametrize(
    ("fault", "error_class"),
    [
        ("stream_error", "stream_error"),
        ("cut", "truncated"),
        ("cut_in_chunk", "truncated"),
        ("bad_json", "bad_json"),
        ("429", "http_429"),
        ("500", "http_500"),
        ("html", "not_a_stream"),
        ("garbage", "bad_http"),
        ("silent", "stalled"),
        ("stall", "stalled"),
        ("slow_loris", "timeout"),
        ("endless", "endless"),
    ],
)
def test_every_eighth_request_fails_in_its_class(
    fake_llm: Fake, tmp_path: Path, fault: str, error_class: str
) -> None:
    """The server strikes every eighth stream; the canary was the first, so 4 of 32 requests are struck."""
    url = fake_llm(fault=fault, itl_ms=0.2 if fault == "endless" else 1.0)
    limits = {
        "silent": {"stall_timeout_s": 2.0},
        "stall": {"stall_timeout_s": 2.0},
        "slow_loris": {"timeout_s": 4.0},
    }
    report = probe(url, tmp_path, {"concurrency": 8, "requests": 32, **limits.get(fault, {})})
    assert (report.sent, report.succeeded, report.errors) == (32, 28, {error_class: 4})
    assert report.output_tokens == 28 * 20
    if fault == "stream_error":
        assert report.error_examples == {"stream_error": "EngineCore died"}
        assert report.failed_output_chunks == 4 * 3  # shown, and in no figure


@pytest.mark.parametrize(("fault", "error_class"), [("close", "no_response"), ("reset", "reset")])
def test_a_connection_that_dies_before_a_byte_fails_its_request_where_it_is_new_and_is_counted_where_it_was_kept(
    fake_llm: Fake, tmp_path: Path, fault: str, error_class: str
) -> None:
    """The server strikes every eighth stream, those that are sent again among them; the first eight are new."""
    report = probe(fake_llm(fault=fault, itl_ms=1.0), tmp_path, {"concurrency": 8, "requests": 32})
    resent, failed = report.client.reconnects, report.errors[error_class]
    assert (report.sent, report.succeeded, report.errors) == (32, 32 - failed, {error_class: failed})
    assert (failed >= 1, resent >= 1, failed + resent) == (True, True, len(range(1, 33 + resent, 8)))
    assert any(
        text.startswith(f"{resent} requests were sent again on a new connection") for text in report.warnings
    )


def test_no_request_is_sent_before_the_kernel_stamps(
    fake_llm: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the trial nor, after its one request, the load."""
    url, sent_before = fake_llm(), list[int]()
    monkeypatch.setattr(attack, "await_stamps", lambda: sent_before.append(len(truth(url)["bodies"])))
    assert probe(url, tmp_path, {"concurrency": 2, "requests": 2}).succeeded == 2
    assert sent_before == [0, 1]


def test_a_server_that_closes_after_each_answer_without_saying_so(fake_llm: Fake, tmp_path: Path) -> None:
    """As llama.cpp's does: a few requests find that out, the others have new connections; no close is a read."""
    report = probe(fake_llm(closes=True, itl_ms=1.0), tmp_path, {"concurrency": 4, "requests": 60})
    assert (report.sent, report.succeeded, report.errors, report.output_tokens) == (60, 60, {}, 1200)
    assert (1 <= report.client.reconnects <= 8, report.client.stamps) == (True, "kernel")
    own = tmp_path / "own"
    report = probe(fake_llm(closes=True), own, {"concurrency": 4, "requests": 8, "new_connections": True})
    assert (report.succeeded, report.client.reconnects, report.client.connections) == (8, 0, 8)


def test_chunks_of_several_tokens(fake_llm: Fake, tmp_path: Path) -> None:
    url = fake_llm(tokens_per_chunk=4, itl_ms=10)
    report = probe(url, tmp_path, {"concurrency": 8, "requests": 16})
    assert (report.output_tokens, report.chunks) == (16 * 20, 16 * 5)
    assert report.itl_s
    assert report.itl_per_token_s
    assert report.tpot_s
    # Each of a request's 4 gaps brought 4 tokens; 19 come after the first.
    assert report.itl_per_token_s.mean == pytest.approx(report.itl_s.mean / 4)
    assert report.tpot_s.mean == pytest.approx(report.itl_s.mean * 4 / 19)


@pytest.mark.parametrize(
    ("config", "code", "sentence"),
    [
        ({"models": "html"}, 8, "answers with text/html that is no list of models."),
        ({"models": "garbage"}, 8, "does not speak HTTP as a model server does"),
        ({"key": "sesame"}, 5, "refuses the request: HTTP 401."),
        ({"models": "none"}, 2, "lists no models."),
        ({"fault": "stream_error", "every": 1}, 8, "does not stream an answer: EngineCore died."),
        ({"fault": "html", "every": 1}, 8, "does not stream an answer: the answer is text/html"),
    ],
)
def test_a_bad_endpoint_is_one_sentence(
    fake_llm: Fake, capsys: pytest.CaptureFixture[str], config: dict[str, Any], code: int, sentence: str
) -> None:
    assert corral(["probe", fake_llm(**config), "--requests", "4"]) == code
    assert sentence in capsys.readouterr().err.splitlines()[-2]


def test_a_model_that_is_not_there(fake_llm: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    url = fake_llm()
    assert corral(["probe", url, "--model", "nope"]) == 8
    assert capsys.readouterr().err.splitlines()[-2:] == [
        f"error: {url}/v1/completions does not stream an answer: HTTP 404: The model `nope` does not exist.",
        "hint: Leave --model out to take the first model the server lists.",
    ]


def test_nobody_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert corral(["probe", "http://127.0.0.1:9"]) == 8
    assert "http://127.0.0.1:9 cannot be reached" in capsys.readouterr().err


def test_a_key_comes_from_a_file_or_the_environment(
    fake_llm: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url = fake_llm(key="sesame")
    (tmp_path / "key").write_text("sesame\n")
    command = ["probe", url, "--requests", "2", "--output-tokens", "1", "--output"]
    assert corral([*command, str(tmp_path / "out" / "a"), "--api-key-file", str(tmp_path / "key")]) == 0
    monkeypatch.setenv("CORRAL_API_KEY", "sesame")
    assert corral([*command, str(tmp_path / "out" / "b")]) == 0
    said = capsys.readouterr()
    kept = "".join(path.read_text() for path in (tmp_path / "out").glob("*/*"))
    assert "sesame" not in said.out + said.err + kept


def test_the_command_prints_the_machine_interface(fake_llm: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    """One token an answer: none can be read together with a later one, so the run is valid on any machine."""
    url = fake_llm()
    options = "--concurrency 2 --requests 6 --input-tokens 16 --output-tokens 1 --goodput ttft:60000 --json"
    assert corral(["probe", url, *options.split()]) == 0
    report = json.loads(capsys.readouterr().out)
    assert {"load", "sent", "succeeded", "errors", "duration_s", "output_tokens_per_s"} <= set(report)
    assert {"mean", "p50", "p90", "p95", "p99"} <= set(report["ttft_s"])
    assert {"cpu_fraction", "max_lag_s"} <= set(report["client"])
    assert (report["goodput"]["attainment"], report["valid"]) == (1.0, True)


@pytest.mark.parametrize(
    "options",
    [
        "http://127.0.0.1:9 --concurrency 0",
        "http://127.0.0.1:9 --concurrency 2 --request-rate 3",
        "http://127.0.0.1:9 --request-rate nan",
        "http://127.0.0.1:9 --request-rate -1",
        "http://127.0.0.1:9 --requests 0",
        "http://127.0.0.1:9 --input-tokens -5",
        "http://127.0.0.1:9 --input-tokens 9-3",
        "http://127.0.0.1:9 --output-tokens many",
        "http://127.0.0.1:9 --goodput ttft",
        "http://127.0.0.1:9 --goodput ttft:nan",
        "http://127.0.0.1:9 --api smoke-signals",
        "http://127.0.0.1:9 --timeout-s inf",
        "http://127.0.0.1:9 --end-request-rate 5 --duration-s 3",
        "http://127.0.0.1:9 --concurrency 2 --burstiness 0.5",
        "http://127.0.0.1:9 --request-rate 2 --end-request-rate 5 --duration-s 3 --burstiness 0.5",
        "http://127.0.0.1:9 --prompts pyproject.toml --turns 2 --api chat",
        "http://127.0.0.1:9 --seed 99999999999999999999",
        "http://127.0.0.1:9 --model=",
        "http://127.0.0.1:9 --burstiness 2",
        "http://127.0.0.1:9 --concurrency 2 --end-request-rate 5",
        "http://127.0.0.1:9 --request-rate inf --duration-s 5",
        "http://127.0.0.1:9 --request-rate inf --burstiness 2",
        "http://127.0.0.1:9 --request-rate 5 --end-request-rate 9 --duration-s 5 --burstiness 2",
        "http://127.0.0.1:9 --goodput ttft:5 --goodput ttft:6",
        "http://127.0.0.1:9?key=secret",
        "http://127.0.0.1:9#part",
        "http://..",
        "http://127.0.0.1:9/é",
        f"http://{'a' * 300}.invalid",
        "sweep http://127.0.0.1:9 --start nan",
        "sweep http://127.0.0.1:9 --start 1.5",
        "sweep http://127.0.0.1:9 --limit inf",
        "sweep http://127.0.0.1:9 --limit 2.7",
        "sweep http://127.0.0.1:9 --attainment nan",
        "sweep http://127.0.0.1:9 --duration-s nan",
        "sweep http://127.0.0.1:9 --over rate --start inf",
        "127.0.0.1:9",
        "http://user:secret@127.0.0.1:9",
        "ftp://127.0.0.1",
    ],
)
def test_a_bad_request_is_a_usage_error(options: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert corral(["probe", *options.split()]) == 2
    error, hint = capsys.readouterr().err.splitlines()
    assert error.startswith("error: ")
    assert hint.startswith("hint: ")
    assert "secret" not in error
