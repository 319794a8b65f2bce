"""Schedules are arithmetic: the right times, the right distribution, and the same again for the same seed."""

import math
from itertools import islice

import pytest
from asking import load_of

from serving.probe.pacing import schedule_s
from serving.probe.spec import Load


def test_constant() -> None:
    load = Load(shape="constant", request_rate=4.0, duration_s=1.1)
    assert list(schedule_s(load)) == [0.0, 0.25, 0.5, 0.75, 1.0]


def test_requests_and_duration_whichever_is_first() -> None:
    assert len(list(schedule_s(Load(shape="constant", request_rate=10.0, duration_s=1.0, requests=3)))) == 3
    assert len(list(schedule_s(Load(shape="constant", request_rate=10.0, duration_s=1.0, requests=99)))) == 10


def test_burst() -> None:
    assert list(schedule_s(Load(shape="burst", requests=3))) == [0.0, 0.0, 0.0]


def test_replay() -> None:
    assert list(schedule_s(Load(shape="replay", trace=(0.0, 0.5, 0.5, 9.0)))) == [0.0, 0.5, 0.5, 9.0]


def test_ramp_reaches_its_rates() -> None:
    """From 10/s to 30/s in 10 s: 200 requests, 15/s in the first quarter's middle, 25/s in the last's."""
    times = list(schedule_s(Load(shape="ramp", request_rate=10.0, end_request_rate=30.0, duration_s=10.0)))
    assert len(times) == 200
    assert sum(2 <= time_s < 3 for time_s in times) == pytest.approx(15, abs=1)
    assert sum(7 <= time_s < 8 for time_s in times) == pytest.approx(25, abs=1)


def test_a_falling_ramp_ends() -> None:
    times = list(schedule_s(Load(shape="ramp", request_rate=20.0, end_request_rate=0.5, duration_s=4.0)))
    assert len(times) == pytest.approx(41, abs=1)
    assert times == sorted(times)


def test_poisson_gaps_are_exponential() -> None:
    """Kolmogorov-Smirnov against the exponential: the critical value at 1 % is 1.63 / sqrt(n)."""
    times = list(islice(schedule_s(Load(shape="poisson", request_rate=200.0, requests=4000)), 4000))
    gaps = sorted(later - earlier for earlier, later in zip([0.0, *times], times, strict=False))
    distance = max(abs(1 - math.exp(-200 * gap) - index / len(gaps)) for index, gap in enumerate(gaps))
    assert distance < 1.63 / math.sqrt(len(gaps))
    assert times[-1] == pytest.approx(20.0, abs=3 * math.sqrt(4000) / 200)


@pytest.mark.parametrize("burstiness", [0.25, 4.0])
def test_gamma_gaps_have_the_asked_spread(burstiness: float) -> None:
    """A gamma distribution of shape k has a coefficient of variation of 1/sqrt(k)."""
    times = list(schedule_s(Load(shape="gamma", request_rate=100.0, burstiness=burstiness, requests=20_000)))
    gaps = [later - earlier for earlier, later in zip(times, times[1:], strict=False)]
    mean = sum(gaps) / len(gaps)
    deviation = math.sqrt(sum((gap - mean) ** 2 for gap in gaps) / len(gaps))
    assert mean == pytest.approx(0.01, rel=0.05)
    assert deviation / mean == pytest.approx(burstiness**-0.5, rel=0.05)


def test_a_seed_repeats_the_schedule() -> None:
    one, same, other = (
        list(schedule_s(Load(shape="poisson", request_rate=50.0, requests=50, seed=seed)))
        for seed in (1, 1, 2)
    )
    assert one == same
    assert one != other


@pytest.mark.parametrize(
    ("asked", "shape"),
    [
        ({"request_rate": 5.0}, "poisson"),
        ({"request_rate": 5.0, "burstiness": 0.5}, "gamma"),
        ({"request_rate": 5.0, "burstiness": math.inf}, "constant"),
        ({"request_rate": math.inf}, "burst"),
        ({"request_rate": 5.0, "end_request_rate": 9.0, "duration_s": 3.0}, "ramp"),
        ({"replay": (0.0, 1.0)}, "replay"),
        ({"concurrency": 5}, "concurrency"),
        ({}, "concurrency"),
    ],
)
def test_what_is_asked_decides_the_shape(asked: dict[str, float], shape: str) -> None:
    assert load_of(**asked).shape == shape  # type: ignore[arg-type]
