"""The load by one process, or by several that share it and start at one moment."""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import chain, count, islice
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from pathlib import Path

from infra import interrupts
from infra.errors import CorralError
from serving.probe.address import resolve
from serving.probe.attack import Attack, Hooks
from serving.probe.dataset import Composer
from serving.probe.exchange import Shot
from serving.probe.progress import Progress, together
from serving.probe.request_maker import RequestMaker
from serving.probe.results import Writer
from serving.probe.run_records import ClientSide, Ending, Result
from serving.probe.spec import Load

PREPARED_BYTES = 256 * 1024 * 1024
"""Requests are serialised before the clock starts up to this much; a longer run serialises the rest on the way."""
READY_LIMIT_S = 120.0

Watch = Callable[[Progress], None]


@dataclass
class Share:
    """What one process did."""

    side: ClientSide
    last_done_us: int
    unfinished: int
    interrupted: bool
    failure: str | None = None
    """Why its results could not all be written."""
    kept: tuple[Result | Ending, ...] = ()
    """Those that were not."""
    zero_ns: int = 0
    """The moment that its times count from, on the monotonic clock, which all processes share."""


def attack(
    maker: RequestMaker, load: Load, composer: Composer, writer: Writer, watch: Watch | None
) -> tuple[Ending, int]:
    """Put the load on; every result goes to the writer. Also the moment that times count from, in ns."""
    if load.processes == 1:
        shots = prepared(maker.shots(load, composer), load)
        hooks = Hooks(writer.result, watch, must_stop=lambda: bool(writer.failure))
        shares = [run_share(maker, load, shots, hooks)]
    else:
        shares = attack_together(maker, load, writer, watch)
    interrupted = any(share.interrupted for share in shares)
    ending = Ending(
        duration_us=int(max(share.side.wall_s for share in shares) * 1e6)
        if interrupted
        else max(share.last_done_us for share in shares),
        clients=[share.side for share in shares],
        interrupted=interrupted,
        unfinished=sum(share.unfinished for share in shares),
    )
    return ending, shares[0].zero_ns


def run_share(
    maker: RequestMaker, load: Load, shots: Iterator[Shot], hooks: Hooks, process: int = 0
) -> Share:
    """One process's share of the load."""
    connections = connections_before(load, process)
    running = Attack(resolve(maker.target), maker.target.api, load, shots, hooks, connections)
    side = replace(running.run(), process=process)
    outcome = running.outcome
    return Share(side, outcome.last_done_us, outcome.unfinished, running.interrupted, zero_ns=outcome.zero_ns)


def prepared(shots: Iterator[Shot], load: Load) -> Iterator[Shot]:
    """The same shots, serialised beforehand as far as memory allows."""
    ready, size = [], 0
    wanted = load.requests if load.requests is not None else estimate(load)
    for shot in islice(shots, wanted):
        ready.append(shot)
        size += len(shot.request)
        if size > PREPARED_BYTES // load.processes:
            break
    return chain(ready, shots)


def estimate(load: Load) -> int:
    """How many requests to prepare for a run that ends by time."""
    if load.request_rate is not None and load.duration_s is not None:
        return int(load.duration_s * max(load.request_rate, load.end_request_rate or 0.0) * 1.2) + 16
    return 16 * (load.concurrency or 1)


def connections_before(load: Load, process: int = 0) -> int:
    """How many connections to open before the clock starts: those that are needed then, so none of a schedule's.

    One that waits for its request may hold a thread of the server's.
    """
    if not load.is_open:
        wanted = min(load.concurrency or 1, load.requests or load.concurrency or 1)
    elif load.shape == "burst":
        wanted = load.requests or 1
    else:
        wanted = 0
    return wanted // load.processes + (process < wanted % load.processes)


def attack_together(maker: RequestMaker, load: Load, writer: Writer, watch: Watch | None) -> list[Share]:
    """Several processes; each writes its own part, which is put into the one file at the end."""
    context = multiprocessing.get_context("spawn")
    workers = []
    parts = [writer.path.with_name(f".{writer.path.name}.{process}") for process in range(load.processes)]
    previous: interrupts.Handlers = {}
    try:
        with held_back():
            for process, part in enumerate(parts):
                ours, theirs = context.Pipe()
                worker = context.Process(target=work, args=(maker, load, process, part, theirs), daemon=True)
                worker.start()
                theirs.close()
                workers.append((worker, ours))
        previous = interrupts.handle(passing_on([worker.pid for worker, _ in workers]))
        shares = conduct([ours for _, ours in workers], watch)
    except BaseException:
        for worker, _ in workers:
            worker.kill()
        raise
    finally:
        if previous:
            interrupts.handle(lambda *_: None)  # one more Ctrl-C must not leave the parts behind
        for worker, ours in workers:
            ours.close()
            worker.join(10)
            if worker.is_alive():
                worker.kill()
                worker.join()
        for part in parts:
            writer.take(part)
        interrupts.restore(previous)
    for share in shares:
        writer.kept += share.kept
    writer.failure = writer.failure or next((share.failure for share in shares if share.failure), None)
    return shares


@contextmanager
def held_back() -> Iterator[None]:
    """Ctrl-C waits until this is over; a process started meanwhile holds it back until it loads."""
    resource_tracker.ensure_running()  # which would let it through when it is started later
    asked: list[int] = []
    # The mask is for those who are started. Of us it holds for this thread alone: a library's own may take the signal.
    previous = interrupts.handle(lambda number, _: asked.append(number))
    signal.pthread_sigmask(signal.SIG_BLOCK, interrupts.SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, interrupts.SIGNALS)
        interrupts.restore(previous)
    for number in asked[:1]:
        signal.raise_signal(number)


def passing_on(pids: list[int | None]) -> Callable[..., None]:
    """A handler that passes Ctrl-C on to the processes; the third one waits for them no more."""
    times = count(1)

    def pass_on(*_: object) -> None:
        if next(times) > 2:
            raise KeyboardInterrupt
        for pid in pids:
            if pid is not None:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGINT)

    return pass_on


def conduct(pipes: list[Connection], watch: Watch | None) -> list[Share]:
    """Start the processes at one moment, pass on how they stand, gather what they did."""
    for pipe in pipes:
        if not pipe.poll(READY_LIMIT_S):
            raise CorralError("A process of the probe did not become ready.", "Use fewer: --processes")
        hear(pipe)
    start_at_ns = time.monotonic_ns() + 200_000_000
    for pipe in pipes:
        with suppress(OSError):  # of one that has died meanwhile its silence tells
            pipe.send(start_at_ns)
    shares: dict[Connection, Share] = {}
    standing: dict[Connection, Progress] = {}
    while len(shares) < len(pipes):
        speaking = wait([pipe for pipe in pipes if pipe not in shares], timeout=1.0)
        for pipe in (pipe for pipe in pipes if pipe in speaking):
            told = hear(pipe)
            if isinstance(told, Share):
                shares[pipe] = told
            elif isinstance(told, Progress):
                standing[pipe] = told
        if watch is not None and len(standing) == len(pipes):
            watch(together(list(standing.values())))
            standing.clear()
    return list(shares.values())


def hear(pipe: Connection) -> Share | Progress | str:
    """What a process says. Raises CorralError: its own, or that it has died."""
    try:
        told: Share | Progress | str | CorralError = pipe.recv()
    except (EOFError, OSError):
        raise CorralError("A process of the probe has died.", "Look at the system's log: dmesg") from None
    if isinstance(told, CorralError):
        raise told
    return told


def work(maker: RequestMaker, load: Load, process: int, part: Path, pipe: Connection) -> None:
    """The body of one process. Ctrl-C is held back until it loads, and means nothing after that."""
    interrupts.handle(lambda *_: None)  # to ignore it would lose one that waits
    with suppress(BrokenPipeError, ConnectionResetError, EOFError):  # the first process is gone
        try:
            load_and_tell(maker, load, process, part, pipe)
        except CorralError as error:
            pipe.send(error)


def load_and_tell(maker: RequestMaker, load: Load, process: int, part: Path, pipe: Connection) -> None:
    """Do this process's share; say when it is ready, how it stands, and what it did."""
    writer = Writer(part)

    def sink(result: Result) -> None:
        result.process = process
        writer.result(result)

    def ready() -> int:
        pipe.send("ready")
        start_at_ns: int = pipe.recv()
        return start_at_ns

    shots = prepared(maker.shots(load, maker.composer(f"{maker.workload.seed}/{process}"), process), load)
    hooks = Hooks(sink, pipe.send, ready, lambda: bool(writer.failure))
    share = run_share(maker, load, shots, hooks, process)
    pipe.send(replace(share, failure=writer.failure, kept=tuple(writer.kept)))
