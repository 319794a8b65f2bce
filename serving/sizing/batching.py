"""PURE: one server's continuous batching with chunked prefill, request by request: what means do not tell.

As vLLM's scheduler has it: in each step every request that decodes gets a token, then prompts are prefilled in the
order they came, whole or in chunks, as far as the token budget goes. A request is admitted when there is a place for it
and room for all of its tokens, so nothing is preempted. The next step begins when one has ended.
"""

import heapq
from collections import deque
from collections.abc import Callable, Sequence
from math import ceil
from random import Random
from typing import NamedTuple

from serving.probe.lengths import Lengths

StepTime = Callable[[int, int], float]
"""Seconds of a step that decodes so many requests and prefills so many tokens."""


class Request(NamedTuple):
    """One that arrives."""

    at_s: float
    input_tokens: int
    output_tokens: int


class Served(NamedTuple):
    """What one waited for."""

    ttft_s: float
    """From its arrival at the scheduler to the end of the step that gave its first token."""
    tpot_s: float
    """0.0 for an answer of one token."""
    longest_pause_s: float
    """The longest time between two of its tokens; 0.0 for an answer of one."""


class Room(NamedTuple):
    """What runs at once at most."""

    max_num_seqs: int
    max_num_batched_tokens: int
    kv_tokens: int


def served(requests: Sequence[Request], step_s: StepTime, room: Room) -> list[Served]:
    """What each of the requests, in the order of their arrival, waited for.

    One that is longer than `kv_tokens` runs alone.
    """
    found: list[Served] = [Served(0.0, 0.0, 0.0)] * len(requests)
    waiting: deque[int] = deque()
    prefilling: deque[list[int]] = deque()  # [which, tokens left]
    decoding: list[tuple[int, int]] = []  # (the step of its last token, which): a heap
    first: dict[
        int, tuple[float, int]
    ] = {}  # which -> when its first token came, and how many runs there were
    lasted: list[float] = []  # a step of each run of steps that were alike
    arrived, held, step, now = 0, 0, 0, 0.0
    while arrived < len(requests) or waiting or prefilling or decoding:
        if not (waiting or prefilling or decoding):
            now = max(now, requests[arrived].at_s)
        while arrived < len(requests) and requests[arrived].at_s <= now:
            waiting.append(arrived)
            arrived += 1
        budget = room.max_num_batched_tokens - len(decoding)
        running, step, prefilled = len(decoding) + len(prefilling), step + 1, 0
        while waiting and running < room.max_num_seqs and sum(left for _, left in prefilling) < budget:
            tokens = requests[waiting[0]].input_tokens + requests[waiting[0]].output_tokens
            if running and held + tokens > room.kv_tokens:
                break
            held, running = held + tokens, running + 1
            prefilling.append([waiting[0], requests[waiting.popleft()].input_tokens])
        begun = []
        while prefilling and prefilled < budget:
            chunk = min(prefilling[0][1], budget - prefilled)
            prefilled, prefilling[0][1] = prefilled + chunk, prefilling[0][1] - chunk
            if not prefilling[0][1]:
                begun.append(prefilling.popleft()[0])
        lasted.append(step_s(len(decoding), prefilled))
        # Until one ends or another arrives every step is as this one; who waits has no place before.
        alike = 1 if prefilled else decoding[0][0] - step + 1
        if alike > 1 and arrived < len(requests):
            alike = min(alike, max(1, ceil((requests[arrived].at_s - now) / lasted[-1])))
        now, step = now + lasted[-1] * alike, step + alike - 1
        for which in begun:
            first[which] = now, len(lasted)
            heapq.heappush(decoding, (step + requests[which].output_tokens - 1, which))
        while decoding and decoding[0][0] == step:
            which = heapq.heappop(decoding)[1]
            at, (began, runs) = requests[which], first.pop(which)
            held -= at.input_tokens + at.output_tokens
            tpot = (now - began) / max(1, at.output_tokens - 1)
            found[which] = Served(began - at.at_s, tpot, max(lasted[runs:], default=0.0))
    return found


def arriving(
    rate_per_s: float, count: int, input_tokens: Lengths, output_tokens: Lengths, seed: int
) -> list[Request]:
    """So many requests of a Poisson stream. The same for the same seed."""
    dice, at_s, found = Random(seed), 0.0, []
    for _ in range(count):
        at_s += dice.expovariate(rate_per_s)
        found.append(Request(at_s, input_tokens.draw(dice), output_tokens.draw(dice)))
    return found


def percentile(values: Sequence[float], percent: float) -> float:
    """The least value that so many of a hundred do not exceed (nearest rank). Raises IndexError where there is none."""
    return sorted(values)[max(0, ceil(len(values) * percent / 100) - 1)]
