"""PURE: the fleet simulated once: whole where that is little, else of each hour a part and of the replicas some."""

from collections.abc import Callable, Sequence
from math import sqrt
from random import Random
from typing import Any, NamedTuple

import numpy
from numpy.typing import NDArray

from infra.errors import UsageError
from serving.simulation.arrivals import HOUR_S, Source, Span, Stream, Trace
from serving.simulation.router import Carried, Death, Router, carried
from serving.sizing.batching import Request, Server

Floats = NDArray[numpy.float64]
Servers = Callable[[float], Callable[[float], Server]]
"""By how much longer every step takes: what makes a server that is empty at a time."""

MOST = 24_000
"""Requests of a pass."""
GROUP = 8
"""Replicas that stand for a larger fleet behind a router that looks at their load."""
MOST_LOOKS = 2_000_000
"""At replicas, by such a router, in a pass."""
LEAST_OF_AN_HOUR_S = 20.0
BEFORE_DEATH_S = 600.0
"""Simulated before a replica dies; the second half of it counts."""
AFTER_RETURN_S = 600.0
BY_CHANCE = 3.0
"""A queue is no chance beyond so many standard deviations of what comes in an hour, and ten requests a replica."""


class Question(NamedTuple):
    """What comes, and what it comes to."""

    source: Stream | Trace
    replicas: int
    router: Router
    death: Death | None
    servers: Servers
    longest: int
    """Tokens of a request; a longer one is refused."""


class Way(NamedTuple):
    """How much of it is simulated."""

    replicas: int
    time: float
    """Share of each hour."""
    whole: bool


class Found(NamedTuple):
    """What came of the requests of a pass, in columns; a time is NaN for one that got no answer."""

    at_s: Floats
    weight: Floats
    """Requests that each stands for."""
    hour: NDArray[numpy.int64]
    ttft_s: Floats
    tpot_s: Floats
    pause_s: Floats
    waited_s: Floats
    ran_s: Floats
    """From the beginning of its prompt to its last token."""
    input_tokens: Floats
    output_tokens: Floats
    refused: NDArray[numpy.bool_]
    overloaded: frozenset[int]
    """Hours at whose end more waited than chance leaves."""
    most_waiting: int
    """Of one replica."""
    most_running: int
    busy: float
    """Share of the time that an engine works."""
    api_busy: float

    @property
    def answered(self) -> NDArray[numpy.bool_]:
        """Those that got an answer."""
        return ~numpy.isnan(self.ttft_s)


COLUMNS = Found._fields[: Found._fields.index("overloaded")]


def way(source: Source, replicas: int, router: Router) -> Way:
    """Whole, or as much as a pass takes. Raises UsageError where that would be too little to say anything."""
    expected = sum(span.expected for span in source.spans)
    each = expected / replicas
    looks_at_all = router == "least-requests"
    group = min(replicas, max(GROUP, int(sqrt(MOST_LOOKS / each))))
    if expected <= MOST and (group == replicas or not looks_at_all):
        return Way(replicas, 1.0, True)
    fitting = max(1, min(replicas, int(MOST / each)))
    some = min(group, max(GROUP, fitting)) if looks_at_all else fitting
    some = min(replicas, some)
    if isinstance(source, Trace):
        if looks_at_all and replicas > 1:
            some = max(2, min(group, fitting))
        if each * some > 2 * MOST:
            raise too_many(expected, "Take fewer of its hours: --hours 0.5")
        return Way(some, 1.0, False)
    time = min(1.0, MOST / each / some)
    if time * HOUR_S < LEAST_OF_AN_HOUR_S:
        raise too_many(expected, "Take fewer hours (--hours 1), or more --replicas.")
    return Way(some, time, False)


def too_many(expected: float, hint: str) -> UsageError:
    """What to say of a load that no part of it stands for."""
    return UsageError(f"{expected:,.0f} requests are more than can be simulated on those replicas.", hint)


def one(question: Question, how: Way, slower: float, seed: int) -> Found:
    """One pass: every step takes so many times as long."""
    dice, new = Random(seed), question.servers(slower)
    source, replicas, router = question.source, question.replicas, question.router
    spans = source.spans
    if how.whole:
        drawn = source.draw(1.0, 1, dice)
        part = columns(drawn, question, replicas, spans, 1.0, new, dice, question.death)
        return part._replace(weight=numpy.ones(len(part.at_s)))
    short = source.shortened(how.time) if isinstance(source, Stream) else source
    if router == "least-requests":
        draws = [(short.draw(how.replicas / replicas, 1, dice), how.replicas)]
    else:
        every = replicas if router == "round-robin" else 1
        draws = [(short.draw(1 / replicas, every, dice), 1) for _ in range(how.replicas)]
    parts = [columns(drawn, question, count, short.spans, how.time, new, dice) for drawn, count in draws]
    sample = together(parts)
    expected: dict[int, float] = {}
    for span in spans:
        expected[span.hour] = expected.get(span.hour, 0.0) + span.expected
    if question.death is None:
        return sample._replace(weight=weights(sample.hour, expected))
    died = around_death(question, question.death, new, dice)
    for hour in died.hour:
        expected[int(hour)] = max(0.0, expected[int(hour)] - 1)
    sample = sample._replace(weight=weights(sample.hour, expected))
    both = together([sample, died._replace(weight=numpy.ones(len(died.at_s)))])
    return both._replace(busy=sample.busy, api_busy=sample.api_busy)


def weights(hours: NDArray[numpy.int64], expected: dict[int, float]) -> Floats:
    """What each of a sample stands for: those of an hour for all that come in it."""
    count = numpy.bincount(hours)
    return numpy.array([expected[int(hour)] / count[hour] for hour in hours], dtype=float)


def around_death(question: Question, death: Death, new: Callable[[float], Server], dice: Random) -> Found:
    """The dying replica and some others, which get their share of what comes, at that time."""
    source, replicas = question.source, question.replicas
    back_s = death.at_s + death.restart_s
    start_s = max(0.0, death.at_s - BEFORE_DEATH_S)
    end_s = back_s + max(AFTER_RETURN_S, 2 * death.restart_s)
    comes = sum(span.expected for span in source.between(start_s, end_s).spans) / replicas
    group = min(replicas, max(2, min(GROUP, int(MOST / 2 / max(1.0, comes)))))
    if comes * group > 2 * MOST:
        raise UsageError(
            f"While a replica is gone for {death.restart_s:g} s more comes than can be simulated.",
            "Let it be back sooner (--restart-s 300), or take fewer hours, so that all is simulated: --hours 1",
        )
    left = (group - 1) / (replicas - 1) if replicas > 1 else 1.0
    times = (
        (start_s, death.at_s, group / replicas),
        (death.at_s, back_s, left),
        (back_s, end_s, group / replicas),
    )
    drawn = [
        request for begin, end, share in times for request in source.between(begin, end).draw(share, 1, dice)
    ]
    part = columns(drawn, question, group, source.spans, 1.0, new, dice, death)
    return kept(part, part.at_s >= death.at_s - BEFORE_DEATH_S / 2)


def columns(
    drawn: Sequence[Request],
    question: Question,
    count: int,
    spans: Sequence[Span],
    time: float,
    new: Callable[[float], Server],
    dice: Random,
    death: Death | None = None,
) -> Found:
    """What comes of requests on that many servers; `time` is the share of each hour that they are."""
    short = [each for each in drawn if each.input_tokens + each.output_tokens <= question.longest]
    went = carried(short, count, question.router, new, dice, death)
    long = [each for each in drawn if each.input_tokens + each.output_tokens > question.longest]
    every = [*short, *long]
    nothing = (numpy.nan,) * 5
    rows = [
        (*each.served, each.begun_s - request.at_s, each.done_s - each.begun_s) if each else nothing
        for request, each in zip(short, went.done, strict=True)
    ] + [nothing] * len(long)
    ttft, tpot, pause, waited, ran = numpy.array(rows, dtype=float).reshape(-1, 5).T
    at_s = numpy.array([each.at_s for each in every], dtype=float)
    span = span_indices(spans, at_s)
    left = left_waiting(spans, at_s, at_s + waited)
    limit = [10 * count + BY_CHANCE * sqrt(comes) for comes in numpy.bincount(span, minlength=len(spans))]
    over = [queue > most for queue, most in zip(left, limit, strict=True)]
    # A queue that grows for an hour, or drains, is in a part of the hour that part as long.
    stretched = numpy.array([now or before for now, before in zip(over, [False, *over], strict=False)])
    more = waited * (1 / time - 1) * stretched[span] if len(at_s) else waited
    lasted = spans[-1].end_s * count
    return Found(
        at_s=at_s,
        weight=numpy.empty(0),
        hour=numpy.array([spans[index].hour for index in span], dtype=numpy.int64),
        ttft_s=ttft + more,
        tpot_s=tpot,
        pause_s=pause,
        waited_s=waited + more,
        ran_s=ran,
        input_tokens=numpy.array([each.input_tokens for each in every], dtype=float),
        output_tokens=numpy.array([each.output_tokens for each in every], dtype=float),
        refused=numpy.arange(len(every)) >= len(short),
        overloaded=frozenset(span.hour for span, queue in zip(spans, over, strict=True) if queue),
        **of_servers(went, lasted, 1 / time if any(over) else 1.0),
    )


def of_servers(went: Carried, lasted_s: float, longer: float) -> dict[str, Any]:
    """How full they were."""
    return {
        "most_waiting": round(max(server.most_waiting for server in went.servers) * longer),
        "most_running": max(server.most_running for server in went.servers),
        "busy": sum(server.busy_s for server in went.servers) / lasted_s,
        "api_busy": sum(server.api_busy_s for server in went.servers) / lasted_s,
    }


def span_indices(spans: Sequence[Span], at_s: Floats) -> NDArray[numpy.int64]:
    """Which span each time is in."""
    starts = numpy.array([span.start_s for span in spans])
    return numpy.maximum(0, numpy.searchsorted(starts, at_s, side="right") - 1)


def left_waiting(spans: Sequence[Span], at_s: Floats, begun_s: Floats) -> list[int]:
    """How many wait when each span ends."""
    return [int(((at_s <= span.end_s) & (begun_s > span.end_s)).sum()) for span in spans]


def together(parts: Sequence[Found]) -> Found:
    """Several parts as one: what each found, the most of each, and the mean of how busy they are."""
    joined = {name: numpy.concatenate([getattr(part, name) for part in parts]) for name in COLUMNS}
    return Found(
        **joined,
        overloaded=frozenset().union(*(part.overloaded for part in parts)),
        most_waiting=max(part.most_waiting for part in parts),
        most_running=max(part.most_running for part in parts),
        busy=float(numpy.mean([part.busy for part in parts])),
        api_busy=float(numpy.mean([part.api_busy for part in parts])),
    )


def kept(part: Found, which: NDArray[numpy.bool_]) -> Found:
    """Some of a part."""
    there = {name: getattr(part, name) for name in COLUMNS}
    return part._replace(**{name: column[which] for name, column in there.items() if len(column)})
