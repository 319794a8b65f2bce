"""The engine: sends shots in a closed or an open loop over connections opened beforehand, and hands out results."""

import asyncio
import gc
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from infra import interrupts
from serving.probe.alarm import Alarm
from serving.probe.apis import APIS, ApiName
from serving.probe.connection import Connection, Peer
from serving.probe.exchange import Answer, Shot, Tally
from serving.probe.kernel_stamps import realtime_offset_ns
from serving.probe.pacing import pause_s
from serving.probe.process import new_loop, raise_file_limit
from serving.probe.progress import Progress
from serving.probe.reader import new_reader
from serving.probe.results import ClientSide, Result
from serving.probe.spec import Load
from serving.probe.statistics import spread

OPEN_LIMIT_S = 10.0
HEARTBEAT_S = 0.02
RESULTS_AT_ONCE = 8


class Attack:
    """One process's share of a run."""

    def __init__(
        self,
        peer: Peer,
        api: ApiName,
        load: Load,
        shots: Iterator[Shot],
        sink: Callable[[Result], None],
        watch: Callable[[Progress], None] | None = None,
        connections: int = 1,
        start_at_ns: Callable[[], int] | None = None,
        must_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self._peer = peer
        self._load = load
        self._shots = shots
        self._sink = sink
        self._watch = watch
        self._wanted = connections
        self._start_at_ns = start_at_ns
        self._must_stop = must_stop
        self.read_event = APIS[api].read_event
        self.use_kernel_stamps = load.kernel_stamps
        self.tally = Tally()
        self.offset_ns = realtime_offset_ns()
        self.zero_ns = 0
        self.loop = new_loop()
        self.reader, self._not_compiled = new_reader(self, load.compiled_reader)
        self._alarm = Alarm(self.loop, self._fire)
        self.interrupted = False
        self.progress = Progress()
        self._all: set[Connection] = set()
        self._idle: list[Connection] = []
        self._busy: set[Connection] = set()
        self._late_us: list[int] = []
        self._beats_us: list[int] = []
        self._running = False
        self._draining = False
        self._next: Shot | None = None
        self._waiting = 0
        self._reads = 0
        self._heard_ns = 0
        self._gave_up = False
        self.unfinished = 0
        self.last_done_us = 0
        self._owed: deque[Answer] = deque()
        self._over: asyncio.Future[None] = self.loop.create_future()
        self._fault: BaseException | None = None
        self.loop.set_exception_handler(self._fail)

    def run(self) -> ClientSide:
        """Open the connections, send every shot, wait for every end. Ctrl-C ends it early with `interrupted` set."""
        raise_file_limit(self._wanted)
        interrupts.look()
        previous = self._catch_interrupts()
        try:
            self._open_connections()
            gc.collect()
            gc.freeze()
            gc.disable()
            self.zero_ns = time.monotonic_ns() if self._start_at_ns is None else self._start_at_ns()
            time.sleep(max(0, self.zero_ns - time.monotonic_ns()) / 1e9)
            wall_ns, cpu_ns = time.monotonic_ns(), time.process_time_ns()
            self._begin()
            self.loop.run_until_complete(self._over)
            while self._owed:
                self._hand_out(self._owed.popleft())
            wall_ns, cpu_ns = time.monotonic_ns() - wall_ns, time.process_time_ns() - cpu_ns
        finally:
            gc.enable()
            gc.unfreeze()
            interrupts.restore(previous)
            self._close_all()
        if self._fault is not None:
            raise self._fault
        return self._client_side(wall_ns / 1e9, cpu_ns / 1e9)

    # Before the clock starts

    def _open_connections(self) -> None:
        for _ in range(self._wanted):
            self._add().open()
        end_s = time.monotonic() + OPEN_LIMIT_S
        while not self.interrupted and time.monotonic() < end_s and len(self._idle) < len(self._all):
            self.loop.run_until_complete(asyncio.sleep(0.002))

    def _add(self) -> Connection:
        connection = Connection(self, self._peer)
        self._all.add(connection)
        return connection

    def _begin(self) -> None:
        self._running = True
        if self.interrupted:
            self._finish_if_over()
            return
        self._tick()
        self._sweep()
        if not self.tally.kernel_stamps:
            self._beat(time.monotonic_ns())
        if self._load.is_open:
            self._advance()
            self._fire()
            return
        if self._load.duration_s is not None:
            self.loop.call_later(self._load.duration_s, self._drain)
        self._idle.clear()
        for connection in list(self._all):
            self._take_next(connection)
        self._finish_if_over()

    # Closed loop

    def _take_next(self, connection: Connection) -> None:
        """Give a free slot its next shot, or let it go."""
        self._take(connection, None if self._draining else next(self._shots, None))

    def _take(self, connection: Connection, shot: Shot | None) -> None:
        if shot is None or self._draining:
            self._discard(connection)
        else:
            self._launch(connection, shot)

    def _take_next_later(self, connection: Connection, pause_s: float) -> None:
        """The same after a pause, which nobody waits for when there is no next shot."""
        shot = None if self._draining else next(self._shots, None)
        if shot is None:
            self._discard(connection)
            return
        self._waiting += 1

        def resume() -> None:
            self._waiting -= 1
            if not self._over.done():
                self._take(connection, shot)
                self._finish_if_over()

        self.loop.call_later(pause_s, resume)

    # Open loop

    def _advance(self) -> None:
        self._next = None if self._draining else next(self._shots, None)

    def _fire(self) -> None:
        """Send all that is due, and come back when the next one is."""
        if self._over.done():
            return
        now_ns = time.monotonic_ns()
        while self._next is not None and (self._next.scheduled_ns or 0) <= now_ns - self.zero_ns:
            shot = self._next
            self._launch(self._idle.pop() if self._idle else self._add(), shot)
            self._advance()
            now_ns = time.monotonic_ns()
        if self._next is not None:
            self._alarm.set(self.zero_ns + (self._next.scheduled_ns or 0))
        else:
            self._finish_if_over()

    # Both

    def _launch(self, connection: Connection, shot: Shot) -> None:
        self._busy.add(connection)
        self.progress.sent += 1
        if shot.scheduled_ns is not None:
            self._late_us.append((time.monotonic_ns() - self.zero_ns - shot.scheduled_ns) // 1000)
        connection.start(shot)

    def idle(self, connection: Connection) -> None:
        """The connection can take a request."""
        self._idle.append(connection)

    def down(self, connection: Connection) -> None:
        """A connection without a request was closed by the server: open it again, so that no request waits for it."""
        if connection in self._idle:
            self._idle.remove(connection)
            if self._running and not self._over.done():
                self.tally.reconnects += 1
                connection.open()
                return
        if self._load.is_open:
            self._all.discard(connection)

    def finished(self, connection: Connection, answer: Answer) -> None:
        """A request has ended, well or not: the next one goes first, the bookkeeping follows."""
        self._busy.discard(connection)
        ok = answer.failure is None
        self._owed.append(answer)
        if len(self._owed) == 1:
            self.loop.call_soon(self._settle)
        if self._over.done():
            return
        follow = answer.shot.follow(answer.text) if answer.shot.follow is not None and ok else None
        if follow is not None and not self._draining:
            self._launch(connection, follow)
        elif self._load.is_open:
            self._idle.append(connection) if connection.is_open else self._discard(connection)
        elif ok:
            self._late_us.append(max(0, (time.monotonic_ns() - answer.done_ns) // 1000))
            self._take_next(connection)
        else:
            self._take_next_later(connection, pause_s(answer.refused))
        self._finish_if_over()

    def _settle(self) -> None:
        """Hand out a few results, then let the sockets be read again."""
        for _ in range(min(RESULTS_AT_ONCE, len(self._owed))):
            self._hand_out(self._owed.popleft())
        if self._must_stop():
            self._interrupt()
        if self._owed and not self._over.done():
            self.loop.call_soon(self._settle)

    def _hand_out(self, answer: Answer) -> None:
        if answer.failure and answer.failure[0] == "unfinished":
            self.unfinished += 1
            return
        result = answer.result(self.zero_ns)
        self.last_done_us = max(self.last_done_us, result.done_us)
        self.progress.ended(result)
        self._sink(result)

    def _finish_if_over(self) -> None:
        if self._busy or self._waiting or self._next is not None or self._over.done():
            return
        if self._load.is_open or self.interrupted or not self._all:
            self._over.set_result(None)

    def _drain(self) -> None:
        """The time for sending is over; what is on its way may end."""
        self._draining = True

    def _discard(self, connection: Connection) -> None:
        connection.close()
        self._all.discard(connection)

    # Watching over it

    def _sweep(self) -> None:
        """Give up requests that passed a time limit."""
        if self._over.done():
            return
        now_ns = time.monotonic_ns()
        if self._is_silent(now_ns):
            self._give_up()
            return
        for connection in list(self._busy):
            if connection.answer is None:
                continue
            if now_ns - connection.answer.sent_ns > self._load.timeout_s * 1e9:
                connection.abort("timeout", f"not done after {self._load.timeout_s:g} s")
            elif now_ns - connection.last_ns > self._load.stall_timeout_s * 1e9:
                connection.abort("stalled", f"nothing came for {self._load.stall_timeout_s:g} s")
        shortest_s = min(self._load.timeout_s, self._load.stall_timeout_s)
        self.loop.call_later(min(0.5, shortest_s / 4), self._sweep)

    def _is_silent(self, now_ns: int) -> bool:
        """Whether nobody has got a byte for too long, though somebody waits for one."""
        if self.tally.reads != self._reads:
            self._reads, self._heard_ns = self.tally.reads, now_ns
        waiting = (each.answer.sent_ns for each in self._busy if each.answer is not None)
        since_ns = max(self._heard_ns, min(waiting, default=now_ns))
        return now_ns - since_ns > self._load.silence_limit_s * 1e9

    def _give_up(self) -> None:
        """The server hangs: fail what is on its way and send no more."""
        self._gave_up = self._draining = True
        self._next = None
        for connection in list(self._busy):
            connection.abort("stalled", f"nothing came for {self._load.silence_limit_s:g} s")
        self._finish_if_over()

    def _tick(self) -> None:
        """Once a second: follow the clocks' offset, and say how things stand."""
        if self._over.done():
            return
        self.offset_ns = realtime_offset_ns()
        self._look()
        self.loop.call_later(1.0, self._tick)

    def _look(self) -> None:
        elapsed_s = (time.monotonic_ns() - self.zero_ns) / 1e9
        moved = self.progress.look(elapsed_s, self.tally.events, len(self._busy))
        if moved and self._watch is not None:
            self._watch(self.progress)
        self.progress.ttft_us.clear()

    def _beat(self, expected_ns: int) -> None:
        """Without kernel stamps: how late this loop is, from a timer's own lateness."""
        now_ns = time.monotonic_ns()
        late_us, beat_us = max(0, (now_ns - expected_ns) // 1000), int(HEARTBEAT_S * 1e6)
        self._beats_us += range(late_us, -1, -beat_us)  # those it missed meanwhile would have been late too
        if not self._over.done():
            self.loop.call_later(HEARTBEAT_S, self._beat, now_ns + int(HEARTBEAT_S * 1e9))

    def _catch_interrupts(self) -> interrupts.Handlers:
        """Not by the loop's own means, which lose a signal that comes while the loop does not run."""
        if threading.current_thread() is not threading.main_thread():
            return {}  # whoever runs it there catches Ctrl-C

        def handler(*_: object) -> None:
            self.interrupted = True
            self.loop.call_soon_threadsafe(self._interrupt)

        previous = interrupts.handle(handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, interrupts.SIGNALS)
        return previous

    def _fail(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """A mistake of ours in a callback ends the run: the requests it was about would never end."""
        self._fault = self._fault or context.get("exception") or RuntimeError(context["message"])
        self._interrupt()

    def _interrupt(self) -> None:
        self.interrupted = True
        self._draining = True
        self._next = None
        self._waiting = 0
        for connection in list(self._busy):
            connection.abort("unfinished", "the run was interrupted")
        if self._running and not self._over.done():
            self._over.set_result(None)

    def _close_all(self) -> None:
        if not self._over.done():
            self._over.set_result(None)
        for connection in list(self._all):
            connection.close()
        self._alarm.close()
        self.reader.close()
        self.loop.close()

    def _client_side(self, wall_s: float, cpu_s: float) -> ClientSide:
        tally = self.tally
        return ClientSide(
            kernel_stamps=tally.kernel_stamps,
            reader=self.reader.name,
            not_compiled=self._not_compiled,
            wall_s=wall_s,
            cpu_s=cpu_s,
            reads=tally.reads,
            events=tally.events,
            uncertain=tally.uncertain,
            late_uncertain=tally.late_uncertain,
            unstamped=tally.unstamped if tally.kernel_stamps else 0,
            lag_us=spread(tally.lags_us or self._beats_us),
            late_us=spread(self._late_us),
            gave_up=self._gave_up,
            connections=len(tally.connect_us),
            reconnects=tally.reconnects,
            connect_us=spread(tally.connect_us),
        )
