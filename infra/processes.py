"""The door to this machine's processes: who belongs to a server, and are they gone. Reads /proc, sends signals.

A Mac has no /proc, and serves nothing: of it only is asked whether a process that holds a tunnel still lives.
"""

import os
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from infra.printable import one_line
from infra.record import Record

PROC = Path("/proc")
SHARED_MEMORY = Path("/dev/shm")
STATE, SESSION, THREADS, START_TICKS = (
    0,
    3,
    17,
    19,
)  # fields of /proc/PID/stat after the command's closing bracket


class Birth(Record):
    """What makes a process number mean one process for ever: when it started, and in which run of the kernel."""

    pid: int
    """Its number."""
    start_ticks: int
    """When it started, in the kernel's ticks since the boot."""
    boot_id: str
    """Of that run of the kernel."""


def birth(pid: int) -> Birth | None:
    """The birth of a living process; None when there is no such process, or only its zombie."""
    if not PROC.is_dir():
        return birth_by_ps(pid)
    fields = living(pid)
    if fields is None:
        return None
    return Birth(pid=pid, start_ticks=int(fields[START_TICKS]), boot_id=boot_id())


def birth_by_ps(pid: int) -> Birth | None:
    """The same where there is no /proc: a start is a second of the calendar, of one run of the kernel alone."""
    asked = ["ps", "-o", "stat=,lstart=", "-p", str(pid)]
    done = subprocess.run(
        asked,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        env=os.environ | {"LC_ALL": "C", "TZ": "UTC"},
    )
    state, _, start = done.stdout.strip().partition(" ")
    if not start or state.startswith("Z"):
        return None
    started = datetime.strptime(" ".join(start.split()), "%a %b %d %H:%M:%S %Y").replace(tzinfo=UTC)
    return Birth(pid=pid, start_ticks=int(started.timestamp()), boot_id="by its second")


def is_alive(born: Birth) -> bool:
    """Whether that very process still lives; another one that got its number does not count."""
    return birth(born.pid) == born


def is_suspended(pid: int) -> bool:
    """Whether a process does nothing until somebody lets it go on: after Ctrl-Z, say."""
    fields = stat(pid)
    return fields is not None and fields[STATE] in "Tt"


def age_s(born: Birth) -> float:
    """How long ago a process of this run of the kernel was started."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) - born.start_ticks / os.sysconf("SC_CLK_TCK")


def members(session: int | None, marker: str) -> tuple[int, ...]:
    """The living processes of a session, if one is known, and those that were started with `marker` ("NAME=value") set.

    A process number is not given out again while a session of that number has members, so orphans are safe to
    name by the session of their dead leader. The marker finds what left the session.
    """
    return tuple(pid for pid in every_pid() if belongs(pid, session, marker))


def belongs(pid: int, session: int | None, marker: str) -> bool:
    """Whether a process lives and is of that session or carries that marker."""
    fields = living(pid)
    if fields is None or pid == os.getpid():
        return False
    return int(fields[SESSION]) == session or carries(pid, marker)


def living(pid: int) -> list[str] | None:
    """The same fields as `stat`; None also when there is only its zombie, or it goes while it is read.

    A zombie of which other threads still end is none yet: its memory, a GPU's too, is free with the last of them.
    Of one that is reaped at that moment Linux says state X, or an earlier one, and session -1, which is nobody's.
    """
    fields = stat(pid)
    if fields is None or fields[STATE] == "X" or int(fields[SESSION]) < 0:
        return None
    if fields[STATE] == "Z" and int(fields[THREADS]) <= 1:
        return None
    return fields


def carries(pid: int, marker: str) -> bool:
    """Whether the environment a process was started with holds the marker."""
    try:
        return marker.encode() in (PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return False


def every_pid() -> tuple[int, ...]:
    """All process numbers in use."""
    return tuple(int(name) for name in os.listdir(PROC) if name.isdigit())


def stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat that follow the command's name; None when the process is gone."""
    try:
        return (PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None


def name(pid: int) -> str:
    """What a process calls itself, in one line; "" when it is gone, or not to be seen from here."""
    try:
        return one_line((PROC / str(pid) / "comm").read_text(errors="replace"), 40)
    except OSError:
        return ""


def boot_id() -> str:
    """The identity of this run of the kernel: process numbers of an earlier one mean nothing."""
    return (PROC / "sys/kernel/random/boot_id").read_text().strip()


def shared_memory(pids: Iterable[int]) -> tuple[Path, ...]:
    """The files in /dev/shm that these processes have mapped; killed ones leave them behind.

    They are told by inode: glibc maps a semaphore under a name it then changes.
    """
    inodes = {inode for pid in pids for inode in mapped_inodes(pid)}
    mapped = []
    for path in SHARED_MEMORY.iterdir():
        with suppress(OSError):
            if path.stat().st_ino in inodes:
                mapped.append(path)
    return tuple(sorted(mapped))


def mapped_inodes(pid: int) -> Iterator[int]:
    """The inodes of /dev/shm that a process has mapped, from lines such as "7f..-7f.. rw-s 0 00:1a 42 /dev/shm/x"."""
    with suppress(OSError):
        for line in (PROC / str(pid) / "maps").read_text(errors="replace").splitlines():
            fields = line.split(maxsplit=5)
            if len(fields) == 6 and fields[5].startswith(f"{SHARED_MEMORY}/"):
                yield int(fields[4])


def send(pids: Iterable[int], number: signal.Signals) -> None:
    """Send a signal to each; one that is gone already is no error."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def reap(pid: int) -> int | None:
    """The exit code of a child of ours that ended (negative: the signal), else None."""
    try:
        ended, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return None
    return os.waitstatus_to_exitcode(status) if ended else None
