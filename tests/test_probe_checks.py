"""The probe's acceptance checks, as literally as a clock allows, against servers that know the truth.

test_probe_truth.py holds those of aligned streams, stalls and bursts; the server in C is the same.
"""

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import numpy
import pytest
from numpy.typing import NDArray

from serving.probe.spec import Load

pytestmark = pytest.mark.alone

Fake = Callable[..., str]
COMMAND = (sys.executable, "-c", "from deploy.cli.main import main; main()", "probe")


# One step after another: TTFT and chunks of several tokens


@pytest.mark.parametrize(("options", "mean_ms", "p99_ms"), [((), 1, 2), (("--no-kernel-stamps",), 5, 5)])
def test_ttft_of_64_streams_that_start_apart(
    bench: Any, c_server: Path, options: tuple[str, ...], mean_ms: float, p99_ms: float
) -> None:
    """TTFTs of 200 ms and 0 to 15 times 10 ms more: how far what was said is from the server's own log."""
    with bench.running(c_server, 200, 10, 0, 0, 10) as port:
        said = bench.clients.corral(c_server, port, 64, 128, 20, "--concurrency", "64", *options)
        row = bench.compared(said, bench.truth(port, 128))
    assert row["ttft_p99_true"] - row["ttft_p50_true"] > 50  # they did start apart
    assert row["ttft_mean_error"] == pytest.approx(0, abs=mean_ms)
    assert row["ttft_p99_error"] == pytest.approx(0, abs=p99_ms)


def test_chunks_of_four_tokens(bench: Any, c_server: Path) -> None:
    """A chunk every 80 ms: 20 ms a token; all 64 streams of 80 tokens start together, so the peak is 3,200 a second."""
    with bench.running(c_server, 200, 80, 0, 0, 0, 4) as port:
        report, _ = bench.clients.probe(c_server, port, 64, 80, "--concurrency", "64")
        log = bench.truth(port, 64)
    spans_ms = [(each[-1] - each[2]) / 1e6 for each in log]
    assert (report["output_tokens"], report["chunks"]) == (64 * 80, 64 * 20)
    assert report["itl_s"]["p50"] * 1e3 == pytest.approx(80, abs=0.2)
    assert report["itl_per_token_s"]["p50"] * 1e3 == pytest.approx(20, abs=0.2)
    assert report["itl_per_token_s"]["mean"] * 1e3 == pytest.approx(20, abs=0.2)
    assert report["tpot_s"]["mean"] * 1e3 == pytest.approx(sum(spans_ms) / len(spans_ms) / 79, abs=0.02)
    assert report["peak_output_tokens_per_s"] == pytest.approx(3200, abs=64 * 4)  # one step more or less


# Long runs, at the same time


@dataclass
class Long:
    """What the runs of twenty seconds said, and their servers' logs."""

    frozen: dict[str, Any]
    frozen_lines: list[dict[str, Any]]
    frozen_log: list[list[int]]
    poisson: dict[str, Any]
    poisson_lines: list[dict[str, Any]]
    poisson_log: list[list[int]]
    ramped: dict[str, Any]


@pytest.fixture(scope="module")
def long(bench: Any, c_server: Path, tmp_path_factory: pytest.TempPathFactory) -> Long:
    """Three light loads at once: one whose server stops for two seconds, one Poisson, one whose server starts slow."""
    folder = tmp_path_factory.mktemp("long")
    fake = str(Path(__file__).with_name("fake_llm.py"))
    slow_start = json.dumps({"ttft_ms": 10, "itl_ms": 10, "ramp_s": 5})
    with (
        process([str(c_server / "fake_llm"), "100", "20", "0", "0"]) as freezing,
        process([str(c_server / "fake_llm"), "20", "5", "0", "0"]) as steady,
        process([sys.executable, fake, slow_start]) as ramping,
    ):
        ports = [port_of(each) for each in (freezing, steady, ramping)]
        shapes = (
            "--request-rate 50 --burstiness inf --duration-s 20 --output-tokens 10",
            "--request-rate 200 --duration-s 20 --output-tokens 4 --seed 5",
            "--concurrency 8 --duration-s 12 --output-tokens 100",
        )
        first = ["nice", "-n", "-20"] if os.geteuid() == 0 else []  # who is judged by when it sends
        probes = [
            started(
                f"http://127.0.0.1:{port} --api chat --input-tokens 16 {shape}", folder / str(port), *before
            )
            for port, shape, before in zip(ports, shapes, ([], first, []), strict=True)
        ]
        freeze(freezing.pid, folder / str(ports[0]), 2.0)
        reports = [ended(each) for each in probes]
        logs = [bench.truth(port, report["sent"]) for port, report in zip(ports[:2], reports, strict=False)]
    return Long(
        reports[0], lines_of(folder / str(ports[0])), logs[0],
        reports[1], lines_of(folder / str(ports[1])), logs[1],
        reports[2],
    )  # fmt: skip


@contextmanager
def process(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    """A server that prints its port, ended afterwards."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            yield server
        finally:
            server.kill()


def port_of(server: subprocess.Popen[str]) -> int:
    assert server.stdout is not None
    return int(server.stdout.readline())


def started(words: str, folder: Path, *before: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*before, *COMMAND, *words.split(), "--json", "--output", str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(probe: subprocess.Popen[str]) -> dict[str, Any]:
    """Its report; of a run that says it must not be used too."""
    try:
        out, err = probe.communicate(timeout=60)
    finally:
        probe.kill()  # of one that does not end, nothing is left
    assert probe.returncode in (0, 9), err
    report: dict[str, Any] = json.loads(out)
    return report


def lines_of(folder: Path) -> list[dict[str, Any]]:
    """Its raw results, in the order of their times to be sent."""
    lines = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()[1:-1]]
    return sorted(lines, key=lambda each: (each["scheduled_us"], each["index"]))


def wait_for_lines(folder: Path, count: int) -> None:
    """Until there are so many lines of results; a probe that never writes them fails the test by its time limit."""
    path, end_s = folder / "results.jsonl", time.monotonic() + 60
    while not path.exists() or path.read_bytes().count(b"\n") < count:
        assert time.monotonic() < end_s, f"{path} does not grow"
        time.sleep(0.005)


def freeze(pid: int, folder: Path, seconds: float) -> None:
    """Stop the server as a whole in the middle of the run; the kernel takes what comes meanwhile."""
    wait_for_lines(folder, 200)
    os.kill(pid, signal.SIGSTOP)
    time.sleep(seconds)
    os.kill(pid, signal.SIGCONT)


def test_nobody_who_would_have_waited_is_left_out(long: Long) -> None:
    """50 requests a second for 20 s, of which the server stands still for 2: no coordinated omission."""
    report = long.frozen
    said = [
        (each["sent_us"] - each["scheduled_us"] + sum(each["gaps_us"])) / 1e6 for each in long.frozen_lines
    ]
    true = [(each[-1] - each[0]) / 1e9 for each in long.frozen_log]
    usual = numpy.median(true)
    assert (report["sent"], report["succeeded"], report["latency_from"]) == (1000, 1000, "schedule")
    assert report["e2e_s"]["p99"] >= 1.9
    affected = sum(value > usual + 0.1 for value in said)
    assert affected >= 90
    assert affected == pytest.approx(sum(value > usual + 0.1 for value in true), abs=1)
    assert report["e2e_s"]["p99"] == pytest.approx(float(numpy.percentile(true, 99)), abs=0.005)


def test_a_poisson_load_reaches_the_server_as_one(long: Long) -> None:
    """200 a second for 20 s: the count within 3 sigma, the gaps exponential, what was sent sent in time."""
    report, received_ns = long.poisson, sorted(each[0] for each in long.poisson_log)
    assert report["sent"] == report["succeeded"] == len(received_ns)
    assert report["sent"] == pytest.approx(4000, abs=3 * math.sqrt(4000))
    gaps_s = numpy.diff(received_ns) / 1e9
    assert kolmogorov_smirnov(gaps_s, 200.0) < 1.63 / math.sqrt(len(gaps_s))  # p > 0.01
    assert report["client"]["late_sends_p99_s"] <= 0.002
    scheduled_ns = numpy.array([each["scheduled_us"] for each in long.poisson_lines]) * 1000
    late_ns = numpy.array(received_ns) - scheduled_ns
    assert (numpy.percentile(late_ns, 99) - late_ns.min()) / 1e6 <= 2  # by the server's clock as well


def kolmogorov_smirnov(gaps_s: NDArray[numpy.float64], rate: float) -> float:
    """The largest distance between the gaps' distribution and the exponential's of that rate."""
    expected = 1 - numpy.exp(-rate * numpy.sort(gaps_s))
    steps = numpy.arange(len(gaps_s) + 1) / len(gaps_s)
    return float(max((steps[1:] - expected).max(), (expected - steps[:-1]).max()))


def test_the_steady_rate_is_the_servers_after_a_slow_start(long: Long) -> None:
    """8 streams of a token every 10 ms are 800 a second, after 5 s at a quarter of it."""
    report = long.ramped
    assert report["steady"]["output_tokens_per_s"] == pytest.approx(800, rel=0.01)
    assert report["steady"]["start_s"] >= 4
    assert report["output_tokens_per_s"] < 0.8 * 800  # the whole run's, beside it


def test_the_same_seed_sends_the_same_bytes_at_the_same_times(fake_llm: Fake, tmp_path: Path) -> None:
    """Of a server that is no vLLM: where the prefix cache can be salted, each run has a salt of its own."""
    runs = []
    for name, seed in (("a", 7), ("b", 7), ("c", 8)):
        url = fake_llm(vllm=False, ttft_ms=1, itl_ms=1)
        shape = f"--request-rate 400 --requests 100 --output-tokens 2 --input-tokens 16-64 --seed {seed}"
        assert ended(started(f"{url} {shape}", tmp_path / name))["succeeded"] == 100
        bodies = httpx2.get(f"{url}/truth", trust_env=False).json()["bodies"]
        times = [each["scheduled_us"] for each in lines_of(tmp_path / name)]
        runs.append((times, sorted(map(json.dumps, bodies))))
    assert runs[0] == runs[1]
    assert runs[0][0] != runs[2][0]
    assert runs[0][1] != runs[2][1]


# The probe's own error


# Under SCHED_IDLE the probe gets its core only while the other process sleeps: half of each half second.
STARVED = ("taskset", "-c", "1", "chrt", "--idle", "0")
BUSY = """
import time
while True:
    end_s = time.monotonic() + 0.25
    while time.monotonic() < end_s:
        pass
    time.sleep(0.25)
"""

# `corral probe` with a note of when each chunk was read; without the compiled reader, which reads by itself.
NOTED = """
import atexit, json, sys
from deploy.cli.main import main
from serving.probe.connection import Connection
real, read, path = Connection.received, {}, sys.argv.pop(1)
def received(self, data, stamp_ns, now_ns):
    answer = self.answer
    before = len(answer.stamps_ns) if answer else 0
    real(self, data, stamp_ns, now_ns)
    if answer:
        read.setdefault(answer.shot.index, []).extend([now_ns] * (len(answer.stamps_ns) - before))
Connection.received = received
atexit.register(lambda: json.dump(read, open(path, "w")))
main()
"""


@pytest.mark.parametrize("stamps", ["kernel", "no-kernel"])
def test_a_starved_probe_says_how_late_it_was(
    bench: Any, c_server: Path, tmp_path: Path, stamps: str
) -> None:
    """Others take the probe's core: the lag it tells is the one there was, and the run is not to be used."""
    with bench.running(c_server, 200, 20, 0, 0) as port:
        words = f"http://127.0.0.1:{port} --api chat --concurrency 64 --requests 64 --output-tokens 100"
        words += f" --no-compiled-reader --{stamps}-stamps --json --output {tmp_path}"
        noted = [sys.executable, "-c", NOTED, str(tmp_path / "read.json"), "probe", *words.split()]
        probe = subprocess.Popen(
            [*STARVED, *noted], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        wait_for_lines(tmp_path, 1)  # it has prepared itself, and begins
        with subprocess.Popen(["taskset", "-c", "1", sys.executable, "-c", BUSY]) as busy:
            report = ended(probe)
            busy.kill()
        log = bench.truth(port, 64)
    lines = sorted(lines_of(tmp_path), key=lambda each: each["sent_us"])
    read = json.loads((tmp_path / "read.json").read_text())
    read_ns = [numpy.array(read[str(line["index"])]) for line in lines]
    lags_s = numpy.concatenate([a - b[2:] for a, b in zip(read_ns, log, strict=True)]) / 1e9
    together = sum(len(moments) - len(set(moments)) for moments in map(numpy.ndarray.tolist, read_ns))
    assert together > 64
    assert report["client"]["p99_lag_s"] == pytest.approx(float(numpy.percentile(lags_s, 99)), rel=0.5)
    assert side_of(tmp_path)["lag_us"]["mean"] / 1e6 == pytest.approx(float(lags_s.mean()), rel=0.5)
    assert report["client"]["uncertain_fraction"] * 6400 == pytest.approx(together)
    assert not report["valid"]
    assert any(reason.startswith("client-limited: ") for reason in report["invalid_because"])


def side_of(folder: Path) -> dict[str, Any]:
    """What the probe's process says of itself, in the last line of its results."""
    last = json.loads((folder / "results.jsonl").read_text().splitlines()[-1])
    side: dict[str, Any] = last["end"]["clients"][0]
    return side


# A server that hangs


def test_a_hung_server_ends_the_run_within_seventy_seconds(c_server: Path, tmp_path: Path) -> None:
    """Its limit made thirty times shorter, 2.2 s for 66. It is stopped as a whole, in the middle of the load."""
    with process([str(c_server / "fake_llm"), "20", "5", "0", "0"]) as server:
        words = f"http://127.0.0.1:{port_of(server)} --api chat --concurrency 8 --requests 5000"
        probe = started(f"{words} --output-tokens 20 --stall-timeout-s 2.2", tmp_path)
        wait_for_lines(tmp_path, 50)
        os.kill(server.pid, signal.SIGSTOP)
        stopped_s = time.monotonic()
        report = ended(probe)
        took_s = time.monotonic() - stopped_s
    assert report["errors"] == {"stalled": 8}
    assert report["error_examples"] == {"stalled": "nothing came for 2.2 s"}
    assert 49 <= report["succeeded"] == report["sent"] - 8 < 1000
    assert report["warnings"][0].startswith("the run was ended early: nobody got a byte for 2.2 s")
    assert took_s < 2.2 + 0.5 + 3  # the limit, the look at it, the report
    limits = [Load(shape="poisson", stall_timeout_s=each).silence_limit_s for each in (3.0, 120.0, 600.0)]
    assert limits == [3.0, 66.0, 330.0]  # 120 is the default


def test_a_server_that_hangs_from_the_start_is_refused(fake_llm: Fake, tmp_path: Path) -> None:
    """It lists its model and answers no request."""
    url = fake_llm(fault="silent", every=1)
    probe = started(f"{url} --stall-timeout-s 1.1", tmp_path)
    begun_s = time.monotonic()
    _, err = probe.communicate(timeout=60)
    assert probe.returncode == 8
    assert "does not stream an answer: nothing came for 1.1 s." in err
    assert time.monotonic() - begun_s < 8


def test_a_quiet_open_loop_is_no_silence(fake_llm: Fake, tmp_path: Path) -> None:
    """A request every 1.5 s, while 1 s without a byte would be a hung server's."""
    url = fake_llm(ttft_ms=1, itl_ms=1)
    words = f"{url} --request-rate 0.67 --burstiness inf --requests 3 --output-tokens 2 --stall-timeout-s 1"
    assert ended(started(words, tmp_path))["succeeded"] == 3


# What it costs


@pytest.mark.engine
def test_an_event_costs_under_two_fifths_of_what_it_costs_vllms_own_client(
    bench: Any, c_server: Path, engine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """256 streams of 50 tokens a second, stepping together; vLLM's request function as it is, in the same test."""
    monkeypatch.setattr(bench.clients, "engine_python", lambda: str(engine.with_name("python")))
    rows = [
        bench.one(c_server, (200, 20, 0, 0), (256, 256, 100), client)
        for client in (bench.clients.corral, bench.clients.vllm)
    ]
    ours, theirs = (row["cpu_s_per_million"] for row in rows)
    assert ours <= 0.40 * theirs
