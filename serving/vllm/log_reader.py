"""Reading a log that is being written: whole lines only, across its parts, rotation and truncation.

The parts are those of serving/vllm/log_writer.py: NAME, and NAME.OFFSET by the byte that it begins with.
"""

import os
from collections.abc import Iterator
from pathlib import Path


def parts(path: Path) -> list[tuple[int, Path]]:
    """The files of a log and where in it each begins, in order."""
    later = [part for part in path.parent.glob(f"{path.name}.*") if part.suffix[1:].isdigit()]
    return [(0, path), *sorted((int(part.suffix[1:]), part) for part in later)]


def text(path: Path) -> str:
    """What is there of a log; "" when there is none."""
    said, end = "", 0
    for begin, part in parts(path):
        try:
            data = part.read_bytes()
        except FileNotFoundError:
            continue
        said += gap(begin - end) + data.decode("utf-8", "replace")
        end = begin + len(data)
    return said.replace("\r\n", "\n").replace("\r", "\n")


def gap(count: int) -> str:
    """The line that stands for what is in no part any more."""
    return f"corral: {count:,} bytes of this log are left out here\n" if count > 0 else ""


class Tail:
    """Reads a log's new lines each time it is asked; starts at the beginning."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.inode = -1
        self.begin = 0
        self.position = 0
        self.rest = ""

    def lines(self) -> Iterator[str]:
        """The lines that are whole and not yet read. A file that is not there has none."""
        for begin, part in parts(self.path):
            try:
                data = self.data(begin, part)
            except FileNotFoundError:
                continue
            *whole, self.rest = (self.rest + data).split("\n")
            yield from (line.rsplit("\r", 1)[-1] for line in whole)

    def data(self, begin: int, part: Path) -> str:
        """What is new in one part; "" for one that was left behind. Raises FileNotFoundError."""
        with part.open("rb") as file:
            self.follow(begin, file.fileno())
            if begin < self.begin:
                return ""
            missing = gap(begin - self.begin - self.position) if begin > self.begin else ""
            if begin > self.begin:
                self.begin, self.position = begin, 0
            file.seek(self.position)
            data = file.read()
        self.position += len(data)
        if missing and self.rest:
            missing = f"\n{missing}"
        return missing + data.decode("utf-8", "replace")

    def follow(self, begin: int, descriptor: int) -> None:
        """Begin again where the log was replaced or cut."""
        file = os.fstat(descriptor)
        replaced = begin == 0 and file.st_ino != self.inode
        if replaced or (begin == self.begin and file.st_size < self.position):
            self.inode = file.st_ino if begin == 0 else self.inode
            self.begin, self.position, self.rest = begin, 0, ""
