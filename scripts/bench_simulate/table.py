"""PURE: what was measured of an engine as a StepTime and an Api, and what a simulation makes of known arrivals."""

import json
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from itertools import chain, cycle, pairwise
from math import inf, sqrt
from statistics import fmean, median
from typing import Any, NamedTuple

import numpy

from serving.sizing.batching import Api, Request, Room, Served, Server, StepTime

LEAST_SHARE = 0.01
"""No step takes less than that of its mean."""
FIGURES = ("ttft_p50_ms", "ttft_p95_ms", "tpot_p50_ms", "tpot_p95_ms", "tokens_per_s")


class Steps(NamedTuple):
    """Seconds of a step, by how many decode, and by how many tokens are prefilled: alone, and beside who decodes."""

    decode_s: Mapping[int, float]
    prefill_s: Mapping[int, float]
    beside_s: Mapping[int, float]
    """What a prompt of so many tokens adds to a step."""

    def time(self, slower: float = 1.0, late_s: Mapping[int, Sequence[float]] | None = None) -> StepTime:
        """Between what was measured, on a line.

        Each step asked for is later by the next of what those of as many streams were, or of the most of no more, and
        after the last by the first again: in seconds, for a step of 8 streams is no later than one of one.
        """
        decode, prefill, beside = map(line, self)
        later = {running: cycle(several) for running, several in (late_s or {1: [0.0]}).items()}
        known = sorted(later)

        def step_s(decoding: int, prefilled: int) -> float:
            mean_s = prefill(prefilled)
            if decoding:
                mean_s = decode(decoding) + (beside(prefilled) if prefilled else 0.0)
            late_s = next(later[known[max(0, bisect_right(known, decoding) - 1)]])
            return slower * max(LEAST_SHARE * mean_s, mean_s + late_s)

        return step_s


class Window(NamedTuple):
    """What the API process did for one load of the fit."""

    cpu_s: float
    requests: int
    steps: float
    tokens: int


class Fit(NamedTuple):
    """All that is measured of a server once, beside its loads."""

    steps: Steps
    idle_s: Mapping[int, float]
    """The median TTFT of lone requests, by the tokens of their prompts."""
    windows: Sequence[Window]
    looks: Mapping[int, Sequence[Sequence[float]]]
    """The gaps that one of so many streams saw, one after another, in each look: no step lasts as long twice."""


class Part(NamedTuple):
    """Some seconds of a load: what was sent when, what each waited for, and how long it took in all."""

    requests: Sequence[Request]
    answers: Sequence[Served]
    lasted_s: float


def measured_before(written: str) -> tuple[str, list[Fit], list[Part]]:
    """What was measured in another run, from its JSON: when and on what, the fits, and the parts of the loads."""
    head, fits, parts = json.loads(written)
    return (
        head,
        [
            Fit(
                Steps(*map(numbered, steps)),
                numbered(idle_s),
                [Window(*each) for each in windows],
                numbered(looks),
            )
            for steps, idle_s, windows, looks in fits
        ],
        [
            Part([Request(*each) for each in requests], [Served(*each) for each in answers], lasted_s)
            for requests, answers, lasted_s in parts
        ],
    )


def numbered(points: dict[str, Any]) -> dict[int, Any]:
    """What is known by a number, as it was before it was JSON."""
    return {int(number): value for number, value in points.items()}


def middle_of(fits: Sequence[Fit]) -> Fit:
    """The median of several, at the points of the first; of two their middle."""
    first = fits[0].steps
    return Fit(
        Steps(
            middle_line(first.decode_s, [fit.steps.decode_s for fit in fits]),
            middle_line(first.prefill_s, [fit.steps.prefill_s for fit in fits]),
            middle_line(first.beside_s, [fit.steps.beside_s for fit in fits]),
        ),
        middle_line(fits[0].idle_s, [fit.idle_s for fit in fits]),
        [*chain.from_iterable(fit.windows for fit in fits)],
        {running: [*chain.from_iterable(fit.looks[running] for fit in fits)] for running in fits[0].looks},
    )


def middle_line(at: Mapping[int, float], several: Sequence[Mapping[int, float]]) -> dict[int, float]:
    """The median of several lines, at those points."""
    lines = [line(each) for each in several]
    return {number: median(each(number) for each in lines) for number in at}


def band_of(fits: Sequence[Fit]) -> float:
    """The factor that a decode step of nine in ten pairs of fits in a row does not differ by more than."""
    pairs = pairwise(fit.steps.decode_s for fit in fits)
    ratios = [sooner[at] / later[at] for sooner, later in pairs for at in sooner]
    return float(numpy.percentile([max(ratio, 1 / ratio) for ratio in ratios], 90))


def plain_step_s(streams: Sequence[Sequence[float]]) -> float:
    """The mean step while all of some streams decode, from the times of each one's tokens; a late step is one too.

    Raises ValueError where they never did.
    """
    begun, ended = together(streams)
    return fmean(gap for times in streams for gap in gaps_between(times, begun, ended))


def late_of(gaps: Sequence[float]) -> list[float]:
    """By how much the steps of a look were later than their mean, one after another, in seconds.

    A token that is written or read late makes one gap longer and the next as much shorter: the covariance of neighbours
    is less by the variance of that, and the variance of gaps more by twice as much. What is left is the steps'.
    """
    mean_s = fmean(gaps)
    late_s = [gap - mean_s for gap in gaps]
    variance = fmean(late * late for late in late_s)
    if not variance or len(gaps) < 2:
        return [0.0] * len(gaps)
    of_neighbours = fmean(sooner * later for sooner, later in pairwise(late_s))
    of_steps = sqrt(min(1.0, max(0.0, 1 + 2 * of_neighbours / variance)))
    return [of_steps * late for late in late_s]


def added_s(streams: Sequence[Sequence[float]], prompts: Sequence[tuple[float, float]]) -> float:
    """What a prompt adds to a step of some streams, the median of those sent while they all decode.

    Each prompt by when it was sent and when its one token came; of the streams' gaps meanwhile, and one more, what is
    beyond the mean of those in which no prompt was under way.
    """
    begun, ended = together(streams)
    during = [(sent, came) for sent, came in prompts if begun < sent and came < ended]
    plain_s = fmean(
        later - sooner
        for times in streams
        for sooner, later in pairwise(times)
        if begun <= sooner
        and later <= ended
        and not any(sooner < came and sent < later for sent, came in during)
    )
    return median(fmean(beyond_s(times, sent, came, plain_s) for times in streams) for sent, came in during)


def beyond_s(times: Sequence[float], sent: float, came: float, plain_s: float) -> float:
    """How much later a stream's tokens came than its step says, from the last before one moment to after another."""
    first, last = bisect_left(times, sent) - 1, min(bisect_left(times, came) + 1, len(times) - 1)
    return times[last] - times[first] - (last - first) * plain_s


def together(streams: Sequence[Sequence[float]]) -> tuple[float, float]:
    """From when to when all of them decode."""
    return max(times[0] for times in streams), min(times[-1] for times in streams)


def gaps_between(times: Sequence[float], begun: float, ended: float) -> list[float]:
    """The gaps that lie between those two moments."""
    return [later - sooner for sooner, later in pairwise(times) if begun <= sooner and later <= ended]


def line(points: Mapping[int, float]) -> Callable[[int], float]:
    """Between points on a line; below the first as the first, beyond the last as the last line goes on."""
    known = sorted(points)

    def at(number: int) -> float:
        if number <= known[0]:
            return points[known[0]]
        right = min(len(known) - 1, bisect_right(known, number))
        low, high = known[right - 1], known[right]
        return points[low] + (points[high] - points[low]) * (number - low) / (high - low)

    return at


def api_of(fit: Fit) -> Api:
    """The API process: CPU by requests, steps and tokens (least squares, none below 0), and what is left of a TTFT.

    Of all windows of one shape the median: a disturbed one took three times as much, and the square of that decided.
    What a request takes of it beyond the TTFT of a lone one is done when its first token has left: nobody's wait.
    """
    left = [0, 1, 2, 3]
    found = numpy.zeros(4)
    alike: dict[tuple[float, ...], list[float]] = {}
    for cpu_s, *shape in fit.windows:
        alike.setdefault((*shape, 1.0), []).append(cpu_s)  # the last: a probe's own questions
    rows, cpu = numpy.array([*alike]), numpy.array([median(each) for each in alike.values()])
    while left:
        fitted = numpy.linalg.lstsq(rows[:, left], cpu, rcond=None)[0]
        if (fitted >= 0).all():
            found[left] = fitted
            break
        left.pop(int(numpy.argmin(fitted)))
    request_s, step_s, token_s, _ = map(float, found)
    spent = [ttft - fit.steps.time()(0, tokens) for tokens, ttft in fit.idle_s.items()]
    beside = float(numpy.median(spent)) - request_s - step_s - token_s
    return Api(max(0.0, request_s + min(0.0, beside)), step_s, token_s, max(0.0, beside))


def figures(parts: Sequence[Part]) -> dict[str, float]:
    """The five that are compared, over all parts of a load."""
    answers = [each for part in parts for each in part.answers]
    tokens = sum(request.output_tokens for part in parts for request in part.requests)
    ttft = numpy.array([each.ttft_s for each in answers]) * 1e3
    tpot = numpy.array([each.tpot_s for each in answers]) * 1e3
    return {
        "ttft_p50_ms": float(numpy.percentile(ttft, 50)),
        "ttft_p95_ms": float(numpy.percentile(ttft, 95)),
        "tpot_p50_ms": float(numpy.percentile(tpot, 50)),
        "tpot_p95_ms": float(numpy.percentile(tpot, 95)),
        "tokens_per_s": tokens / sum(part.lasted_s for part in parts),
    }


def simulated(requests: Sequence[Request], fit: Fit, room: Room, api: Api, slower: float) -> Part:
    """What a simulation makes of those arrivals, when every step takes so many times as long.

    The clock is put forward by less than a step, so that each step is late by itself.
    """
    late_s = {running: [*chain.from_iterable(map(late_of, looks))] for running, looks in fit.looks.items()}
    server = Server(fit.steps.time(slower, late_s), room, api)
    at_s, least_s = 0.0, min(fit.steps.decode_s.values()) / 2
    for which, request in enumerate(requests):
        while (at_s := at_s + least_s) < request.at_s:
            server.advance(at_s)
        at_s = request.at_s
        server.advance(at_s)
        server.offer(which, request)
    while server.in_flight:
        server.advance(at_s := at_s + least_s)
    server.advance(inf)
    done = sorted(server.done)
    return Part(
        requests, [each.served for each in done], max(each.done_s for each in done) - requests[0].at_s
    )


def middle_figures(parts: Sequence[Part]) -> dict[str, float]:
    """The median of each figure over the rounds: one that was disturbed, of four, does not decide."""
    rounds = [figures([part]) for part in parts]
    return {name: median(each[name] for each in rounds) for name in FIGURES}
