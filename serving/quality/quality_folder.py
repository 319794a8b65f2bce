"""Door: the folder of a comparison: quality.json, or the page of pairs and its key."""

import os
from pathlib import Path

from infra.argument import pasted
from infra.errors import UsageError
from infra.record import Record, write_text_atomically
from serving.quality.blind import KEY, Pairs
from serving.quality.blind_page import page
from serving.quality.quality_report import Quality

REPORT, PAGE = "quality.json", "blind.html"


class PageWritten(Record):
    """A page of pairs that waits for its ratings."""

    page: Path
    """The file that a person opens."""
    key: Path
    """Which answer is whose: not for whoever rates."""
    pairs: int
    """On it."""
    alike: int
    """Of them: those whose answers are the same, which are not on the page."""


def check_free(folder: Path | None) -> None:
    """Raise UsageError where a file would be written over: ratings of an older page would be of no page."""
    for name in (REPORT, PAGE, KEY) if folder else ():
        if folder and os.path.lexists(folder / name):
            raise UsageError(f"{folder / name} is there already.", "Name another folder: --output")


def keep(folder: Path | None, found: Quality) -> None:
    """Write the comparison, where a folder is named. Raises HostError."""
    if folder:
        found.write(folder / REPORT)


def keep_page(folder: Path, pairs: Pairs) -> PageWritten:
    """Write the key, and the page, which only this user can read: both hold texts and answers. Raises HostError."""
    pairs.write(folder / KEY)
    write_text_atomically(folder / PAGE, page(pairs))
    alike = sum(pair.is_alike for pair in pairs.pairs)
    return PageWritten(page=folder / PAGE, key=folder / KEY, pairs=len(pairs.pairs), alike=alike)


def page_text(written: PageWritten) -> str:
    """What to do with it."""
    folder = written.page.parent
    alike = f" {written.alike} more are alike." if written.alike else ""
    return (
        f"{written.pairs - written.alike} pairs to rate: open {written.page} in a browser, save the ratings.{alike}\n"
        f"Next: corral quality rated {pasted(folder)} ratings.json"
    )
