"""PURE: one server's continuous batching with chunked prefill, request by request: what means do not tell.

As vLLM's scheduler has it: in each step every request that decodes gets a token, then prompts are prefilled in the
order they came, whole or in chunks, as far as the token budget goes. A request is admitted when there is a place for it
and room for all of its tokens, so nothing is preempted. The next step begins when one has ended.

Before the engine and behind it stands the API process, one server with one queue: it reads each request, and writes out
what each step gave.
"""

import heapq
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from math import ceil, inf
from random import Random
from typing import NamedTuple

from serving.model.roofline import uncached
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
    """From its arrival to its first token."""
    tpot_s: float
    """0.0 for an answer of one token."""
    longest_pause_s: float
    """The longest time between two of its tokens; 0.0 for an answer of one."""


class Done(NamedTuple):
    """One that is done."""

    which: int
    served: Served
    begun_s: float
    """When the engine began with its prompt."""
    done_s: float
    """When its last token came."""


class Room(NamedTuple):
    """What runs at once at most."""

    max_num_seqs: int
    max_num_batched_tokens: int
    kv_tokens: int
    prefix_hits: float = 0.0
    """The share of each prompt that is in the KV cache already, and is not prefilled."""


class Api(NamedTuple):
    """What the API process takes, in seconds of its core, and what passes beside it."""

    request_s: float = 0.0
    """To read a request, before the engine has it."""
    step_s: float = 0.0
    """To write out what a step gave, whatever that is."""
    token_s: float = 0.0
    """And for each token of it."""
    beside_s: float = 0.0
    """Before a first token, in nobody's queue."""


NO_API = Api()
"""It takes no time: what the engine alone makes a request wait for."""


class Server:
    """One server: what comes is offered in the order of its time, and the clock put forward in between."""

    def __init__(self, step_s: StepTime, room: Room, api: Api = NO_API, began_s: float = 0.0) -> None:
        self.step_s, self.room, self.api = step_s, room, api
        self.now = began_s
        self.done: list[Done] = []
        self.in_flight = 0
        """Offered and not done."""
        self.most_waiting = self.most_running = 0
        self.busy_s = self.api_busy_s = 0.0
        self.coming: deque[tuple[float, int, Request]] = deque()
        """What the API process reads, or has yet to: (when the engine has it, which, it)."""
        self.waiting: deque[tuple[int, Request]] = deque()
        self._prefilling: deque[list[int]] = deque()  # [which, tokens left]
        self._decoding: list[tuple[int, int]] = []  # (the step of its last token, which): a heap
        self._running: dict[int, tuple[Request, float, float, int]] = {}
        # which -> it, when it was begun with, when its first token came, and the gap between tokens after that
        self._held = self._step = 0
        self._ends: float | None = None  # of the step, or of the last of steps that are alike
        self._first_ends = self._lasts = began_s  # the first of them, and how long each lasts
        self._api_is_free = api == NO_API  # what a step gave is shown when it ends
        self._begun: list[int] = []
        self._api_free = self._shown = began_s
        self._gaps = 0
        self._peaks: tuple[list[int], list[float]] = (
            [],
            [],
        )  # gaps that no later one exceeds: which, how long

    def offer(self, which: int, request: Request, now: float | None = None) -> None:
        """One that comes at its time, or later where it was somewhere else before; the clock is there already."""
        at = request.at_s if now is None else now
        self.in_flight += 1
        self.api_busy_s += self.api.request_s
        self._api_free = max(self._api_free, at) + self.api.request_s
        self.coming.append((self._api_free, which, request))
        waiting = len(self.coming) + len(self.waiting)
        if waiting > self.most_waiting:
            self.most_waiting = waiting

    def advance(self, until: float) -> None:
        """Put the clock forward: a step that is not over by then stays to be ended."""
        while True:
            if self._ends is not None:
                if self._ends > until:
                    return
                self._end()
            if not self._begin(until):
                return

    def lost(self) -> list[tuple[int, Request]]:
        """What is in flight when it dies."""
        running = [(which, each[0]) for which, each in self._running.items()]
        return [*running, *self.waiting, *((which, request) for _, which, request in self.coming)]

    def _begin(self, until: float) -> bool:
        """Begin a step, or several that are alike; whether there was something to do before that time."""
        coming, waiting, prefilling, decoding = self.coming, self.waiting, self._prefilling, self._decoding
        now, room, begun = self.now, self.room, self._begun
        if not (waiting or prefilling or decoding):
            if not coming:
                return False
            self.now = now = max(now, coming[0][0])
        if now >= until:
            return False
        while coming and coming[0][0] <= now:
            waiting.append(coming.popleft()[1:])
        budget = room.max_num_batched_tokens - len(decoding)
        if waiting:
            self._admit(budget)
        prefilled = 0
        while prefilling and prefilled < budget:
            one = prefilling[0]
            chunk = one[1] if one[1] < budget - prefilled else budget - prefilled
            prefilled += chunk
            one[1] -= chunk
            if not one[1]:
                begun.append(prefilling.popleft()[0])
        self._step += 1
        lasts = self.step_s(len(decoding), prefilled)
        # Until one ends or another arrives every step is as this one; who waits has no place before.
        # So is it while one long prompt takes all of the budget.
        alike = 1
        if not prefilled:
            alike = decoding[0][0] - self._step + 1 if decoding else 1
        elif not begun:
            alike = 1 + prefilling[0][1] // budget
            if decoding:
                alike = min(alike, decoding[0][0] - self._step + 1)
        if alike > 1:
            comes = coming[0][0] if coming and coming[0][0] < until else until
            if comes - now < alike * lasts:
                alike = max(1, ceil((comes - now) / lasts))
        if alike > 1:
            if prefilled:
                prefilling[0][1] -= (alike - 1) * budget
                if not prefilling[0][1]:
                    begun.append(prefilling.popleft()[0])
            if not self._api_is_free:
                self._write_out(now + lasts, lasts, alike - 1, len(decoding))
            self._step += alike - 1
        self._first_ends, self._lasts, self._ends = now + lasts, lasts, now + lasts * alike
        self.busy_s += lasts * alike
        return True

    def _admit(self, budget: int) -> None:
        """Let in who waits, while there is a place, room for all of its tokens, and budget to begin with it."""
        waiting, prefilling, room = self.waiting, self._prefilling, self.room
        running = len(self._decoding) + len(prefilling)
        left_to_prefill = 0
        for _, left in prefilling:
            left_to_prefill += left
        while waiting and running < room.max_num_seqs and left_to_prefill < budget:
            which, request = waiting[0]
            _, input_tokens, output_tokens = request
            held = self._held + input_tokens + output_tokens
            if running and held > room.kv_tokens:
                break
            waiting.popleft()
            self._held, running = held, running + 1
            fresh = uncached(input_tokens, room.prefix_hits)
            left_to_prefill += fresh
            prefilling.append([which, fresh])
            self._running[which] = request, self.now, 0.0, 0
        self.most_running = max(self.most_running, running)

    def _end(self) -> None:
        """End the step: its tokens are written out, and who has all of them is done."""
        assert self._ends is not None
        self.now, self._ends, decoding, begun = self._ends, None, self._decoding, self._begun
        if self._api_is_free:
            first_gap, self._shown = self._first_ends - self._shown, self.now
            self._gap(first_gap if first_gap > self._lasts else self._lasts)
        else:
            self._write_out(self.now, 0.0, 1, len(decoding) + len(begun))
        if begun:
            for which in begun:
                request, began, _, _ = self._running[which]
                self._running[which] = request, began, self._shown, self._gaps
                heapq.heappush(decoding, (self._step + request.output_tokens - 1, which))
            begun.clear()
        while decoding and decoding[0][0] == self._step:
            which = heapq.heappop(decoding)[1]
            (at_s, input_tokens, output_tokens), began, first, gaps = self._running.pop(which)
            self._held -= input_tokens + output_tokens
            self.in_flight -= 1
            shown, beside_s = self._shown, self.api.beside_s
            tpot = (shown - first) / max(1, output_tokens - 1)
            waited = Served(first - at_s + beside_s, tpot, self._longest(gaps))
            self.done.append(Done(which, waited, began, shown + beside_s))

    def _write_out(self, ended: float, every_s: float, steps: int, tokens: int) -> None:
        """Let the API process write out steps that are alike: the first ended then, another each so many seconds."""
        takes = self.api.step_s + tokens * self.api.token_s
        first = max(self._api_free, ended) + takes
        last = max(first + (steps - 1) * takes, ended + (steps - 1) * every_s + takes)
        gap = max(first - self._shown, every_s, takes) if steps > 1 else first - self._shown
        self.api_busy_s += steps * takes
        self._api_free = self._shown = last
        self._gap(gap)

    def _gap(self, lasted_s: float) -> None:
        """Another gap between what was shown: of those before it none that is no longer is the longest of any more."""
        self._gaps += 1
        numbers, gaps = self._peaks
        while gaps and gaps[-1] <= lasted_s:
            numbers.pop()
            gaps.pop()
        numbers.append(self._gaps)
        gaps.append(lasted_s)

    def _longest(self, after: int) -> float:
        """The longest gap after that one; 0.0 for none."""
        numbers, gaps = self._peaks
        index = bisect_left(numbers, after + 1)
        return gaps[index] if index < len(gaps) else 0.0


def serving(requests: Iterable[Request], step_s: StepTime, room: Room, api: Api = NO_API) -> Iterator[Done]:
    """The requests, in the order of their arrival, as each is done: no more is reckoned than is asked for.

    One that is longer than `kv_tokens` runs alone.
    """
    server = Server(step_s, room, api)
    for which, request in enumerate(requests):
        server.advance(request.at_s)
        yield from server.done
        server.done.clear()
        server.offer(which, request)
    server.advance(inf)
    yield from server.done


def served(requests: Iterable[Request], step_s: StepTime, room: Room, api: Api = NO_API) -> list[Served]:
    """What each of them waited for, in the order of their arrival."""
    return [each.served for each in sorted(serving(requests, step_s, room, api))]


def arriving(
    rate_per_s: float, count: int, input_tokens: Lengths, output_tokens: Lengths, seed: int
) -> list[Request]:
    """So many requests of a Poisson stream. The same for the same seed."""
    dice, at_s, found = Random(seed), 0.0, []
    for _ in range(count):
        at_s += dice.expovariate(rate_per_s)
        found.append(Request(at_s, input_tokens.draw(dice), output_tokens.draw(dice)))
    return found


def rank(count: int, percent: float) -> int:
    """Of so many values, the least first, the place of the one that so many of a hundred do not exceed."""
    return max(0, ceil(count * percent / 100) - 1)


def percentile(values: Sequence[float], percent: float) -> float:
    """The least value that so many of a hundred do not exceed (nearest rank). Raises IndexError where there is none."""
    return sorted(values)[rank(len(values), percent)]
