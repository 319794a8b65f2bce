"""One process's share of a load: from the opening of its connections to what it says about itself."""

import asyncio
import gc
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from infra import interrupts
from serving.probe.apis import ApiName
from serving.probe.connection import Connection, Peer
from serving.probe.exchange import Answer, Shot
from serving.probe.kernel_stamps import await_stamps, realtime_offset_ns
from serving.probe.outcome import Outcome
from serving.probe.pool import Pool
from serving.probe.process import raise_file_limit
from serving.probe.progress import Progress
from serving.probe.run_records import ClientSide, Result
from serving.probe.sending import ClosedLoop, OpenLoop, Sender
from serving.probe.shared import Shared
from serving.probe.spec import Load
from serving.probe.statistics import spread
from serving.probe.watching import Heartbeat, TimeLimits


class Hooks(NamedTuple):
    """What an attack tells others while it runs, and asks them."""

    result: Callable[[Result], None]
    """Hears each result."""
    watch: Callable[[Progress], None] | None = None
    """Hears once a second how it stands."""
    start_at_ns: Callable[[], int] | None = None
    """Says, when all is ready, at which moment it starts."""
    must_stop: Callable[[], bool] = lambda: False


class Attack:
    """Opens the connections, sends every shot, waits for every end."""

    def __init__(
        self, peer: Peer, api: ApiName, load: Load, shots: Iterator[Shot], hooks: Hooks, connections: int
    ) -> None:
        self._load = load
        self._hooks = hooks
        self._connections = connections
        self.shared = Shared(api, load)
        self._loop = self.shared.loop
        self._over: asyncio.Future[None] = self._loop.create_future()
        self._loop.set_exception_handler(self._fail)
        self._pool = Pool(self.shared, self, peer)
        sender = OpenLoop if load.is_open else ClosedLoop
        self._sender: Sender = sender(self._pool, load, shots, self._over, self._look_for_end)
        self._limits = TimeLimits(self._pool, load, self._over, self._give_up)
        self._heartbeat = Heartbeat(self._loop, self._over, self.shared.tally)
        self.outcome = Outcome(hooks.result)
        self._running = False
        self._gave_up = False
        self._fault: BaseException | None = None
        self.interrupted = False

    def run(self) -> ClientSide:
        """Load until all is sent and answered. Ctrl-C ends it early with `interrupted` set."""
        raise_file_limit(self._connections)
        previous = self._catch_interrupts()
        try:
            self._pool.open(self._connections, lambda: self.interrupted)
            if self.shared.use_kernel_stamps:
                await_stamps()
            gc.collect()
            gc.freeze()
            gc.disable()
            start_at_ns = self._hooks.start_at_ns
            self.outcome.zero_ns = time.monotonic_ns() if start_at_ns is None else start_at_ns()
            time.sleep(max(0, self.outcome.zero_ns - time.monotonic_ns()) / 1e9)
            wall_ns, cpu_ns = time.monotonic_ns(), time.process_time_ns()
            self._begin()
            self._loop.run_until_complete(self._over)
            self.outcome.hand_out_all()
            wall_ns, cpu_ns = time.monotonic_ns() - wall_ns, time.process_time_ns() - cpu_ns
        finally:
            gc.enable()
            gc.unfreeze()
            interrupts.restore(previous)
            self._close()
        if self._fault is not None:
            raise self._fault
        return self._client_side(wall_ns / 1e9, cpu_ns / 1e9)

    def _begin(self) -> None:
        self._running = True
        if self.interrupted:
            self._over.set_result(None)
            return
        self._tick()
        self._limits.look()
        if not (self.shared.tally.kernel_stamps and self.shared.reader.begin()):
            self._heartbeat.beat(time.monotonic_ns())
        self._sender.begin(self.outcome.zero_ns)

    # What a connection says

    def idle(self, connection: Connection) -> None:
        """The connection can take a request."""
        self._pool.idle.append(connection)

    def down(self, connection: Connection) -> None:
        """A connection without a request was closed by the server. The next request for it opens one: one that is open
        for nobody may hold a thread of the server's.
        """
        if connection in self._pool.idle:
            self._pool.idle.remove(connection)
        if self._load.is_open:
            self._pool.all.discard(connection)

    def finished(self, connection: Connection, answer: Answer) -> None:
        """A request has ended, well or not: the next one goes first, the bookkeeping follows."""
        self._pool.busy.discard(connection)
        if self.outcome.owe(answer):
            self._loop.call_soon(self._settle)
        if not self._over.done():
            self._sender.after(connection, answer)
            self._look_for_end()

    # Meanwhile

    def _settle(self) -> None:
        """Hand out a few results, then let the sockets be read again."""
        more = self.outcome.hand_out()
        if self._hooks.must_stop():
            self._interrupt()
        if more and not self._over.done():
            self._loop.call_soon(self._settle)

    def _tick(self) -> None:
        """Once a second: follow the clocks' offset, and say how things stand."""
        if self._over.done():
            return
        self.shared.offset_ns = realtime_offset_ns()
        progress, elapsed_s = self.outcome.progress, (time.monotonic_ns() - self.outcome.zero_ns) / 1e9
        progress.sent = self._sender.sent
        moved = progress.look(elapsed_s, self.shared.tally.events, len(self._pool.busy))
        if moved and self._hooks.watch is not None:
            self._hooks.watch(progress)
        progress.ttft_us.clear()
        self._loop.call_later(1.0, self._tick)

    # The end

    def _look_for_end(self) -> None:
        if not (self._over.done() or self._pool.busy or self._sender.is_waiting()):
            self._over.set_result(None)

    def _give_up(self) -> None:
        """The server hangs: fail what is on its way and send no more."""
        self._gave_up = True
        self._sender.stop()
        self._pool.abort_all("stalled", f"nothing came for {self._load.silence_limit_s:g} s")
        self._look_for_end()

    def _interrupt(self) -> None:
        self.interrupted = True
        self._sender.stop()
        self._pool.abort_all("unfinished", "the run was interrupted")
        if self._running and not self._over.done():
            self._over.set_result(None)

    def _catch_interrupts(self) -> interrupts.Handlers:
        """Not by the loop's own means, which lose a signal that comes while the loop does not run."""
        if threading.current_thread() is not threading.main_thread():
            return {}  # whoever runs it there catches Ctrl-C

        def handler(*_: object) -> None:
            self.interrupted = True
            self._loop.call_soon_threadsafe(self._interrupt)

        previous = interrupts.handle(handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, interrupts.SIGNALS)
        return previous

    def _fail(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """A mistake of ours in a callback ends the run: the requests it was about would never end."""
        self._fault = self._fault or context.get("exception") or RuntimeError(context["message"])
        self._interrupt()

    def _close(self) -> None:
        if not self._over.done():
            self._over.set_result(None)
        self._pool.close()
        self._sender.close()
        self.shared.close()

    def _client_side(self, wall_s: float, cpu_s: float) -> ClientSide:
        tally = self.shared.tally
        return ClientSide(
            kernel_stamps=tally.kernel_stamps,
            reader=self.shared.reader.name,
            not_compiled=self.shared.not_compiled,
            wall_s=wall_s,
            cpu_s=cpu_s,
            reads=tally.reads,
            events=tally.events,
            uncertain=tally.uncertain,
            late_uncertain=tally.late_uncertain,
            unstamped=tally.unstamped if tally.kernel_stamps else 0,
            lag_us=spread(tally.lags_us or tally.late_us),
            late_us=spread(self._sender.late_us),
            gave_up=self._gave_up,
            connections=len(tally.connect_us),
            reconnects=tally.reconnects,
            connect_us=spread(tally.connect_us),
        )
