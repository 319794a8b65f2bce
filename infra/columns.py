"""Text for a reader: columns that line up, and paragraphs no wider than WIDTH, or than a terminal that is narrower.

A table that is too wide for a terminal is shown in parts, each with the first column, and nothing of it is left out. A
pipe gets the same whatever the terminal.
"""

import sys
import textwrap
from collections.abc import Iterable, Sequence
from typing import TextIO

from infra import terminal
from infra.fitted import GLUE, glued
from infra.printable import sentence

WIDTH = 100
INDENT = "  "
GAP = "  "
NARROWEST = 24
"""Letters of a line that a last column needs at least to be read below itself."""


def table(rows: Iterable[Sequence[str]], indent: str = INDENT) -> str:
    """Rows of as many cells each, a line a row, the columns as wide as their widest cell; numbers come padded."""
    lines = [tuple(map(sentence, row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    room = terminal.width(sys.stdout)
    if room is None or len(indent) + width_of(widths) <= room:
        return "\n".join(line_of(line, widths, indent) for line in lines)
    parts = parted(widths, room - len(indent))
    return "\n\n".join(narrow([[line[at] for at in part] for line in lines], room, indent) for part in parts)


def parted(widths: Sequence[int], room: int) -> list[list[int]]:
    """Which columns are shown together: all, where the last has room to go on below itself; else those that fit.

    Each part begins with the first column, which takes half of the room at most.
    """
    if room - width_of([*widths[:-1], 0]) >= NARROWEST:
        return [[*range(len(widths))]]
    first = min(widths[0], room // 2)
    parts: list[list[int]] = []
    for at in range(1, len(widths)):
        if parts and width_of([first, *(widths[each] for each in (*parts[-1][1:], at))]) <= room:
            parts[-1].append(at)
        else:
            parts.append([0, at])
    return parts


def narrow(lines: Sequence[Sequence[str]], room: int, indent: str) -> str:
    """Columns of which the first and the last go on below themselves where there is no room for them."""
    from rich.console import Console
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, len(GAP), 0, 0))
    last = len(lines[0]) - 1
    for at in range(last + 1):
        grid.add_column(overflow="fold", no_wrap=0 < at < last)
    if last == 1:
        grid.columns[0].max_width = room // 2
    for line in lines:
        grid.add_row(*map(Text, line))
    console = Console(width=room, color_system=None)
    with console.capture() as shown:
        console.print(Padding(grid, (0, 0, 0, len(indent))))
    return "\n".join(line.rstrip() for line in shown.get().splitlines())


def width_of(widths: Sequence[int]) -> int:
    """Letters in a line of such columns."""
    return sum(widths) + len(GAP) * (len(widths) - 1)


def more_rows(rows: int, most: int | None) -> str:
    """The line below a table of which the first so many rows are shown."""
    return f"\n{INDENT}and {rows - most} more, with --all" if most is not None and rows > most else ""


def line_of(cells: Sequence[str], widths: Sequence[int], indent: str) -> str:
    """A row in its columns."""
    padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
    return (indent + GAP.join(padded)).rstrip()


def on_a_line(text: str, lead: int, stream: TextIO | None = None) -> str:
    """What is said behind a label of so many letters, on stderr if no other stream is named: below itself on a
    terminal, else on one line.
    """
    room = terminal.width(stream or sys.stderr)
    text = sentence(text)
    if room is None:
        return text
    indent = " " * lead
    lines = textwrap.fill(
        glued(text),
        max(room, lead + NARROWEST),
        initial_indent=indent,
        subsequent_indent=indent,
        break_on_hyphens=False,
        break_long_words=False,
    )
    return lines.removeprefix(indent).replace(GLUE, " ")


def wrapped(text: str, lead: str = INDENT) -> str:
    """A paragraph; its first line begins with `lead`, the others with two blanks."""
    there = terminal.width(sys.stdout)
    text, room = (text, WIDTH) if there is None else (glued(text), min(WIDTH, there))
    return textwrap.fill(
        text,
        room,
        initial_indent=lead,
        subsequent_indent=INDENT,
        break_on_hyphens=False,
        break_long_words=there is None,
    ).replace(GLUE, " ")
