"""Ending a `vllm serve`: drain, then insist, then kill the group, and prove that nothing of it is left."""

import math
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from infra import processes, wait
from infra.errors import AuthError, DocumentError, EndpointError, LeftoverError
from infra.onhost import idle
from infra.onhost.judge import Policy
from infra.record import removed
from serving.vllm import client, health
from serving.vllm import server as server_of
from serving.vllm.endpoint import Endpoint
from serving.vllm.server import Server

AFTER_SECOND_TERM_S = 10.0
AFTER_KILL_S = 30.0
AFTER_LAST_LINE_S = 5.0
# A server that is still starting swallows the first SIGTERM; it is not worth a long wait.
WHILE_STARTING_S = 3.0
# What a leader leaves behind ends by itself within half a second, or never.
ORPHANS_S = 3.0
LOOK_EVERY_S, KILL_EVERY_S = 0.1, 0.05
READ_EVERY_S, STILL_S = 5.0, Policy().still_s


def stop(
    folder: Path,
    is_ready: bool,
    progress: Callable[[str], None],
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
    *,
    is_stuck: bool = False,
    reading: Callable[[], Mapping[str, float]] = dict,
) -> None:
    """End the server and everything it started: ask, let it drain, ask again, then kill the group.

    One that is stuck has nothing to finish, for nothing of it moves; a drain in which nothing moves, by what `reading`
    says of the engine's work, is cut short.

    Safe to repeat, also after a Ctrl-C, without a record that can be read, and on a disk that takes none. Raises
    LeftoverError when something survives even SIGKILL.
    """
    server = server_of.load_or_remove(folder)
    shared = processes.shared_memory(server_of.members(folder))
    if server and server.stopped_at is None:
        # Before the first signal: whoever waits for the server sees its end at once, and must know whose wish it was.
        # To end one that is stuck is nobody's wish.
        who = None if is_stuck else processes.birth(os.getpid())
        server = server.model_copy(update={"stopping_at": datetime.now(UTC), "stopping_by": who})
        server_of.note(folder, server)
    still = Stillness(reading, clock)
    for patience_s, words in asks(server, is_ready, is_stuck):
        if server and ours(folder) and not still.is_over:
            progress(words)
            processes.send((server.leader.pid,), signal.SIGTERM)
            wait_until_gone(folder, patience_s, sleep, clock, still)
    if still.is_over:
        progress(f"stop: nothing of it has moved for {STILL_S:g} s, so nothing is waited for")
    if ours(folder):
        if server_of.workers(folder):
            progress("stop: killing what is left of it")
        kill_all(folder, sleep, clock)
    tidy(folder, server, shared, progress)


def until_idle(
    endpoint: Endpoint,
    within_s: float,
    is_hurried: Callable[[], bool],
    progress: Callable[[str], None],
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Wait until a server has no request, before it is asked to end: its own drain loses new ones.

    For no longer than that, nor where nothing moves in it, where it does not say, or once it is to end now.
    """
    still = Stillness(lambda: health.reading(endpoint), clock)
    idle.wait(
        lambda: requests_of(endpoint),
        within_s,
        lambda: is_hurried() or still.has_come(),
        lambda text: progress(f"stop: {text}"),
        sleep,
        clock,
    )


def requests_of(endpoint: Endpoint) -> float | None:
    """How many requests it has, infinitely many where its answer is late; None where it does not say."""
    try:
        said = client.metrics(endpoint)
    except client.TooLate:
        return math.inf
    except (AuthError, DocumentError, EndpointError):
        return None
    counts = [said[gauge] for gauge in idle.GAUGES if gauge in said]
    return sum(counts) if counts else None


def kill(folder: Path) -> None:
    """End a server at once, with nothing to drain: one that never became ready."""
    with uninterrupted():
        server = server_of.load_or_remove(folder)
        shared = processes.shared_memory(server_of.members(folder))
        kill_all(folder, time.sleep, time.monotonic)
        tidy(folder, server, shared, lambda text: None)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let a second Ctrl-C, or SIGTERM, not cut a clean-up short; it takes seconds at most."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def asks(server: Server | None, is_ready: bool, is_stuck: bool) -> tuple[tuple[float, str], ...]:
    """How often the leader is asked to end, how long it is given each time, and what is said about it.

    Only a leader that lives can be asked; it tells its children. While the engine starts it swallows the first
    SIGTERM and a second one ends it; one that is ready drains its requests for --shutdown-timeout.
    """
    if server is None or not processes.is_alive(server.leader):
        return ()
    if is_stuck:
        return ((WHILE_STARTING_S, "stop: asking the server to end, with nothing to finish"),)
    drain_s = server.shutdown_timeout_s + 2.0 if is_ready else WHILE_STARTING_S
    words = (
        f"for up to {server.shutdown_timeout_s} s while requests finish" if is_ready else "during its start"
    )
    return (
        (drain_s, f"stop: asking the server to end, {words}"),
        (AFTER_SECOND_TERM_S, "stop: asking again"),
    )


def wait_until_gone(
    folder: Path,
    patience_s: float,
    sleep: Callable[[float], None],
    clock: Callable[[], float],
    still: "Stillness",
) -> None:
    """Wait until no process of the server is left, or the patience is over; without a leader it is soon."""
    server, end = server_of.known(folder), clock() + patience_s

    def leads_none(alive: tuple[int, ...]) -> bool:
        return not alive or bool(server and not processes.is_alive(server.leader)) or still.has_come()

    wait.until(lambda: ours(folder), leads_none, wait.Pace(patience_s, LOOK_EVERY_S, sleep, clock))
    for_orphans = wait.Pace(min(ORPHANS_S, end - clock()), LOOK_EVERY_S, sleep, clock)
    wait.until(lambda: ours(folder), lambda alive: not alive, for_orphans)


class Stillness:
    """Whether a server that drains has stopped to work: with requests that run, and no signal that moves."""

    def __init__(self, reading: Callable[[], Mapping[str, float]], clock: Callable[[], float]) -> None:
        self.is_over = False
        self._reading, self._clock = reading, clock
        self._seen: Mapping[str, float] = {}
        self._since_s = self._asked_s = clock()

    def has_come(self) -> bool:
        """Whether it has by now; asked every few seconds. One that says nothing is believed to work."""
        now_s = self._clock()
        if now_s - self._asked_s >= READ_EVERY_S:
            self._asked_s, before, self._seen = now_s, self._seen, self._reading()
            if not self._seen or self._seen != before:
                self._since_s = now_s
        self.is_over = now_s - self._since_s >= STILL_S and bool(self._seen)
        return self.is_over


def kill_all(folder: Path, sleep: Callable[[float], None], clock: Callable[[], float]) -> None:
    """Kill until none is left: one may be born while others are killed, and a large one takes its time to die.

    What writes their log ends by itself, with the last line; it is killed only where it does not.
    """
    last_line = clock() + AFTER_LAST_LINE_S

    def struck() -> tuple[int, ...]:
        """Those who were there, and were killed."""
        nonlocal last_line
        alive, workers = ours(folder), server_of.workers(folder)
        if workers:
            last_line = clock() + AFTER_LAST_LINE_S
        if alive:
            processes.send(workers or (alive if clock() >= last_line else ()), signal.SIGKILL)
        return alive

    wait.until(struck, lambda alive: not alive, wait.Pace(AFTER_KILL_S, KILL_EVERY_S, sleep, clock))


def ours(folder: Path) -> tuple[int, ...]:
    """The living processes of the server, after taking note of a child of this very process that ended."""
    server = server_of.known(folder)
    if server:
        processes.reap(server.leader.pid)
    return server_of.members(folder)


def tidy(
    folder: Path, server: Server | None, shared: tuple[Path, ...], progress: Callable[[str], None]
) -> None:
    """Once all are gone, remove the shared memory and sockets that killed processes leave, and note the stop."""
    left = server_of.members(folder)
    if left:
        raise LeftoverError(
            f"Processes of the server are still there: {', '.join(map(str, left))}.",
            "They do not die of SIGKILL; look at them: ps -o pid,stat,wchan,cmd -p "
            + ",".join(map(str, left)),
        )
    removed(shared)
    shutil.rmtree(server_of.temporary(folder), ignore_errors=True)
    # Another corral may have noted whose wish it was meanwhile.
    server = server_of.known(folder) or server
    if server and server.stopped_at is None:
        ended = server.model_copy(update={"stopped_at": datetime.now(UTC), "stopping_by": None})
        why = server_of.note(folder, ended)
        if why:
            progress(f"stop: it has ended, which could not be noted: {why}")
