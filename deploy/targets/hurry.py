"""What tells an end that it is to wait for no request, also one that waits already."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from deploy.targets.deployment import folder
from infra.record import removed


def mark(name: str) -> Path:
    """The file that says so."""
    return folder(name) / "now"


def is_hurried(name: str) -> bool:
    """Whether somebody has said so."""
    return mark(name).exists()


@contextmanager
def marked(name: str) -> Iterator[None]:
    """Have it said while this lasts; a disk that does not take it has the end wait as ever."""
    with suppress(OSError):  # nor is there anything to end without its folder
        mark(name).touch()
    try:
        yield
    finally:
        removed([mark(name)])
