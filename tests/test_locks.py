"""Locks between corrals: who has one, who is refused and with what, and what a disk that takes none means."""

import errno
import fcntl
import os
from pathlib import Path
from typing import IO, Any

import pytest

from infra import locks, processes
from infra.errors import HostError, UsageError

BUSY = UsageError("Another corral is at work.", "Wait.")


def test_a_lock_is_held_and_given_back(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "lock"
    with locks.held(path, BUSY):
        with path.open() as other:
            assert not locks.is_taken(other)
            assert locks.holder(other) == os.getpid()
        with pytest.raises(UsageError) as error, locks.held(path, BUSY):
            pass
        assert error.value is BUSY
    with path.open() as other:
        assert locks.holder(other) is None
        assert locks.is_taken(other)


def test_one_that_is_suspended_is_told_with_how_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "is_suspended", {7: True, 8: False}.__getitem__)
    assert locks.suspended(BUSY, None) is BUSY
    assert locks.suspended(BUSY, 8) is BUSY
    error = locks.suspended(BUSY, 7)
    assert (type(error), error.message, error.hint) == (
        UsageError,
        "Another corral is at work, and is suspended.",
        "Let process 7 go on: kill -CONT 7; or end it: kill 7; kill -CONT 7",
    )


def test_a_folder_that_takes_no_lock_is_an_error_or_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(_: Path) -> IO[str]:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(locks, "opened", opened)
    said = f"{tmp_path} cannot be written: No space left on device."
    with pytest.raises(HostError) as error, locks.held(tmp_path / "lock", BUSY):
        pass
    assert (error.value.message, error.value.hint) == (
        said,
        "Check its free space and owner (df -h, ls -ld), or set CORRAL_HOME to a folder that is yours.",
    )
    told: list[str] = []
    with locks.held(tmp_path / "lock", BUSY, told.append):
        told.append("at work")
    assert told == [said, "at work"]


def test_a_turn_is_waited_for_and_the_lock_is_inherited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, happened = tmp_path / "lock", list[str]()
    inherited: list[bool] = []
    monkeypatch.setattr(os, "set_inheritable", lambda _, inheritable: inherited.append(inheritable))
    with locks.in_turn(path, lambda: happened.append("waits")):
        happened.append("works")
    monkeypatch.setattr(locks, "is_taken", lambda _: False)
    monkeypatch.setattr(fcntl, "flock", lambda _, how: happened.append(f"asks {how == fcntl.LOCK_EX}"))
    with locks.in_turn(path, lambda: happened.append("waits")):
        happened.append("works")
    assert happened == ["works", "waits", "asks True", "works"]
    assert inherited == [True, True]


def test_a_lock_that_is_there_can_be_had_on_a_disk_that_takes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make_folder(_: Path) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    path = tmp_path / "lock"
    path.touch()
    monkeypatch.setattr(locks, "make_folder", make_folder)
    with locks.opened(path) as file:
        assert file.mode == "r"
    path.unlink()
    with pytest.raises(OSError, match="Read-only file system"):
        locks.opened(path)


@pytest.mark.parametrize(
    ("error", "passes"), [(BlockingIOError(), False), (OSError(errno.ENOLCK, "x"), True)]
)
def test_a_disk_that_has_no_locks_lets_everybody(
    error: OSError, passes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(number: int, how: int) -> None:
        assert (number, how) == (5, fcntl.LOCK_EX | fcntl.LOCK_NB)
        raise error

    monkeypatch.setattr(fcntl, "flock", flock)
    if passes:
        locks.take(5)
    else:
        with pytest.raises(BlockingIOError):
            locks.take(5)


def test_a_kernel_that_tells_nothing_names_no_holder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file: Any = (tmp_path / "lock").open("a")
    with file:
        status = os.fstat(file.fileno())
        name = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
        monkeypatch.setattr(locks, "LOCKS", tmp_path / "locks")
        assert locks.holder(file) is None
        for line, pid in (
            (f"1: FLOCK  ADVISORY  WRITE 77 {name} 0 EOF", 77),
            (f"1: POSIX  ADVISORY  WRITE 77 {name} 0 EOF", None),
            (f"1: FLOCK  ADVISORY  WRITE 77 {name}0 0 EOF", None),
            (f"1: FLOCK  ADVISORY  WRITE x {name} 0 EOF", None),
            ("nonsense", None),
        ):
            locks.LOCKS.write_text(f"{line}\n")
            assert locks.holder(file) == pid, line
