"""How far a long transfer is: a bar on a terminal, a line now and then elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

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
    if sys.stderr and sys.stderr.isatty() and not is_quiet():
        with drawn(what) as tell:
            yield tell
    else:
        yield lines(what, every_s, clock)


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
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    columns = (BarColumn(), DownloadColumn(binary_units=True), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda there, total: bar.update(task, completed=there, total=total)
