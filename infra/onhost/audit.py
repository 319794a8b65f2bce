"""What the audit of a gateway comes to: requests and tokens by month and key.

What was summed is kept, so that a later look reads what came since. A file is known by its first request, whatever it
is called by now: what logrotate has copied, renamed or compressed is counted once, and stays counted when it is gone.
Standard library only: it runs with a host's own Python.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

COUNTED = (
    "requests", "refused", "input_tokens", "output_tokens", "estimated_output_tokens", "bytes_in", "bytes_out"
)  # fmt: skip
LONGEST = 65536
"""Of a line in bytes: HAProxy's own are shorter."""
PACKED = ".gz"
TAIL = 256
"""So many bytes before the place that was read to tell whether a file still has what was counted."""
VERSION = 1
"""Of what is kept."""
BEING_PACKED = (EOFError, zlib.error, gzip.BadGzipFile)

Sums = dict[str, dict[str, dict[str, int]]]
"""Month ("2026-11", UTC) -> key -> what is counted."""


class Summed(NamedTuple):
    """How far a file was read, and what that came to."""

    offset: int = 0
    """Behind the last whole line that was counted."""
    tail: str = ""
    """The SHA-256 of the bytes before that."""
    packed: int = 0
    """Its size where it was compressed: such a file does not grow."""
    sums: Sums = {}


def sums(audit: Path, kept: Path) -> Sums:
    """Of all lines, those that were rotated away among them; what is cut off or no line of a request is passed over.

    `kept` is the file with what was summed before: where that is gone, all that is there is read. Raises OSError.
    """
    known = recalled(kept)
    found = known | {mark: read_on(path, known.get(mark, Summed())) for mark, path in marked(audit).items()}
    if found != known:
        keep(kept, found)
    return added(each.sums for each in found.values())


def marked(audit: Path) -> dict[str, Path]:
    """The audit and what logrotate has made of it, each by what it is known by; of copies the longest one that is not
    compressed.
    """
    try:
        there = sorted(audit.parent.iterdir())
    except FileNotFoundError:
        return {}
    rotated = (f"{audit.name}.", f"{audit.name}-")
    found: dict[str, tuple[bool, int, Path]] = {}
    for path in there:
        if path == audit or path.name.startswith(rotated):
            with suppress(FileNotFoundError, *BEING_PACKED):  # it goes just now, under that name
                if path.is_file() and (mark := mark_of(path)):
                    one = (path.suffix != PACKED, path.stat().st_size, path)
                    found[mark] = max(found.get(mark, one), one)
    return {mark: path for mark, (*_, path) in found.items()}


def mark_of(path: Path) -> str:
    """What a file is known by: its first request has an id that no other has. Empty for one without any."""
    with opened(path) as file:
        return next((hashed(line) for line in whole(file) if read(line)), "")


def opened(path: Path) -> BinaryIO:
    """It, uncompressed."""
    return cast("BinaryIO", gzip.open(path)) if path.suffix == PACKED else path.open("rb")


def whole(file: Iterable[bytes]) -> Iterator[bytes]:
    """Its lines but for one that is still being written."""
    return (line for line in file if line.endswith(b"\n"))


def read_on(path: Path, before: Summed) -> Summed:
    """With the lines that came since; with all of them where those that were counted are not there as they were."""
    try:
        packed = path.stat().st_size if path.suffix == PACKED else 0
        if packed and packed == before.packed:
            return before
        with opened(path) as file:
            tail = bytes_before(file, before.offset)
            if before.offset and hashed(tail) != before.tail:  # a crash took its end
                before, tail = Summed(), bytes_before(file, 0)
            offset, found = before.offset, added([before.sums])
            for line in whole(file):
                count(found, line)
                offset += len(line)
                tail = (tail + line)[-TAIL:]
    except (FileNotFoundError, *BEING_PACKED):
        return before
    return Summed(offset, hashed(tail), packed, found)


def bytes_before(file: BinaryIO, offset: int) -> bytes:
    """The last bytes before a place, at which the file then is."""
    start = max(0, offset - TAIL)
    file.seek(start)
    return file.read(offset - start)


def hashed(data: bytes) -> str:
    """Its SHA-256."""
    return hashlib.sha256(data).hexdigest()


def count(found: Sums, line: bytes) -> None:
    """Add a line to what is found. A stream that does not tell its tokens is one for each of its events, estimated."""
    said = read(line)
    if said is None:
        return
    of_key = found.setdefault(str(said["time"])[:7], {}).setdefault(
        str(said.get("key", "-")), dict.fromkeys(COUNTED, 0)
    )
    output = number(said, "output_tokens")
    for name, value in (
        ("requests", 1),
        ("refused", int(said.get("server") == "<NOSRV>")),
        ("input_tokens", number(said, "input_tokens")),
        ("output_tokens", output),
        ("estimated_output_tokens", 0 if output else number(said, "events")),
        ("bytes_in", number(said, "bytes_in")),
        ("bytes_out", number(said, "bytes_out")),
    ):
        of_key[name] += value


def added(each: Iterable[Sums]) -> Sums:
    """PURE: all of these together, in a sum of its own."""
    found: Sums = {}
    for one in each:
        for month, keys in one.items():
            of_month = found.setdefault(month, {})
            for key, counts in keys.items():
                of_key = of_month.setdefault(key, dict.fromkeys(COUNTED, 0))
                for name in COUNTED:
                    of_key[name] += counts[name]
    return found


def recalled(kept: Path) -> dict[str, Summed]:
    """What was summed before; nothing where that cannot be read."""
    try:
        said = json.loads(kept.read_bytes())
        if said["version"] != VERSION:
            return {}
        return {
            str(mark): Summed(int(offset), str(tail), int(packed), added([sums]))
            for mark, (offset, tail, packed, sums) in said["files"].items()
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}


def keep(kept: Path, known: dict[str, Summed]) -> None:
    """Keep it, for its owner alone, in one step. A full disk loses nothing: it is read again."""
    new = kept.with_name(f".{kept.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump({"version": VERSION, "files": known}, file)
            file.flush()
            os.fsync(file.fileno())
        new.replace(kept)
    except OSError:
        with suppress(OSError):
            new.unlink()


def read(line: bytes) -> dict[str, Any] | None:
    """A line's fields; None for what is no line of a request."""
    if len(line) > LONGEST or not line.startswith(b"{"):
        return None
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return said if isinstance(said, dict) and isinstance(said.get("time"), str) else None


def number(line: dict[str, Any], name: str) -> int:
    """A count of a line; 0 where it has none."""
    value = line.get(name)
    return value if isinstance(value, int) else 0


def tokens(of_key: dict[str, int]) -> int:
    """What counts against a budget."""
    return of_key["input_tokens"] + of_key["output_tokens"] + of_key["estimated_output_tokens"]


def spent(found: Sums, month: str) -> str:
    """What the budgets of a month start from, as HAProxy reads it."""
    of_month = found.get(month, {})
    return "".join(f"{key} {month} {tokens(of_month[key])}\n" for key in sorted(of_month))
