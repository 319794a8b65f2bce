"""Locks between the corrals of one machine: a file each, held while one is at work.

A corral that its user has suspended keeps its locks. Nobody takes them from it; who is refused is told of it.
"""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from infra import processes
from infra.errors import CorralError, HostError
from infra.home import make_folder

LOCKS = Path("/proc/locks")


@contextmanager
def held(path: Path, busy: CorralError, without: Callable[[str], None] | None = None) -> Iterator[None]:
    """Hold the lock. Raises `busy` when another corral does; where that is suspended, with how it goes on or ends.

    Where there can be no such file: raises HostError, or with `without` tells it why and goes on, for what ends a thing
    that costs or runs must not wait for a disk.
    """
    try:
        file = opened(path)
    except OSError as error:
        refused = HostError(
            f"{path.parent} cannot be written: {error.strerror}.",
            "Check its free space and owner (df -h, ls -ld), or set CORRAL_HOME to a folder that is yours.",
        )
        if without is None:
            raise refused from None
        without(refused.message)
        yield
        return
    with file:
        if not is_taken(file):
            raise suspended(busy, holder(file))
        yield


@contextmanager
def in_turn(path: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the lock once nobody else does; `waiting` is called where somebody does. Raises OSError.

    The programs that are started meanwhile inherit it, so that it holds should corral be killed and they go on.
    """
    with opened(path) as file:
        os.set_inheritable(file.fileno(), True)
        if not is_taken(file):
            waiting()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def holder(file: IO[str]) -> int | None:
    """The process that has the lock; None where the kernel does not tell."""
    status = os.fstat(file.fileno())
    name = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    with suppress(OSError, ValueError):
        for line in LOCKS.read_text().splitlines():
            _, kind, *words = line.split()
            if kind == "FLOCK" and words[3] == name:
                return int(words[2])
    return None


def suspended(busy: CorralError, pid: int | None) -> CorralError:
    """The error where that process has the lock: what to do, where it is suspended."""
    if pid is None or not processes.is_suspended(pid):
        return busy
    return type(busy)(f"{busy.message.rstrip('.')}, and is suspended.", how_it_goes_on(pid))


def how_it_goes_on(pid: int) -> str:
    """What to do about a corral that its user has suspended."""
    return f"Let process {pid} go on: kill -CONT {pid}; or end it: kill {pid}; kill -CONT {pid}"


def is_taken(file: IO[str]) -> bool:
    """Take the lock; False where another corral has it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def opened(path: Path) -> IO[str]:
    """The lock's file, made if need be; one that is there can be locked on a read-only disk too. Raises OSError."""
    try:
        make_folder(path.parent)
        return path.open("a")
    except OSError:
        if not path.exists():
            raise
        return path.open("r")


def take(number: int) -> None:
    """Lock what is open, for as long as it is. Raises BlockingIOError; a disk that has no locks lets everybody."""
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        pass
