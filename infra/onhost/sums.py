"""Whether the weights on a host are still those that were brought: by size and time, or by the sums of all bytes.

Prepared weights are known to be right, so the first start after that notes their sums. Later ones read a file again
only where its size or time has changed, or where the last start did not get ready: a disk that lies changes no time.
Summing up 200 GB takes as long as the disk needs to read it, which the engine then reads from memory.
"""

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

READERS = 8
MANIFEST = ".corral/manifest.json"
"""What the fetching has left beside the files (infra/fetch/checksums.py); a rented box has none."""
UNREADABLE = "unreadable"
"""Of a file that the disk did not give: when it does, that is no change."""
Known = dict[str, tuple[int, int, str]]
"""Name -> size in bytes, time in ns, SHA-256."""


class Verified(NamedTuple):
    """What a folder's bytes were found to be."""

    by: str
    """What they were held to: the Hub's sums, those noted at the first start, or "" where there is none yet."""
    files: int
    bytes: int
    problems: list[str]


def verified(model: Path, notes: Path) -> Verified:
    """Read every byte of what is known in a folder, and say all that is wrong.

    What is wrong is noted, so that the next start does not go by its time: a disk that lies changes none.
    """
    fetched, known = fetched_sums(model), noted(notes)
    if fetched is None:
        return Verified("the Hub's", 0, 0, [f"{MANIFEST} was changed"])
    wanted = fetched or {name: summed for name, (_, _, summed) in known.items()}
    by = "the Hub's" if fetched else "the first start's" if known else ""
    found = {name: model / name for name in wanted if (model / name).is_file()}
    problems = [f"{name} is missing" for name in sorted(wanted.keys() - found.keys())]
    with ThreadPoolExecutor(READERS) as pool:
        for name, summed in zip(found, pool.map(sum_of, found.values()), strict=True):
            print(f"read {name}", flush=True)  # whoever waits hears that it goes on
            if summed == wanted[name]:
                continue
            is_read = summed != UNREADABLE
            problems.append(f"{name} {'is changed: its sha256 is another' if is_read else 'cannot be read'}")
            if is_read and name in known:
                known[name] = (-1, 0, wanted[name])
    if any(size < 0 for size, _, _ in known.values()):
        note(notes, known)
    return Verified(by, len(found), sum(path.stat().st_size for path in found.values()), problems)


def fetched_sums(model: Path) -> dict[str, str] | None:
    """By the manifest of what was fetched; nothing where there is none, None for one that was changed."""
    try:
        body = json.loads((model / MANIFEST).read_text(encoding="utf-8"))
        told = body.pop("sha256")
        if told == hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest():
            return {str(name): str(row["sha256"]) for name, row in body["files"].items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError, KeyError):
        pass
    return None


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
        note(notes, now)
    return ""


def note(notes: Path, known: Known) -> None:
    """Note these in place of what was noted, all of them or, where the disk does not take them, none."""
    new = notes.with_name(f"{notes.name}.new")
    with suppress(OSError):
        new.write_text(json.dumps(known), encoding="utf-8")
        os.replace(new, notes)


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
