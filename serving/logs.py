"""Reading a log that is being written: whole lines only, across rotation and truncation."""

import os
from collections.abc import Iterator
from pathlib import Path


class Tail:
    """Reads a file's new lines each time it is asked; starts at the beginning."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.inode = -1
        self.position = 0
        self.part = ""

    def lines(self) -> Iterator[str]:
        """The lines that are whole and not yet read. A file that is not there has none."""
        try:
            with self.path.open("rb") as file:
                self.follow(file.fileno())
                file.seek(self.position)
                data = file.read()
        except FileNotFoundError:
            return
        self.position += len(data)
        *whole, self.part = (self.part + data.decode("utf-8", "replace")).split("\n")
        yield from (line.rsplit("\r", 1)[-1] for line in whole)

    def follow(self, descriptor: int) -> None:
        """Begin again where the file was replaced or cut."""
        found = os.fstat(descriptor)
        if found.st_ino != self.inode or found.st_size < self.position:
            self.inode, self.position, self.part = found.st_ino, 0, ""
