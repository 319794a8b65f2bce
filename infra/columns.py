"""PURE: text for a terminal: columns that line up, and paragraphs no wider than WIDTH."""

import textwrap
from collections.abc import Iterable, Sequence

from infra.printable import sentence

WIDTH = 100
INDENT = "  "


def table(rows: Iterable[Sequence[str]], indent: str = INDENT) -> str:
    """Rows of as many cells each, a line a row, the columns as wide as their widest cell; numbers come padded."""
    lines = [tuple(map(sentence, row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        indent + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def wrapped(text: str, lead: str = INDENT) -> str:
    """A paragraph; its first line begins with `lead`, the others with two blanks."""
    return textwrap.fill(text, WIDTH, initial_indent=lead, subsequent_indent=INDENT, break_on_hyphens=False)
