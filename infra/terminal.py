"""The terminal that something is said on, where it is one: its width, whether it draws, and its colours.

NO_COLOR and TERM=dumb are heeded.
"""

import os
import shutil
from typing import TextIO


def width(stream: TextIO | None) -> int | None:
    """Letters in a line of it; None for a pipe and a file, where a line may have any number."""
    return shutil.get_terminal_size().columns if is_terminal(stream) else None


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a person reads it as it comes; a stream that the caller closed is shown as None by Python."""
    return bool(stream and stream.isatty())


def draws(stream: TextIO | None) -> bool:
    """Whether a line of it can be drawn anew: a terminal, unless TERM=dumb says that it cannot."""
    return is_terminal(stream) and os.environ.get("TERM") != "dumb"


def painted(text: str, style: str, stream: TextIO | None) -> str:
    """The text in a style of rich's where that is drawn, else as it is."""
    if not text or not draws(stream):
        return text
    from rich.console import Console
    from rich.text import Text

    console = Console(file=stream)
    with console.capture() as drawn:
        console.print(Text(text, style), end="", soft_wrap=True)
    return drawn.get()
