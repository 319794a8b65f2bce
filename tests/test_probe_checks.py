"""The probe's acceptance checks against servers that stop, hang or know the truth.

What is said of time is checked in test_probe_truth.py; when the engine sends and how long it waits, in
test_probe_attack.py.
"""

import json
import os
import signal
import time
from collections import defaultdict
from collections.abc import Callable
from itertools import count
from pathlib import Path

import httpx2
import numpy
import pytest
from witness import Process, assert_fits, loaded, port_of, probed, process, said_in, stop

from deploy.cli.main import run as corral
from serving.probe import spec
from serving.probe.connection import Connection
from serving.probe.progress import Progress

Fake = Callable[..., str]


def test_nobody_who_would_have_waited_is_left_out(c_server: Path, tmp_path: Path) -> None:
    """50 requests a second, while the server stands still for a second: no coordinated omission."""
    moments_us: list[float] = []

    def stand_still(server: Process, progress: Progress) -> None:
        """From the first look at the run to the second."""
        if not moments_us:
            stop(server)
        moments_us.append(time.monotonic_ns() / 1e3)
        if len(moments_us) > 1:
            os.kill(server.pid, signal.SIGCONT)

    load = {"request_rate": 50.0, "burstiness": float("inf"), "duration_s": 3.0}
    ran = probed(c_server, (100, 20), load, 10, tmp_path, stand_still)
    began_us, (stopped_us, goes_on_us) = assert_fits(ran.said, ran.log), moments_us[:2]
    assert [each.scheduled_us for each in ran.said.requests] == [*range(0, 3_000_000, 20_000)]
    last_us = {each.scheduled_us: each.sent_us + sum(each.gaps_us) for each in ran.said.requests}
    within = [due_us for due_us in last_us if stopped_us <= began_us + due_us <= goes_on_us]
    assert within
    assert [due_us for due_us in within if began_us + last_us[due_us] < goes_on_us] == []
    assert (ran.report.sent, ran.report.succeeded, ran.report.latency_from) == (150, 150, "schedule")
    assert ran.report.e2e_s
    waited_us = [at_us - due_us for due_us, at_us in last_us.items()]
    assert ran.report.e2e_s.p99 == pytest.approx(numpy.percentile(waited_us, 99) / 1e6)


def test_the_same_seed_sends_the_same_bytes_at_the_same_times(
    fake_llm: Fake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a server that is no vLLM: where the prefix cache can be salted, each run has a salt of its own."""
    url, runs = fake_llm(vllm=False, ttft_ms=1, itl_ms=1), []
    for name, seed in (("a", 7), ("b", 7), ("c", 8)):
        shape = f"--request-rate 400 --requests 100 --output-tokens 2 --input-tokens 16-64 --seed {seed}"
        corral(["probe", url, *shape.split(), "--output", str(tmp_path / name), "--json"])
        assert json.loads(capsys.readouterr().out)["succeeded"] == 100
        bodies = httpx2.get(f"{url}/truth", trust_env=False).json()["bodies"][-100:]
        times = [each.scheduled_us for each in said_in(tmp_path / name).requests]
        runs.append((sorted(times), sorted(map(json.dumps, bodies))))
    assert runs[0] == runs[1]
    assert runs[0][0] != runs[2][0]
    assert runs[0][1] != runs[2][1]


@pytest.mark.parametrize("stamps", [True, False], ids=["kernel", "user"])
def test_a_probe_that_is_held_up_says_how_late_it_read(
    c_server: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stamps: bool
) -> None:
    """Three times nothing runs for 0.3 s: the lag it tells is the one there was, and the run is not to be used."""
    read_ns: dict[int, list[int]] = defaultdict(list)
    received, reads = Connection.received, count(1)

    def noting(self: Connection, data: bytes, stamp_ns: int, now_ns: int) -> None:
        answer = self.answer
        before = len(answer.stamps_ns) if answer else 0
        received(self, data, stamp_ns, now_ns)
        if answer:
            read_ns[answer.shot.index] += [now_ns] * (len(answer.stamps_ns) - before)
        if next(reads) in (1000, 2000, 3000):
            time.sleep(0.3)

    monkeypatch.setattr(Connection, "received", noting)
    # So few streams that what gathers in a pause is read in a moment: timers do not see the wait behind other streams.
    load = {"concurrency": 16, "requests": 16, "compiled_reader": False, "kernel_stamps": stamps}
    ran = probed(c_server, (200, 20, 0, 0), load, 200, tmp_path)
    noted = [numpy.array(read_ns[each.index]) for each in ran.said.requests]
    lags_s = numpy.concatenate([read - row[2:] for read, row in zip(noted, ran.log, strict=True)]) / 1e9
    together = sum(len(moments) - len(set(moments)) for moments in map(numpy.ndarray.tolist, noted))
    assert together > 16 * 15
    client = ran.report.client
    assert client.p99_lag_s == pytest.approx(float(numpy.percentile(lags_s, 99)), rel=0.5)
    assert ran.said.side.lag_us["mean"] / 1e6 == pytest.approx(float(lags_s.mean()), rel=0.5)
    assert client.uncertain_fraction * 3200 == pytest.approx(together)
    assert not ran.report.valid
    assert any(reason.startswith("client-limited: ") for reason in ran.report.invalid_because)


def test_a_hung_server_ends_the_run(c_server: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is stopped as a whole, in the middle of the load; the limit is made thirty times shorter."""
    monkeypatch.setattr(spec, "SILENT_S", 2.2)
    monkeypatch.setattr(spec, "SILENT_SHARE", 0.0)
    load = {"concurrency": 8, "requests": 5000}
    with process(str(c_server / "fake_llm"), "20", "5") as server:

        def stand_still(progress: Progress) -> None:
            if progress.done:
                stop(server)

        report = loaded(f"http://127.0.0.1:{port_of(server)}", load, 20, tmp_path, stand_still)
    assert report.errors == {"stalled": 8}
    assert report.error_examples == {"stalled": "nothing came for 2.2 s"}
    assert 0 < report.succeeded == report.sent - 8 < 5000 - 8
    assert report.warnings[0].startswith("the run was ended early: nobody got a byte for 2.2 s")
    requests = said_in(tmp_path).requests
    heard_us = max(each.sent_us + sum(each.gaps_us) for each in requests)
    assert min(each.done_us for each in requests if each.error) - heard_us >= 2_200_000


def test_a_server_that_hangs_from_the_start_is_refused(
    fake_llm: Fake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It lists its model and answers no request."""
    url = fake_llm(fault="silent", every=1)
    assert corral(["probe", url, "--stall-timeout-s", "1.1", "--output", str(tmp_path)]) == 8
    assert "does not stream an answer: nothing came for 1.1 s." in capsys.readouterr().err
