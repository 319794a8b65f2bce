"""Texts of the code as Markdown."""

import inspect
import re
from collections.abc import Iterable


def escaped(text: str) -> str:
    """A text in which Markdown finds nothing of its own but what stands between backticks."""
    return re.sub(r"(`[^`]*`)|([\\*_<>\[\]#|])", lambda found: found[1] or f"\\{found[2]}", text)


def paragraphs(text: str) -> str:
    """A docstring or a help: its paragraphs."""
    return escaped(inspect.cleandoc(text))


def cell(text: str) -> str:
    """A text as it stands in one cell of a table."""
    return escaped(" ".join(text.split()))


def table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table of cells that are Markdown already."""
    heads = tuple(heads)
    lines = (heads, ("---",) * len(heads), *rows)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def stacked(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table whose cells stand one below the other where the screen is narrow."""
    return f'<div class="stacked" markdown>\n\n{table(heads, rows)}\n\n</div>'


def page(*parts: str) -> str:
    """A page of its parts, with an empty line between them."""
    return "\n\n".join(parts) + "\n"
