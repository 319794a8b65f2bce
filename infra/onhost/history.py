# Also a file of hosts: see infra/host_files.py.
"""What happened to a deployment, a line each, oldest first: by whom and where it was seen, in one format.

Standard library only: a host's own Python writes it too. A disk that is full or read-only loses lines, and never the
action that is told of; so nothing here raises.
"""

import json
import os
import time
from contextlib import suppress
from typing import Literal

FILE = "history.jsonl"
Name = Literal[
    "asked",  # somebody wants it served from now on, whatever was before
    "started",  # its process; the cause says what
    "ready",  # it answered a completion
    "ill",  # it no longer answers as it should; the cause says how
    "died",  # it ended by itself, or did not get ready
    "ended",  # by the judge, before it is started again
    "waiting",  # before a start, for a GPU say
    "gave up",  # it is not started again; the cause says after how many starts
    "stopped",  # somebody's wish
    "upgraded",
    "rolled back",
]
ILL_ENDS: tuple[Name, ...] = ("died", "ended", "gave up")
WISHES: tuple[Name, ...] = ("asked", "upgraded", "rolled back")
"""After these what failed before is no matter."""
MOST_BYTES = 256 * 1024
"""Some thousand lines; a file that is longer loses its older half."""
LONGEST_CAUSE = 500


def append(path: str, event: Name, cause: str = "", now_s: float | None = None) -> bool:
    """Add one line; whether the disk took it. Never raises."""
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now_s))
    return add(
        path, json.dumps({"at": at, "event": event, "cause": " ".join(cause.split())[:LONGEST_CAUSE]}) + "\n"
    )


def add(path: str, line: str) -> bool:
    """The same for a line that is made, in one write."""
    is_taken = False
    with suppress(OSError):
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            # After a line that a full disk cut short this one begins anew.
            text = (line if is_whole(path) else f"\n{line}").encode()
            is_taken = os.write(handle, text) == len(text)
        finally:
            os.close(handle)
    shorten(path)
    return is_taken


def moved(waiting: str, kept: str) -> bool:
    """Add to a history the lines that wait elsewhere, as many as the disk takes; whether none waits any more.

    Each is told once, though whoever moved some of them before was killed before they were gone here.
    """
    lines: list[str] = []
    with suppress(OSError):
        with open(waiting, encoding="utf-8") as file:
            lines = file.readlines()
        del lines[: already_told(kept, lines)]
        while lines and add(kept, lines[0]):
            del lines[0]
        if lines:
            with open(f"{waiting}.new", "w", encoding="utf-8") as file:
                file.writelines(lines)
            os.replace(f"{waiting}.new", waiting)
        else:
            os.remove(waiting)
    return not lines


def already_told(kept: str, lines: list[str]) -> int:
    """With how many of those lines a history ends; one that a disk cut short counts for none."""
    try:
        with open(kept, encoding="utf-8", errors="replace") as file:
            last = [line.rstrip("\n") for line in file if is_event(line)][-len(lines) :]
    except FileNotFoundError:
        return 0
    told = [line.rstrip("\n") for line in lines]
    return next((count for count in range(len(told), 0, -1) if last[-count:] == told[:count]), 0)


def is_event(line: str) -> bool:
    """Whether a line is a whole one, but for its end."""
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def is_whole(path: str) -> bool:
    """Whether the file ends with a whole line, or is empty."""
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - 1, 0))
        return file.read() in (b"", b"\n")


def shorten(path: str) -> None:
    """Keep the newer half of a file that grew too long."""
    with suppress(OSError):
        if os.path.getsize(path) <= MOST_BYTES:
            return
        with open(path, "rb") as file:
            file.seek(-MOST_BYTES // 2, os.SEEK_END)
            kept = file.read().partition(b"\n")[2]
        with open(f"{path}.new", "wb") as file:
            file.write(kept)
        os.replace(f"{path}.new", path)
