"""PURE: whether two groups of values differ by more than their spread, and how many such questions were asked."""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

ALPHA = 0.05
"""How often equal things may be called different, all figures of one comparison together."""
TINY = 1e-300
EXACT = 1e-14
MOST_TERMS = 10_000
"""More than the fraction ever needs: it converges within sqrt(max(a, b)) terms or so."""


def t_tail(t: float, degrees: float) -> float:
    """The chance that Student's t lies beyond +-t: I_x(degrees/2, 1/2) at x = degrees / (degrees + t^2).

    The regularised incomplete beta function (Abramowitz & Stegun 26.7.1; DLMF 8.17).
    """
    return incomplete_beta(degrees / (degrees + t * t), degrees / 2, 0.5) if math.isfinite(t) else 0.0


def incomplete_beta(x: float, a: float, b: float) -> float:
    """I_x(a, b) by its continued fraction, DLMF 8.17.22, on the side where that converges quickly (8.17.4)."""
    if x <= 0 or x >= 1:
        return min(max(x, 0.0), 1.0)
    if x > (a + 1) / (a + b + 2):
        return 1 - incomplete_beta(1 - x, b, a)
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    )
    # Lentz's method, from the first term on.
    c, d = 1.0, 1 / kept_from_zero(1 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, MOST_TERMS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        step = 1.0
        for term in (even, odd):
            d = 1 / kept_from_zero(1 + term * d)
            c = kept_from_zero(1 + term / c)
            step = c * d
            value *= step
        if abs(step - 1) < EXACT:
            break
    return front * value / a


def kept_from_zero(value: float) -> float:
    """A denominator that is one."""
    return value if abs(value) > TINY else TINY


@lru_cache(maxsize=4096)
def t_within(degrees: float, beyond: float = 0.05) -> float:
    """The t that Student's t exceeds on either side with that chance; endless without a degree of freedom."""
    if degrees <= 0:
        return math.inf
    scale = math.exp(math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2))
    scale /= math.sqrt(degrees * math.pi)
    t, step = 0.0, math.inf
    while step > EXACT * t:  # Newton's: the tail is convex, so that each step comes nearer from below
        density = scale * (1 + t * t / degrees) ** (-(degrees + 1) / 2)
        step = (t_tail(t, degrees) - beyond) / (2 * density)
        t += step
    return t


class Contrast(NamedTuple):
    """A difference, how far it may be off, and by how many degrees of freedom that is known."""

    difference: float
    error: float
    degrees: float

    @property
    def p(self) -> float:
        """The chance of so large a difference, or a larger one, where there is none."""
        if self.error == 0:
            return float(self.difference == 0)
        return t_tail(self.difference / self.error, self.degrees)

    def half_width(self, beyond: float = 0.05) -> float:
        """Of the interval around the difference that leaves out so much."""
        return t_within(self.degrees, beyond) * self.error if self.error else 0.0


def welch(a: Sequence[float], b: Sequence[float], difference: float | None = None) -> Contrast:
    """Welch's t-test of b - a (Welch 1947), for groups whose spread need not be equal.

    Where one of them is a single value, it is taken to spread as the other does: then the test asks whether it is one
    of those (Student's t with n - 1 degrees). Raises ValueError where no group has two.
    """
    mean_a, mean_b = sum(a) / len(a), sum(b) / len(b)
    apart = mean_b - mean_a if difference is None else difference
    if len(a) == 1 or len(b) == 1:
        many = max(a, b, key=len)
        return Contrast(apart, math.sqrt(variance(many) * (1 + 1 / len(many))), len(many) - 1)
    parts = [(variance(values) / len(values), len(values) - 1) for values in (a, b)]
    error = sum(part for part, _ in parts)
    if error == 0:
        return Contrast(apart, 0.0, min(degrees for _, degrees in parts))
    return Contrast(apart, math.sqrt(error), error**2 / sum(part**2 / degrees for part, degrees in parts))


def variance(values: Sequence[float]) -> float:
    """Of the population that they are a sample of. Raises ValueError for fewer than two."""
    if len(values) < 2:
        raise ValueError("one value has no spread")
    mean = sum(values) / len(values)
    return sum((value - mean) ** 2 for value in values) / (len(values) - 1)


def holm(chances: Sequence[float]) -> list[float]:
    """Each p corrected for how many there are, so that all together err as often as one (Holm 1979)."""
    order = sorted(range(len(chances)), key=lambda at: chances[at])
    corrected, largest = [0.0] * len(chances), 0.0
    for rank, at in enumerate(order):
        largest = max(largest, min(1.0, (len(chances) - rank) * chances[at]))
        corrected[at] = largest
    return corrected
