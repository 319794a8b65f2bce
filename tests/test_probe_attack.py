"""The engine on a clock that moves by events alone: who is sent when, what is given up, how a run ends.

The loop, the alarm and the connections are stand-ins, so every moment is exact; the real ones are tested elsewhere.
"""

import heapq
import signal
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest

from serving.probe import attack, pool, sending, shared, watching
from serving.probe.attack import Attack, Hooks
from serving.probe.connection import Peer
from serving.probe.exchange import Answer, Shot
from serving.probe.lengths import Lengths
from serving.probe.metrics import report
from serving.probe.pacing import schedule_s
from serving.probe.progress import Progress
from serving.probe.run_records import ClientSide, Ending, Refused, Result, Run, ServerFacts
from serving.probe.shared import Shared
from serving.probe.spec import Load, Slo, Target, Workload
from serving.probe.tally import Tally

PEER = Peer(socket.AF_INET, ("127.0.0.1", 9), None, "")
MS = 1_000_000


class Future:
    def __init__(self) -> None:
        self._done = False

    def done(self) -> bool:
        return self._done

    def set_result(self, result: None) -> None:
        assert not self._done
        self._done = True


class Loop:
    """Runs what is due in the order of its time; nothing takes time but waiting."""

    def __init__(self) -> None:
        self.now_ns = 0
        self._due: list[tuple[int, int, Callable[..., object], tuple[object, ...]]] = []
        self._numbers = count()
        self.closed = False

    def create_future(self) -> Future:
        return Future()

    def set_exception_handler(self, handler: Callable[..., None]) -> None:
        self._handler = handler

    def at(self, time_ns: int, call: Callable[..., object], *words: object) -> None:
        heapq.heappush(self._due, (max(time_ns, self.now_ns), next(self._numbers), call, words))

    def call_later(self, delay_s: float, call: Callable[..., object], *words: object) -> None:
        self.at(self.now_ns + round(delay_s * 1e9), call, *words)

    def call_soon(self, call: Callable[..., object], *words: object) -> None:
        self.at(self.now_ns, call, *words)

    call_soon_threadsafe = call_soon

    def run_until_complete(self, awaited: Any) -> None:
        """A future until it is done; a sleep, of which there is only one kind, for its 2 ms."""
        if isinstance(awaited, Future):
            while not awaited.done():
                self.step()
            return
        awaited.close()
        end = Future()
        self.call_later(0.002, end.set_result, None)
        self.run_until_complete(end)

    def step(self) -> None:
        due_ns, _, call, words = heapq.heappop(self._due)
        self.now_ns = max(self.now_ns, due_ns)
        try:
            call(*words)
        except Exception as error:
            self._handler(self, {"exception": error})

    def close(self) -> None:
        self.closed = True


class Alarm:
    def __init__(self, loop: Loop, wake: Callable[[], None]) -> None:
        self._loop, self._wake = loop, wake

    def set(self, at_ns: int) -> None:
        self._loop.at(at_ns, self._wake)

    def close(self) -> None:
        pass


class World:
    """A server: how long it takes, what it says; and the record of what became of whom."""

    def __init__(self) -> None:
        self.loop = Loop()
        self.connect_ms = 1
        self.takes_ms: Callable[[Shot], float | None] = lambda shot: 10
        """To the first token. None: no answer ever."""
        self.gap_ms: Callable[[], float] = lambda: 10
        """Before each token after it."""
        self.failure: Callable[[Shot], tuple[str, str] | None] = lambda shot: None
        self.refused: Refused | None = None
        """Of those that fail."""
        self.stays_open = True
        self.hears_each_ms = 0
        """How often a waiting connection hears a byte."""
        self.sent: list[tuple[int, int]] = []
        """Of each request its number and the millisecond it was sent in."""
        self.results: list[Result] = []
        self.opened = 0

    def attack(self, load: Load, shots: Iterator[Shot], connections: int, **hooks: Any) -> Attack:
        return Attack(PEER, "completions", load, shots, Hooks(self.results.append, **hooks), connections)

    @property
    def ended(self) -> list[tuple[int, int, str | None]]:
        """Of each result its request, the millisecond of its end, and its error."""
        return [(each.index, each.done_us // 1000, each.error) for each in self.results]


class Wire:
    """A connection to it."""

    def __init__(self, world: World, shared: Shared, owner: Attack) -> None:
        self._world, self._shared, self._owner = world, shared, owner
        self.answer: Answer | None = None
        self.is_open = self._connecting = False
        self.last_ns = 0

    def open(self) -> None:
        self._world.opened += 1
        self._connecting = True
        self._world.loop.call_later(self._world.connect_ms / 1e3, self._opened)

    def _opened(self) -> None:
        self.is_open, self._connecting = True, False
        self._shared.tally.connect_us.append(self._world.connect_ms * 1000)
        if self.answer is None:
            self._owner.idle(self)  # type: ignore[arg-type]
        else:
            self._send(self.answer)

    def start(self, shot: Shot) -> None:
        now_ns = self.last_ns = self._world.loop.now_ns
        self.answer = Answer(shot, texts=["said"], sent_ns=now_ns)
        if self.is_open:
            self._send(self.answer)
        elif not self._connecting:
            self.open()

    def _send(self, answer: Answer) -> None:
        loop, world = self._world.loop, self._world
        world.sent.append((answer.shot.index, (loop.now_ns - self._owner.outcome.zero_ns) // MS))
        answer.sent_ns = self.last_ns = loop.now_ns
        takes_ms = world.takes_ms(answer.shot)
        if takes_ms is not None:
            loop.call_later(takes_ms / 1e3, self._answered, answer, world.failure(answer.shot))
        if world.hears_each_ms:
            loop.call_later(world.hears_each_ms / 1e3, self._hear, answer)

    def _hear(self, answer: Answer) -> None:
        if self.answer is answer:
            self.last_ns = self._world.loop.now_ns
            self._shared.tally.reads += 1
            self._world.loop.call_later(self._world.hears_each_ms / 1e3, self._hear, answer)

    def _answered(self, answer: Answer, failure: tuple[str, str] | None) -> None:
        if self.answer is answer:
            self._shared.tally.reads += 1
            if not failure:
                answer.stamps_ns.append(self._world.loop.now_ns)
                if len(answer.stamps_ns) < answer.shot.output_asked:
                    self._world.loop.call_later(self._world.gap_ms() / 1e3, self._answered, answer, None)
                    return
            self.is_open = self._world.stays_open
            self._end(answer, failure)

    def _end(self, answer: Answer, failure: tuple[str, str] | None) -> None:
        self.answer, answer.failure, answer.done_ns = None, failure, self._world.loop.now_ns
        answer.refused = self._world.refused if failure else None
        self._owner.finished(self, answer)  # type: ignore[arg-type]

    def abort(self, error_class: str, message: str) -> None:
        assert self.answer is not None
        self.is_open = False
        self._end(self.answer, (error_class, message))

    def drop(self) -> None:
        """The server closes it."""
        self.is_open = False
        self._owner.down(self)  # type: ignore[arg-type]

    def close(self) -> None:
        self.answer, self.is_open = None, False


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()
    loop = made.loop

    def sleep(seconds: float) -> None:
        loop.now_ns += round(seconds * 1e9)

    clock = SimpleNamespace(
        monotonic_ns=lambda: loop.now_ns,
        monotonic=lambda: loop.now_ns / 1e9,
        process_time_ns=lambda: loop.now_ns // 4,
        sleep=sleep,
    )
    reader = SimpleNamespace(name="c", close=lambda: None, begin=lambda: False)
    for name, stand_in in {
        "time": clock,
        "new_loop": lambda: loop,
        "new_reader": lambda owner, compiled: (reader, None if compiled else "it was not wanted"),
        "Alarm": Alarm,
        "Connection": lambda shared, owner, peer: Wire(made, shared, owner),
        "realtime_offset_ns": lambda: 0,
        "raise_file_limit": lambda connections: None,
    }.items():
        for module in (attack, sending, pool, shared, watching):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, stand_in)
    return made


def shots(number: int, **fields: Any) -> Iterator[Shot]:
    return iter([Shot(index, b"", 1, **fields) for index in range(number)])


def scheduled(*times_ms: float) -> Iterator[Shot]:
    return iter([Shot(index, b"", 1, scheduled_ns=round(ms * MS)) for index, ms in enumerate(times_ms)])


CLOSED = Load(shape="concurrency", concurrency=2)
OPEN = Load(shape="constant", request_rate=1.0)


# A closed loop


def test_so_many_at_a_time_each_after_the_one_before(world: World) -> None:
    side = world.attack(CLOSED, shots(5), connections=2).run()
    assert world.sent == [(0, 0), (1, 0), (2, 10), (3, 10), (4, 20)]
    assert world.ended == [(0, 10, None), (1, 10, None), (2, 20, None), (3, 20, None), (4, 30, None)]
    assert side == ClientSide(
        reader="c",
        wall_s=0.03,
        cpu_s=0.0075,
        reads=5,
        lag_us={"mean": 0.0, "p50": 0.0, "p99": 0.0, "max": 0.0},
        late_us={"mean": 0.0, "p50": 0.0, "p99": 0.0, "max": 0.0},
        connections=2,
        connect_us={"mean": 1000.0, "p50": 1000.0, "p99": 1000.0, "max": 1000.0},
    )
    assert world.loop.closed


def test_its_time_over_it_sends_no_more_and_waits_for_what_is_on_its_way(world: World) -> None:
    made = world.attack(CLOSED.model_copy(update={"duration_s": 0.015}), shots(100), connections=2)
    made.run()
    assert world.sent == [(0, 0), (1, 0), (2, 10), (3, 10)]
    assert (len(world.ended), made.outcome.last_done_us, made.outcome.unfinished, made.interrupted) == (
        4,
        20_000,
        0,
        False,
    )


@pytest.mark.parametrize(("retry_after", "pause_ms"), [(None, 100), ("3", 3000)])
def test_after_a_failure_a_slot_pauses(world: World, retry_after: str | None, pause_ms: int) -> None:
    world.failure = lambda shot: ("http_500", "boom") if shot.index == 0 else None
    world.refused = Refused("boom", retry_after)
    world.attack(CLOSED.model_copy(update={"concurrency": 1}), shots(3), connections=1).run()
    assert world.sent == [(0, 0), (1, 10 + pause_ms), (2, 20 + pause_ms)]
    assert [error for _, _, error in world.ended] == ["http_500", None, None]


def test_after_its_last_failure_it_waits_for_nothing(world: World) -> None:
    world.failure, world.refused = (lambda shot: ("http_500", "x")), Refused("x", "9")
    made = world.attack(CLOSED, shots(2), connections=2)
    assert made.run().wall_s == 0.01
    world.results.clear()
    made = world.attack(CLOSED.model_copy(update={"duration_s": 0.005}), shots(9), connections=2)
    assert (made.run().wall_s, len(world.results)) == (0.01, 2)


def test_a_pause_that_outlasts_the_time_for_sending_sends_nothing(world: World) -> None:
    world.failure = lambda shot: ("http_500", "boom")
    made = world.attack(CLOSED.model_copy(update={"duration_s": 0.05}), shots(9), connections=2)
    assert (made.run().wall_s, [index for index, _ in world.sent]) == (0.11, [0, 1])


def test_a_conversation_goes_on_over_its_own_connection(world: World) -> None:
    said: list[str] = []

    def follow(text: str) -> Shot:
        said.append(text)
        return Shot(10 + len(said), b"", 1)

    world.attack(CLOSED.model_copy(update={"concurrency": 1}), shots(2, follow=follow), connections=1).run()
    assert (world.sent, said) == ([(0, 0), (11, 10), (1, 20), (12, 30)], ["said", "said"])


def test_a_conversation_ends_with_its_failure_and_with_the_time(world: World) -> None:
    follow: Callable[[str], Shot] = lambda text: Shot(9, b"", 1)  # noqa: E731
    world.failure = lambda shot: ("reset", "gone")
    world.attack(CLOSED, shots(1, follow=follow), connections=1).run()
    assert world.sent == [(0, 0)]
    world.failure, world.sent = (lambda shot: None), []
    world.attack(
        CLOSED.model_copy(update={"duration_s": 0.005}), shots(1, follow=follow), connections=1
    ).run()
    assert world.sent == [(0, 0)]


def test_nothing_to_send_is_over_at_once(world: World) -> None:
    assert world.attack(CLOSED, shots(0), connections=2).run().wall_s == 0.0
    assert world.attack(OPEN, shots(0), connections=0).run().wall_s == 0.0


# An open loop


def test_each_is_sent_when_it_is_due_over_what_is_free(world: World) -> None:
    """Two are due while both connections are busy: a third is opened, 1 ms late."""
    side = world.attack(OPEN, scheduled(0, 0, 5, 30), connections=2).run()
    assert world.sent == [(0, 0), (1, 0), (2, 6), (3, 30)]
    assert [(each.index, each.scheduled_us, each.done_us) for each in world.results] == [
        (0, 0, 10_000), (1, 0, 10_000), (2, 5000, 16_000), (3, 30_000, 40_000),
    ]  # fmt: skip
    assert (side.connections, side.late_us["max"]) == (3, 0.0)


@pytest.mark.parametrize(
    "load",
    [
        Load(shape="poisson", request_rate=200.0, requests=500),
        Load(shape="gamma", request_rate=200.0, burstiness=0.3, requests=500),
        Load(shape="constant", request_rate=50.0, requests=250),
        Load(shape="ramp", request_rate=10.0, end_request_rate=90.0, duration_s=5.0),
        Load(shape="burst", requests=256),
        Load(shape="replay", trace=(0.0, 0.0, 1.5, 1.500001, 900.0)),
    ],
    ids=lambda load: load.shape,
)
def test_each_is_sent_at_its_very_time_whatever_the_server_does(world: World, load: Load) -> None:
    """It answers nobody before two seconds are over."""
    world.takes_ms = lambda shot: max(10, 2000 - world.loop.now_ns / MS)
    due_s = list(schedule_s(load))
    due = scheduled(*(time_s * 1e3 for time_s in due_s))
    side = world.attack(load, due, connections=len(due_s)).run()
    times_us = {each.index: (each.scheduled_us, each.sent_us) for each in world.results}
    due_us = [round(time_s * 1e9) // 1000 for time_s in due_s]
    assert [times_us[index] for index in range(len(due_us))] == [(each, each) for each in due_us]
    assert side.late_us["max"] == 0.0


def test_nobody_who_would_have_waited_is_left_out(world: World) -> None:
    """50 requests a second for 20 s, of which the server stands still for 2: no coordinated omission."""

    def takes_ms(shot: Shot) -> float:
        sent_ms = (world.loop.now_ns - made.outcome.zero_ns) / MS
        taken_up_ms = 10_000 if 8000 <= sent_ms < 10_000 else sent_ms
        answered_ms = 10_000 if 8000 <= taken_up_ms + 100 < 10_000 else taken_up_ms + 100
        return answered_ms - sent_ms

    world.takes_ms = takes_ms
    made = world.attack(OPEN, scheduled(*range(0, 20_000, 20)), connections=200)
    made.run()
    waited_ms = {each.index: (each.done_us - each.scheduled_us) // 1000 for each in world.results}
    taken_up_before, sent_within = range(2100, 2000, -20), range(2100, 100, -20)
    assert [waited_ms[index] for index in range(1000)] == (
        [100] * 395 + [*taken_up_before] + [*sent_within] + [100] * 500
    )


def test_the_steady_rate_is_the_servers_after_a_slow_start(world: World) -> None:
    """8 streams of a token every 10 ms are 800 a second, after 5 s at a quarter of it."""
    world.gap_ms = lambda: 40 if world.loop.now_ns < 5000 * MS else 10
    load = Load(shape="concurrency", concurrency=8, duration_s=12.0)
    made = world.attack(load, (Shot(index, b"", 100) for index in count()), connections=8)
    side = made.run()
    tokens = Workload(input_tokens=Lengths(low=1), output_tokens=Lengths(low=100))
    run = Run(
        target=Target(base_url="http://127.0.0.1:9"), model="m", load=load, workload=tokens, slo=Slo(),
        server=ServerFacts(), started_at="2026-11-28T00:00:00+00:00",
    )  # fmt: skip
    told = report(run, [*world.results, Ending(duration_us=made.outcome.last_done_us, clients=[side])])
    assert told.steady
    assert told.steady.output_tokens_per_s == pytest.approx(800, rel=0.01)
    assert 4 <= told.steady.start_s <= 6
    assert told.output_tokens_per_s < 0.8 * 800  # the whole run's, beside it


def test_a_connection_that_closed_is_not_used_again(world: World) -> None:
    world.stays_open = False
    world.attack(OPEN, scheduled(0, 20), connections=1).run()
    assert (world.sent, world.opened) == ([(0, 0), (1, 21)], 2)


def test_how_late_each_was_sent_is_told(world: World) -> None:
    """The loop stands still for 7 ms: what was due meanwhile is sent at once."""

    def stand_still() -> None:
        world.loop.now_ns += 7 * MS

    made = world.attack(OPEN, scheduled(2, 3, 40), connections=3, start_at_ns=lambda: 2 * MS)
    world.loop.at(2 * MS + 1 * MS, stand_still)
    side = made.run()
    assert [index for index, _ in world.sent] == [0, 1, 2]
    assert side.late_us["max"] == 6000.0


def test_a_connection_that_the_server_closes_while_it_is_idle_is_opened_for_no_one(world: World) -> None:
    made = world.attack(OPEN, scheduled(0, 30), connections=2)
    world.loop.at(5 * MS, lambda: made._pool.idle[0].drop())  # type: ignore[attr-defined]
    side = made.run()
    assert (side.reconnects, side.connections, world.opened) == (0, 2, 2)
    assert [index for index, _ in world.sent] == [0, 1]


# Giving up


def test_a_request_has_so_long_from_its_sending(world: World) -> None:
    """Looked at every quarter of the shorter limit."""
    world.takes_ms, world.hears_each_ms = (lambda shot: None if shot.index == 0 else 10), 20
    load = CLOSED.model_copy(update={"timeout_s": 0.4, "stall_timeout_s": 0.8})
    world.attack(load, shots(2), connections=2).run()
    assert world.ended == [(1, 10, None), (0, 500, "timeout")]
    assert world.results[1].message == "not done after 0.4 s"


def test_a_request_has_so_long_without_a_byte(world: World) -> None:
    """Another one is answered meanwhile, so the server does not hang."""
    world.takes_ms = lambda shot: None if shot.index == 0 else 10
    load = CLOSED.model_copy(update={"timeout_s": 3.0, "stall_timeout_s": 0.4})
    world.attack(load, shots(100), connections=2).run()
    stalled = [each for each in world.results if each.error]
    assert [(each.index, each.done_us // 1000, each.message) for each in stalled] == [
        (0, 500, "nothing came for 0.4 s")
    ]


def test_limits_are_looked_at_every_half_second_at_most(world: World) -> None:
    world.takes_ms, world.hears_each_ms = (lambda shot: None), 100
    world.attack(CLOSED.model_copy(update={"timeout_s": 3.2}), shots(1), connections=1).run()
    assert world.ended == [(0, 3500, "timeout")]


def test_a_server_that_falls_silent_ends_the_run(world: World) -> None:
    """Nobody hears a byte for 66 s from the look that saw the last one: what is on its way fails, no more is sent."""
    world.takes_ms = lambda shot: 10 if shot.index < 4 else None
    side = world.attack(CLOSED, shots(100), connections=2).run()
    assert sorted(world.ended[4:]) == [(4, 67_000, "stalled"), (5, 67_000, "stalled")]
    assert (side.gave_up, len(world.sent)) == (True, 6)
    assert {each.message for each in world.results[4:]} == {"nothing came for 66 s"}


@pytest.mark.parametrize(("asked_s", "limit_s"), [(3.0, 3.0), (120.0, 66.0), (600.0, 330.0)])
def test_how_long_all_may_hear_nothing(asked_s: float, limit_s: float) -> None:
    assert OPEN.model_copy(update={"stall_timeout_s": asked_s}).silence_limit_s == limit_s


def test_who_waits_for_nothing_hears_no_silence(world: World) -> None:
    load = OPEN.model_copy(update={"stall_timeout_s": 0.4})
    side = world.attack(load, scheduled(0, 2000), connections=1).run()
    assert (side.gave_up, world.ended) == (False, [(0, 10, None), (1, 2010, None)])


# Its end before the end


def test_whoever_must_stop_it_is_asked_after_each_lot_of_results(world: World) -> None:
    made = world.attack(CLOSED, shots(100), connections=2, must_stop=lambda: len(world.results) >= 4)
    made.run()
    assert (len(world.results), made.outcome.unfinished, made.interrupted) == (4, 2, True)


def test_a_signal_ends_it_with_what_was_measured(world: World) -> None:
    made = world.attack(CLOSED, shots(100), connections=2)
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    world.loop.at(26 * MS, signal.raise_signal, signal.SIGTERM)
    side = made.run()
    assert (made.interrupted, made.outcome.unfinished, len(world.results)) == (True, 2, 4)
    assert side.wall_s == 0.024
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_signal_before_its_first_request_ends_it_at_once(world: World) -> None:
    world.connect_ms = 50
    made = world.attack(CLOSED, shots(9), connections=2)
    world.loop.at(10 * MS, signal.raise_signal, signal.SIGTERM)
    side = made.run()
    assert (made.interrupted, world.sent, side.wall_s) == (True, [], 0.0)


def test_a_mistake_in_a_callback_ends_it_and_is_raised(world: World) -> None:
    def mistake() -> None:
        raise LookupError("a mistake")

    made = world.attack(CLOSED, shots(100), connections=2)
    world.loop.at(26 * MS, mistake)
    with pytest.raises(LookupError, match="a mistake"):
        made.run()
    assert world.loop.closed
    made = world.attack(CLOSED, shots(100), connections=2)
    world.loop.at(world.loop.now_ns + 26 * MS, lambda: made._fail(world.loop, {"message": "odd"}))  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="odd"):
        made.run()


# Before and meanwhile


def test_connections_are_opened_before_the_clock_starts_but_not_for_ever(world: World) -> None:
    world.connect_ms = 15_000
    made = world.attack(CLOSED, shots(1), connections=1)
    made.run()
    assert made.outcome.zero_ns == pytest.approx(10_000 * MS, abs=2 * MS)
    assert world.sent == [(0, 5000)]


def test_it_starts_when_it_is_told_to(world: World) -> None:
    made = world.attack(CLOSED, shots(1), connections=1, start_at_ns=lambda: 300 * MS)
    made.run()
    assert (made.outcome.zero_ns, world.sent, world.ended) == (300 * MS, [(0, 0)], [(0, 10, None)])


def test_how_it_stands_is_told_each_second(world: World) -> None:
    world.takes_ms = lambda shot: 400
    looks: list[Progress] = []

    def watch(state: Progress) -> None:
        looks.append(replace(state, ttft_us=[*state.ttft_us]))

    world.attack(CLOSED, shots(12), connections=2, watch=watch).run()
    assert [(each.elapsed_s, each.sent, each.done, each.in_flight, len(each.ttft_us)) for each in looks] == [
        (1.0, 6, 4, 2, 4),
        (2.0, 10, 8, 2, 4),
    ]


def test_without_kernel_stamps_a_timer_tells_how_late_the_loop_is(world: World) -> None:
    """It stands still for 50 ms of 100: the beats it missed meanwhile would have been late, too."""

    def stand_still() -> None:
        world.loop.now_ns += 50 * MS

    world.takes_ms = lambda shot: 100
    made = world.attack(CLOSED, shots(1), connections=1)
    world.loop.at(12 * MS, stand_still)
    side = made.run()
    assert side.lag_us["max"] == 40_000.0
    assert made.shared.tally.late_us[:4] == [0, 40_000, 20_000, 0]


def test_a_beat_says_by_when_all_was_read(world: World) -> None:
    """By the beat before: after a pause timers may ring first. What a reader has read since is newer."""
    tally, over = Tally(), Future()
    beats = watching.Heartbeat(world.loop, over, tally)  # type: ignore[arg-type]
    world.loop.now_ns = 5 * MS
    beats.beat(5 * MS)
    world.loop.now_ns = 55 * MS
    world.loop.step()
    assert (tally.looked_ns, tally.late_us) == (5 * MS, [0, 30_000, 10_000])
    tally.looked_ns = 60 * MS
    over.set_result(None)
    world.loop.step()
    assert (tally.looked_ns, tally.late_us, world.loop._due) == (60 * MS, [0, 30_000, 10_000, 0], [])


@pytest.mark.parametrize(("stamps", "begins"), [(True, True), (True, False), (False, True)])
def test_beats_are_the_readers_where_they_are_not_the_clock(world: World, stamps: bool, begins: bool) -> None:
    made = world.attack(CLOSED, shots(1), connections=1)
    made.shared.tally.kernel_stamps = stamps
    made.shared.reader.begin = lambda: begins  # type: ignore[method-assign]
    made.run()
    assert made.shared.tally.late_us == ([] if stamps and begins else [0])


def test_with_kernel_stamps_the_reads_tell_it(world: World) -> None:
    made = world.attack(CLOSED.model_copy(update={"compiled_reader": False}), shots(1), connections=1)
    tally = made.shared.tally
    tally.kernel_stamps = True
    tally.lags_us.extend([100, 300])
    tally.unstamped, tally.events, tally.uncertain, tally.late_uncertain = 3, 9, 2, 1
    side = made.run()
    assert (side.kernel_stamps, side.lag_us["mean"], side.unstamped) == (True, 200.0, 3)
    assert (side.events, side.uncertain, side.late_uncertain) == (9, 2, 1)
    assert side.not_compiled == "it was not wanted"
