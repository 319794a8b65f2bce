"""How a server is ended: asked, asked again, killed; on a clock that moves by waiting, with processes that are none."""

import errno
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from bad_disk import CLOSED, FULL, Disk

from infra import processes
from infra.errors import LeftoverError
from infra.processes import Birth
from serving.vllm import server, stopping
from serving.vllm.endpoint import Endpoint
from serving.vllm.server import Server

LEADER, CHILD = 7, 8
THEN = datetime(2026, 11, 28, tzinfo=UTC)
Heeds = dict[int, dict[str, float]]
"""By process: how long after the "first" or "second" SIGTERM to the leader, or after the "kill", it ends."""


class World:
    """A leader and its child, on a clock of their own."""

    def __init__(self, heeds: Heeds, folder: Path) -> None:
        self.heeds, self.folder = heeds, folder
        self.now_s = 0.0
        self.ends_s = {LEADER: float("inf"), CHILD: float("inf")}
        self.terms = 0
        self.told: list[object] = []

    def clock(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds

    def members(self, *_: object) -> tuple[int, ...]:
        return tuple(pid for pid, end_s in self.ends_s.items() if self.now_s < end_s)

    def send(self, pids: tuple[int, ...], number: signal.Signals) -> None:
        record = server.load(self.folder)
        signalled = (pids, number.name, bool(record and record.stopping_at))
        if self.told[-1:] != [signalled]:  # to kill is said again and again
            self.told.append(signalled)
        word = "kill" if number == signal.SIGKILL else ("first", "second")[self.terms]
        self.terms += word != "kill"
        for pid in self.ends_s:
            self.ends_s[pid] = min(
                self.ends_s[pid], self.now_s + self.heeds.get(pid, {}).get(word, float("inf"))
            )

    def stop(self, is_ready: bool = True, **further: Any) -> None:
        stopping.stop(self.folder, is_ready, self.told.append, self.sleep, self.clock, **further)


def record(**changes: Any) -> Server:
    return Server(
        leader=Birth(pid=LEADER, start_ticks=1, boot_id="this"),
        started_at=THEN,
        vllm=Path("/vllm"),
        vllm_version="0.33.0",
        arguments=(),
        endpoint=Endpoint(base_url="http://127.0.0.1:8000", served_model_name="scout"),
        shutdown_timeout_s=60,
        load_budget_s=900,
        **changes,
    )


Make = Callable[[Heeds], World]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """A server that was started there, whose processes heed what a test says; its folder in /tmp ends with the test."""

    def make(heeds: Heeds) -> World:
        made = World(heeds, tmp_path)
        monkeypatch.setattr(processes, "members", made.members)
        monkeypatch.setattr(processes, "is_alive", lambda born: born.pid in made.members())
        monkeypatch.setattr(processes, "send", made.send)
        monkeypatch.setattr(processes, "reap", lambda pid: None)
        monkeypatch.setattr(
            processes, "shared_memory", lambda pids: tuple(tmp_path / f"shm-{pid}" for pid in pids)
        )
        record().write(server.record_file(tmp_path))
        (tmp_path / f"shm-{CHILD}").touch()
        server.temporary(tmp_path).mkdir()
        return made

    yield make
    shutil.rmtree(server.temporary(tmp_path), ignore_errors=True)


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


TERM, KILL_BOTH = ((LEADER,), "SIGTERM", True), ((LEADER, CHILD), "SIGKILL", True)
ASKING = "stop: asking the server to end, for up to 60 s while requests finish"
AGAIN, KILLING = "stop: asking again", "stop: killing what is left of it"


def test_a_server_that_drains_is_asked_once_and_nothing_is_left_of_it(world: Make) -> None:
    made = world({LEADER: {"first": 61.9}, CHILD: {"first": 61.9}})
    made.stop()
    assert made.told == [ASKING, TERM]
    assert made.now_s == pytest.approx(61.9, abs=0.11)
    found = server.load(made.folder)
    assert found is not None
    assert found == record(stopping_at=found.stopping_at, stopped_at=found.stopped_at)
    assert found.stopping_at is not None
    assert found.stopped_at is not None
    assert left(made.folder) == ["server.json"]
    made.stop()
    assert (made.told, server.load(made.folder)) == ([ASKING, TERM], found)


STUCK = "stop: asking the server to end, with nothing to finish"


def test_one_that_is_stuck_costs_no_drain(world: Make) -> None:
    made = world({LEADER: {"kill": 0.1}, CHILD: {"kill": 0.1}})
    made.stop(is_stuck=True)
    assert made.told == [STUCK, TERM, KILLING, KILL_BOTH]
    assert made.now_s == pytest.approx(3.1, abs=0.11)


@pytest.mark.parametrize(
    ("moves_until_s", "ends_s", "words"),
    [
        (0.0, 43.2, ["stop: nothing of it has moved for 35 s, so nothing is waited for"]),
        (20.0, 58.3, ["stop: nothing of it has moved for 35 s, so nothing is waited for"]),
        (100.0, 72.0, [AGAIN, TERM]),
    ],
)
def test_a_drain_in_which_nothing_moves_is_cut_short(
    world: Make, moves_until_s: float, ends_s: float, words: list[object]
) -> None:
    made = world({LEADER: {"kill": 0.0}, CHILD: {"kill": 0.0}})
    made.stop(reading=lambda: {"vllm:generation_tokens_total": min(made.now_s, moves_until_s)})
    assert made.told == [ASKING, TERM, *words, KILLING, KILL_BOTH]
    assert made.now_s == pytest.approx(ends_s, abs=0.5)


def test_one_that_starts_is_given_three_seconds_and_asked_again(world: Make) -> None:
    made = world({LEADER: {"second": 0.5}, CHILD: {"second": 0.5}})
    made.stop(is_ready=False)
    assert made.told == ["stop: asking the server to end, during its start", TERM, AGAIN, TERM]
    assert made.now_s == pytest.approx(3 + 0.5, abs=0.2)


def test_one_that_heeds_nothing_is_killed_ten_seconds_after_it_was_asked_again(world: Make) -> None:
    made = world({LEADER: {"kill": 1.0}, CHILD: {"kill": 1.0}})
    made.stop()
    assert made.told == [ASKING, TERM, AGAIN, TERM, KILLING, KILL_BOTH]
    assert made.now_s == pytest.approx(62 + 10 + 1, abs=0.3)


def test_what_a_leader_leaves_has_three_seconds_to_end_by_itself(world: Make) -> None:
    made = world({LEADER: {"first": 5.0}, CHILD: {"first": 7.9}})
    made.stop()
    assert made.told == [ASKING, TERM]
    assert made.now_s == pytest.approx(7.9, abs=0.11)
    made = world({LEADER: {"first": 5.0}, CHILD: {"kill": 0.0}})
    made.stop()
    assert made.told[-2:] == [KILLING, ((CHILD,), "SIGKILL", True)]
    assert made.now_s == pytest.approx(5 + 3 + 3, abs=0.5)


def test_what_does_not_die_of_being_killed_is_said_after_half_a_minute(world: Make) -> None:
    made = world({LEADER: {"kill": 0.0}})
    with pytest.raises(LeftoverError) as caught:
        made.stop()
    assert caught.value.message == "Processes of the server are still there: 8."
    assert caught.value.hint == "They do not die of SIGKILL; look at them: ps -o pid,stat,wchan,cmd -p 8"
    assert made.now_s == pytest.approx(62 + 10 + 30, abs=0.3)
    found = server.load(made.folder)
    assert found is not None
    assert found.stopped_at is None


def test_a_server_whose_leader_died_is_killed_at_once(world: Make) -> None:
    made = world({CHILD: {"kill": 0.0}})
    made.ends_s[LEADER] = 0.0
    made.stop()
    assert (made.told, made.now_s) == ([KILLING, ((CHILD,), "SIGKILL", True)], 0.05)
    assert left(made.folder) == ["server.json"]


@pytest.mark.parametrize("text", [None, "{"])
def test_without_a_record_that_can_be_read_its_processes_are_killed(world: Make, text: str | None) -> None:
    made = world({LEADER: {"kill": 0.0}, CHILD: {"kill": 0.0}})
    server.record_file(made.folder).unlink()
    if text is not None:
        server.record_file(made.folder).write_text(text)
    made.stop()
    assert made.told == [KILLING, ((LEADER, CHILD), "SIGKILL", False)]
    assert left(made.folder) == []


def test_a_stopped_server_keeps_the_time_of_its_stop(world: Make) -> None:
    made = world({})
    made.ends_s = {}
    before = record(stopping_at=THEN, stopped_at=THEN)
    before.write(server.record_file(made.folder))
    made.stop()
    assert (made.told, server.load(made.folder)) == ([], before)


def test_one_that_never_became_ready_is_killed_unasked(world: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    made = world({LEADER: {"kill": 0.2}, CHILD: {"kill": 0.2}})
    monkeypatch.setattr("time.sleep", made.sleep)
    monkeypatch.setattr("time.monotonic", made.clock)
    stopping.kill(made.folder)
    assert made.told == [((LEADER, CHILD), "SIGKILL", False)]
    found = server.load(made.folder)
    assert found is not None
    assert found.stopped_at is not None
    assert left(made.folder) == ["server.json"]


def test_a_clean_up_is_not_interrupted_and_what_follows_can_be() -> None:
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    with suppress(LookupError), stopping.uninterrupted():
        assert [signal.getsignal(number) for number in numbers] == [signal.SIG_IGN] * 2
        raise LookupError
    assert [signal.getsignal(number) for number in numbers] == before


def test_a_thread_leaves_the_signals_to_the_main_one() -> None:
    before, found = signal.getsignal(signal.SIGTERM), list[object]()

    def clean_up() -> None:
        with stopping.uninterrupted():
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=clean_up)
    thread.start()
    thread.join()
    assert found == [before] != [signal.SIG_IGN]


@pytest.mark.parametrize(
    ("ago_s", "changes", "expected"),
    [
        (100, {}, True),
        (130, {}, False),  # suspended at a terminal, say
        (5, {"stopping_by": None}, False),
        (5, {"stopping_by": Birth(pid=LEADER, start_ticks=2, boot_id="this")}, False),
        (5, {"stopped_at": THEN}, False),
    ],
)
def test_who_is_about_to_stop_a_server(
    ago_s: int, changes: dict[str, Any], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    who = Birth(pid=LEADER, start_ticks=1, boot_id="this")
    monkeypatch.setattr(processes, "is_alive", lambda born: born == who)
    begun = {"stopping_at": datetime.now(UTC) - timedelta(seconds=ago_s), "stopping_by": who}
    assert server.is_being_stopped(record(**begun | changes)) is expected


ERRORS = [
    (errno.ENOSPC, FULL),
    (errno.EDQUOT, FULL),
    (errno.EROFS, CLOSED),
    (errno.EACCES, CLOSED),
    (errno.EIO, CLOSED),
]


@pytest.mark.parametrize("once", [True, False])
@pytest.mark.parametrize(("number", "calls"), ERRORS)
def test_a_disk_that_refuses_any_write_keeps_no_server_alive(
    number: int, calls: tuple[str, ...], once: bool, world: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each write of a stop is refused in turn, alone or with all that follow."""
    reached, at = True, 0
    while reached:
        at += 1
        made = world({LEADER: {"second": 1}, CHILD: {"kill": 0.2}})
        with monkeypatch.context() as patch:
            disk = Disk(made.folder, number, calls, at, once).patched(patch)
            made.stop(is_ready=False)
            reached = len(disk.asked) >= at
        told = [words[:2] for words in made.told if isinstance(words, tuple)]
        assert told == [((LEADER,), "SIGTERM"), ((LEADER,), "SIGTERM"), ((CHILD,), "SIGKILL")], at
        assert made.members() == (), at
        found = server.load(made.folder)
        unnoted = [words for words in made.told if "it has ended, which could not be noted" in str(words)]
        assert found is not None
        assert (found.stopped_at is None) == bool(unnoted), at
        for path in made.folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert at > 4


def test_a_full_disk_has_the_end_noted_over_the_old_record(
    world: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = world({LEADER: {"first": 1}, CHILD: {"first": 1}})
    with monkeypatch.context() as patch:
        Disk(made.folder, errno.ENOSPC, ("mkstemp",)).patched(patch)
        made.stop()
    found = server.load(made.folder)
    assert found is not None
    assert made.told == [ASKING, TERM]
    assert found == record(stopping_at=found.stopping_at, stopped_at=found.stopped_at)
    assert None not in (found.stopping_at, found.stopped_at)


def test_a_corrupt_record_that_cannot_be_removed_is_no_obstacle(
    world: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = world({LEADER: {}, CHILD: {}})
    server.record_file(made.folder).write_text("{")
    killed: list[int] = []

    def kill(pids: tuple[int, ...], number: signal.Signals) -> None:
        killed.extend(pids)
        made.ends_s = dict.fromkeys(made.ends_s, made.now_s)

    monkeypatch.setattr(processes, "send", kill)
    Disk(made.folder, errno.EROFS, CLOSED).patched(monkeypatch)
    made.stop()
    assert (made.told, killed, made.members()) == ([KILLING], [LEADER, CHILD], ())


def test_whose_wish_it_was_is_kept_whoever_notes_it(world: Make) -> None:
    """Another corral notes it while this one waits: what is written last is not the copy from before."""
    made = world({LEADER: {"first": 5}, CHILD: {"first": 5}})

    def sleep(seconds: float) -> None:
        record(stopping_at=THEN).write(server.record_file(made.folder))
        made.sleep(seconds)

    stopping.stop(made.folder, True, made.told.append, sleep, made.clock)
    found = server.load(made.folder)
    assert found is not None
    assert found == record(stopping_at=THEN, stopped_at=found.stopped_at)


WRITER = 9
"""What writes the server's log: it ends by itself, a moment after the last of them."""


@pytest.mark.parametrize("ends", [True, False])
def test_what_writes_the_log_is_left_to_write_the_last_line_and_killed_only_if_it_does_not_end(
    ends: bool, world: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = world({LEADER: {"kill": 0.1}, CHILD: {"kill": 0.1}, WRITER: {"kill": 0.4} if ends else {}})
    made.ends_s[WRITER] = float("inf")
    monkeypatch.setattr(
        processes, "carries", lambda pid, marker: (pid, marker) == (WRITER, "CORRAL_WRITES_LOG=1")
    )
    made.terms = 2
    monkeypatch.setattr(stopping, "asks", lambda *given: ())
    if ends:
        made.stop()
    else:
        with pytest.raises(LeftoverError, match="9"):
            made.stop()
    killed = [words[0] for words in made.told if isinstance(words, tuple) and words[0]]
    assert killed == [(LEADER, CHILD), *([] if ends else [(WRITER,)])]
