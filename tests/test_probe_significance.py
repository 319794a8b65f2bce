"""What may be called a difference: the distribution, the tests, and how often they err over many equal groups."""

import math
import random
from collections.abc import Callable

import numpy
import pytest

from serving.probe.diff import between, judged
from serving.probe.repeats import turns
from serving.probe.significance import (
    ALPHA,
    Contrast,
    holm,
    incomplete_beta,
    t_tail,
    t_within,
    variance,
    welch,
)


def test_students_t_is_that_of_the_tables() -> None:
    """Two-sided 5 %, 1 % and 0.1 % of any table of the distribution."""
    table = {
        0.05: {1: 12.706, 2: 4.303, 4: 2.776, 8: 2.306, 30: 2.042, 120: 1.980},
        0.01: {1: 63.657, 2: 9.925, 4: 4.604, 8: 3.355, 30: 2.750, 120: 2.617},
        0.001: {2: 31.599, 4: 8.610, 8: 5.041, 30: 3.646, 120: 3.373},
    }
    for beyond, by_degrees in table.items():
        for degrees, t in by_degrees.items():
            assert t_within(degrees, beyond) == pytest.approx(t, abs=6e-4), (beyond, degrees)
            assert t_tail(t, degrees) == pytest.approx(beyond, rel=3e-3), (beyond, degrees)
    assert t_within(1e6) == pytest.approx(1.959964, abs=1e-4)
    assert (t_within(0), t_tail(0.0, 3), t_tail(math.inf, 3)) == (math.inf, 1.0, 0.0)


@pytest.mark.parametrize("degrees", [0.7, 1.0, 2.5, 7.9, 40.0])
def test_students_t_holds_95_percent_between_it_and_its_opposite(degrees: float) -> None:
    """The density of the distribution, summed up by Simpson's rule, where t = tan of what is summed over."""
    at = numpy.linspace(0, math.atan(t_within(degrees)), 20_001)
    density = (1 + numpy.tan(at) ** 2 / degrees) ** (-(degrees + 1) / 2) / numpy.cos(at) ** 2
    weights = numpy.array([1.0, *[4.0, 2.0] * 9_999, 4.0, 1.0]) * (at[1] - at[0]) / 3
    scale = math.gamma((degrees + 1) / 2) / math.gamma(degrees / 2) / math.sqrt(degrees * math.pi)
    assert 2 * scale * float((weights * density).sum()) == pytest.approx(0.95, abs=1e-6)


def test_welchs_test_by_hand() -> None:
    """Means 10 and 12, variances 2.5 each over 5 runs: error 1, 8 degrees, t 2.306."""
    found = welch([8.0, 9.0, 10.0, 11.0, 12.0], [10.0, 11.0, 12.0, 13.0, 14.0])
    assert found == pytest.approx((2.0, 1.0, 8.0))
    assert found.half_width() == pytest.approx(2.306, abs=1e-3)
    assert found.p == pytest.approx(0.0805, abs=1e-4)
    # Variances 1 and 100 over 3 and 5: parts 1/3 and 20, degrees 20.3333^2 / ((1/3)^2/2 + 20^2/4).
    found = welch([1.0, 2.0, 3.0], [0.0, 10.0, 10.0, 10.0, 25.0], difference=7.0)
    assert found == pytest.approx((7.0, math.sqrt(1 / 3 + 80 / 5), (1 / 3 + 16) ** 2 / (1 / 18 + 64)))


def test_a_single_run_is_held_against_the_spread_of_the_others() -> None:
    """Of 8 to 12 another one lies within 10 +- 2.776 sqrt(2.5 (1 + 1/5)) at 95 %."""
    others = [8.0, 9.0, 10.0, 11.0, 12.0]
    assert welch(others, [15.0]) == pytest.approx((5.0, math.sqrt(3.0), 4))
    assert welch([15.0], others) == pytest.approx((-5.0, math.sqrt(3.0), 4))
    with pytest.raises(ValueError, match="one value has no spread"):
        welch([1.0], [2.0])


def test_what_does_not_spread_differs_or_is_the_same() -> None:
    assert (welch([5.0, 5.0], [5.0, 5.0]).p, welch([5.0, 5.0], [6.0, 6.0]).p) == (1.0, 0.0)
    assert Contrast(1.0, 0.0, 1.0).half_width() == 0.0
    assert variance([1.0, 2.0, 3.0]) == 1.0


def test_holms_correction() -> None:
    """Sorted: 3 x 0.01, 2 x 0.02, 1 x 0.035, none below the one before it."""
    assert holm([0.035, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])
    assert holm([0.9, 0.4]) == [0.9, 0.8]
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


# Over many pairs of groups


NAMES = [f"figure {number}" for number in range(10)]
PAIRS = 500

Drift = Callable[[random.Random, int], list[float]]


def steady(rng: random.Random, runs: int) -> list[float]:
    return [0.0] * runs


def even(rng: random.Random, runs: int) -> list[float]:
    """Ten per cent from the first run to the last."""
    return [0.1 * at / (runs - 1) for at in range(runs)]


def wandering(rng: random.Random, runs: int) -> list[float]:
    """A random walk by one per cent a run."""
    steps = [rng.gauss(0.0, 0.01) for _ in range(runs)]
    return [sum(steps[: at + 1]) for at in range(runs)]


def measured(
    rng: random.Random, order: list[int], drift: list[float], noise: float, gain: float
) -> tuple[list[dict[str, float]], list[dict[str, float]]]:
    """Runs in that order, whose ten figures lie apart by that share from run to run, half of it common to all ten."""
    groups: tuple[list[dict[str, float]], list[dict[str, float]]] = ([], [])
    own, common = noise * math.sqrt(0.5), noise * math.sqrt(0.5)
    for endpoint, shift in zip(order, drift, strict=True):
        together = shift + rng.gauss(0.0, common) + gain * endpoint
        groups[endpoint].append({name: 100 * math.exp(together + rng.gauss(0.0, own)) for name in NAMES})
    return groups


def called(order: list[int], drift: Drift, gain: float = 0.0, noise: float = 0.02) -> tuple[int, int]:
    """Of so many pairs of groups: those of which anything is called different, and those of which the first is."""
    rng = random.Random(20261130)
    anything = first = 0
    for _ in range(PAIRS):
        contrasts = between(*measured(rng, order, drift(rng, len(order)), noise, gain))
        chances = holm([contrast.p for _, _, contrast in contrasts.values()])
        anything += min(chances) <= ALPHA
        first += chances[0] <= ALPHA
    return anything, first


def in_turns(repeat: int) -> list[int]:
    return [turn.endpoint for turn in turns(2, repeat)]


@pytest.mark.parametrize("drift", [steady, even, wandering])
@pytest.mark.parametrize("repeat", [2, 3, 5])
def test_of_equal_endpoints_in_turns_five_percent_at_most_are_called_different(
    drift: Drift, repeat: int
) -> None:
    anything, _ = called(in_turns(repeat), drift)
    assert anything <= PAIRS * 5 // 100


def test_one_after_the_other_a_drift_is_a_difference_which_is_why_they_take_turns() -> None:
    anything, _ = called([0] * 5 + [1] * 5, even)
    assert anything > PAIRS * 7 // 10


def test_ten_percent_are_found_by_five_against_five_where_runs_lie_two_apart() -> None:
    """By two against two they are not: what so few could show is said beside them."""
    _, found = called(in_turns(5), steady, gain=math.log(1.1))
    assert found >= PAIRS * 99 // 100
    _, found = called(in_turns(2), steady, gain=math.log(1.1))
    assert found < PAIRS // 2


def test_what_could_be_shown_is_what_would_be_called_different() -> None:
    a = [{name: value for name in NAMES} for value in (99.0, 100.0, 101.0, 102.0)]
    (change, *_) = judged(between(a, a))
    assert change.could_show
    for share, differs in ((change.could_show * 1.001, True), (change.could_show * 0.999, False)):
        b = [each | {NAMES[0]: each[NAMES[0]] + share * change.a} for each in a]
        assert judged(between(a, b))[0].differs == differs


def test_turns_are_even() -> None:
    assert [(turn.endpoint, turn.round) for turn in turns(2, 3)] == [
        (0, 0),
        (1, 0),
        (1, 1),
        (0, 1),
        (0, 2),
        (1, 2),
    ]
    assert [turn.endpoint for turn in turns(3, 2)] == [0, 1, 2, 2, 1, 0]
    assert [turn.endpoint for turn in turns(1, 2)] == [0, 0]


def test_beyond_its_range_the_incomplete_beta_is_all_or_nothing() -> None:
    assert [incomplete_beta(x, 2.0, 3.0) for x in (-0.5, 0.0, 1.0, 1.5)] == [0.0, 0.0, 1.0, 1.0]
