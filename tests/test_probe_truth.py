"""What the probe says of time, held against the log of a server in C: see witness.py."""

from pathlib import Path
from typing import Any

import numpy
import pytest
from asking import load_of
from witness import Ran, assert_fits, can_have_come_us, most_within, probed, read_alone

from serving.probe.pacing import schedule_s
from serving.probe.run_records import Result


@pytest.mark.parametrize(
    ("server", "load", "tokens"),
    [
        pytest.param((200, 20), {"requests": 128}, 25, id="aligned"),
        pytest.param((100, 10, 0, 0, 10), {"requests": 128}, 20, id="apart"),
        pytest.param((50, 10), {"requests": 64, "compiled_reader": False}, 40, id="read by Python"),
        pytest.param((50, 10), {"requests": 64, "kernel_stamps": False}, 40, id="without stamps"),
    ],
)
def test_64_streams_have_their_own_times(
    c_server: Path, tmp_path: Path, server: tuple[int, ...], load: dict[str, Any], tokens: int
) -> None:
    ran = probed(c_server, server, {"concurrency": 64, **load}, tokens, tmp_path)
    assert_fits(ran.said, ran.log)
    assert ran.report.succeeded == len(ran.log)
    assert ran.said.side.kernel_stamps == load.get("kernel_stamps", True)
    assert ran.said.side.uncertain == sum((~read_alone(each)).sum() for each in ran.said.requests)
    warning = "times were taken by this process, not by the kernel: they include the probe's own lag"
    assert (warning in ran.report.warnings) == (ran.report.client.stamps == "user")


def test_every_stall_is_found_and_as_long_as_it_was(c_server: Path, tmp_path: Path) -> None:
    ran = probed(c_server, (50, 10, 20, 200), {"concurrency": 64, "requests": 64}, 50, tmp_path)
    assert_fits(ran.said, ran.log)
    gaps_s = numpy.concatenate([each.gaps_us[1:] for each in ran.said.requests]) / 1e6
    spans = list(can_have_come_us(ran.said.requests, ran.log))
    least_s = numpy.concatenate([earliest[1:] - latest[:-1] for earliest, latest in spans]) / 1e6
    most_s = numpy.concatenate([latest[1:] - earliest[:-1] for earliest, latest in spans]) / 1e6
    stalls = ran.report.stalls
    assert stalls
    assert stalls.threshold_s == pytest.approx(max(5 * numpy.median(gaps_s), 0.05))
    assert (least_s > stalls.threshold_s).sum() <= stalls.count <= (most_s > stalls.threshold_s).sum()
    assert stalls.count >= 64 * 2
    assert stalls.longest_s == gaps_s.max()


def test_chunks_of_four_tokens(c_server: Path, tmp_path: Path) -> None:
    """A chunk every 80 ms: 20 ms a token; all 64 streams of 80 tokens start together."""
    ran = probed(c_server, (200, 80, 0, 0, 0, 4), {"concurrency": 64, "requests": 64}, 80, tmp_path)
    assert_fits(ran.said, ran.log)
    report = ran.report
    assert (report.output_tokens, report.chunks) == (64 * 80, 64 * 20)
    assert report.itl_s
    assert report.itl_per_token_s
    assert report.tpot_s
    # Each of a request's 19 gaps brought 4 tokens; 79 come after the first.
    assert report.itl_per_token_s.mean == pytest.approx(report.itl_s.mean / 4)
    assert report.tpot_s.mean == pytest.approx(report.itl_s.mean * 19 / 79)
    sent_us = numpy.concatenate([row[2:] for row in ran.log]) / 1e3
    least, most = (4 * most_within(sent_us, window_us) for window_us in (0.98e6, 1.02e6))
    assert least <= report.peak_output_tokens_per_s <= most  # told in steps of 10 ms


def test_a_burst_of_256_is_one_moment(c_server: Path, tmp_path: Path) -> None:
    """All are due at once, over connections opened before."""
    ran = probed(c_server, (200, 20), {"request_rate": float("inf"), "requests": 256}, 10, tmp_path)
    assert_fits(ran.said, ran.log)
    assert [(each.scheduled_us, each.connect_us) for each in ran.said.requests] == [(0, None)] * 256
    assert (ran.said.side.connections, ran.said.side.reconnects) == (256, 0)
    assert_lateness_is_as_said(ran)


def test_a_poisson_load_reaches_the_server_as_one(c_server: Path, tmp_path: Path) -> None:
    """It is the schedule, judged in test_probe_pacing; each request left when it says, and none before its time."""
    asked: dict[str, Any] = {"request_rate": 200.0, "requests": 250, "seed": 5}
    ran = probed(c_server, (20, 5), asked, 4, tmp_path)
    assert_fits(ran.said, ran.log)
    due_us = [round(time_s * 1e9) // 1000 for time_s in schedule_s(load_of(**asked))]
    assert [each.scheduled_us for each in in_turn(ran)] == due_us
    assert ran.report.sent == ran.report.succeeded == len(due_us) == len(ran.log)
    assert min(each.sent_us - each.scheduled_us for each in ran.said.requests) >= 0
    assert_lateness_is_as_said(ran)


def in_turn(ran: Ran) -> list[Result]:
    """The requests as they were taken up: one that has to connect first may leave after the next."""
    return sorted(ran.said.requests, key=lambda each: each.index)


def assert_lateness_is_as_said(ran: Ran) -> None:
    """Each request was taken up before it was sent, and after the one before it was: if that was sent at once, then."""
    sent = numpy.array([each.sent_us for each in in_turn(ran)])
    due = numpy.array([each.scheduled_us for each in in_turn(ran)])
    taken_up = numpy.array([0 if each.connect_us is not None else each.sent_us for each in in_turn(ran)])
    least, most = numpy.maximum(0, numpy.append(0, taken_up[:-1]) - due), sent - due
    client = ran.report.client
    assert least.max() - 1 <= client.late_sends_max_s * 1e6 <= most.max() + 1  # whole microseconds
    least_p99, most_p99 = (float(numpy.percentile(late, 99)) for late in (least, most))
    assert least_p99 - 1 <= client.late_sends_p99_s * 1e6 <= most_p99 + 1
