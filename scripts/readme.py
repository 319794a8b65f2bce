"""Keep the console blocks of README and docs true: each `$ corral ...` line is run, what follows is what it printed.

A comment directly above a block says how it is treated:
  <!-- lines: 12 -->                                      only the first lines are shown, then "..."
  <!-- volatile: 2026-11-24, 2 cores, no GPU -->          not run: made by hand on that day on that hardware
  <!-- parsed -->                                         not run, and nothing is shown of what it prints
The lines of the last two are read by the parser in tests/test_readme.py. The commands of a page run one after the other
in one empty folder. The day of the prices' ages and of the warnings is the page's own, <!-- made on 2026-11-24 -->: a
rewrite moves it to today, a check keeps it.
"""

import contextlib
import difflib
import io
import os
import re
import shlex
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from deploy.cli.main import run

BLOCK = re.compile(
    r"(?:<!-- (?P<treated>lines|volatile|parsed)(?:: (?P<how>[^\n]*?))? -->\n)?^```console\n(?P<text>.*?)^```$",
    re.M | re.S,
)
MADE_ON = re.compile(r"<!-- made on (\d{4}-\d\d-\d\d) -->")
VOLATILE = re.compile(r"\d{4}-\d\d-\d\d, .{4,}")
COLUMNS = "100"
KEPT = ("PATH", "LANG", "TMPDIR")


def main(arguments: list[str]) -> int:
    """Rewrite the pages, or with --check return 1 when that would change one."""
    named = [Path(word) for word in arguments if word != "--check"]
    pages = named or [Path("README.md"), *sorted(Path("docs").rglob("*.md"))]
    if "--check" in arguments:
        return max([checked(page) for page in pages if named or is_run(page)])
    for page in pages:
        if named or is_run(page):
            page.write_text(rewritten(page, of_today(page.read_text(encoding="utf-8"))), encoding="utf-8")
    return 0


def is_run(page: Path) -> bool:
    """Whether a page has a block that is run, and so a day of its own."""
    return any(
        match["treated"] in (None, "lines") for match in BLOCK.finditer(page.read_text(encoding="utf-8"))
    )


def checked(page: Path) -> int:
    """Say what a page does not show as it is printed now; 1 if there is any of it."""
    before = page.read_text(encoding="utf-8")
    after = rewritten(page, before)
    lines = difflib.unified_diff(
        before.splitlines(), after.splitlines(), str(page), "printed now", n=1, lineterm=""
    )
    print("\n".join(lines), end="\n" if before != after else "")
    return int(before != after)


def of_today(text: str) -> str:
    """A page with today as its day."""
    day = f"<!-- made on {datetime.now(UTC).date()} -->"
    return MADE_ON.sub(day, text) if MADE_ON.search(text) else f"{day}\n{text}"


def rewritten(page: Path, text: str) -> str:
    """A page with what its commands print now. They run one after the other in one empty folder."""
    day = MADE_ON.search(text)
    if day is None:
        raise SystemExit(f"{page} does not say its day; put it in and fill the blocks: scripts/readme")
    with tempfile.TemporaryDirectory() as folder, a_clean_terminal(Path(folder), day[1]):
        return BLOCK.sub(block, text)


@contextlib.contextmanager
def a_clean_terminal(folder: Path, day: str) -> Iterator[None]:
    """An empty folder, a home of its own, that day, no credentials."""
    epoch = int(datetime.fromisoformat(day).replace(hour=12, tzinfo=UTC).timestamp())
    usual, place = dict(os.environ), Path.cwd()
    for name in set(usual) - set(KEPT):
        del os.environ[name]
    os.environ.update(
        HOME=str(folder), CORRAL_HOME=str(folder / ".corral"), COLUMNS=COLUMNS, SOURCE_DATE_EPOCH=str(epoch)
    )
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(place)
        os.environ.clear()
        os.environ.update(usual)


def block(match: re.Match[str]) -> str:
    """One block, run again unless it is volatile."""
    whole, text = match[0], match["text"]
    if match["treated"] == "parsed":
        return whole
    if match["treated"] == "volatile":
        if not VOLATILE.fullmatch(match["how"] or ""):
            raise SystemExit(f"A volatile block must name its day and hardware, not {match['how']!r}.")
        return whole
    most = int(match["how"]) if match["treated"] == "lines" else None
    return whole.replace(text, "\n".join(session(text, most)))


def session(text: str, most: int | None) -> list[str]:
    """The commands of a block, each with its output; a long one cut after `most` lines."""
    lines = []
    for command in commands(text):
        printed = output(command)
        if most is not None and len(printed) > most:
            printed = [*printed[:most], "..."]
        lines += [f"$ {command}", *printed, ""]
    return lines


def commands(text: str) -> list[str]:
    """The `$ ` lines of a block; one that ends in a backslash goes on."""
    return re.findall(r"^\$ ((?:.*\\\n)*.*)$", text, re.M)


def output(command: str) -> list[str]:
    """What a command prints, both streams as a terminal shows them, blanks at line ends taken off."""
    words = shlex.split(command.replace("\\\n", " "), comments=True)
    if words[:1] != ["corral"]:
        raise SystemExit(f"Only corral commands are run, not: {command}")
    screen = io.StringIO()
    with contextlib.redirect_stdout(screen), contextlib.redirect_stderr(screen):
        run(words[1:])
    return [line.rstrip() for line in screen.getvalue().rstrip().splitlines()]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
