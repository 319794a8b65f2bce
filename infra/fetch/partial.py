"""A file on its way: its bytes, and behind them which of its chunks have come, in one file that outlives who writes it.

A chunk counts once all of it is written; so one who is killed fetches no more than the open ones again.
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Lock

from infra.fetch.hub_answers import Span
from infra.fetch.listing import Wanted

BLOCK = 1 << 20
LENGTH_BYTES = 8
"""Of the chunks' size, between the bytes and the marks."""


class Partial:
    """The one place of a file's bytes until they are all there and right. Raises OSError for a disk that refuses."""

    def __init__(self, path: Path, file: Wanted, chunk_bytes: int) -> None:
        self.path, self.file, self.chunk = path, file, chunk_bytes
        self._number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        self._marks = self._begun()
        self._hashed = 0
        self._sums = Sums(file)
        self._turn = Lock()
        self.is_tried_again = False

    def _begun(self) -> bytearray:
        """The marks of an earlier one; none where it is no file of that size and those chunks."""
        chunks, size = -(-self.file.size // self.chunk), self.file.size
        length = os.fstat(self._number).st_size
        if length == size and size:  # it was whole, and about to get its name
            return bytearray(b"\1" * chunks)
        head = self.chunk.to_bytes(LENGTH_BYTES, "little")
        behind = os.pread(self._number, LENGTH_BYTES + chunks, size)
        if length == size + LENGTH_BYTES + chunks and behind.startswith(head):
            return bytearray(behind[LENGTH_BYTES:])
        os.ftruncate(self._number, 0)
        os.ftruncate(self._number, size + LENGTH_BYTES + chunks)
        os.pwrite(self._number, head, size)
        return bytearray(chunks)

    def missing(self) -> Iterator[int]:
        """The chunks that have not come."""
        return (index for index, mark in enumerate(self._marks) if mark != 1)

    def span(self, index: int) -> Span:
        """The bytes of a chunk."""
        first = index * self.chunk
        return Span(first, min(first + self.chunk, self.file.size) - 1, self.file.size)

    def write(self, content: memoryview, at: int) -> None:
        """Put bytes where they belong."""
        while content:
            count = os.pwrite(self._number, content, at)
            content, at = content[count:], at + count

    def mark(self, index: int) -> None:
        """A chunk has come, all of it."""
        os.pwrite(self._number, b"\1", self.file.size + LENGTH_BYTES + index)
        self._marks[index] = 1

    def is_summed(self) -> bool:
        """Sum up what has come in a row, unless another thread does; whether that was the last of it, told to one."""
        while self._is_next_there() and self._turn.acquire(blocking=False):
            try:
                while self._is_next_there():
                    span = self.span(self._hashed)
                    for block in self._blocks(span):
                        self._sums.update(block)
                    self._hashed += 1
                    if self._hashed == len(self._marks):
                        return True
            finally:
                self._turn.release()
        return not self._marks

    def _is_next_there(self) -> bool:
        return self._hashed < len(self._marks) and self._marks[self._hashed] == 1

    def _blocks(self, span: Span) -> Iterator[bytes]:
        for at in range(span.first, span.last + 1, BLOCK):
            yield os.pread(self._number, min(BLOCK, span.last + 1 - at), at)

    @property
    def sums(self) -> "Sums":
        """Over all bytes."""
        return self._sums

    def beginning(self) -> bytes:
        """The first few bytes."""
        return os.pread(self._number, 256, 0)

    def finish(self) -> None:
        """Only its bytes are left, on the disk for good."""
        os.ftruncate(self._number, self.file.size)
        os.fsync(self._number)

    def restart(self) -> None:
        """Nothing has come."""
        os.ftruncate(self._number, 0)
        self._marks = self._begun()
        self._hashed, self._sums, self.is_tried_again = 0, Sums(self.file), True

    def close(self) -> None:
        """Let go of it; it stays."""
        if self._number >= 0:
            os.close(self._number)
        self._number = -1

    @property
    def there(self) -> int:
        """How many of its bytes have come."""
        return sum(self.span(index).bytes for index, mark in enumerate(self._marks) if mark == 1)


class Sums:
    """What a file's bytes come to: SHA-256, and for a small one git's own name too, where the Hub tells no other."""

    def __init__(self, file: Wanted) -> None:
        self.file = file
        self._sha256 = hashlib.sha256()
        self._blob = hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False)

    def update(self, block: bytes) -> None:
        """The next bytes."""
        self._sha256.update(block)
        if not self.file.sha256:
            self._blob.update(block)

    @property
    def sha256(self) -> str:
        """Of all bytes so far."""
        return self._sha256.hexdigest()

    def are_right(self) -> bool:
        """Whether the Hub tells the same."""
        if self.file.sha256:
            return self.file.sha256 == self.sha256
        return self.file.blob == self._blob.hexdigest()


def sums_of(path: Path, file: Wanted, read_bytes: Callable[[int], None] = lambda count: None) -> Sums:
    """Of a file that lies there; `read_bytes` hears of every block. Raises OSError."""
    sums = Sums(file)
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb", buffering=0) as content:
        while block := content.read(BLOCK):
            sums.update(block)
            read_bytes(len(block))
    return sums
