"""PURE: percentiles of raw values, intervals by blocks, and where a run is steady."""

import math
from array import array
from collections.abc import Sequence
from typing import Any

import numpy
from numpy.typing import NDArray

from serving.probe.report import PERCENTILES, Interval, Summary
from serving.probe.significance import t_within

Floats = NDArray[numpy.float64]
BLOCKS = 10
BEYOND = 20
"""A percentile has an interval where at least so many values lie beyond it: p50 from 40 requests, p99 from 2,000."""

Z_95 = 1.960
TINY_SHARE = 1e-6


def summary(values_s: Floats) -> Summary | None:
    """Mean and percentiles of raw values; None for none."""
    if not len(values_s):
        return None
    p50, p90, p95, p99 = (float(value) for value in numpy.percentile(values_s, PERCENTILES))
    return Summary(
        mean=float(values_s.mean()),
        p50=p50,
        p90=p90,
        p95=p95,
        p99=p99,
        max=float(values_s.max()),
        count=len(values_s),
    )


def weighted_summary(values_s: Floats, weights: NDArray[Any]) -> Summary | None:
    """As `summary`, each value standing for `weights` of them."""
    if not weights.sum():
        return None
    order = numpy.argsort(values_s, kind="stable")
    reached = numpy.cumsum(weights[order])
    p50, p90, p95, p99 = (
        float(values_s[order][numpy.searchsorted(reached, reached[-1] * q / 100)]) for q in PERCENTILES
    )
    mean = float((values_s * weights).sum() / reached[-1])
    return Summary(mean=mean, p50=p50, p90=p90, p95=p95, p99=p99, max=float(values_s.max()))


def percentile_by_block(values: Floats, percent: float) -> list[float]:
    """Ten values whose mean and spread are a percentile's: the pseudo-values of the jackknife over blocks.

    Each is from the percentile without one block of successive values (Quenouille 1956, Tukey 1958), so it rests on
    nine tenths of the run: a tail percentile of one block alone would be biased and far too certain. Their spread sees
    that neighbours are alike, but is itself too small by chance in one run of ten (measured: 95 % intervals that held
    88 to 92 % of lognormal runs); so it is at least what the order statistics tell of independent values. None where
    fewer than `BEYOND` values lie beyond the percentile.
    """
    if len(values) * (100 - percent) / 100 < BEYOND:
        return []
    whole = float(numpy.percentile(values, percent))
    rest = (numpy.delete(values, part) for part in numpy.array_split(numpy.arange(len(values)), BLOCKS))
    parts = [BLOCKS * whole - (BLOCKS - 1) * float(numpy.percentile(each, percent)) for each in rest]
    return spread_to(parts, order_error(values, percent) * math.sqrt(BLOCKS))


def order_error(values: Floats, percent: float) -> float:
    """The standard error of a percentile of independent values, whatever they are spread like.

    Half the way between the values that enclose it with 95 % certainty, by the binomial distribution of how many lie
    below it (David & Nagaraja, Order Statistics, 7.1), over the t by which `interval` multiplies it again.
    """
    share, count = percent / 100, len(values)
    reach = Z_95 * math.sqrt(count * share * (1 - share))
    low = max(0, math.floor(count * share - reach))
    high = min(count - 1, math.ceil(count * share + reach))
    ordered = numpy.partition(values, (low, high))
    return float(ordered[high] - ordered[low]) / (2 * t_within(BLOCKS - 1))


def spread_to(parts: list[float], least: float) -> list[float]:
    """The same values, pulled apart around their mean until their standard deviation is `least`, if it was less."""
    mean, deviation = sum(parts) / len(parts), float(numpy.std(parts, ddof=1))
    if deviation >= least:
        return parts
    if deviation < TINY_SHARE * least:  # they tell no pattern of their own: every other one up and down
        step = least * math.sqrt((len(parts) - 1) / len(parts))
        return [mean + step * (-1) ** at for at in range(len(parts))]
    return [mean + (each - mean) * least / deviation for each in parts]


def interval(center: float, block_values: Sequence[float]) -> Interval | None:
    """The 95 % interval around a run's figure, from the same figure of each block (method of batch means)."""
    if len(block_values) < 3:
        return None
    spread = float(numpy.std(block_values, ddof=1)) / math.sqrt(len(block_values))
    half = t_within(len(block_values) - 1) * spread
    return Interval(low=max(0.0, center - half), high=center + half)  # no figure of ours is below nothing


def wilson(good: int, total: int) -> tuple[float, float]:
    """The 95 % Wilson score interval of a share (Wilson 1927)."""
    if total == 0:
        return 0.0, 1.0
    share, z2 = good / total, Z_95**2
    center = share + z2 / (2 * total)
    half = Z_95 * math.sqrt(share * (1 - share) / total + z2 / (4 * total * total))
    scale = 1 + z2 / total
    return max(0.0, (center - half) / scale), min(1.0, (center + half) / scale)


def mser_start(batches: Floats) -> int:
    """How many batches to leave out at the start: those whose omission makes the mean most certain.

    The MSER rule (White 1997): the cut that minimises the squared standard error of what remains, at most half.
    """
    best, best_error = 0, math.inf
    for cut in range(len(batches) // 2 + 1):
        rest = batches[cut:]
        error = float(rest.var()) / len(rest)
        if error < best_error:
            best, best_error = cut, error
    return best


def spread(values: "Sequence[int] | array[int]") -> dict[str, float]:
    """Mean, p50, p99 and maximum of raw values; empty for none."""
    if not values:
        return {}
    raw = numpy.asarray(values)
    p50, p99 = numpy.percentile(raw, (50, 99))
    return {"mean": float(raw.mean()), "p50": float(p50), "p99": float(p99), "max": float(raw.max())}
