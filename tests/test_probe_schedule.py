"""Schedules to the last digit: what is repeated must be repeated everywhere."""

import math
from itertools import islice
from typing import Any

import pytest

from serving.probe.pacing import pause_s, schedule_s
from serving.probe.run_records import Refused
from serving.probe.spec import Load


def times(number: int, **load: Any) -> list[float]:
    return list(islice(schedule_s(Load(**load)), number))


def test_a_rising_rate_solves_its_own_equation() -> None:
    """From 2/s to 4/s in 2 s: 2 t + t²/2 = n; the sixth would be due when it ends."""
    assert times(99, shape="ramp", request_rate=2.0, end_request_rate=4.0, duration_s=2.0) == pytest.approx(
        [-2 + math.sqrt(4 + 2 * n) for n in range(6)]
    )


def test_a_falling_rate_ends_when_no_more_fall_due() -> None:
    """From 4/s to 0 in 2 s: 4 t - t² = n. From 2/s to a half in one: none after the second ever."""
    assert times(99, shape="ramp", request_rate=4.0, end_request_rate=0.0, duration_s=2.0) == pytest.approx(
        [2 - math.sqrt(4 - n) for n in range(4)]
    )
    assert times(99, shape="ramp", request_rate=2.0, end_request_rate=0.5, duration_s=1.0) == pytest.approx(
        [0, 2 / 3]
    )


def test_a_seeds_times_are_the_same_on_any_machine() -> None:
    poisson = [0.007826296884696085, 0.011096666024805649, 0.03214657838622419]
    gamma = [0.005879775567417516, 0.029636891545317578, 0.045738064672541955]
    assert times(3, shape="poisson", request_rate=50.0, seed=7) == pytest.approx(poisson, rel=1e-12)
    assert times(3, shape="gamma", request_rate=50.0, burstiness=0.5, seed=7) == pytest.approx(
        gamma, rel=1e-12
    )


def test_a_schedule_ends_at_its_time_or_its_number() -> None:
    assert times(99, shape="constant", request_rate=2.0, duration_s=1.0) == [0.0, 0.5]
    assert times(99, shape="constant", request_rate=2.0, duration_s=1.0, requests=1) == [0.0]
    assert times(4, shape="constant", request_rate=2.0) == [0.0, 0.5, 1.0, 1.5]
    assert times(99, shape="replay", trace=(0.0, 1.0, 2.0), requests=2) == [0.0, 1.0]


def test_what_has_no_schedule() -> None:
    with pytest.raises(ValueError, match="a closed loop has no schedule"):
        times(1, shape="concurrency")
    with pytest.raises(ValueError, match="an open loop needs a rate"):
        times(1, shape="constant")


def test_without_a_failure_or_a_wish_the_pause_is_a_tenth_of_a_second() -> None:
    assert [pause_s(refused) for refused in (None, Refused("gone"), Refused("", "10.5"))] == [0.1, 0.1, 10.0]
    assert pause_s(Refused("(Retry-After: 5)")) == 0.1
