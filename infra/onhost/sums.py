"""Whether the weights on a host are still those that were brought: by size and time, or by the sums of all bytes.

Prepared weights are known to be right, so the first start after that notes their sums. Later ones read a file again
only where its size or time has changed, or where the last start did not get ready: a disk that lies changes no time.
Summing up 200 GB takes as long as the disk needs to read it, which the engine then reads from memory.
"""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

READERS = 8
UNREADABLE = "unreadable"
"""Of a file that the disk did not give: when it does, that is no change."""
Known = dict[str, tuple[int, int, str]]
"""Name -> size in bytes, time in ns, SHA-256."""


def changed(model: Path, notes: Path, is_doubted: bool) -> str:
    """The name of a file that is not what it was, or is gone; nothing where all are. Notes what is new to it.

    What cannot be noted, or read, is told by the engine.
    """
    known = noted(notes)
    found = {path.name: path for path in sorted(model.glob("[!.]*")) if path.is_file()}
    for name in known:
        if name not in found:
            return name
    unsure = [
        name
        for name, path in found.items()
        if is_doubted or name not in known or known[name][:2] != stamp(path)
    ]
    with ThreadPoolExecutor(READERS) as pool:
        sums = dict(zip(unsure, pool.map(lambda name: sum_of(found[name]), unsure), strict=True))
    for name, summed in sums.items():
        if name in known and known[name][2] != summed:
            return name
    now = {name: (*stamp(path), sums.get(name) or known[name][2]) for name, path in found.items()}
    if now != known:
        with suppress(OSError):
            notes.write_text(json.dumps(now), encoding="utf-8")
    return ""


def noted(notes: Path) -> Known:
    """What was noted; nothing where that is no note of ours."""
    try:
        return {
            name: (int(size), int(time_ns), str(summed))
            for name, (size, time_ns, summed) in json.loads(notes.read_text(encoding="utf-8")).items()
            if summed != UNREADABLE
        }
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def stamp(path: Path) -> tuple[int, int]:
    """What changes with a file that is written: its size and its time."""
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def sum_of(path: Path) -> str:
    """The SHA-256 of a file; nothing where the disk does not give it."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return UNREADABLE
