"""PURE: raw results folded into compact arrays: eight bytes a chunk, a few numbers a request."""

from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy
from numpy.typing import NDArray

from serving.probe.buffering import can_tell, is_buffered, is_short, short_came_at_once
from serving.probe.bursts import Bursts
from serving.probe.run_records import Ending, Result

BIN_US = 10_000
"""The grain of the timeline of tokens."""
CLOCK_FELL_US = -1000
"""Gaps down to this are how well two clocks can be compared."""
MOST_MOMENTS = 1000
"""Into which the tokens of reasoning that was not sent are put."""
PAGE = 4096
"""Bins that are held together: some 41 s."""
SPLIT = 1.1
"""So many chunks a token are more than what a closing chunk or a parser's cut explains."""


MOST, MOST_OF_SHORT = 0.5, 0.9
"""Shares of the answers that make a run a buffered one."""
FEWEST_SHORT = 8


class Timeline:
    """Tokens by the bin in which they came; weeks in which nothing came take neither room nor time."""

    def __init__(self) -> None:
        self.pages: dict[int, NDArray[numpy.float64]] = {}

    def add(self, bins: NDArray[numpy.int64], tokens: NDArray[numpy.float64]) -> None:
        """Add to each of those bins, one of which may be named more than once."""
        pages = bins // PAGE
        for page in map(int, numpy.unique(pages)):
            here = pages == page
            held = self.pages.setdefault(page, numpy.zeros(PAGE))
            numpy.add.at(held, bins[here] - page * PAGE, tokens[here])

    def filled(self) -> tuple[NDArray[numpy.int64], NDArray[numpy.float64]]:
        """The bins that have tokens, in order, and how many each."""
        bins, tokens = [numpy.zeros(0, dtype=numpy.int64)], [numpy.zeros(0)]
        for page, held in sorted(self.pages.items()):
            here = numpy.flatnonzero(held)
            bins.append(here + page * PAGE)
            tokens.append(held[here])
        return numpy.concatenate(bins), numpy.concatenate(tokens)


@dataclass
class Samples:
    """What the figures are made from; times in microseconds."""

    sent: int = 0
    sent_to: Counter[str] = field(default_factory=Counter)
    """How many to each model, where several share the load."""
    model_of: list[str | None] = field(default_factory=list)
    """Whom each succeeded request asked."""
    errors: Counter[str] = field(default_factory=Counter)
    error_examples: dict[str, str] = field(default_factory=dict)
    finish_reasons: Counter[str] = field(default_factory=Counter)
    gaps: "array[int]" = field(default_factory=lambda: array("i"))
    """Between successive chunks of one request, all requests; in eight bytes once one took 36 minutes."""
    gap_tokens: "array[float]" = field(default_factory=lambda: array("f"))
    """The tokens of the chunk that ended the gap."""
    carried_us: dict[int, int] = field(default_factory=dict)
    """By the gap's number: the gaps just before it whose chunk held no token. A token's time is both together."""
    timeline: Timeline = field(default_factory=Timeline)
    scheduled: "array[int]" = field(default_factory=lambda: array("q"))
    began: "array[int]" = field(default_factory=lambda: array("q"))
    first: "array[int]" = field(default_factory=lambda: array("q"))
    last: "array[int]" = field(default_factory=lambda: array("q"))
    worst_gap: "array[int]" = field(default_factory=lambda: array("q"))
    input_tokens: "array[int]" = field(default_factory=lambda: array("q"))
    output_tokens: "array[int]" = field(default_factory=lambda: array("q"))
    hidden_tokens: "array[int]" = field(default_factory=lambda: array("q"))
    """Of those, the reasoning that was counted and not sent."""
    spans: "array[int]" = field(default_factory=lambda: array("q"))
    """Sending and end of every request, failed ones too, two numbers each."""
    chunks: int = 0
    chunks_of: "array[int]" = field(default_factory=lambda: array("q"))
    """Of each succeeded request."""
    several_tokens: bool = False
    empty_chunks: int = 0
    failed_chunks: int = 0
    short_outputs: int = 0
    long_outputs: int = 0
    """Answers of clearly more tokens than asked for."""
    without_usage: int = 0
    disbelieved: int = 0
    """Answers with text of which the server counted 0 tokens."""
    unclear_counts: int = 0
    """Answers whose counts, one with each chunk, may be the chunks' own."""
    split_tokens: int = 0
    """Answers of clearly more chunks than tokens."""
    can_tell: int = 0
    """Answers long enough to tell whether they were buffered on the way, and those that were."""
    buffered: int = 0
    short: int = 0
    """The same of the shorter ones, which are looked at where no other is there."""
    short_buffered: int = 0
    bursts: Bursts = field(default_factory=Bursts)
    timeline_tokens: float = 0.0
    """Of all chunks together; the figures over time are made of these."""
    asked_lengths: int = 0
    exact_lengths: int = 0
    cached_tokens: int | None = None
    characters: int = 0
    uncertain: int = 0
    resent: int = 0
    clock_fell: bool = False
    """Whether a chunk seems to have come before the one before it: the kernel stamps by a clock that may be set."""
    last_done: int = 0
    ending: Ending | None = None

    @property
    def engine_gap_s(self) -> float | None:
        """The engine's own mean gap between the steps of an answer, by its counters; None where it tells of none."""
        counters = self.ending.counted if self.ending else {}
        count = counters.get("itl_count")
        return counters.get("itl_sum_s", 0.0) / count if count else None

    @property
    def in_bursts(self) -> bool | None:
        """Whether text came in bursts of events on a clock of the way's own, where most of it came so; None where
        nothing tells that from several tokens a step.
        """
        if 2 * (self.buffered + self.bursts.answers - self.bursts.beside) < self.can_tell:
            return False
        return self.bursts.is_of_the_way(self.engine_gap_s)

    @property
    def told(self) -> tuple[int, int]:
        """How many answers were buffered on the way, of how many that can tell."""
        if not self.can_tell:
            return (self.short_buffered, self.short) if self.short >= FEWEST_SHORT else (0, 0)
        others = self.bursts.answers - self.bursts.beside
        return self.buffered + (others if self.in_bursts else 0), self.can_tell

    @property
    def is_buffered(self) -> bool:
        """Whether most of what can tell was buffered on the way; of short answers nine tenths of eight or more."""
        buffered, of = self.told
        return of > 0 and buffered >= (MOST if self.can_tell else MOST_OF_SHORT) * of

    @property
    def tokens_a_chunk(self) -> float:
        """Of succeeded answers, on average."""
        return (sum(self.output_tokens) - sum(self.hidden_tokens)) / self.chunks if self.chunks else 0.0

    @property
    def succeeded(self) -> int:
        """Requests that ended as they should."""
        return len(self.first)


def collect(records: Iterable[Result | Ending]) -> Samples:
    """Fold the lines of a results file."""
    samples = Samples()
    for record in records:
        if isinstance(record, Ending):
            samples.ending = record
        else:
            add(samples, record)
    return samples


def add(samples: Samples, result: Result) -> None:
    """Fold one request."""
    samples.sent += 1
    if result.model is not None:
        samples.sent_to[result.model] += 1
    samples.spans.extend((result.sent_us, result.done_us))
    samples.last_done = max(samples.last_done, result.done_us)
    samples.uncertain += result.uncertain
    samples.resent += result.resent
    if result.error is not None:
        samples.errors[result.error] += 1
        samples.error_examples.setdefault(result.error, result.message or "")
        samples.failed_chunks += len(result.gaps_us)
        return
    gaps = numpy.asarray(result.gaps_us, dtype=numpy.int64)
    add_times(samples, result, gaps)
    add_counts(samples, result, gaps)


def add_times(samples: Samples, result: Result, gaps: NDArray[numpy.int64]) -> None:
    """Fold a succeeded request's times."""
    at = result.sent_us + numpy.cumsum(gaps)
    samples.clock_fell |= bool(gaps.min() < CLOCK_FELL_US)
    tokens = chunk_tokens(result)
    samples.timeline_tokens += float(tokens.sum()) + result.hidden_tokens
    if not tokens[1:].all():
        carry(samples, result.gaps_us[1:], tokens[1:].tolist())
    add_gaps(samples, result.gaps_us[1:])
    samples.gap_tokens.extend(tokens[1:].tolist())
    samples.several_tokens |= bool((tokens > 1).any())
    samples.scheduled.append(result.scheduled_us)
    samples.began.append(result.sent_us)
    samples.first.append(int(at[0]))
    samples.last.append(int(at[-1]))
    samples.worst_gap.append(max(result.gaps_us[1:], default=0))
    samples.timeline.add(numpy.maximum(at, 0) // BIN_US, tokens)
    if result.hidden_tokens:  # made before the first chunk; when of that time nobody knows
        when = numpy.linspace(result.sent_us, at[0], min(result.hidden_tokens, MOST_MOMENTS)).astype(
            numpy.int64
        )
        each = numpy.full(len(when), result.hidden_tokens / len(when))
        samples.timeline.add(numpy.maximum(when, 0) // BIN_US, each)


def carry(samples: Samples, gaps_us: list[int], tokens: list[float]) -> None:
    """Note which gaps, of those to be added next, belong to the tokens of a later chunk."""
    carried_us = 0
    for number, (gap_us, held) in enumerate(zip(gaps_us, tokens, strict=True), len(samples.gaps)):
        if not held:
            carried_us += gap_us
        elif carried_us:
            samples.carried_us[number], carried_us = carried_us, 0


def add_gaps(samples: Samples, gaps_us: list[int]) -> None:
    """Add them in four bytes each, as long as they have room there."""
    known = len(samples.gaps)
    try:
        samples.gaps.extend(gaps_us)
    except OverflowError:
        samples.gaps = array("q", samples.gaps[:known])
        samples.gaps.extend(gaps_us)


def add_counts(samples: Samples, result: Result, gaps: NDArray[numpy.int64]) -> None:
    """Fold a succeeded request's counts."""
    chunks = len(result.gaps_us)
    samples.chunks += chunks
    samples.chunks_of.append(chunks)
    samples.empty_chunks += result.empty_chunks
    samples.characters += result.output_chars
    samples.finish_reasons[result.finish_reason or "none"] += 1
    output = chunks if result.output_tokens is None else result.output_tokens
    samples.without_usage += result.output_tokens is None and not result.disbelieved
    samples.disbelieved += result.disbelieved
    samples.unclear_counts += result.unclear_counts
    shown = output - result.hidden_tokens
    if can_tell(result, shown):
        is_held_back = is_buffered(result, shown)
        samples.can_tell += 1
        samples.buffered += is_held_back
        samples.bursts.add(result, gaps, is_held_back)
    elif is_short(result, shown):
        samples.short += 1
        samples.short_buffered += short_came_at_once(result, shown)
    samples.split_tokens += chunks > SPLIT * shown + 1
    samples.short_outputs += output < result.output_asked
    samples.long_outputs += shown > SPLIT * result.output_asked + 1 and result.output_asked > 0
    samples.output_tokens.append(output)
    samples.hidden_tokens.append(result.hidden_tokens)
    samples.model_of.append(result.model)
    samples.input_tokens.append(result.input_tokens or result.input_asked or 0)
    if result.input_asked is not None and result.input_tokens is not None:
        samples.asked_lengths += 1
        samples.exact_lengths += result.input_asked == result.input_tokens
    if result.cached_tokens is not None:
        samples.cached_tokens = (samples.cached_tokens or 0) + result.cached_tokens


def chunk_tokens(result: Result) -> NDArray[numpy.float64]:
    """The tokens of each chunk: as the server said, else its total shared evenly."""
    chunks = len(result.gaps_us)
    if result.chunk_tokens is not None:
        return numpy.asarray(result.chunk_tokens, dtype=numpy.float64)
    total = chunks if result.output_tokens is None else result.output_tokens - result.hidden_tokens
    return numpy.full(chunks, total / chunks)
