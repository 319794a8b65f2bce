"""What a probe refuses before its first request, what it says of an endpoint that sends it away, and what it keeps."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import asking
import httpx2
import pytest
from probing import on_any_machine

from deploy.cli.main import run as corral
from deploy.demo import play as demo
from infra.errors import EndpointError
from serving.probe.questions import Server
from serving.probe.run import loads_before, prepare, run, warm_up
from serving.probe.spec import Load

Fake = Callable[..., str]


@pytest.fixture(autouse=True)
def any_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    on_any_machine(monkeypatch)


VALID_ON_ANY_MACHINE = (
    "from serving.probe import validity as limits;"
    " limits.BUSY_FRACTION = limits.LATE_S = limits.LATE_FRACTION = 1e9"
)


def asked(url: str) -> int:
    """How many streams the server was asked for."""
    return len(httpx2.get(f"{url}/truth", trust_env=False).json()["bodies"])


@pytest.fixture
def error(capsys: pytest.CaptureFixture[str]) -> Callable[[], list[str]]:
    """The error and its hint."""
    return lambda: capsys.readouterr().err.splitlines()[-2:]


@pytest.fixture
def measured(fake_llm: Fake, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """The folder of a probe of four requests."""
    folder = tmp_path / "measured"
    assert corral(["probe", fake_llm(itl_ms=1), "--requests", "4", "--output", str(folder)]) == 0
    assert json.loads((folder / "probe.json").read_text())["succeeded"] == 4
    capsys.readouterr()
    return folder


def test_the_trial_and_the_warm_up_keep_the_time_limits_of_the_load() -> None:
    load = Load(shape="poisson", request_rate=9, timeout_s=4, stall_timeout_s=3, warmup_requests=5)
    once = Load(shape="concurrency", concurrency=1, timeout_s=4, stall_timeout_s=3)
    assert loads_before(load) == (once, once)
    closed = Load(shape="concurrency", concurrency=8, timeout_s=900, warmup_requests=5)
    trial, warm_up = loads_before(closed)
    assert (trial.concurrency, trial.timeout_s) == (1, 120)
    assert (warm_up.concurrency, warm_up.timeout_s) == (5, 900)


@pytest.mark.parametrize(
    ("config", "limit", "sentence"),
    [
        ({"fault": "silent", "every": 1}, {"stall_timeout_s": 0.2}, "nothing came for 0.2 s"),
        ({"models": "silent"}, {"timeout_s": 0.2}, "does not answer within 0.2 seconds"),
    ],
)
def test_a_server_that_hangs_is_given_up_in_the_asked_time(
    fake_llm: Fake, tmp_path: Path, config: dict[str, Any], limit: dict[str, Any], sentence: str
) -> None:
    load = asking.load_of(requests=4, **limit)
    with pytest.raises(EndpointError, match=sentence):
        run(asking.target_of(fake_llm(**config)), load, asking.workload_of("16", "4"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_trial_that_never_ends_is_given_up_in_the_asked_time(fake_llm: Fake) -> None:
    """The server says all the while that it lives."""
    server = Server(asking.target_of(fake_llm(fault="keep_alive", every=1)))
    maker, _ = prepare(server, asking.workload_of("16", "4"), print)
    server.close()
    with pytest.raises(EndpointError, match=r"not done after 0\.2 s"):
        warm_up(maker, asking.load_of(requests=4, timeout_s=0.2), print)


@pytest.mark.parametrize(
    ("config", "message", "hint"),
    [
        ({"models": "redirect"}, "/v1/models redirects to https://127.0.0.2/v1/models.", "Give the address"),
        (
            {"fault": "redirect", "every": 1},
            "/v1/completions redirects to http://127.0.0.2:8000/v1/completions.",
            "Give the address",
        ),
        ({"models": "429"}, "/v1/models is rate-limited: HTTP 429: slow down.", "Wait 7 s and"),
        (
            {"fault": "429", "every": 1},
            "/v1/completions is rate-limited: HTTP 429: slow down.",
            "Wait 0 s and",
        ),
    ],
)
def test_an_endpoint_that_sends_us_away(
    fake_llm: Fake, error: Callable[[], list[str]], config: dict[str, Any], message: str, hint: str
) -> None:
    url = fake_llm(**config)
    assert corral(["probe", url, "--requests", "4"]) == 8
    said, advice = error()
    assert said == f"error: {url}{message}"
    assert advice.startswith(f"hint: {hint}")


@pytest.mark.parametrize("option", ["--api-key-file", "--ca-file", "--prompts", "--replay"])
def test_a_file_that_is_not_there_is_found_before_the_first_request(
    fake_llm: Fake, tmp_path: Path, error: Callable[[], list[str]], option: str
) -> None:
    url, folder = fake_llm(), tmp_path / "out"
    assert corral(["probe", url, option, "/nope", "--output", str(folder)]) == 4
    assert "/nope" in error()[0]
    assert (asked(url), folder.exists()) == (0, False)


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        ("--prompts /dev/zero", 4, "/dev/zero is no regular file, and it is read more than once."),
        ("--prompts LATE", 4, "Line 1 of LATE is no prompt: its last message has no content."),
        ("--replay LONG", 2, "LONG lasts 1000 days."),
        ("--api-key-file /dev/zero", 5, "The API key file /dev/zero is too large to be one."),
        ("--ca-file /", 4, "/ holds no certificate that can be read: it is no regular file."),
        (
            f"--output /tmp/{'x' * 300}",
            11,
            f"/tmp/{'x' * 300} cannot be written: File name too long.",
        ),
    ],
)
def test_a_file_that_cannot_be_used_is_said_before_the_first_request(
    fake_llm: Fake, tmp_path: Path, error: Callable[[], list[str]], options: str, code: int, said: str
) -> None:
    late, long, url = tmp_path / "late.jsonl", tmp_path / "long.jsonl", fake_llm()
    late.write_text('{"messages": [{"role": "user"}]}')
    long.write_text('{"time_s": 0, "prompt": "a"}\n{"time_s": 86400000, "prompt": "a"}\n')
    words = options.replace("LATE", str(late)).replace("LONG", str(long)).split()
    assert corral(["probe", url, "--output", str(tmp_path / "out" / "deep"), *words]) == code
    assert error()[0] == f"error: {said.replace('LATE', str(late)).replace('LONG', str(long))}"
    assert (asked(url), (tmp_path / "out").exists()) == (0, False)


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--seed x", "--seed x is no whole number."),
        ("--concurrency 1.5", "--concurrency 1.5 is no whole number."),
        ("--requests 1e-3", "--requests 1e-3 is no whole number."),
        ("--request-rate fast", "--request-rate fast is no number."),
        ("--requests 0", "--requests 0 is not between 1 and 100,000,000."),
    ],
)
def test_a_value_that_is_no_number_is_said_in_our_words(
    error: Callable[[], list[str]], option: str, said: str
) -> None:
    assert corral(["probe", "http://127.0.0.1:9", *option.split()]) == 2
    assert error()[0] == f"error: {said}"


def test_a_process_that_may_open_too_few_files(fake_llm: Fake, tmp_path: Path) -> None:
    code = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)); "
    code += "from deploy.cli.start import main; main()"
    load = ("--concurrency", "200", "--requests", "200", "--output", str(tmp_path / "out"))
    program = [sys.executable, "-c", code, "probe", fake_llm(), *load]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.splitlines()[-2:]) == (
        11,
        [
            "error: A process may open only 64 files here, and 200 connections at once need more.",
            "hint: Allow more: ulimit -Hn 240; or ask for fewer at once.",
        ],
    )
    assert not (tmp_path / "out").exists()


def test_nobody_needs_to_read_the_progress(fake_llm: Fake, tmp_path: Path) -> None:
    """With a closed stderr it must not land in the report; with a full one the exit code is the same."""
    code = f"{VALID_ON_ANY_MACHINE}; from deploy.cli.start import main; main()"
    program = shlex.join([sys.executable, "-c", code, "probe"])
    load = f"--requests 4 --output {tmp_path / 'out'} --json"
    command = f"{program} {fake_llm()} {load} 2>&- || exit; {program} http://127.0.0.1:9 2> /dev/full"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert json.loads(done.stdout)["succeeded"] == 4
    assert done.returncode == 8


def test_a_folder_that_cannot_be_written_is_found_before_the_first_request(
    fake_llm: Fake, error: Callable[[], list[str]]
) -> None:
    url = fake_llm()
    assert corral(["probe", url, "--output", "/proc/nowhere"]) == 11
    assert error()[0].startswith("error: /proc/nowhere/results.jsonl cannot be written")
    assert asked(url) == 0


def test_results_are_not_written_over(fake_llm: Fake, measured: Path, error: Callable[[], list[str]]) -> None:
    url, before = fake_llm(), (measured / "results.jsonl").read_bytes()
    assert corral(["probe", url, "--requests", "2", "--output", str(measured)]) == 2
    assert (
        error()[0] == f"error: {measured} holds an earlier probe's results.jsonl, which is not overwritten."
    )
    assert (asked(url), (measured / "results.jsonl").read_bytes()) == (0, before)


def test_a_sweep_is_not_written_over(tmp_path: Path, error: Callable[[], list[str]]) -> None:
    (tmp_path / "sweep.json").write_text("{}")
    assert corral(["probe", "sweep", "http://127.0.0.1:9", "--output", str(tmp_path)]) == 2
    assert error()[0] == f"error: {tmp_path} holds an earlier sweep.json, which is not overwritten."


def test_the_demo_forgets_its_earlier_probe(measured: Path) -> None:
    measured.rename(measured.with_name("probe"))
    demo.forget_probe(measured.parent)
    demo.forget_probe(measured.parent)
    assert not measured.with_name("probe").exists()


def test_a_report_of_a_cut_file_says_so(
    measured: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It uses the complete lines, and writes nothing it was not asked for."""
    monkeypatch.chdir(measured)
    kept = (measured / "probe.json").read_bytes()
    lines = (measured / "results.jsonl").read_bytes().splitlines(keepends=True)
    (measured / "results.jsonl").write_bytes(b"".join(lines[:3]) + lines[3][:20])
    assert corral(["probe", "report", "results.jsonl"]) == 0
    said = capsys.readouterr().out
    assert "2 sent, 2 succeeded" in said
    assert "the last line of the results was cut; figures are of the 2 complete requests before it" in said
    (measured / "results.jsonl").write_bytes(lines[0] + lines[1][:20])
    assert corral(["probe", "report", "results.jsonl"]) == 9
    out, err = capsys.readouterr()
    assert "the last line of the results was cut; figures are of the 0 complete requests before it" in out
    assert err.splitlines()[0].endswith("holds no request that succeeded, so there is nothing to measure.")
    assert (measured / "probe.json").read_bytes() == kept


def test_a_report_ends_as_its_run_did(
    measured: Path, error: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where too many failed, or it must not be used; whatever else is asked for is written before."""
    path = measured / "results.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    failed = json.dumps(
        {"index": 9, "scheduled_us": 0, "sent_us": 0, "done_us": 1, "error": "http_500"}
    ).encode()
    path.write_bytes(b"".join([*lines[:-1], failed + b"\n", lines[-1]]))
    form = measured / "form.csv"
    assert corral(["probe", "report", str(measured), "--csv", str(form)]) == 8
    assert error() == [
        "error: 1 of 5 requests failed, more than 0.01 of them (--max-failed).",
        "hint: The report says how they failed.",
    ]
    assert form.is_file()
    assert corral(["probe", "report", str(measured), "--max-failed", "0.2"]) == 0
    path.write_bytes(b"".join(lines))
    assert corral(["probe", "report", str(measured)]) == 0
    monkeypatch.setattr("serving.probe.validity.BUSY_FRACTION", -1.0)
    assert corral(["probe", "report", str(measured)]) == 9
    assert error()[0].startswith("error: This result must not be used: the probe itself was the bottleneck: ")


NO_LINES = (
    '{"index": 0, "scheduled_us": 0, "sent_us": 0, "done_us": "x", "gaps_us": [1]}',
    '{"index": 0, "scheduled_us": 0, "sent_us": 0, "done_us": 1, "gaps_us": "abc"}',
    '{"index": 0, "scheduled_us": 0, "sent_us": 0, "done_us": 1, "gaps_us": [9000000000000000]}',
    '{"index": 0, "scheduled_us": 0, "sent_us": 900000000000000, "done_us": 1, "gaps_us": [1]}',
    '{"index": 0, "scheduled_us": 0, "sent_us": 0, "done_us": 1, "gaps_us": []}',
    '{"end": {"duration_us": "x", "clients": []}}',
    '{"end": {}}',
    "[1]",
)


def test_a_line_that_no_probe_wrote(measured: Path, error: Callable[[], list[str]]) -> None:
    path = measured / "results.jsonl"
    first = path.read_bytes().splitlines(keepends=True)[0]
    for line in NO_LINES:
        path.write_bytes(first + line.encode() + b"\n")
        assert corral(["probe", "report", str(measured)]) == 4, line
        assert error() == [
            f"error: Line 2 of {path} is not a result of a probe.",
            f"hint: Look at it: sed -n 2p {path}",
        ]


def test_raw_results_are_not_written_over_by_a_form_of_them(
    measured: Path, error: Callable[[], list[str]]
) -> None:
    path, form = measured / "results.jsonl", measured / "form"
    before = path.read_bytes()
    assert corral(["probe", "report", str(measured), "--csv", str(path)]) == 2
    assert error()[0] == f"error: {path} would be written over."
    assert corral(["probe", "report", str(measured), "--csv", str(form), "--vllm-bench", str(form)]) == 2
    assert (path.read_bytes(), form.exists()) == (before, False)


def test_a_form_can_go_to_what_is_no_file(measured: Path) -> None:
    pipe = measured / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    assert corral(["probe", "report", str(measured), "--csv", str(pipe)]) == 0
    assert os.read(reader, 65536).count(b"\n") == 5
    os.close(reader)
    assert pipe.is_fifo()


def test_probe_json_stands_for_the_results_beside_it(
    measured: Path, error: Callable[[], list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    report, again = str(measured / "probe.json"), measured.with_name("again")
    shutil.copytree(measured, again)
    assert corral(["probe", "diff", report, str(again / "probe.json"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["different"] == []
    (measured / "probe.json").rename(measured / "mine.json")
    assert corral(["probe", "diff", str(measured / "mine.json"), report]) == 4
    assert error() == [
        f"error: {measured / 'mine.json'} is a report or another document, not raw results.",
        "hint: Give the results.jsonl of that run, or its folder.",
    ]


@pytest.fixture
def small_disk(tmp_path: Path, need: Callable[[str, str], NoReturn]) -> Iterator[Callable[[int], Path]]:
    """Mount a disk of so many KiB; root only."""
    place = tmp_path / "disk"
    place.mkdir()

    def mounted(size_kib: int) -> Path:
        command = ["mount", "-t", "tmpfs", "-o", f"size={size_kib}k", "none", str(place)]
        if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode != 0:
            need("root", "a small disk must be mounted")
        return place

    yield mounted
    subprocess.run(["umount", str(place)], capture_output=True)


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_disk_that_fills_up_keeps_the_report(
    fake_llm: Fake, small_disk: Callable[[int], Path], capsys: pytest.CaptureFixture[str], processes: str
) -> None:
    disk = small_disk(32)
    load = ("--concurrency", "4", "--requests", "2000", "--output-tokens", "50", "--processes", processes)
    assert corral(["probe", fake_llm(itl_ms=1), *load, "--output", str(disk / "out"), "--json"]) == 11
    out, err = capsys.readouterr()
    assert "No space left on device" in err.splitlines()[-2]
    report = json.loads(out)
    assert report["results_lost"]
    lines = (disk / "out" / "results.jsonl").read_text().splitlines()
    assert 0 < len(lines) - 1 <= report["succeeded"]
    assert report["output_tokens"] == report["succeeded"] * 50 > 0


def test_a_full_disk_is_found_before_the_first_request(
    fake_llm: Fake,
    small_disk: Callable[[int], Path],
    monkeypatch: pytest.MonkeyPatch,
    error: Callable[[], list[str]],
) -> None:
    disk, url = small_disk(16), fake_llm()
    with pytest.raises(OSError, match="No space left"):
        (disk / "filler").write_bytes(bytes(1 << 16))
    monkeypatch.setenv("CORRAL_HOME", str(disk))
    assert corral(["probe", url, "--requests", "2"]) == 11
    assert error()[0].endswith("cannot be written: No space left on device.")
    assert asked(url) == 0
