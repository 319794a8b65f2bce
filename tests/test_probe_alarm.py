"""The alarm: what the kernel is asked for, to the nanosecond, and when it wakes whom."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from time import monotonic_ns

import pytest

from serving.probe.alarm import Alarm
from serving.probe.process import new_loop


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """The probe's own."""
    made = new_loop()
    yield made
    made.close()


def left_ns() -> list[int]:
    """For how long each of this process's timers is set yet, by the kernel."""
    told = [path.read_text() for path in Path("/proc/self/fdinfo").iterdir() if path.exists()]
    found = [re.search(r"^it_value: \((\d+), (\d+)\)$", each, re.MULTILINE) for each in told]
    return [int(each[1]) * 1_000_000_000 + int(each[2]) for each in found if each]


def test_the_kernel_is_asked_for_that_very_moment(loop: asyncio.AbstractEventLoop) -> None:
    alarm = Alarm(loop, lambda: None)
    for after_ns in (3_600_000_000_001, 60_000_000_499):  # setting it again moves it
        before_ns = monotonic_ns()
        alarm.set(before_ns + after_ns)
        (left,) = left_ns()
        assert before_ns <= before_ns + after_ns - left <= monotonic_ns()
    alarm.close()
    assert left_ns() == []


@pytest.mark.parametrize("after_ns", [3_000_000, 0, -5_000_000_000])
def test_it_wakes_once_and_not_before(loop: asyncio.AbstractEventLoop, after_ns: int) -> None:
    """One that is past rings as soon as the loop gets to it."""
    rung_ns: list[int] = []

    def ring() -> None:
        rung_ns.append(monotonic_ns())
        loop.stop()

    alarm = Alarm(loop, ring)
    at_ns = monotonic_ns() + after_ns
    alarm.set(at_ns)
    loop.run_forever()
    assert rung_ns[0] >= at_ns
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert (len(rung_ns), left_ns()) == (1, [0])
    alarm.close()
