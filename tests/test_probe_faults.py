"""The probe when things go wrong or are unusual: every run ends in bounded time and keeps what was measured."""

import gc
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from deploy.cli.main import run as corral
from deploy.targets.base import Status
from infra.errors import EndpointError
from serving.endpoint import Endpoint
from serving.probe import ask, attack, metrics, results
from serving.probe.report import ProbeReport
from serving.probe.run import run

pytestmark = pytest.mark.alone

Fake = Callable[..., str]


def probe(
    url: str, folder: Path, load: dict[str, Any], work: dict[str, Any] | None = None, **target: Any
) -> ProbeReport:
    asked = ask.target_of(url, **target)
    workload = ask.workload_of(
        **({"input_tokens": "32", "output_tokens": "20", "api": asked.api} | (work or {}))
    )
    return run(asked, ask.load_of(**load), workload, folder)


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
    """No coordinated omission: 50 a second for 4 s, frozen for 1 s of it; the late half of that second waits most."""
    url = fake_llm(ttft_ms=10, itl_ms=1, freeze_at_s=1.0, freeze_s=1.0)
    load = {"request_rate": 50.0, "burstiness": float("inf"), "requests": 200}
    report = probe(url, tmp_path, load, {"output_tokens": "2"})
    assert report.e2e_s
    waited = [line for line in read(tmp_path) if sum(line["gaps_us"]) > 200_000]
    assert len(waited) >= 35
    assert report.e2e_s.p99 >= 0.9


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
    url = fake_llm(itl_ms=5, stall_ms=200, stall_every=10)
    report = probe(url, tmp_path, {"concurrency": 4, "requests": 8}, {"output_tokens": "25"})
    assert report.stalls
    assert report.stalls.count == 8 * 2
    assert 0.2 <= report.stalls.longest_s <= 0.4


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
        "hint: Trust its authority: --ca-file FILE, and use the name that is in the certificate.",
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


def started(command: list[str], **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", "from deploy.cli.main import main; main()", "probe", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def wait_for_lines(path: Path, lines: int) -> None:
    """Until the file has grown to so many lines; a probe that never writes them fails the test by its time limit."""
    end_s = time.monotonic() + 60
    while not path.exists() or path.read_bytes().count(b"\n") < lines:
        assert time.monotonic() < end_s, f"{path} does not grow"
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("processes", "number"),
    [("1", signal.SIGINT), ("2", signal.SIGINT), ("1", signal.SIGHUP), ("2", signal.SIGTERM)],
)
def test_ctrl_c_reports_what_was_measured(
    fake_llm: Fake, tmp_path: Path, processes: str, number: signal.Signals
) -> None:
    url, folder = fake_llm(), tmp_path / "out"
    command = [
        url,
        "--concurrency",
        "4",
        "--duration-s",
        "600",
        "--output-tokens",
        "20",
        "--input-tokens",
        "20",
    ]
    process = started([*command, "--output", str(folder), "--processes", processes, "--json"])
    part = "results.jsonl" if processes == "1" else ".results.jsonl.1"
    wait_for_lines(folder / part, 9)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
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
    """The processes of the group, without those that have ended and wait to be fetched."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended since
            name, _, rest = entry.read_text().rpartition(")")
            state, _, process_group = rest.split()[:3]
            found += [name] if process_group == str(group) and state != "Z" else []
    return found


@pytest.mark.parametrize("delay_s", [0.1, 0.7])
def test_ctrl_c_at_any_time_leaves_no_process_and_no_part(
    fake_llm: Fake, tmp_path: Path, delay_s: float
) -> None:
    """A terminal sends it to all processes of the group, also to those that have just begun."""
    options = "--concurrency 4 --duration-s 600 --output-tokens 20 --input-tokens 20 --processes 2"
    command = [fake_llm(), *options.split(), "--output", str(tmp_path / "out")]
    process = started(command, start_new_session=True)
    assert process.stderr is not None
    while "trying one request" not in process.stderr.readline():
        assert process.poll() is None
    time.sleep(delay_s)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, "Traceback" in err) == (130, False), err
    end_s = time.monotonic() + 10
    while living(process.pid) and time.monotonic() < end_s:  # multiprocessing's own helper ends after it
        time.sleep(0.02)
    assert living(process.pid) == []
    left = {path.name for path in (tmp_path / "out").iterdir()} if (tmp_path / "out").exists() else set()
    assert left in (set(), {"probe.json", "results.jsonl"})


def test_a_full_disk_ends_the_run_and_keeps_the_report(fake_llm: Fake, tmp_path: Path) -> None:
    """A limit on the size of files stands in for the disk: results.jsonl gets 8 KiB."""
    import resource

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))

    command = [fake_llm(itl_ms=1), "--concurrency", "4", "--requests", "5000", "--output-tokens", "20"]
    process = started(
        [*command, "--input-tokens", "20", "--output", str(tmp_path), "--json"], preexec_fn=limit
    )
    out, err = process.communicate(timeout=60)
    report = json.loads(out)
    assert process.returncode == 11, err
    assert err.splitlines()[-2].startswith("error: The results could not all be written")
    assert report["results_lost"]
    assert 0 < len((tmp_path / "results.jsonl").read_text().splitlines()) - 1 <= report["succeeded"] < 5000
    assert all(json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines())


def test_a_folder_that_cannot_be_written(fake_llm: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    assert corral(["probe", fake_llm(), "--requests", "2", "--output", "/proc/nowhere"]) == 11
    assert "/proc/nowhere/results.jsonl cannot be written" in capsys.readouterr().err


def test_a_server_that_restarts_in_the_middle(tmp_path: Path) -> None:
    """Killed and started again on the same port: the run goes on, its losses in classes of their own."""
    server, port = fake_on(0)
    command = [f"http://127.0.0.1:{port}", "--concurrency", "4", "--requests", "200", "--output-tokens", "20"]
    process = started([*command, "--input-tokens", "20", "--output", str(tmp_path), "--json"])
    wait_for_lines(tmp_path / "results.jsonl", 9)
    server.kill()
    server.communicate()
    wait_for_lines(tmp_path / "results.jsonl", 25)
    server, _ = fake_on(port)
    out, err = process.communicate(timeout=60)
    server.kill()
    server.communicate()
    report = json.loads(out)
    assert set(report["errors"]) <= {"truncated", "reset", "no_response", "connect_refused"}, err
    assert report["errors"]["connect_refused"] >= 4
    assert report["succeeded"] >= 50
    assert report["succeeded"] + sum(report["errors"].values()) == report["sent"] == 200


def fake_on(port: int) -> tuple[subprocess.Popen[str], int]:
    fake = str(Path(__file__).with_name("fake_llm.py"))
    server = subprocess.Popen(
        [sys.executable, fake, json.dumps({"port": port})], stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    return server, int(server.stdout.readline())


def test_a_sweep_finds_the_servers_capacity(
    fake_llm: Fake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Above 40 streams at once the fake server's first tokens are a second late: TTFT p99 is 0.4 s up to 40."""
    url = fake_llm(ttft_ms=5, itl_ms=20, capacity=40)
    options = "--goodput ttft:400 --attainment 0.99 --start 8 --limit 256 --duration-s 0.5 --input-tokens 16"
    options += " --output-tokens 10 --json"
    assert corral(["probe", "sweep", url, *options.split(), "--output", str(tmp_path)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["best"] == pytest.approx(40, rel=0.05)
    assert len(found["points"]) <= 8
    assert [point["load"] for point in found["points"]] == sorted(point["load"] for point in found["points"])
    assert (tmp_path / "sweep.html").read_text().count("<svg") == 2
    assert json.loads((tmp_path / "sweep.json").read_text()) == found


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
        def status(deployment: str) -> Status:
            return Status(
                name=deployment, target="local", state="serving", detail="stopped", endpoint=endpoint
            )

    monkeypatch.setattr("deploy.deployment.names", lambda: ("scout-prod",))
    monkeypatch.setattr("deploy.deployment.load", lambda name: name)
    monkeypatch.setattr("deploy.targets.choose.target_of", lambda deployment: Place)
    command = ["probe", "scout-prod", "--requests", "4", "--output", str(tmp_path / "out"), "--json"]
    assert corral(command) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["url"], report["succeeded"]) == (url, 4)
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
