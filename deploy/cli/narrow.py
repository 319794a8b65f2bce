"""A help on a terminal too narrow for two columns: what an option does stands below it."""

import sys
import textwrap
from collections.abc import Sequence
from typing import Any

import typer

from infra import terminal

LEAST = 52
"""Columns below which the library would go on as if there were as many."""
DEEPER = 4


Library: Any = typer.Context.formatter_class


class Formatter(Library):  # type: ignore[misc]
    """The library's, but on a narrow terminal no wider than that."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        room = terminal.width(sys.stdout)
        self.is_narrow = room is not None and room < LEAST
        if room is not None and self.is_narrow:
            self.width = room

    def write_dl(self, rows: Sequence[tuple[str, str]], *arguments: Any, **options: Any) -> None:
        """Write what there is, and what each is for."""
        if not self.is_narrow:
            super().write_dl(rows, *arguments, **options)
            return
        for name, about in rows:
            self.write(self.paragraph(name, 0))
            self.write(self.paragraph(about, DEEPER))

    def paragraph(self, text: str, deeper: int) -> str:
        """A text in the room there is; nothing for none."""
        indent = " " * (self.current_indent + deeper)
        lines = textwrap.wrap(
            text,
            self.width,
            initial_indent=indent,
            subsequent_indent=indent + (" " * DEEPER if not deeper else ""),
            break_long_words=False,
            break_on_hyphens=False,
        )
        return "".join(f"{line}\n" for line in lines)


class Line(typer.Context):
    """A line that was typed, whose help is as wide as the terminal."""

    formatter_class = Formatter
