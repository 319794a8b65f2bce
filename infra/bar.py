"""How far a long transfer is, or how long a wait: a bar on a terminal; elsewhere a line now and then."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread
from typing import IO

from infra import terminal
from infra.say import is_quiet, progress

GIB = 2**30
TELL_EVERY_S = 15.0

Tell = Callable[[int, int], None]
"""Told how many bytes are there, and of how many."""


@contextmanager
def shown(
    what: str, every_s: float = TELL_EVERY_S, clock: Callable[[], float] = time.monotonic
) -> Iterator[Tell]:
    """What is told is shown on stderr, until this ends."""
    if is_drawn():
        with drawn(what) as tell:
            yield tell
    else:
        yield lines(what, every_s, clock)


def is_drawn() -> bool:
    """Whether a bar can be: several hosts are worked on in threads, and theirs would be drawn over one another."""
    return terminal.draws(sys.stderr) and not is_quiet() and current_thread() is main_thread()


def lines(what: str, every_s: float, clock: Callable[[], float]) -> Tell:
    """A line of text, no oftener than that."""
    last_s = clock()

    def tell(there: int, total: int) -> None:
        nonlocal last_s
        if clock() - last_s >= every_s:
            last_s = clock()
            percent = f" ({min(99, 100 * there // total)} %)" if total else ""
            progress(f"{what}: {there / GIB:.1f} of {total / GIB:.1f} GiB{percent}")

    return tell


@contextmanager
def drawn(what: str) -> Iterator[Tell]:
    """A bar with its speed and the time that is left."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    title, size = TextColumn("{task.description}", markup=False), DownloadColumn(binary_units=True)
    columns = (title, BarColumn(), size, TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda there, total: bar.update(task, completed=there, total=total)


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """While this lasts a terminal shows that it goes on, and for how long; what is said stands above."""
    if not is_drawn():
        yield
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        bar.add_task(what, total=None)
        yield


class Counted:
    """A pipe that tells how much was written to it."""

    def __init__(self, pipe: IO[bytes], total_bytes: int, tell: Tell) -> None:
        self._pipe, self._total_bytes, self._tell = pipe, total_bytes, tell
        self._written_bytes = 0

    def write(self, data: bytes) -> int:
        """Write, and tell."""
        written = self._pipe.write(data)
        self._written_bytes += len(data)
        self._tell(self._written_bytes, self._total_bytes)
        return written
