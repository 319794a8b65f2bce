"""PURE: what was measured of an engine as a StepTime and an Api, and what a simulation makes of known arrivals."""

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy

from serving.sizing.batching import Api, Request, Room, Served, StepTime, served

FIGURES = ("ttft_p50_ms", "ttft_p95_ms", "tpot_p50_ms", "tpot_p95_ms", "tokens_per_s")


class Steps(NamedTuple):
    """Seconds of a step, by how many decode, and by how many tokens are prefilled alone."""

    decode_s: Mapping[int, float]
    prefill_s: Mapping[int, float]

    def time(self, slower: float = 1.0) -> StepTime:
        """Between what was measured, on a line; a step that does both has its overhead once."""
        decode, prefill = line(self.decode_s), line(self.prefill_s)
        base = min(self.prefill_s.values())

        def step_s(decoding: int, prefilled: int) -> float:
            if not decoding:
                return slower * prefill(prefilled)
            return slower * (decode(decoding) + (max(0.0, prefill(prefilled) - base) if prefilled else 0.0))

        return step_s


class Window(NamedTuple):
    """What the API process did in a part of the fit."""

    cpu_s: float
    requests: int
    steps: float
    tokens: int


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


def api_of(windows: Sequence[Window], idle_ttft_s: Mapping[int, float], steps: Steps) -> Api:
    """The API process: CPU by requests, steps and tokens (least squares, none below 0), and what is left of a TTFT.

    What a request takes of it beyond the TTFT of a lone one is done when its first token has left: nobody's wait.
    """
    left = [0, 1, 2, 3]
    found = numpy.zeros(4)
    rows = numpy.array(
        [(*each[1:], 1.0) for each in windows], dtype=float
    )  # the last: a probe's own questions
    cpu = numpy.array([each.cpu_s for each in windows])
    while left:
        fitted = numpy.linalg.lstsq(rows[:, left], cpu, rcond=None)[0]
        if (fitted >= 0).all():
            found[left] = fitted
            break
        left.pop(int(numpy.argmin(fitted)))
    request_s, step_s, token_s, _ = map(float, found)
    spent = [ttft - steps.time()(0, tokens) for tokens, ttft in idle_ttft_s.items()]
    beside = float(numpy.median(spent)) - request_s - step_s - token_s
    return Api(max(0.0, request_s + min(0.0, beside)), step_s, token_s, max(0.0, beside))


def figures(answers: Sequence[Served], output_tokens: int, lasted_s: float) -> dict[str, float]:
    """The five that are compared."""
    ttft = numpy.array([each.ttft_s for each in answers]) * 1e3
    tpot = numpy.array([each.tpot_s for each in answers]) * 1e3
    return {
        "ttft_p50_ms": float(numpy.percentile(ttft, 50)),
        "ttft_p95_ms": float(numpy.percentile(ttft, 95)),
        "tpot_p50_ms": float(numpy.percentile(tpot, 50)),
        "tpot_p95_ms": float(numpy.percentile(tpot, 95)),
        "tokens_per_s": output_tokens / lasted_s,
    }


def simulated(
    requests: Sequence[Request], steps: Steps, room: Room, api: Api, slower: float
) -> dict[str, float]:
    """The same of a simulation of those arrivals, when every step takes so many times as long."""
    answers = served(requests, steps.time(slower), room, api)
    ended = max(
        request.at_s + each.ttft_s + each.tpot_s * (request.output_tokens - 1)
        for request, each in zip(requests, answers, strict=True)
    )
    tokens = sum(request.output_tokens for request in requests)
    return figures(answers, tokens, ended - requests[0].at_s)
