"""Which request goes next and when: in a closed loop after the one before it, in an open one by schedule."""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator

from serving.probe.alarm import Alarm
from serving.probe.connection import Connection
from serving.probe.exchange import Answer, Shot
from serving.probe.pacing import pause_s
from serving.probe.pool import Pool
from serving.probe.spec import Load


class Sender(ABC):
    """Sends shots over a pool's connections until they are used up or it is told to stop."""

    def __init__(
        self,
        pool: Pool,
        load: Load,
        shots: Iterator[Shot],
        over: asyncio.Future[None],
        look_for_end: Callable[[], None],
    ) -> None:
        """`over` is done when the run is; `look_for_end` is called when it may be."""
        self._pool = pool
        self._loop = pool.shared.loop
        self._load = load
        self._shots = shots
        self._over = over
        self._look_for_end = look_for_end
        self._stopped = False
        self._zero_ns = 0
        self.sent = 0
        self.late_us: list[int] = []
        """From when each request could go to its sending."""

    def begin(self, zero_ns: int) -> None:
        """The run begins at that moment."""
        self._zero_ns = zero_ns
        self._begin()

    @abstractmethod
    def _begin(self) -> None:
        """Send the first ones."""

    @abstractmethod
    def is_waiting(self) -> bool:
        """Whether it will send something by itself, or keeps connections for it."""

    @abstractmethod
    def _freed(self, connection: Connection, answer: Answer) -> None:
        """A connection has nothing to do after that answer."""

    def stop(self) -> None:
        """Send no more; what is on its way may end."""
        self._stopped = True

    @abstractmethod
    def close(self) -> None:
        """The loop is about to end."""

    def after(self, connection: Connection, answer: Answer) -> None:
        """A request has ended: its conversation goes on, or something else."""
        follow = answer.shot.follow
        shot = follow(answer.text) if follow is not None and answer.failure is None else None
        if shot is not None and not self._stopped:
            self._launch(connection, shot)
        else:
            self._freed(connection, answer)

    def _next_shot(self) -> Shot | None:
        return None if self._stopped else next(self._shots, None)

    def _launch(self, connection: Connection, shot: Shot) -> None:
        self._pool.busy.add(connection)
        self.sent += 1
        if shot.scheduled_ns is not None:
            self.late_us.append((time.monotonic_ns() - self._zero_ns - shot.scheduled_ns) // 1000)
        connection.start(shot)


class ClosedLoop(Sender):
    """Each connection is a slot: its next request follows the end of the one before."""

    def _begin(self) -> None:
        if self._load.duration_s is not None:
            self._loop.call_later(self._load.duration_s, self.stop)
        self._pool.idle.clear()
        for connection in list(self._pool.all):
            self._take(connection, self._next_shot())
        self._look_for_end()

    def is_waiting(self) -> bool:
        """While there are slots, pausing ones too: they are let go when there is nothing for them."""
        return bool(self._pool.all)

    def close(self) -> None:
        """Nothing of it is open."""

    def _freed(self, connection: Connection, answer: Answer) -> None:
        if answer.failure is None:
            self.late_us.append(max(0, (time.monotonic_ns() - answer.done_ns) // 1000))
            self._take(connection, self._next_shot())
        else:
            self._take_later(connection, pause_s(answer.refused))

    def _take(self, connection: Connection, shot: Shot | None) -> None:
        """Give a free slot its next shot, or let it go."""
        if shot is None or self._stopped:
            self._pool.discard(connection)
        else:
            self._launch(connection, shot)

    def _take_later(self, connection: Connection, pause_s: float) -> None:
        """The same after a pause, which nobody waits for when there is no next shot."""
        shot = self._next_shot()
        if shot is None:
            self._pool.discard(connection)
            return

        def resume() -> None:
            if not self._over.done():
                self._take(connection, shot)
                self._look_for_end()

        self._loop.call_later(pause_s, resume)


class OpenLoop(Sender):
    """Each request has its time, whatever the server does."""

    _alarm: Alarm | None = None
    _next: Shot | None = None

    def _begin(self) -> None:
        self._alarm = Alarm(self._loop, self._fire)
        self._next = self._next_shot()
        self._fire()

    def is_waiting(self) -> bool:
        """While one is due later."""
        return self._next is not None

    def stop(self) -> None:
        """Send no more, what is due next neither."""
        super().stop()
        self._next = None

    def close(self) -> None:
        """Nothing rings any more."""
        if self._alarm is not None:
            self._alarm.close()

    def _fire(self) -> None:
        """Send all that is due, and come back when the next one is."""
        if self._over.done():
            return
        now_ns = time.monotonic_ns()
        while self._next is not None and (self._next.scheduled_ns or 0) <= now_ns - self._zero_ns:
            self._launch(self._pool.free(), self._next)
            self._next = self._next_shot()
            now_ns = time.monotonic_ns()
        if self._next is not None and self._alarm is not None:
            self._alarm.set(self._zero_ns + (self._next.scheduled_ns or 0))
        else:
            self._look_for_end()

    def _freed(self, connection: Connection, answer: Answer) -> None:
        if connection.is_open:
            self._pool.idle.append(connection)
        else:
            self._pool.discard(connection)
