"""Waiting: one loop that looks again and again, by whatever clock it is given."""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

Seen = TypeVar("Seen")


class Pace(NamedTuple):
    """How long to wait at most, how often to look meanwhile, and by which clock."""

    within_s: float
    every_s: float
    sleep: Callable[[float], None]
    clock: Callable[[], float]


def until(
    look: Callable[[], Seen],
    is_over: Callable[[Seen], bool],
    pace: Pace,
    meanwhile: Callable[[Seen], None] = lambda seen: None,
) -> Seen:
    """What was seen last: what the waiting was for, or what there was when the time was over.

    It looks at once, and again after each pause; before a pause `meanwhile` is told what was seen.
    """
    end = pace.clock() + pace.within_s
    while True:
        seen = look()
        if is_over(seen) or pace.clock() >= end:
            return seen
        meanwhile(seen)
        pace.sleep(pace.every_s)
