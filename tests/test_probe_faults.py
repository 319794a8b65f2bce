"""The probe when things go wrong or are unusual: every run ends in bounded time and keeps what was measured."""

import gc
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import asking
import pytest
from fake_server import FakeServer
from probing import on_any_machine

from deploy.cli.main import run as corral
from deploy.probe_as_planned import lengths_of, load_as_planned
from deploy.targets.deployment import Deployment, make
from deploy.targets.place import Status
from infra.errors import EndpointError
from serving.probe import attack, metrics, results
from serving.probe.probe_options import LoadOptions, RunWorkloadOptions, load_of, workload_of
from serving.probe.report import ProbeReport
from serving.probe.run import run
from serving.sizing.plan import Plan, Workload
from serving.vllm.endpoint import Endpoint

Fake = Callable[..., str]
Start = Callable[..., "subprocess.Popen[str]"]
FakeOn = Callable[[int], FakeServer]


@pytest.fixture(autouse=True)
def any_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    on_any_machine(monkeypatch)


def probe(
    url: str, folder: Path, load: dict[str, Any], work: dict[str, Any] | None = None, **target: Any
) -> ProbeReport:
    asked = asking.target_of(url, **target)
    workload = asking.workload_of(
        **({"input_tokens": "32", "output_tokens": "20", "api": asked.api} | (work or {}))
    )
    return run(asked, asking.load_of(**load), workload, folder)


@pytest.mark.parametrize(
    "config",
    [
        {"newline": "\r\n"},
        {"newline": "\r"},
        {"space": ""},
        {"comments": True},
        {"split": 7},
        {"framing": "close"},
        {"framing": "close", "newline": "\r\n", "comments": True, "split": 5},
        {"usage": False},
        {"vllm": False},
    ],
)
def test_every_form_of_the_stream_gives_the_same_counts(
    fake_llm: Fake, tmp_path: Path, config: dict[str, Any]
) -> None:
    report = probe(fake_llm(itl_ms=1, **config), tmp_path, {"concurrency": 4, "requests": 12})
    assert (report.succeeded, report.output_tokens, report.chunks) == (12, 240, 240)
    assert report.output_characters == 12 * 40
    assert any("no usage" in text for text in report.warnings) == (config.get("usage") is False)
    assert (report.notes[0].startswith("prompt lengths: exact")) == (config.get("vllm") is not False)


def test_tokens_of_each_chunk_as_vllm_says_them(fake_llm: Fake, tmp_path: Path) -> None:
    work = {"per_chunk_usage": True, "output_tokens": "10"}
    report = probe(fake_llm(tokens_per_chunk=4), tmp_path, {"concurrency": 1, "requests": 2}, work)
    lines = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert [line["chunk_tokens"] for line in lines[1:-1]] == [[4, 4, 2]] * 2
    assert report.output_tokens == 20


def test_short_answers_are_said(fake_llm: Fake, tmp_path: Path) -> None:
    report = probe(fake_llm(fault="short"), tmp_path, {"concurrency": 8, "requests": 16})
    assert (report.short_outputs, report.finish_reasons, report.output_tokens) == (
        2,
        {"length": 14, "stop": 2},
        286,
    )
    assert "2 of 16 answers are shorter than asked (finish reasons: length 14, stop 2)" in report.warnings


def test_a_server_that_freezes_is_seen_by_everyone_who_would_have_come(
    fake_llm: Fake, tmp_path: Path
) -> None:
    """No coordinated omission: the server thaws only when 40 more have come, and each waits for the last of them."""
    load = {"request_rate": 100.0, "burstiness": math.inf, "requests": 60}
    report = probe(fake_llm(freeze_at=10, freeze_for=40), tmp_path, load, {"output_tokens": "2"})
    assert (report.succeeded, report.errors, report.latency_from) == (60, {}, "schedule")
    lines = sorted(read(tmp_path), key=lambda line: int(line["index"]))
    assert [line["scheduled_us"] for line in lines] == [10_000 * index for index in range(60)]
    thawed_us = lines[49]["scheduled_us"]  # before them came the trial
    assert [line["sent_us"] + line["gaps_us"][0] >= thawed_us for line in lines[9:50]] == [True] * 41
    assert report.ttft_s
    assert report.ttft_s.mean * 60 >= sum(thawed_us - line["scheduled_us"] for line in lines[9:50]) / 1e6
    assert report.ttft_s.max
    assert report.ttft_s.max >= 0.4


def read(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "results.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines[1:-1]]


def test_the_servers_own_counters_are_asked_and_compared(fake_llm: Fake, tmp_path: Path) -> None:
    """The server counts 3 % too many tokens and hits in its cache; the report says both."""
    report = probe(
        fake_llm(counter_factor=1.03, hit_rate=0.4, itl_ms=1), tmp_path, {"concurrency": 4, "requests": 20}
    )
    assert [text.partition(":")[0] for text in report.warnings if "server" in text or "cache" in text] == [
        "the server counted 412 output tokens, the probe 400",
        "40% of the prompt tokens came from the prefix cache although the prompts share nothing",
    ]


def test_stalls_of_the_server_are_counted(fake_llm: Fake, tmp_path: Path) -> None:
    """Two of 200 ms in each answer; on a busy machine there may be more."""
    url = fake_llm(itl_ms=5, stall_ms=200, stall_every=10)
    report = probe(url, tmp_path, {"concurrency": 4, "requests": 8}, {"output_tokens": "25"})
    lines = read(tmp_path)
    after_both_us = 20_000 + 20 * 5_000 + 2 * 200_000
    assert [sum(line["gaps_us"][:21]) >= after_both_us for line in lines] == [True] * 8
    assert report.stalls
    gaps = [gap / 1e6 for line in lines for gap in line["gaps_us"][1:]]
    over = [gap for gap in gaps if gap > report.stalls.threshold_s]
    assert (report.stalls.count, report.stalls.longest_s) == (len(over), max(over))


def test_several_processes_share_one_load(fake_llm: Fake, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    report = probe(fake_llm(), folder, {"concurrency": 6, "requests": 30, "processes": 2})
    assert (report.succeeded, report.output_tokens, report.client.processes) == (30, 600, 2)
    lines = read(folder)
    assert sorted(line["index"] for line in lines) == list(range(30))
    assert {line.get("process", 0) for line in lines} == {0, 1}
    assert metrics.report(*results.read(folder / "results.jsonl")) == report
    assert sorted(path.name for path in folder.iterdir()) == ["probe.json", "results.jsonl"]


def test_a_conversation_sends_each_turn_after_the_answer(fake_llm: Fake, tmp_path: Path) -> None:
    work = {"turns": 3, "images": 1, "image_size": "32x32"}
    report = probe(fake_llm(itl_ms=1), tmp_path, {"concurrency": 2, "requests": 12}, work, api="chat")
    assert (report.succeeded, report.output_tokens) == (12, 240)
    lines = {line["index"]: line for line in read(tmp_path)}
    assert sorted(lines) == list(range(12))
    assert all(lines[index + 1]["sent_us"] >= lines[index]["done_us"] for index in range(12) if index % 3 < 2)


def test_the_users_own_prompts_and_a_replayed_trace(
    fake_llm: Fake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = tmp_path / "trace.jsonl"
    trace.write_text(
        "".join(f'{{"timestamp": {time_ms}, "prompt": "hi there"}}\n' for time_ms in (50, 100, 400))
    )
    command = ["probe", fake_llm(), "--replay", str(trace), "--output-tokens", "3", "--json"]
    assert corral([*command, "--output", str(tmp_path / "out")]) == 0
    assert json.loads(capsys.readouterr().out)["succeeded"] == 3
    assert [
        line["scheduled_us"] for line in sorted(read(tmp_path / "out"), key=lambda each: each["index"])
    ] == [
        0,
        50_000,
        350_000,
    ]


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    """A certificate for 127.0.0.1 that no one trusts, its key in the same file."""
    both = tmp_path / "server.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
        + [
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-keyout",
            tmp_path / "key.pem",
            "-out",
            tmp_path / "ca.pem",
        ],
        check=True,
        capture_output=True,
    )
    both.write_text((tmp_path / "key.pem").read_text() + (tmp_path / "ca.pem").read_text())
    return both


def test_tls_with_the_users_authority_and_kernel_stamps(
    fake_llm: Fake, tmp_path: Path, authority: Path
) -> None:
    url = fake_llm(certificate=str(authority))
    report = probe(url, tmp_path / "out", {"concurrency": 4, "requests": 12}, ca_file=tmp_path / "ca.pem")
    assert (report.succeeded, report.output_tokens, report.client.stamps) == (12, 240, "kernel")


def test_a_certificate_that_is_not_trusted(fake_llm: Fake, tmp_path: Path, authority: Path) -> None:
    with pytest.raises(EndpointError, match="certificate"):
        probe(fake_llm(certificate=str(authority)), tmp_path / "out", {"concurrency": 1, "requests": 1})


def test_a_certificate_and_a_port_are_named(
    fake_llm: Fake, tmp_path: Path, authority: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = fake_llm(certificate=str(authority))
    assert corral(["probe", url, "--output", str(tmp_path / "out")]) == 8
    assert capsys.readouterr().err.splitlines() == [
        f"error: The certificate of {url} is not trusted: self-signed certificate.",
        "hint: Trust its authority: --ca-file ca.pem, and use the name that is in the certificate.",
    ]
    plain = url.replace("https:", "http:")
    assert corral(["probe", plain, "--output", str(tmp_path / "out")]) == 8
    assert capsys.readouterr().err.splitlines() == [
        f"error: {plain} speaks TLS, not plain HTTP.",
        f"hint: Say {url}",
    ]


def test_without_kernel_stamps_the_report_says_so(fake_llm: Fake, tmp_path: Path) -> None:
    report = probe(fake_llm(), tmp_path, {"concurrency": 2, "requests": 10, "kernel_stamps": False})
    assert (report.succeeded, report.client.stamps) == (10, "user")
    assert report.client.max_lag_s > 0
    assert any("not by the kernel" in text for text in report.warnings)


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a probe as a process; it and what it started are ended with the test."""
    begun: list[subprocess.Popen[str]] = []

    def start(*words: str, **options: Any) -> subprocess.Popen[str]:
        program = [sys.executable, "-c", "from deploy.cli.start import main; main()", "probe", *words]
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        begun.append(subprocess.Popen(program, start_new_session=True, **pipes, **options))
        return begun[-1]

    yield start
    for process in begun:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def until(process: "subprocess.Popen[str]", condition: Callable[[], bool]) -> None:
    """Wait for what must happen while that process runs; the test's own time limit ends a wait for what does not."""
    while not condition():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


def lines_in(path: Path) -> int:
    """How many lines have been written."""
    return path.read_bytes().count(b"\n") if path.exists() else 0


ENDLESS = ["--concurrency", "4", "--duration-s", "600", "--output-tokens", "20", "--input-tokens", "20"]


@pytest.mark.parametrize(
    ("processes", "number"),
    [("1", signal.SIGINT), ("2", signal.SIGINT), ("1", signal.SIGHUP), ("2", signal.SIGTERM)],
)
def test_ctrl_c_reports_what_was_measured(
    fake_llm: Fake, start: Start, tmp_path: Path, processes: str, number: signal.Signals
) -> None:
    folder = tmp_path / "out"
    process = start(fake_llm(), *ENDLESS, "--output", str(folder), "--processes", processes, "--json")
    part = folder / ("results.jsonl" if processes == "1" else ".results.jsonl.1")
    until(process, lambda: lines_in(part) >= 9)
    process.send_signal(number)
    out, err = process.communicate()
    assert process.returncode == 130, err
    report = json.loads(out)
    assert (report["interrupted"], report["errors"]) == (True, {})
    assert report["succeeded"] >= 8
    assert report["succeeded"] + report["unfinished"] == report["sent"]
    assert json.loads((folder / "probe.json").read_text()) == report
    assert "Traceback" not in err
    assert sorted(path.name for path in folder.iterdir()) == ["probe.json", "results.jsonl"]


@pytest.mark.parametrize("moment", ["collect", "freeze", "enable"])
def test_no_ctrl_c_is_lost_while_the_loop_stands_still(
    fake_llm: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Before the trial's loop runs, and after it: neither the loop nor Python would hear of it by itself."""
    real = getattr(gc, moment)

    def interrupted() -> None:
        real()
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(attack, "gc", SimpleNamespace(**vars(gc) | {moment: interrupted}))
    with pytest.raises(KeyboardInterrupt):
        probe(fake_llm(), tmp_path / "out", {"concurrency": 1, "requests": 2})
    assert not (tmp_path / "out").exists()


def living(group: int) -> list[str]:
    """The command lines of the group's processes, without those that have ended and wait to be fetched."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended since
            state, _, process_group = (process / "stat").read_text().rpartition(")")[2].split()[:3]
            if process_group == str(group) and state != "Z":
                found.append((process / "cmdline").read_text())
    return found


@pytest.mark.parametrize("moment", ["one begins", "both have begun", "both load"])
def test_ctrl_c_at_any_time_leaves_no_process_and_no_part(
    fake_llm: Fake, start: Start, tmp_path: Path, moment: str
) -> None:
    """A terminal sends it to all processes of the group, also to those that have just begun."""
    folder = tmp_path / "out"
    process = start(fake_llm(), *ENDLESS, "--output", str(folder), "--processes", "2")
    parts = [folder / f".results.jsonl.{number}" for number in range(2)]
    wanted = 1 if moment == "one begins" else 2
    until(process, lambda: sum("spawn_main" in words for words in living(process.pid)) >= wanted)
    if moment == "both load":
        until(process, lambda: all(map(lines_in, parts)))
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate()
    assert (process.returncode, "Traceback" in err) == (130, False), err
    while living(process.pid):  # multiprocessing's own helper ends after it
        time.sleep(0.02)
    left = {path.name for path in folder.iterdir()} if folder.exists() else set()
    assert left in (set(), {"probe.json", "results.jsonl"})


def test_a_full_disk_ends_the_run_and_keeps_the_report(fake_llm: Fake, start: Start, tmp_path: Path) -> None:
    """A limit on the size of files stands in for the disk: results.jsonl gets 8 KiB."""
    import resource

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))

    load = [
        "--concurrency",
        "4",
        "--requests",
        "5000",
        "--output-tokens",
        "20",
        "--input-tokens",
        "20",
        "--json",
    ]
    process = start(fake_llm(itl_ms=1), *load, "--output", str(tmp_path), preexec_fn=limit)
    out, err = process.communicate()
    report = json.loads(out)
    assert process.returncode == 11, err
    assert err.splitlines()[-2].startswith("error: The results could not all be written")
    assert report["results_lost"]
    assert 0 < lines_in(tmp_path / "results.jsonl") - 1 <= report["succeeded"] < 5000
    assert all(json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines())


def test_a_folder_that_cannot_be_written(fake_llm: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    assert corral(["probe", fake_llm(), "--requests", "2", "--output", "/proc/nowhere"]) == 11
    assert "/proc/nowhere/results.jsonl cannot be written" in capsys.readouterr().err


@pytest.fixture
def fake_on() -> Iterator[FakeOn]:
    """Start a fake model server on a port, 0 for any. Ended with the test."""
    begun: list[FakeServer] = []

    def start(port: int) -> FakeServer:
        begun.append(FakeServer(port=port))
        return begun[-1]

    yield start
    for server in begun:
        server.kill()


def test_a_server_that_restarts_in_the_middle(fake_on: FakeOn, start: Start, tmp_path: Path) -> None:
    """Killed and started again on the same port: the run goes on, its losses in classes of their own."""
    server = fake_on(0)
    process = start(f"http://127.0.0.1:{server.port}", *ENDLESS, "--output", str(tmp_path), "--json")
    path = tmp_path / "results.jsonl"
    until(process, lambda: lines_in(path) >= 9)
    server.kill()
    until(process, lambda: path.read_bytes().count(b'"connect_refused"') >= 4)
    fake_on(server.port)
    before = path.read_bytes().count(b'"length"')
    until(process, lambda: path.read_bytes().count(b'"length"') >= before + 8)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    report = json.loads(out)
    assert set(report["errors"]) <= {"truncated", "reset", "no_response", "connect_refused"}, err
    assert report["errors"]["connect_refused"] >= 4
    assert report["succeeded"] >= 8 + 8
    assert report["succeeded"] + sum(report["errors"].values()) + report["unfinished"] == report["sent"]


def test_a_sweep_finds_the_servers_capacity(
    fake_llm: Fake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The fake server refuses whoever comes above 40 streams at once; one refusal in a step is one too many."""
    options = (
        "--goodput ttft:600000 --start 8 --limit 256 --duration-s 0.5 --repeat-limit-s 1 --max-failed 0"
        " --input-tokens 16"
    )
    words = [fake_llm(ttft_ms=5, itl_ms=20, capacity=40), *options.split(), "--output-tokens", "5", "--json"]
    assert corral(["probe", "sweep", *words, "--output", str(tmp_path)]) == 0
    found = json.loads(capsys.readouterr().out)
    steps = [(point["load"], point["failed"] == 0) for point in found["points"]]
    assert steps == [(load, load <= 40) for load in (8, 32, 38, 39, 41, 45, 64, 128)]
    assert (found["answer"], found["best"]) == ("refused_beyond", 39)
    assert [len(point["folders"]) for point in found["points"]] == [1, 1, 1, 2, 2, 1, 1, 1]
    assert (tmp_path / "sweep.html").read_text().count("<svg") == 2
    assert json.loads((tmp_path / "sweep.json").read_text()) == found


def planned_for(monkeypatch: pytest.MonkeyPatch, input_tokens: int, output_tokens: int) -> None:
    """The deployment scout-prod is known, of a plan for requests of those lengths."""
    plan = Plan.read(Path(__file__).parent / "data" / "export" / "scout-int4.json")
    load = Workload(input_tokens=input_tokens, output_tokens=output_tokens, concurrency=4)
    plan = plan.model_copy(update={"workload": load})
    monkeypatch.setattr("deploy.targets.deployment.names", lambda: ("scout-prod",))
    monkeypatch.setattr("deploy.targets.deployment.load", lambda name: make(plan, "local", name))


URL = "http://10.0.0.5:8000"


@pytest.mark.parametrize(
    ("urls", "typed", "lengths", "said"),
    [
        ([URL], {}, (512, 128), ""),
        (
            ["scout-prod"],
            {},
            (2000, 300),
            "probe: 2,000 tokens in, 300 tokens out, as scout-prod was planned for\n",
        ),
        (
            [URL, "scout-prod"],
            {"output_tokens": "9"},
            (2000, 300),
            "probe: 2,000 tokens in, as scout-prod was planned for\n",
        ),
        (
            ["scout-prod"],
            {"prompts": "mine.jsonl"},
            (2000, 300),
            "probe: 300 tokens out, as scout-prod was planned for\n",
        ),
        (["scout-prod"], {"input_tokens": "1-9", "output_tokens": "9"}, (2000, 300), ""),
    ],
)
def test_what_is_asked_by_a_name_is_of_the_lengths_it_was_planned_for(
    urls: list[str],
    typed: dict[str, str],
    lengths: tuple[int, int],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    planned_for(monkeypatch, 2000, 300)
    asked = RunWorkloadOptions.of(typed)
    assert lengths_of(urls, asked) == lengths
    assert capsys.readouterr() == ("", said)
    made = workload_of(asked, lengths=lengths)
    shown = {"input_tokens": f"{lengths[0]}", "output_tokens": f"{lengths[1]}"} | typed
    assert [str(made.input_tokens), str(made.output_tokens)] == [
        shown["input_tokens"],
        shown["output_tokens"],
    ]


@pytest.mark.parametrize(
    ("urls", "typed", "servers", "at_once", "said"),
    [
        ([URL], {}, 1, 8, ""),
        (["scout-prod"], {}, 1, 4, "4 at once"),
        ([URL, "scout-prod"], {"requests": 20}, 1, 4, "4 at once"),
        (["scout-prod"], {}, 3, 12, "4 on each of 3 servers at once"),
        (["scout-prod"], {"concurrency": 8}, 3, 8, ""),
        (["scout-prod"], {"request_rate": 2}, 1, None, ""),
        (["scout-prod"], {"request_rate": math.inf}, 1, None, ""),
    ],
)
def test_by_a_name_as_many_are_sent_at_once_as_it_was_planned_for(
    urls: list[str],
    typed: dict[str, float],
    servers: int,
    at_once: int | None,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """compare holds the plan against what was measured at its load, and at no other."""
    planned_for(monkeypatch, 2000, 300)
    made = load_of(load_as_planned(urls, LoadOptions.of(typed), servers))
    assert (made.concurrency, made.requests) == (at_once, typed.get("requests", 128))
    told = f"probe: {said}, as scout-prod was planned for; another number: --concurrency\n" if said else ""
    assert capsys.readouterr() == ("", told)


def test_a_deployment_is_probed_by_its_name(
    fake_llm: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url = fake_llm(key="sesame")
    (tmp_path / "key").write_text("sesame")
    endpoint: Endpoint | None = Endpoint(
        base_url=url, served_model_name="fake", api_key_file=tmp_path / "key"
    )

    class Place:
        @staticmethod
        def status(deployment: Deployment) -> Status:
            return Status(
                name=deployment.name, target="local", state="serving", detail="stopped", endpoint=endpoint
            )

    planned_for(monkeypatch, 90, 7)
    monkeypatch.setattr("deploy.line.place_of", lambda deployment: Place)
    command = ["probe", "scout-prod", "--requests", "4", "--output", str(tmp_path / "out"), "--json"]
    assert corral(command) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["url"], report["succeeded"]) == (url, 4)
    assert (report["machine"], report["precision"]) == ("g5.12xlarge", "int4")
    assert [report["load"][each] for each in ("input_tokens", "output_tokens")] == ["90", "7"]
    assert corral(["probe", "report", str(tmp_path / "out"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == report
    endpoint = None
    assert corral(command) == 8
    assert "scout-prod answers nowhere: stopped" in capsys.readouterr().err


def test_the_forms_of_a_run_by_command(
    fake_llm: Fake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b"):
        command = [
            "probe",
            fake_llm(),
            "--requests",
            "30",
            "--output-tokens",
            "5",
            "--output",
            str(tmp_path / name),
        ]
        assert corral(command) == 0
    capsys.readouterr()
    assert corral(["probe", "report", str(tmp_path / "a"), "--csv", str(tmp_path / "a.csv"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((tmp_path / "a" / "probe.json").read_text())
    assert corral(["probe", "diff", str(tmp_path / "a"), str(tmp_path / "b"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["document"] == "probe-diff"
    assert corral(["probe", "report", str(tmp_path / "nothing")]) == 4
    assert os.path.exists(tmp_path / "a.csv")
