"""PURE: what a figure of so few texts is worth: the texts are drawn again and again, with the same seed each time.

A text is drawn whole: the tokens of one are alike, so that token by token an interval would be far too narrow.
"""

import math
from collections.abc import Callable, Sequence

import numpy

from infra.record import Record

DRAWS = 2000
SEED = 0
Z_95 = 1.959964


class Interval(Record):
    """A figure and the middle 95 % of what other texts of the kind would give; none can be had of a single text."""

    mean: float
    """Of the texts that were asked."""
    low: float | None = None
    """Its lower end; null of a single text."""
    high: float | None = None
    """Its upper end; null of a single text."""

    def map(self, change: Callable[[float], float]) -> "Interval":
        """The interval of a rising function of the figure."""
        low, high = self.low, self.high
        return Interval(
            mean=change(self.mean),
            low=None if low is None else change(low),
            high=None if high is None else change(high),
        )


def of_ratio(sums: Sequence[float], counts: Sequence[float]) -> Interval:
    """The sum of one over that of the other, a pair a text: a mean by token, say. The counts are above zero."""
    mean = math.fsum(sums) / math.fsum(counts)
    if len(sums) < 2:
        return Interval(mean=mean)
    tops, bottoms, draw = numpy.array(sums), numpy.array(counts), numpy.random.default_rng(SEED)
    drawn = (draw.integers(len(sums), size=len(sums)) for _ in range(DRAWS))
    ratios = [float(tops[texts].sum() / bottoms[texts].sum()) for texts in drawn]
    low, high = numpy.quantile(ratios, (0.025, 0.975))
    return Interval(mean=mean, low=min(float(low), mean), high=max(float(high), mean))


def of_share(hits: int, count: int) -> Interval:
    """A share of so many, with Wilson's interval, which is right for few and for none or all of them."""
    share, spread = hits / count, Z_95**2 / count
    middle = (share + spread / 2) / (1 + spread)
    half = Z_95 * math.sqrt(share * (1 - share) / count + spread / (4 * count)) / (1 + spread)
    return Interval(
        mean=share, low=min(share, max(0.0, middle - half)), high=max(share, min(1.0, middle + half))
    )
