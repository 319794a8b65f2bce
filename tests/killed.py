"""Killing a piece of work at its nth change of the disk, for real: a fork of this process ends itself by SIGKILL."""

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

# What Python tells an audit hook of, and what is told here besides.
CHANGES = {
    "os.mkdir",
    "os.rename",
    "os.link",
    "os.symlink",
    "os.remove",
    "os.rmdir",
    "os.chmod",
    "os.truncate",
    "fsync",
}


def killed_at(change: int, work: Callable[[], object]) -> bool:
    """Do the work in a fork that is killed just before that change of the disk; whether it came so far."""
    child = os.fork()
    if child == 0:
        try:
            die_at(change)
            work()
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def die_at(change: int) -> None:
    """Have this process killed before its nth change."""
    left = change
    fsync = os.fsync

    def count(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        writes = (
            event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        )
        if event in CHANGES or writes:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def counted(file: Any) -> None:
        count("fsync", ())
        fsync(file)

    setattr(os, "fsync", counted)  # noqa: B010
    sys.addaudithook(count)
