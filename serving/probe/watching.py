"""What is watched while a load runs: requests past their time limits, a server that hangs, a loop that is late."""

import asyncio
import time
from collections.abc import Callable

from serving.probe.pool import Pool
from serving.probe.spec import Load
from serving.probe.tally import BEAT_US, Tally


class TimeLimits:
    """Gives up requests that passed a limit of the load; says so once where nobody gets a byte any more."""

    def __init__(
        self, pool: Pool, load: Load, over: asyncio.Future[None], give_up: Callable[[], None]
    ) -> None:
        """`over` is done when the run is; `give_up` is called where the server hangs."""
        self._pool = pool
        self._load = load
        self._over = over
        self._give_up = give_up
        self._reads = 0
        self._heard_ns = 0

    def look(self) -> None:
        """Look now, and again in a moment."""
        if self._over.done():
            return
        now_ns = time.monotonic_ns()
        if self._is_silent(now_ns):
            self._give_up()
            return
        for connection in list(self._pool.busy):
            if connection.answer is None:
                continue
            if now_ns - connection.answer.sent_ns > self._load.timeout_s * 1e9:
                connection.abort("timeout", f"not done after {self._load.timeout_s:g} s")
            elif now_ns - connection.last_ns > self._load.stall_timeout_s * 1e9:
                connection.abort("stalled", f"nothing came for {self._load.stall_timeout_s:g} s")
        shortest_s = min(self._load.timeout_s, self._load.stall_timeout_s)
        self._pool.shared.loop.call_later(min(0.5, shortest_s / 4), self.look)

    def _is_silent(self, now_ns: int) -> bool:
        """Whether nobody has got a byte for too long, though somebody waits for one."""
        reads = self._pool.shared.tally.reads
        if reads != self._reads:
            self._reads, self._heard_ns = reads, now_ns
        waiting = (each.answer.sent_ns for each in self._pool.busy if each.answer is not None)
        since_ns = max(self._heard_ns, min(waiting, default=now_ns))
        return now_ns - since_ns > self._load.silence_limit_s * 1e9


class Heartbeat:
    """When the loop surely looked at its sockets, and how late it is, from a timer's own lateness."""

    def __init__(self, loop: asyncio.AbstractEventLoop, over: asyncio.Future[None], tally: Tally) -> None:
        self._loop = loop
        self._tally = tally
        self._over = over
        self._beat_ns = tally.looked_ns = time.monotonic_ns()

    def beat(self, expected_ns: int) -> None:
        """A beat that was due then, and the next one."""
        # What had come by the beat before has been read; after a pause timers may ring first.
        self._tally.looked_ns = max(self._tally.looked_ns, self._beat_ns)
        now_ns = self._beat_ns = time.monotonic_ns()
        self._tally.late(max(0, (now_ns - expected_ns) // 1000))
        if not self._over.done():
            self._loop.call_later(BEAT_US / 1e6, self.beat, now_ns + BEAT_US * 1000)
