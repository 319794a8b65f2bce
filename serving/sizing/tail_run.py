"""PURE: what the slow ones of a hundred requests of a stream wait for at one server, simulated as far as need be."""

from collections.abc import Iterator, Sequence
from functools import cached_property, partial
from itertools import chain
from math import inf
from random import Random

from serving.model.throughput import asked_s
from serving.sizing.batching import Request, Room, Served, StepTime, percentile, rank, serving
from serving.sizing.capacity import ClassTail, Tail
from serving.sizing.traffic import Promise, Traffic

SIMULATED = 2000
MOST_SIMULATED = 10_000
LEAST_OF_A_CLASS = 200
LEAST_BEYOND = 20
LAST_DIGIT_S, TTFT_DIGITS, TPOT_DIGITS = 1e-4, 4, 5
"""As which they are told, in seconds, and held against what is promised."""
SEED = 20261129
"""Of the arrivals and their lengths: the same question has the same answer."""


class Arrivals:
    """The requests of a Poisson stream, and of which class each is: `whose`.

    The same for the same traffic and percentile. So many that some are of the rarest class, and some beyond the
    percentile.
    """

    def __init__(self, traffic: Traffic, percent: float = 95.0) -> None:
        self.traffic = traffic
        rarest = min(part.share for part in traffic.parts)
        of_class = LEAST_OF_A_CLASS / rarest if traffic.classes else 0
        wanted = max(of_class, LEAST_BEYOND * 100 / (100 - percent))
        self.count = min(MOST_SIMULATED, max(SIMULATED, round(wanted)))
        self.warm = self.count // 10
        """So many of the first are not counted."""
        dice, shares = Random(SEED), [part.share for part in traffic.classes]
        self.whose = dice.choices(range(len(shares)), shares, k=self.count) if shares else [0] * self.count
        counted = self.whose[self.warm :]
        self.counted = [counted.count(index) for index in range(len(traffic.parts))]
        """So many are, of each class."""
        self._drawn = [
            (dice.expovariate(1.0), part.input_tokens.draw(dice), part.output_tokens.draw(dice))
            for part in (traffic.parts[which] for which in self.whose)
        ]

    def at(self, rate_per_s: float) -> Iterator[Request]:
        """The requests when so many come a second."""
        at_s = 0.0
        for gap, input_tokens, output_tokens in self._drawn:
            at_s += gap / rate_per_s
            yield Request(at_s, input_tokens, output_tokens)


class Run:
    """They at one server, simulated no further than what is asked of it takes."""

    def __init__(
        self, promise: Promise, arrivals: Arrivals, rate_per_s: float, steps: StepTime, room: Room
    ) -> None:
        self.promise, self.arrivals, parts = promise, arrivals, arrivals.traffic.parts
        self._done = serving(arrivals.at(rate_per_s), steps, room)
        self._counted: list[list[Served]] = [[] for _ in parts]
        self._may = [[count - 1 - rank(count, promise.percentile)] * 2 for count in arrivals.counted]
        """How many more requests of each class may exceed its TTFT, and its TPOT."""
        self._promised = [
            tuple(inf if promised is None else promised for promised in promise.to(part)) for part in parts
        ]
        self._broken = False

    def _next(self) -> Iterator[bool]:
        """With each request that is done: whether more of its class exceed a promise by now, as told, than may."""
        warm, whose, beside_s = self.arrivals.warm, self.arrivals.whose, asked_s()
        spare_s = beside_s + LAST_DIGIT_S  # what is less by more is not told as more
        for which, waited, *_ in self._done:
            if which < warm:
                continue
            index = whose[which]
            self._counted[index].append(waited)
            ttft_s, tpot_s = self._promised[index]
            if waited.ttft_s > ttft_s - spare_s and round(waited.ttft_s + beside_s, TTFT_DIGITS) > ttft_s:
                self._may[index][0] -= 1
                self._broken |= self._may[index][0] < 0
            if waited.tpot_s > tpot_s - LAST_DIGIT_S and round(waited.tpot_s, TPOT_DIGITS) > tpot_s:
                self._may[index][1] -= 1
                self._broken |= self._may[index][1] < 0
            yield self._broken

    @cached_property
    def is_broken(self) -> bool:
        """Whether the promise is broken: where it is, no more is simulated than shows it."""
        return self._broken or any(self._next())

    @cached_property
    def tail(self) -> Tail:
        """What so many of a hundred do not exceed."""
        for _ in self._next():
            pass
        percent, counted = self.promise.percentile, self._counted
        classes = self.arrivals.traffic.classes
        return Tail(
            percentile=percent,
            requests=self.arrivals.count,
            classes=tuple(
                ClassTail(name=part.name, requests=len(own), **slow(own, percent))
                for part, own in zip(classes, counted, strict=bool(classes))
                if own
            ),
            **slow([*chain.from_iterable(counted)], percent),
        )


class Runs:
    """All that are simulated of one server."""

    def __init__(self, promise: Promise, arrivals: Arrivals, steps: StepTime, room: Room) -> None:
        self._at = partial(Run, promise, arrivals, steps=steps, room=room)
        self._known: dict[float, Run] = {}
        self._broken_from = inf

    def at(self, rate_per_s: float) -> Run:
        """At so many requests a second."""
        if rate_per_s not in self._known:
            self._known[rate_per_s] = self._at(rate_per_s)
        return self._known[rate_per_s]

    def breaks(self, rate_per_s: float) -> bool:
        """Whether so many a second break the promise: where fewer do it is not simulated whether these do, too."""
        if rate_per_s not in self._known and rate_per_s >= self._broken_from:
            return True
        is_broken = self.at(rate_per_s).is_broken
        if is_broken:
            self._broken_from = min(self._broken_from, rate_per_s)
        return is_broken


def slow(counted: Sequence[Served], percent: float) -> dict[str, float]:
    """What so many of a hundred do not exceed."""
    ttft, tpot, pause = (percentile([each[index] for each in counted], percent) for index in range(3))
    return {
        "ttft_s": round(ttft + asked_s(), TTFT_DIGITS),
        "tpot_s": round(tpot, TPOT_DIGITS),
        "longest_pause_s": round(pause, 4),
    }


def broken(promise: Promise, traffic: Traffic, tail: Tail) -> str | None:
    """What of the promise the tail breaks, with the numbers; of several classes each by its own requests."""
    tails: Sequence[Tail | ClassTail] = tail.classes or (tail,)
    for part, of_part in zip(traffic.parts, tails, strict=True):
        (ttft_s, tpot_s), whose = promise.to(part), f"{part.name}: " if part.name else ""
        if tpot_s is not None and of_part.tpot_s > tpot_s:
            told = f"TPOT {of_part.tpot_s * 1000:.1f} ms, promised {tpot_s * 1000:g}"
            return f"{whose}p{tail.percentile:g} {told}"
        if ttft_s is not None and of_part.ttft_s > ttft_s:
            return f"{whose}p{tail.percentile:g} TTFT {of_part.ttft_s:.2f} s, promised {ttft_s:g}"
    return None
