"""The server in C as a witness: what the probe said of a run, held against the server's own log of it.

Both tell the time by CLOCK_MONOTONIC and by the kernel's stamps, so what came before what is a fact on any machine,
however busy. How near the figures are where nothing else runs is judged by scripts/bench-probe.
"""

import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import asking
import numpy
from numpy.typing import NDArray

from serving.probe import results
from serving.probe.progress import Progress
from serving.probe.report import ProbeReport
from serving.probe.run import run
from serving.probe.run_records import ClientSide, Ending, Result

Log = list[list[int]]
"""A line a stream: when it was received, when it was read, when each token was sent; in nanoseconds."""
Moments = NDArray[numpy.float64]
Process = subprocess.Popen[str]
Watch = Callable[[Process, Progress], None]

CLOCKS_US = 10.0
"""Each side measures how far the kernel's stamps are from its clock, to a microsecond or so."""


@dataclass
class Said:
    """What the probe said: its requests in the order of their sending, and of itself."""

    requests: list[Result]
    side: ClientSide


@dataclass
class Ran:
    """A run, and the server's log of its requests."""

    report: ProbeReport
    said: Said
    log: Log


def probed(
    built: Path,
    server: tuple[int, ...],
    load: dict[str, Any],
    tokens: int,
    folder: Path,
    watch: Watch | None = None,
) -> Ran:
    """Load a server of its own. `watch` gets the server once a second of the load."""
    with process(str(built / "fake_llm"), *map(str, server)) as started:
        port = port_of(started)
        report = loaded(f"http://127.0.0.1:{port}", load, tokens, folder, watch and partial(watch, started))
        return Ran(report, said_in(folder), log_of(port, report.sent))


def loaded(
    url: str, load: dict[str, Any], tokens: int, folder: Path, watch: Callable[[Progress], None] | None = None
) -> ProbeReport:
    """Load the server there."""
    work = asking.workload_of("16", str(tokens), "chat")
    return run(asking.target_of(url, api="chat"), asking.load_of(**load), work, folder, watch=watch)


@contextmanager
def process(*command: str) -> Iterator[Process]:
    """A process that prints text; however the test ends, nothing is left of it."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as started:
        try:
            yield started
        finally:
            started.kill()


def port_of(server: Process) -> int:
    """What it prints first."""
    assert server.stdout is not None
    return int(server.stdout.readline())


def stop(server: Process) -> None:
    """Let it stand still as a whole; the kernel takes what comes meanwhile."""
    os.kill(server.pid, signal.SIGSTOP)
    while Path(f"/proc/{server.pid}/stat").read_text().rpartition(") ")[2][0] != "T":
        time.sleep(0.001)


def said_in(folder: Path) -> Said:
    """What lies there."""
    *lines, ending = results.read(folder / results.RESULTS)[1]
    assert isinstance(ending, Ending)
    requests = [line for line in lines if isinstance(line, Result)]
    return Said(sorted(requests, key=lambda line: (line.sent_us, line.index)), ending.clients[0])


def log_of(port: int, requests: int) -> Log:
    """The streams that came last, without the probe's trial, in the order of their coming."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/truth") as answer:
        return sorted([int(word) for word in line.split()] for line in answer.read().splitlines())[-requests:]


def assert_fits(said: Said, log: Log) -> float:
    """There is a moment at which the run can have begun, by the server's clock: all that was said fits the log.

    Each request left before the server's kernel had it and after it had the one before. Each token came when it can
    have come, as far as the kernel stamped it.
    """
    assert [len(each.gaps_us) for each in said.requests] == [len(row) - 2 for row in log]
    sent = numpy.array([each.sent_us for each in said.requests])
    received = numpy.array([row[0] for row in log]) / 1e3
    came = numpy.concatenate([each.sent_us + numpy.cumsum(each.gaps_us) for each in said.requests])
    earliest, latest = map(numpy.concatenate, zip(*can_have_come_us(said.requests, log), strict=True))
    at_least = {
        "each request left after the one before had arrived": (received[:-1] - sent[1:]).max(),
        "each token came after the server took it up": (earliest - came).max(),
    }
    at_most = {"each request left before it arrived": (received - sent).min()}
    if said.side.kernel_stamps:
        at_most["each token came before anything else did"] = numpy.sort(latest - came)[said.side.unstamped]
    assert max(at_least.values()) <= min(at_most.values()) + CLOCKS_US, (at_least, at_most)
    return float(min(at_most.values()))


def can_have_come_us(requests: list[Result], log: Log) -> Iterator[tuple[Moments, Moments]]:
    """Of each request's tokens: from when to when each can have come, by the server's clock.

    From when the server took it up to send it to when it took up the next thing of all; of tokens that were read
    together only the last one's time is known, and the earlier ones have that time too.
    """
    taken_up = numpy.append(numpy.sort(numpy.concatenate([row[1:] for row in log])), 2**62)
    for request, row in zip(requests, log, strict=True):
        after = taken_up[numpy.searchsorted(taken_up, row[2:], side="right")]
        known = numpy.where(read_alone(request), after, 2**62)
        yield numpy.array(row[2:]) / 1e3, numpy.minimum.accumulate(known[::-1])[::-1] / 1e3


def read_alone(request: Result) -> NDArray[numpy.bool_]:
    """Which of its tokens were not read together with a later one."""
    return numpy.append(numpy.array(request.gaps_us[1:]) > 0, True)


def most_within(moments_us: Moments, window_us: float) -> int:
    """The most of them within a stretch of that length."""
    ordered = numpy.sort(moments_us)
    return int((numpy.searchsorted(ordered, ordered + window_us) - numpy.arange(len(ordered))).max())
