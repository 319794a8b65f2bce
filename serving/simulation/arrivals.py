"""PURE: what comes: a Poisson stream whose rate changes by the hour, or a trace; all of it, or one replica's share."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import islice
from math import ceil, cos, exp, pi
from random import Random
from typing import NamedTuple, Protocol

from serving.probe.lengths import Lengths
from serving.sizing.batching import Request

HOUR_S = 3600.0
HOURS_A_DAY = 24
BUSIEST_HOUR = 14
"""The middle of a day's busiest hour is half an hour later."""
STEEPEST = 300.0
"""Then nearly all of a day comes in one hour."""


class Span(NamedTuple):
    """A time with one rate, within one hour."""

    start_s: float
    end_s: float
    requests_per_s: float
    hour: int

    @property
    def expected(self) -> float:
        """Requests."""
        return (self.end_s - self.start_s) * self.requests_per_s


class Rate(NamedTuple):
    """Requests a second from one hour of the day to another."""

    start_h: float
    end_h: float
    requests_per_s: float

    def __str__(self) -> str:
        """As a user writes it."""
        return f"{self.start_h:g}-{self.end_h:g}={self.requests_per_s:g}"


class Source(Protocol):
    """What comes, by spans of time."""

    @property
    def spans(self) -> Sequence[Span]: ...

    def draw(self, share: float, every: int, dice: Random) -> list[Request]:
        """What comes to that share of all replicas.

        `every` is 1 where a request goes to any of them alike, or their number where it is each one's turn.
        """
        ...


class Requests(NamedTuple):
    """Requests of one kind among others."""

    share: float
    input_tokens: Lengths
    output_tokens: Lengths

    def draw(self, at_s: float, dice: Random) -> Request:
        """One of them."""
        return Request(at_s, self.input_tokens.draw(dice), self.output_tokens.draw(dice))


class Stream(NamedTuple):
    """A Poisson stream."""

    spans: Sequence[Span]
    kinds: Sequence[Requests]

    def draw(self, share: float, every: int, dice: Random) -> list[Request]:
        """See Source. Of a stream that goes round, each replica gets one in so many."""
        return [
            self.kind(dice).draw(at_s, dice)
            for span in self.spans
            if span.requests_per_s > 0
            for at_s in times(span, span.requests_per_s * share, every, dice)
        ]

    def kind(self, dice: Random) -> Requests:
        """One of the kinds, by their shares."""
        return self.kinds[0] if len(self.kinds) == 1 else dice.choices(self.kinds, self.shares)[0]

    @property
    def shares(self) -> list[float]:
        """Of the kinds."""
        return [kind.share for kind in self.kinds]

    def with_longer_prompts(self, tokens: int) -> "Stream":
        """The same with so many tokens more in each prompt."""
        longer = [kind._replace(input_tokens=kind.input_tokens.longer(tokens)) for kind in self.kinds]
        return self._replace(kinds=longer)

    def shortened(self, time: float) -> "Stream":
        """Of each span that share, one after the other."""
        spans, at_s = [], 0.0
        for span in self.spans:
            end_s = at_s + (span.end_s - span.start_s) * time
            spans.append(span._replace(start_s=at_s, end_s=end_s))
            at_s = end_s
        return self._replace(spans=tuple(spans))

    def between(self, start_s: float, end_s: float) -> "Stream":
        """What comes in that time, at its own times."""
        cut = (
            span._replace(start_s=max(start_s, span.start_s), end_s=min(end_s, span.end_s))
            for span in self.spans
        )
        return self._replace(spans=tuple(span for span in cut if span.start_s < span.end_s))


class Trace(NamedTuple):
    """What came somewhere."""

    requests: Sequence[Request]

    @property
    def spans(self) -> Sequence[Span]:
        """Each hour with what came in it."""
        last_s, times_s = self.requests[-1].at_s, [request.at_s for request in self.requests]
        found = []
        for hour in range(int(last_s // HOUR_S) + 1):
            start_s, end_s = hour * HOUR_S, min((hour + 1) * HOUR_S, max(last_s, hour * HOUR_S + 1.0))
            count = bisect_left(times_s, (hour + 1) * HOUR_S) - bisect_left(times_s, start_s)
            found.append(Span(start_s, end_s, count / (end_s - start_s), hour))
        return found

    def draw(self, share: float, every: int, dice: Random) -> list[Request]:
        """See Source."""
        if every > 1:
            return list(islice(self.requests, dice.randrange(every), None, every))
        if share >= 1:
            return list(self.requests)
        return [request for request in self.requests if dice.random() < share]

    def with_longer_prompts(self, tokens: int) -> "Trace":
        """The same with so many tokens more in each prompt."""
        return Trace([each._replace(input_tokens=each.input_tokens + tokens) for each in self.requests])

    def between(self, start_s: float, end_s: float) -> "Trace":
        """What came in that time."""
        return Trace([request for request in self.requests if start_s <= request.at_s < end_s])


def times(span: Span, rate_per_s: float, every: int, dice: Random) -> Iterator[float]:
    """Times of arrival within a span: of each `every` of a Poisson stream one, at that rate."""
    if every == 1:
        at_s = span.start_s + dice.expovariate(rate_per_s)
        while at_s < span.end_s:
            yield at_s
            at_s += dice.expovariate(rate_per_s)
        return
    scale_s = 1 / rate_per_s / every
    at_s = span.start_s + dice.random() * dice.gammavariate(every, scale_s)
    while at_s < span.end_s:
        yield at_s
        at_s += dice.gammavariate(every, scale_s)


def day(requests_per_s: float, peak_factor: float) -> tuple[Rate, ...]:
    """A day by the hour with that average: a bell around the clock (von Mises), as steep as its busiest hour asks."""
    swing = [cos(2 * pi * (hour - BUSIEST_HOUR) / HOURS_A_DAY) for hour in range(HOURS_A_DAY)]

    def shape(steepness: float) -> list[float]:
        raised = [exp(steepness * (each - 1)) for each in swing]
        return [each * HOURS_A_DAY / sum(raised) for each in raised]

    low, high = 0.0, STEEPEST
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if max(shape(middle)) < peak_factor else (low, middle)
    return tuple(Rate(hour, hour + 1, requests_per_s * each) for hour, each in enumerate(shape(low)))


def spans(rates: Sequence[Rate], hours: float) -> tuple[Span, ...]:
    """The rates over that many hours, day after day, cut where an hour ends; between them nothing comes."""
    found = []
    for days in range(ceil(hours / HOURS_A_DAY)):
        for rate in rates:
            start_h, end_h = days * HOURS_A_DAY + rate.start_h, min(hours, days * HOURS_A_DAY + rate.end_h)
            for hour in range(int(start_h), ceil(end_h)):
                low, high = max(start_h, hour), min(end_h, hour + 1)
                if low < high:
                    found.append(Span(low * HOUR_S, high * HOUR_S, rate.requests_per_s, hour))
    return tuple(found)
