"""PURE: whether text came in bursts of whole events on a clock of the way's own: a gateway that flushes now and then.

An engine that makes several tokens a step and sends each as an event (multi-step, speculation) looks alike. What tells:

- The engine's own gap between steps, where its /metrics has one: its bursts come at that gap, a gateway's far apart.
- How many events a burst holds. On a clock it is the time over the engine's gap: this number or the next (262 ms of
  20 ms: 13 or 14). Multi-step engines always make the same number. Speculation makes one more for each guess in a row
  that was right, so a number and its neighbour alone, with a seventh of each at least, do not come of it at any rate of
  right guesses.
- Ten or more, nearly the same each time, a tenth of a second or more apart: engines that make so many in a step send
  them as one chunk.
- The last burst. A gateway flushes when the answer ends, so a smaller last burst comes sooner in proportion; a step of
  an engine takes its time however many tokens of it are wanted.

Where nothing tells, the reader is told of both, and the figures stand.
"""

from collections import Counter
from dataclasses import dataclass, field

import numpy
from numpy.typing import NDArray

from serving.probe.run_records import Result

TOGETHER_US = 1000
"""Events no further apart are of one burst; so are those within a fifth of the usual gap between bursts."""
SHORTEST_US = 20_000
FEWEST = 3
"""Bursts of an answer: the first has the prompt's time before it, and the last one is a rest."""
FEWEST_OF_A_RUN = 20
REGULAR, REGULAR_SHARE = 0.15, 0.8
NOT_THE_SAME, ALIKE_SHARE = 0.85, 0.9
FEW_EVENTS = 6
"""Below so many on average only a number and its neighbour are alike; above, what is within this share:"""
ALIKE = 0.15
PARTIAL, SOONER = 0.7, 0.15
FEWEST_RESTS = 3
MANY, LONG_S = 10, 0.1
ENGINE_FACTOR = 1.5
"""Bursts this much further apart than the engine's own gaps are not its steps."""

Gaps = NDArray[numpy.int64]


@dataclass
class Bursts:
    """Of a run's answers, those in bursts of several events."""

    answers: int = 0
    beside: int = 0
    """Of them, those that showed a sign of their own of having been held back."""
    periods_us: list[int] = field(default_factory=list)
    """Before each burst but an answer's first and last; how many events it held."""
    held: list[int] = field(default_factory=list)
    rests: list[tuple[int, int]] = field(default_factory=list)
    """The same two of each last one."""

    def add(self, result: Result, gaps_us: Gaps, is_held_back: bool) -> None:
        """Fold an answer."""
        found = bursts_of(gaps_us, result.unwatched_us)
        if found is None:
            return
        periods, held = found
        self.answers += 1
        self.beside += is_held_back
        self.periods_us += periods[:-1]
        self.held += held[:-1]
        self.rests.append((periods[-1], held[-1]))

    @property
    def period_s(self) -> float:
        """The usual time between bursts."""
        return float(numpy.median(self.periods_us)) / 1e6

    @property
    def events(self) -> float:
        """That a burst holds on average."""
        return sum(self.held) / len(self.held)

    def is_of_the_way(self, engine_gap_s: float | None) -> bool | None:
        """Whether something on the way collected them, given the engine's own mean gap; None where nothing tells."""
        if not self.answers:
            return False
        if engine_gap_s:
            return sum(self.periods_us) / 1e6 / len(self.periods_us) >= ENGINE_FACTOR * engine_gap_s
        if not self.is_regular():
            return None
        return True if self.are_many() or self.is_counted_by_time() or self.ends_sooner() else None

    def are_many(self) -> bool:
        """Whether they hold more, and are further apart, than steps whose tokens are sent one by one."""
        near = abs(numpy.asarray(self.held) - self.events) <= ALIKE * self.events
        return self.events >= MANY and self.period_s >= LONG_S and bool(near.mean() >= ALIKE_SHARE)

    def is_regular(self) -> bool:
        """Whether they come at one pace."""
        periods = numpy.asarray(self.periods_us)
        usual = numpy.median(periods)
        return bool((abs(periods - usual) <= REGULAR * usual).mean() >= REGULAR_SHARE)

    def is_counted_by_time(self) -> bool:
        """Whether they hold as many as come in a time: neither always the same, nor far from it."""
        if len(self.held) < FEWEST_OF_A_RUN:
            return False
        (usual, most), *others = Counter(self.held).most_common()
        if most > NOT_THE_SAME * len(self.held):
            return False
        if self.events < FEW_EVENTS:
            next_number, next_most = others[0]
            return (
                abs(next_number - usual) == 1
                and next_most >= (1 - NOT_THE_SAME) * len(self.held)
                and most + next_most >= ALIKE_SHARE * len(self.held)
            )
        middle = float(numpy.median(self.held))
        near = abs(numpy.asarray(self.held) - middle) <= max(1.0, ALIKE * middle)
        return bool(near.mean() >= ALIKE_SHARE)

    def ends_sooner(self) -> bool:
        """Whether smaller rests come sooner in proportion."""
        shares = [
            (held / self.events, period_us / 1e6 / self.period_s)
            for period_us, held in self.rests
            if held <= PARTIAL * self.events
        ]
        sooner = sum(took <= held + SOONER for held, took in shares)
        return len(shares) >= FEWEST_RESTS and sooner >= REGULAR_SHARE * len(shares)


def bursts_of(gaps_us: Gaps, unwatched_us: int) -> tuple[list[int], list[int]] | None:
    """The time before each burst but the first, and how many events each of those held; None for an answer of another
    kind, and for one whose bursts the probe's own pauses may have made.
    """
    between = gaps_us[1:]
    apart = between[between > TOGETHER_US]
    if len(apart) < FEWEST - 1 or len(gaps_us) < 2 * (len(apart) - 1):
        return None
    starts = numpy.flatnonzero(between > max(TOGETHER_US, float(numpy.median(apart)) / 5)) + 1
    held = numpy.diff(numpy.append(starts, len(gaps_us)))
    moments = numpy.cumsum(gaps_us)
    periods = numpy.diff(moments[numpy.append(0, starts)])
    if len(held) < FEWEST - 1 or held[:-1].mean() < 2:
        return None
    if periods[:-1].mean() < max(SHORTEST_US, 1.5 * unwatched_us):
        return None
    return periods.tolist(), held.tolist()
