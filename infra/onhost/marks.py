# Also a file of hosts: see infra/host_files.py.
"""The marks of one life of a server on its host: in memory, or on the disk where memory is full. They end with it.

What takes none loses it, and nothing here raises. Standard library only: it runs with the host's own Python.
"""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path


def mark(folders: Sequence[Path], name: str, text: str) -> bool:
    """Put one into the first folder that takes it; whether one did.

    The judge sees only that a mark is there, so one that was cut short is removed.
    """
    for folder in folders:
        if write(folder / name, text):
            return True
        forget(folder / name)
        print(f"corral: {takes_none(folder)}; it is not marked there as {name}", flush=True)
    return False


def marked(folders: Sequence[Path], name: str) -> str:
    """What one says, wherever it is; nothing where there is none."""
    return next(filter(None, (text_of(folder / name) for folder in folders)), "")


def unmark(folders: Sequence[Path], name: str) -> None:
    """Remove one, wherever it is."""
    for folder in folders:
        forget(folder / name)


def are_taken(folders: Sequence[Path]) -> bool:
    """Whether one would be kept."""
    is_taken = any(write(folder / "mark", "") for folder in folders)
    unmark(folders, "mark")
    return is_taken


def takes_none(folder: Path) -> str:
    """That a folder takes nothing, and what to do."""
    return f"{folder} takes nothing more, make room there (df -h {folder})"


def text_of(path: Path) -> str:
    """What a file holds, without its last newline; nothing where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return ""


def forget(path: Path) -> None:
    """Remove a file, if it is there."""
    with suppress(OSError):
        path.unlink(missing_ok=True)


def write(path: Path, text: str) -> bool:
    """Put a text there for root alone; whether it was taken: a disk may be full."""
    with suppress(OSError):
        path.write_text(f"{text}\n", encoding="utf-8")
        path.chmod(0o600)
        return True
    return False
