"""PURE: when requests are sent: an open loop's schedule, a closed loop's pause after an error.

The same load and seed give the same schedule.
"""

import math
import random
from collections.abc import Iterator
from itertools import islice, takewhile

from serving.probe.run_records import Refused
from serving.probe.spec import Load
from serving.vllm.server_words import wait_s

# A closed loop that meets an error waits before its next request, so that a dead server is not hammered.
PAUSE_AFTER_ERROR_S = 0.1
MOST_RETRY_AFTER_S = 10.0


def schedule_s(load: Load) -> Iterator[float]:
    """The send times in seconds from the start, ended by the load's requests or duration, whichever is first."""
    times = offsets(load, random.Random(load.seed))
    if load.duration_s is not None:
        end_s = load.duration_s
        times = takewhile(lambda time_s: time_s < end_s, times)
    return islice(times, load.requests) if load.requests is not None else times


def offsets(load: Load, rng: random.Random) -> Iterator[float]:
    """The unending schedule of the load's shape."""
    match load.shape:
        case "burst":
            return endless_zero()
        case "constant":
            return constant(rate_of(load))
        case "poisson":
            return gamma(rate_of(load), 1.0, rng)
        case "gamma":
            return gamma(rate_of(load), load.burstiness, rng)
        case "ramp":
            return ramp(rate_of(load), load.end_request_rate or 0.0, load.duration_s or 0.0)
        case "replay":
            return iter(load.trace)
        case "concurrency":
            raise ValueError("a closed loop has no schedule")


def rate_of(load: Load) -> float:
    """The request rate of an open loop."""
    if load.request_rate is None:
        raise ValueError("an open loop needs a rate")
    return load.request_rate


def endless_zero() -> Iterator[float]:
    """All at once."""
    while True:
        yield 0.0


def constant(rate: float) -> Iterator[float]:
    """Evenly spaced. Each time is computed from its index, so rounding does not add up."""
    index = 0
    while True:
        yield index / rate
        index += 1


def gamma(rate: float, shape: float, rng: random.Random) -> Iterator[float]:
    """Gamma-distributed gaps of mean 1/rate; shape 1 is Poisson (as `vllm bench serve --burstiness`)."""
    time_s = 0.0
    while True:
        time_s += rng.gammavariate(shape, 1 / (rate * shape))
        yield time_s


def ramp(start_rate: float, end_rate: float, duration_s: float) -> Iterator[float]:
    """A rate that moves evenly from start to end: the n-th time solves start·t + (end-start)·t²/(2·duration) = n."""
    index = 0
    slope = (end_rate - start_rate) / (2 * duration_s)
    while True:
        discriminant = start_rate**2 + 4 * slope * index
        if discriminant < 0:
            return
        time_s = 2 * index / (start_rate + math.sqrt(discriminant)) if index else 0.0
        if time_s >= duration_s:
            return
        yield time_s
        index += 1


def pause_s(refused: Refused | None) -> float:
    """How long a closed loop waits after a failure: what the server asked, within reason."""
    asked_s = wait_s(refused.retry_after) if refused and refused.retry_after else None
    return min(max(asked_s or 0.0, PAUSE_AFTER_ERROR_S), MOST_RETRY_AFTER_S)
