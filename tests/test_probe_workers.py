"""How a load is shared among processes, and how they are conducted; the processes are threads here."""

import os
import signal
from collections.abc import Iterator, Sequence
from itertools import count
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Event, Thread
from types import SimpleNamespace
from typing import Any

import pytest

from infra import interrupts
from infra.errors import CorralError, HostError
from serving.probe import workers
from serving.probe.attack import Hooks
from serving.probe.exchange import Shot
from serving.probe.progress import Progress
from serving.probe.results import Writer
from serving.probe.run_records import ClientSide, Ending, Result
from serving.probe.spec import Load
from serving.probe.workers import (
    Share,
    conduct,
    connections_before,
    estimate,
    held_back,
    passing_on,
    prepared,
)


@pytest.mark.parametrize(
    ("load", "connections"),
    [
        (Load(shape="concurrency", concurrency=7), [7]),
        (Load(shape="concurrency", concurrency=7, requests=5), [5]),
        (Load(shape="concurrency", concurrency=7, processes=3), [3, 2, 2]),
        (Load(shape="concurrency", concurrency=8, requests=5, processes=3), [2, 2, 1]),
        (Load(shape="concurrency"), [1]),
        (Load(shape="burst", requests=1000, processes=3), [334, 333, 333]),
        (Load(shape="burst"), [1]),
        (Load(shape="poisson", request_rate=1.0, requests=9, processes=2), [0, 0]),
    ],
)
def test_how_many_connections_are_opened_before_the_clock_starts(load: Load, connections: list[int]) -> None:
    assert [connections_before(load, process) for process in range(load.processes)] == connections
    assert connections_before(load) == connections[0]


@pytest.mark.parametrize(
    ("load", "requests"),
    [
        (Load(shape="poisson", request_rate=10.0, duration_s=5.0), 60 + 16),
        (Load(shape="ramp", request_rate=10.0, end_request_rate=30.0, duration_s=5.0), 180 + 16),
        (Load(shape="ramp", request_rate=30.0, end_request_rate=10.0, duration_s=5.0), 180 + 16),
        (Load(shape="concurrency", concurrency=4, duration_s=5.0), 64),
        (Load(shape="replay"), 16),
    ],
)
def test_how_many_requests_to_prepare_for_a_run_that_ends_by_time(load: Load, requests: int) -> None:
    assert estimate(load) == requests


def made_on_demand(size: int, made: list[int]) -> Iterator[Shot]:
    for number in count():
        made.append(number)
        yield Shot(number, bytes(size), 1)


def test_requests_are_made_beforehand_as_far_as_memory_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "PREPARED_BYTES", 1000)
    for load, size, beforehand in (
        (Load(shape="concurrency", requests=5), 10, 5),
        (Load(shape="concurrency", concurrency=2), 10, 32),
        (Load(shape="concurrency", requests=50), 100, 11),
        (Load(shape="concurrency", requests=50, processes=2), 100, 6),
    ):
        made: list[int] = []
        shots = prepared(made_on_demand(size, made), load)
        assert len(made) == beforehand, load
        assert [next(shots).index for _ in range(60)] == list(range(60))


# One process's share, and all of them as one


def share(wall_s: float, done_us: int, **fields: Any) -> Share:
    common: dict[str, Any] = {"unfinished": 0, "interrupted": False, "zero_ns": 7}
    return Share(ClientSide(wall_s=wall_s), done_us, **(common | fields))


@pytest.mark.parametrize(
    ("shares", "ending"),
    [
        (
            [share(2.5, 1000), share(1.5, 2000)],
            Ending(2000, [ClientSide(wall_s=2.5), ClientSide(wall_s=1.5)]),
        ),
        (
            [share(2.5, 1000, interrupted=True, unfinished=3), share(1.5, 2000, unfinished=1)],
            Ending(
                2_500_000, [ClientSide(wall_s=2.5), ClientSide(wall_s=1.5)], interrupted=True, unfinished=4
            ),
        ),
    ],
)
def test_an_interrupted_run_lasted_as_long_as_it_did_and_another_to_its_last_answer(
    monkeypatch: pytest.MonkeyPatch, shares: list[Share], ending: Ending
) -> None:
    monkeypatch.setattr(workers, "attack_together", lambda *words: shares)
    anything: Any = None
    load = Load(shape="concurrency", concurrency=2, processes=2)
    assert workers.attack(anything, load, anything, anything, None) == (ending, 7)


def test_one_process_needs_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    maker: Any = SimpleNamespace(shots=lambda load, composer: iter([Shot(0, b"", 1)]))
    writer: Any = SimpleNamespace(failure=None, result=lambda result: None)

    def run_share(maker: Any, load: Load, shots: Iterator[Shot], hooks: Hooks) -> Share:
        asked.extend([[shot.index for shot in shots], hooks.result, hooks.must_stop(), hooks.watch])
        writer.failure = "full"
        asked.append(hooks.must_stop())
        return share(1.0, 5)

    monkeypatch.setattr(workers, "run_share", run_share)
    composer: Any = None
    found = workers.attack(maker, Load(shape="concurrency", requests=1), composer, writer, print)
    assert (asked, found) == (
        [[0], writer.result, False, print, True],
        (Ending(5, [ClientSide(wall_s=1.0)]), 7),
    )


# Conducting


class Players:
    """Processes as threads, each saying its piece after it is told when to start."""

    def __init__(self, *says: Sequence[object]) -> None:
        self.ours: list[Connection] = []
        self.started_at: list[int] = []
        self._threads = []
        for piece in says:
            ours, theirs = Pipe()
            self.ours.append(ours)
            thread = Thread(target=self._play, args=(theirs, piece))
            thread.start()
            self._threads.append(thread)

    def _play(self, pipe: Connection, piece: Sequence[object]) -> None:
        with pipe:
            for said in piece:
                pipe.send(said)
                if said == "ready":
                    self.started_at.append(pipe.recv())

    def join(self) -> None:
        for thread in self._threads:
            thread.join()
        for pipe in self.ours:
            pipe.close()


def test_all_start_at_one_moment_and_their_standings_are_told_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "time", SimpleNamespace(monotonic_ns=lambda: 5))
    watched: list[Progress] = []
    one, two = share(1.0, 5), share(2.0, 6)
    players = Players(
        ["ready", Progress(sent=1), one],
        ["ready", Progress(sent=10), two],
    )
    shares = conduct(players.ours, watched.append)
    players.join()
    assert sorted(found.last_done_us for found in shares) == [5, 6]
    assert players.started_at == [200_000_005] * 2
    assert {each.sent for each in watched} <= {11}


def test_a_process_that_fails_or_dies_or_is_not_ready_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for piece, message, hint in (
        ([HostError("no sockets", "x")], "no sockets", "x"),
        ([], "A process of the probe has died.", "Look at the system's log: dmesg"),
        (["ready"], "A process of the probe has died.", "Look at the system's log: dmesg"),
    ):
        players = Players(piece)
        with pytest.raises(CorralError) as caught:
            conduct(players.ours, None)
        players.join()
        assert (caught.value.message, caught.value.hint) == (message, hint)
    # One that died after it was ready, before it was told when to start.
    ours, theirs = Pipe()
    with ours:
        theirs.send("ready")
        theirs.close()
        with pytest.raises(CorralError, match=r"A process of the probe has died\."):
            conduct([ours], None)
    monkeypatch.setattr(workers, "READY_LIMIT_S", 0.0)
    ours, theirs = Pipe()
    with ours, theirs, pytest.raises(CorralError) as caught:
        conduct([ours], None)
    assert caught.value.message == "A process of the probe did not become ready."
    assert caught.value.hint == "Use fewer: --processes"


def test_ctrl_c_is_passed_on_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[int, int]] = []

    def kill(pid: int, number: int) -> None:
        told.append((pid, number))
        if pid == 7:
            raise ProcessLookupError

    monkeypatch.setattr(os, "kill", kill)
    pass_on = passing_on([7, None, 8])
    pass_on()
    pass_on()
    assert told == [(7, signal.SIGINT), (8, signal.SIGINT)] * 2
    with pytest.raises(KeyboardInterrupt):
        pass_on()


def test_signals_wait_until_the_processes_are_started() -> None:
    with held_back():
        assert set(interrupts.SIGNALS) <= signal.pthread_sigmask(signal.SIG_BLOCK, ())
    assert not set(interrupts.SIGNALS) & signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_ctrl_c_waits_though_another_thread_takes_it() -> None:
    """A library's own thread does, with nothing blocked: Python would then interrupt this one."""
    over = Event()
    other = Thread(target=over.wait)
    other.start()
    went_on = []
    heard, told = os.pipe()
    os.set_blocking(told, False)
    before = signal.set_wakeup_fd(told)

    def interrupted() -> None:
        with held_back():
            os.kill(os.getpid(), signal.SIGINT)
            assert os.read(heard, 1) == bytes([signal.SIGINT])  # Python has it, from whichever thread
            went_on.append(True)

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    signal.set_wakeup_fd(before)
    os.close(heard)
    os.close(told)
    over.set()
    other.join()
    assert went_on == [True]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


# A process's own side


def test_a_process_marks_its_results_and_tells_what_it_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def run_share(maker: Any, load: Load, shots: Any, hooks: Hooks, process: int) -> Share:
        assert hooks.start_at_ns
        assert hooks.watch
        asked.extend([[shot.index for shot in shots], hooks.must_stop(), process, hooks.start_at_ns()])
        hooks.result(Result(4, 0, 0, 9, gaps_us=[1]))
        hooks.watch(Progress(sent=5))
        return share(1.0, 9)

    maker: Any = SimpleNamespace(
        workload=SimpleNamespace(seed=6),
        composer=lambda seed: asked.append(seed),
        shots=lambda load, composer, process: iter([Shot(process, b"", 1)]),
    )
    writer = Writer(tmp_path / "part")
    monkeypatch.setattr(workers, "run_share", run_share)
    monkeypatch.setattr(workers, "Writer", {tmp_path / "part": writer}.get)
    ours, theirs = Pipe()
    with ours, theirs:
        ours.send(77)
        workers.load_and_tell(maker, Load(shape="concurrency", requests=1), 3, tmp_path / "part", theirs)
        writer.give_up()
        told = [ours.recv() for _ in range(3)]
    assert asked == ["6/3", [3], False, 3, 77]
    assert told == ["ready", Progress(sent=5), share(1.0, 9)]
    assert (tmp_path / "part").read_bytes() == (
        b'{"index":4,"scheduled_us":0,"sent_us":0,"done_us":9,"gaps_us":[1],"process":3}\n'
    )


@pytest.mark.parametrize("error", [HostError("no sockets"), BrokenPipeError(), EOFError()])
def test_a_process_says_what_it_lacks_and_ends_quietly_without_the_first(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def load_and_tell(*words: object) -> None:
        raise error

    monkeypatch.setattr(workers, "load_and_tell", load_and_tell)
    handlers = interrupts.handle(lambda *_: None)
    ours, theirs = Pipe()
    anything: Any = None
    with ours, theirs:
        try:
            workers.work(anything, anything, 0, anything, theirs)
        finally:
            interrupts.restore(handlers)
        assert ours.poll(0) == isinstance(error, HostError)
        if isinstance(error, HostError):
            assert ours.recv().message == "no sockets"


# Several together


class Worker:
    """A process that is a thread."""

    def __init__(self, target: Any, args: tuple[Any, ...], daemon: bool) -> None:
        assert daemon
        self.pid, self.killed = 1000 + args[2], 0
        pipe = Connection(os.dup(args[4].fileno()))  # the first process closes its own
        self._thread = Thread(target=target, args=(*args[:4], pipe))

    def start(self) -> None:
        self._thread.start()

    def join(self, limit_s: float | None = None) -> None:
        self._thread.join()

    def is_alive(self) -> bool:
        return False

    def kill(self) -> None:
        self.killed += 1


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Worker]:
    """The processes that are started."""
    made: list[Worker] = []

    def process(**words: Any) -> Worker:
        made.append(Worker(**words))
        return made[-1]

    context = SimpleNamespace(Pipe=Pipe, Process=process)
    monkeypatch.setattr("multiprocessing.get_context", {"spawn": context}.get)
    monkeypatch.setattr("multiprocessing.resource_tracker.ensure_running", lambda: None)
    return made


LINE = b'{"index":%d,"scheduled_us":0,"sent_us":0,"done_us":9,"gaps_us":[1],"process":%d}\n'


def writer_in(folder: Path) -> Writer:
    made = Writer(folder / "results.jsonl")
    made._file.write(b"first\n")
    return made


def test_each_process_writes_its_part_and_all_are_put_into_one_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: list[Worker]
) -> None:
    kept = Result(9, 0, 0, 9, gaps_us=[1])

    def work(maker: Any, load: Load, process: int, part: Path, pipe: Connection) -> None:
        with pipe:
            pipe.send("ready")
            pipe.recv()
            part.write_bytes(LINE % (process, process))
            lost = {"failure": "full", "kept": (kept,)} if process else {}
            pipe.send(share(1.0 + process, process, **lost))

    monkeypatch.setattr(workers, "work", work)
    before = [signal.getsignal(number) for number in interrupts.SIGNALS]
    writer, load = writer_in(tmp_path), Load(shape="concurrency", concurrency=2, processes=2)
    anything: Any = None
    found = workers.attack_together(anything, load, writer, None)
    writer.give_up()
    assert sorted(each.side.wall_s for each in found) == [1.0, 2.0]
    assert (tmp_path / "results.jsonl").read_bytes() == b"first\n" + LINE % (0, 0) + LINE % (1, 1)
    assert (writer.kept, writer.failure, [worker.killed for worker in started]) == ([kept], "full", [0, 0])
    assert [path.name for path in tmp_path.iterdir()] == ["results.jsonl"]
    assert [signal.getsignal(number) for number in interrupts.SIGNALS] == before


def test_when_one_fails_all_are_killed_and_what_was_measured_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: list[Worker]
) -> None:
    def work(maker: Any, load: Load, process: int, part: Path, pipe: Connection) -> None:
        with pipe:
            part.write_bytes(LINE % (process, process))
            pipe.send(HostError("no sockets") if process else "ready")

    monkeypatch.setattr(workers, "work", work)
    before = [signal.getsignal(number) for number in interrupts.SIGNALS]
    writer, load = writer_in(tmp_path), Load(shape="concurrency", concurrency=2, processes=2)
    anything: Any = None
    with pytest.raises(HostError, match="no sockets"):
        workers.attack_together(anything, load, writer, None)
    writer.give_up()
    assert (tmp_path / "results.jsonl").read_bytes().count(b"\n") == 3
    assert [worker.killed for worker in started] == [1, 1]
    assert [path.name for path in tmp_path.iterdir()] == ["results.jsonl"]
    assert [signal.getsignal(number) for number in interrupts.SIGNALS] == before
