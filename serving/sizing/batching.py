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
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from math import ceil, inf
from typing import NamedTuple

from serving.model.roofline import uncached

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
        self.done: list[Done] = []
        self.in_flight = 0
        """Offered and not done."""
        self.most_waiting = self.most_running = 0
        self.busy_s = self.api_busy_s = 0.0
        self.coming: deque[tuple[float, int, Request]] = deque()
        """What the API process reads, or has yet to: (when the engine has it, which, it)."""
        self.waiting: deque[tuple[int, Request]] = deque()
        self._prefilling: deque[list[int]] = deque()  # [which, tokens left]
        self._running: dict[int, tuple[Request, float, float, int]] = {}
        # which -> it, when it was begun with, when its first token came, and the gap between tokens after that
        self._held = 0
        self._api_free = self._shown = began_s
        self._gaps = Gaps()
        self._clock = self._going(began_s)
        next(self._clock)

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
        self._clock.send(until)

    def lost(self) -> list[tuple[int, Request]]:
        """What is in flight when it dies."""
        running = [(which, each[0]) for which, each in self._running.items()]
        return [*running, *self.waiting, *((which, request) for _, which, request in self.coming)]

    def _going(self, now: float) -> Generator[None, float, None]:
        """Step after step, and those that are alike at once, until the time that it is sent each time.

        It is one function, whose variables live on from one time to the next, for it is what a simulation does most.
        """
        coming, waiting, prefilling, running = self.coming, self.waiting, self._prefilling, self._running
        step_s, gaps = self.step_s, self._gaps
        max_num_seqs, most_tokens, *_ = self.room
        api_is_free, beside_s = (
            self.api == NO_API,
            self.api.beside_s,
        )  # free: what a step gave is shown when it ends
        decoding: list[tuple[int, int]] = []  # (the step of its last token, which): a heap
        begun: list[int] = []  # whose prompts end with the step
        step, shown = 0, now
        until = yield
        while True:
            if not (waiting or prefilling or decoding):
                if not coming:
                    until = yield
                    continue
                now = max(now, coming[0][0])
            while now >= until:
                until = yield
            while coming and coming[0][0] <= now:
                waiting.append(coming.popleft()[1:])
            budget = most_tokens - len(decoding)
            if waiting and len(decoding) < max_num_seqs:
                self._admit(now, len(decoding), budget)
            prefilled = 0
            while prefilling and prefilled < budget:
                first = prefilling[0]
                chunk = first[1] if first[1] < budget - prefilled else budget - prefilled
                prefilled += chunk
                first[1] -= chunk
                if not first[1]:
                    begun.append(prefilling.popleft()[0])
            step += 1
            lasts = step_s(len(decoding), prefilled)
            # Until one ends or another arrives every step is as this one; who waits has no place before.
            # So is it while one long prompt takes all of the budget.
            alike = 1
            if not prefilled:
                alike = decoding[0][0] - step + 1
            elif not begun:
                alike = 1 + prefilling[0][1] // budget
                if decoding:
                    alike = min(alike, decoding[0][0] - step + 1)
            if alike > 1:
                comes = coming[0][0] if coming and coming[0][0] < until else until
                if comes - now < alike * lasts:
                    alike = max(1, ceil((comes - now) / lasts))
            if alike > 1:
                if prefilled:
                    prefilling[0][1] -= (alike - 1) * budget
                    if not prefilling[0][1]:
                        begun.append(prefilling.popleft()[0])
                if not api_is_free:
                    self._write_out(now + lasts, lasts, alike - 1, len(decoding))
                step += alike - 1
            ends = now + lasts * alike
            self.busy_s += lasts * alike
            while ends > until:
                until = yield
            if api_is_free:
                gaps.add(lasts)
                now = shown = ends
            else:
                self._write_out(ends, 0.0, 1, len(decoding) + len(begun))
                now, shown = ends, self._shown
            if begun:
                for which in begun:
                    request, began, _, _ = running[which]
                    running[which] = request, began, shown, gaps.count
                    heapq.heappush(decoding, (step + request.output_tokens - 1, which))
                begun.clear()
            while decoding and decoding[0][0] == step:
                which = heapq.heappop(decoding)[1]
                (at_s, input_tokens, output_tokens), began, first_s, before = running.pop(which)
                self._held -= input_tokens + output_tokens
                self.in_flight -= 1
                tpot_s = (shown - first_s) / max(1, output_tokens - 1)
                waited = Served(first_s - at_s + beside_s, tpot_s, gaps.longest(before))
                self.done.append(Done(which, waited, began, shown + beside_s))

    def _admit(self, now: float, decoding: int, budget: int) -> None:
        """Let in who waits, while there is a place, room for all of its tokens, and budget to begin with it."""
        waiting, prefilling, room = self.waiting, self._prefilling, self.room
        running, left_to_prefill = decoding + len(prefilling), 0
        for _, left in prefilling:
            left_to_prefill += left
        while waiting and running < room.max_num_seqs and left_to_prefill < budget:
            which, request = waiting[0]
            held = self._held + request.input_tokens + request.output_tokens
            if running and held > room.kv_tokens:
                break
            waiting.popleft()
            self._held, running = held, running + 1
            fresh = uncached(request.input_tokens, room.prefix_hits)
            left_to_prefill += fresh
            prefilling.append([which, fresh])
            self._running[which] = request, now, 0.0, 0
        self.most_running = max(self.most_running, running)

    def _write_out(self, ended: float, every_s: float, steps: int, tokens: int) -> None:
        """Let the API process write out steps that are alike: the first ended then, another each so many seconds."""
        takes = self.api.step_s + tokens * self.api.token_s
        first = max(self._api_free, ended) + takes
        last = max(first + (steps - 1) * takes, ended + (steps - 1) * every_s + takes)
        self._gaps.add(max(first - self._shown, every_s, takes) if steps > 1 else first - self._shown)
        self.api_busy_s += steps * takes
        self._api_free = self._shown = last


class Gaps:
    """The gaps between what was shown, one after another: the longest of those since any of them."""

    def __init__(self) -> None:
        self.count = 0
        self._peaks: list[int] = []  # those that no later one exceeds, and how long they are
        self._lasted_s: list[float] = []

    def add(self, lasted_s: float) -> None:
        """Another."""
        self.count += 1
        peaks, known_s = self._peaks, self._lasted_s
        while known_s and known_s[-1] <= lasted_s:
            peaks.pop()
            known_s.pop()
        peaks.append(self.count)
        known_s.append(lasted_s)

    def longest(self, after: int) -> float:
        """The longest after so many; 0.0 for none."""
        index = bisect_left(self._peaks, after + 1)
        return self._lasted_s[index] if index < len(self._lasted_s) else 0.0


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


def rank(count: int, percent: float) -> int:
    """Of so many values, the least first, the place of the one that so many of a hundred do not exceed."""
    return max(0, ceil(count * percent / 100) - 1)


def percentile(values: Sequence[float], percent: float) -> float:
    """The least value that so many of a hundred do not exceed (nearest rank). Raises IndexError where there is none."""
    return sorted(values)[rank(len(values), percent)]
