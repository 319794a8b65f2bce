"""How long there is for all that is asked meanwhile, whoever is asked and by which door."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from operator import itemgetter

Clock = Callable[[], float]

_end: ContextVar[tuple[float, Clock, float]] = ContextVar("end", default=(math.inf, time.monotonic, math.inf))
"""When the time is over, by which clock, and how much it was."""

LEAST_S = 0.1
"""What a question gets when the time is over: it then fails as one that came too late, by the door's own words."""


@contextmanager
def within(seconds: float, clock: Clock = time.monotonic) -> Iterator[None]:
    """Until the end of the block every question is to be answered within that time, or within what is left of more."""
    token = _end.set(min((clock() + seconds, clock, seconds), _end.get(), key=itemgetter(0)))
    try:
        yield
    finally:
        _end.reset(token)


def left_s(most: float) -> float:
    """The time a question may take that would otherwise get so much."""
    end, clock, _ = _end.get()
    return max(LEAST_S, min(most, end - clock()))


def told_s(most: float, left_s: float) -> float:
    """The time to name where an answer did not come within what was left: its own, or that of all questions."""
    return most if left_s >= most else _end.get()[2]
