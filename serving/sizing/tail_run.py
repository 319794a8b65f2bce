"""PURE: what the slow ones of a hundred requests of a stream wait for at one server, simulated as far as need be."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import chain
from random import Random

from serving.model.throughput import asked_s
from serving.sizing.batching import Request, Room, Served, StepTime, arriving, percentile, rank, serving
from serving.sizing.capacity import ClassTail, Tail
from serving.sizing.traffic import Promise, Traffic

SIMULATED = 2000
MOST_SIMULATED = 10_000
LEAST_OF_A_CLASS = 200
LEAST_BEYOND = 20
SEED = 20261129
"""Of the arrivals and their lengths: the same question has the same answer."""


class Stream:
    """The requests of a Poisson stream, one a second, and of which class each is.

    The same for the same traffic and percentile. So many that some are of the rarest class, and some beyond the
    percentile.
    """

    def __init__(self, traffic: Traffic, percent: float = 95.0) -> None:
        rarest = min(part.share for part in traffic.parts)
        of_class = LEAST_OF_A_CLASS / rarest if traffic.classes else 0
        wanted = max(of_class, LEAST_BEYOND * 100 / (100 - percent))
        count = min(MOST_SIMULATED, max(SIMULATED, round(wanted)))
        self.warm = count // 10
        """So many of the first are not counted."""
        if not traffic.classes:
            lengths = traffic.input_tokens, traffic.output_tokens
            self.requests, self.whose = arriving(1.0, count, *lengths, SEED), [0] * count
            return
        dice, at_s, self.requests = Random(SEED), 0.0, list[Request]()
        self.whose = dice.choices(
            range(len(traffic.classes)), [part.share for part in traffic.classes], k=count
        )
        for which in self.whose:
            part, at_s = traffic.classes[which], at_s + dice.expovariate(1.0)
            self.requests.append(Request(at_s, part.input_tokens.draw(dice), part.output_tokens.draw(dice)))

    def at(self, rate_per_s: float) -> Iterator[Request]:
        """The requests when so many come a second."""
        return (Request(at_s / rate_per_s, *lengths) for at_s, *lengths in self.requests)


class Run:
    """A stream at one server, simulated no further than what is asked of it takes."""

    def __init__(
        self,
        traffic: Traffic,
        promise: Promise,
        stream: Stream,
        rate_per_s: float,
        steps: StepTime,
        room: Room,
    ) -> None:
        self.traffic, self.promise, self.stream = traffic, promise, stream
        self._done = serving(stream.at(rate_per_s), steps, room)
        self._counted: list[list[Served]] = [[] for _ in traffic.parts]
        of_parts = [stream.whose[stream.warm :].count(index) for index in range(len(traffic.parts))]
        self._may = [[count - 1 - rank(count, promise.percentile)] * 2 for count in of_parts]
        """How many more requests of each class may exceed its TTFT, and its TPOT."""
        self._promised = [promise.to(part) for part in traffic.parts]
        self._broken = False

    def _next(self) -> Iterator[bool]:
        """With each request that is done: whether more of its class exceed a promise now than may."""
        for which, waited, *_ in self._done:
            if which < self.stream.warm:
                continue
            index = self.stream.whose[which]
            self._counted[index].append(waited)
            for of_what, (took, most) in enumerate(zip(told(*waited), self._promised[index], strict=False)):
                if most is not None and took > most:
                    self._may[index][of_what] -= 1
                    self._broken |= self._may[index][of_what] < 0
            yield self._broken

    @cached_property
    def is_broken(self) -> bool:
        """Whether the promise is broken: no more is simulated than tells it."""
        return self._broken or any(self._next())

    @cached_property
    def tail(self) -> Tail:
        """What so many of a hundred do not exceed."""
        for _ in self._next():
            pass
        percent, counted = self.promise.percentile, self._counted
        return Tail(
            percentile=percent,
            requests=len(self.stream.requests),
            classes=tuple(
                ClassTail(name=part.name, requests=len(own), **slow(own, percent))
                for part, own in zip(self.traffic.classes, counted, strict=bool(self.traffic.classes))
                if own
            ),
            **slow([*chain.from_iterable(counted)], percent),
        )


def told(ttft_s: float, tpot_s: float, longest_pause_s: float) -> tuple[float, float, float]:
    """As it is told, and held against what is promised: from the sending on, to a tenth of a millisecond and less."""
    return round(ttft_s + asked_s(), 4), round(tpot_s, 5), round(longest_pause_s, 4)


def slow(counted: Sequence[Served], percent: float) -> dict[str, float]:
    """What so many of a hundred do not exceed."""
    each = told(*(percentile([served[index] for served in counted], percent) for index in range(3)))
    return dict(zip(("ttft_s", "tpot_s", "longest_pause_s"), each, strict=True))


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


def strain(promise: Promise, traffic: Traffic, tail: Tail) -> float:
    """The largest of all times over what is promised of them; 0.0 where nothing is."""
    tails: Sequence[Tail | ClassTail] = tail.classes or (tail,)
    of_promises = (
        waited / promised
        for part, each in zip(traffic.parts, tails, strict=True)
        for waited, promised in zip((each.ttft_s, each.tpot_s), promise.to(part), strict=True)
        if promised is not None
    )
    return max(of_promises, default=0.0)
