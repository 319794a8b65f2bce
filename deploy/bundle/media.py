"""Files on the medium: written so that an interrupted copy goes on, read back so that a wrong byte is met."""

import errno
import hashlib
import io
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import count as numbers
from pathlib import Path
from typing import BinaryIO, Protocol

from deploy.bundle.filling import Filling
from deploy.bundle.manifest import Stored
from infra.beneath import Beneath
from infra.errors import DocumentError, HostError

BLOCK = 2**22
EVERY_S = 2.0


class Readable(Protocol):
    """What gives bytes when asked, and none at its end."""

    def read(self, size: int, /) -> bytes:
        """At most so many."""
        ...


class Summed:
    """A stream with the sum of all that was read of it: the parts of a file have sums of their own."""

    def __init__(self, stream: Readable) -> None:
        self.stream, self.digest = stream, hashlib.sha256()

    def read(self, size: int, /) -> bytes:
        """At most so many."""
        block = self.stream.read(size)
        self.digest.update(block)
        return block

    @property
    def sha256(self) -> str:
        """Of what was read."""
        return self.digest.hexdigest()


class Meter:
    """Says how many bytes are done, at most every two seconds."""

    def __init__(self, doing: str, total_bytes: int, progress: Callable[[str], None]) -> None:
        self.doing, self.total_bytes, self.progress = doing, total_bytes, progress
        self.done_bytes, self.said_at_s = 0, time.monotonic()

    def count(self, more_bytes: int) -> None:
        """Count bytes, and say so when it is time."""
        self.done_bytes += more_bytes
        if time.monotonic() - self.said_at_s > EVERY_S:
            self.said_at_s = time.monotonic()
            done_gib, total_gib = self.done_bytes / 2**30, self.total_bytes / 2**30
            self.progress(f"bundle: {self.doing} {done_gib:.1f} of about {total_gib:.1f} GiB")


def store(
    stream: Readable, filling: Filling, name: str, split_bytes: int | None, meter: Meter
) -> Iterator[Stored]:
    """Write a stream into the folder, in parts where a size is given; what is there and equal stays as it is."""
    if split_bytes is None:
        yield store_one(stream, filling, name, sys.maxsize, meter)
        return
    for number in numbers(1):
        part = store_one(stream, filling, f"{name}.part-{number:04}", split_bytes, meter)
        if part.size_bytes or number == 1:
            yield part.model_copy(update={"part_of": name})
        if part.size_bytes < split_bytes:
            return


def store_one(stream: Readable, filling: Filling, name: str, limit_bytes: int, meter: Meter) -> Stored:
    """Make a file hold what the stream gives, up to a limit: compare block by block, and write from where it differs.

    Raises UsageError for a file that is there, differs, and is not ours.
    """
    file: BinaryIO
    try:
        file, is_there = filling.below.read(name), True
    except FileNotFoundError:
        file, is_there = filling.writing(), False
    digest, size, is_equal = hashlib.sha256(), 0, True
    try:
        while block := stream.read(min(BLOCK, limit_bytes - size)):
            if is_equal and file.read(len(block)) != block:
                file, is_there, is_equal = cut(file, size, filling, name if is_there else None), False, False
            if not is_equal:
                file.write(block)
            digest.update(block)
            size += len(block)
            meter.count(len(block))
        if is_equal and file.read(1):
            file, is_there = cut(file, size, filling, name if is_there else None), False
        file.flush()
        os.fsync(file.fileno())
    finally:
        file.close()
    stored = Stored(path=name, size_bytes=size, sha256=digest.hexdigest())
    if not is_there:
        filling.done(stored)
    return stored


def cut(file: BinaryIO, size: int, filling: Filling, name: str | None) -> BinaryIO:
    """The file to write on from where it differs: for one that has its name, after it was proved ours."""
    if name is not None:
        file.close()
        file = filling.take(name)
    file.seek(size)
    file.truncate()
    return file


class Joined(io.RawIOBase):
    """The parts of one file read as one. Raises DocumentError at the end of a part that is not what was stored."""

    def __init__(self, folder: Path, parts: Sequence[Stored], meter: Meter) -> None:
        self.blocks = blocks(folder, parts, meter)
        self.rest = memoryview(b"")

    def readable(self) -> bool:
        """It is only read."""
        return True

    def readinto(self, buffer: "bytearray | memoryview") -> int:  # type: ignore[override]
        """Give what is left of the block, then the next block."""
        if not self.rest:
            self.rest = memoryview(next(self.blocks, b""))
        size = min(len(self.rest), len(buffer))
        buffer[:size], self.rest = self.rest[:size], self.rest[size:]
        return size


def joined(folder: Path, parts: Sequence[Stored], meter: Meter) -> BinaryIO:
    """A file of the bundle as a stream."""
    return io.BufferedReader(Joined(folder, parts, meter), BLOCK)


def blocks(folder: Path, parts: Sequence[Stored], meter: Meter) -> Iterator[bytes]:
    """The bytes of the parts. Raises DocumentError at the end of a part that is not what was stored."""
    for part in parts:
        digest = hashlib.sha256()
        with Beneath(folder) as below, below.read(part.path) as file:
            while block := file.read(BLOCK):
                digest.update(block)
                meter.count(len(block))
                yield block
        if digest.hexdigest() != part.sha256:
            raise DocumentError(
                f"{part.path} is not what was packed.", "Copy it again from where it is whole."
            )


def require_space(folder: Path, need_bytes: int, there_bytes: int = 0) -> None:
    """Raise HostError when the disk of a folder, which need not exist yet, cannot hold that much more."""
    place = first_there(folder)
    free_bytes = shutil.disk_usage(place).free
    if need_bytes - there_bytes > free_bytes:
        raise HostError(
            f"The bundle needs {(need_bytes - there_bytes) / 2**30:.1f} GiB more in {place}, "
            f"which has {free_bytes / 2**30:.1f} GiB free.",
            "Use a larger disk.",
        )


def first_there(path: Path) -> Path:
    """The path, or the nearest folder above it that is there."""
    return next(place for place in (path, *path.parents) if os.path.exists(place))


def require_writable(folder: Path) -> None:
    """Raise an OSError where this user can make nothing in a folder, which need not exist yet."""
    there = first_there(folder)
    if not there.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(there))
    if not os.access(there, os.W_OK | os.X_OK):
        is_read_only = bool(os.statvfs(there).f_flag & os.ST_RDONLY)
        number = errno.EROFS if is_read_only else errno.EACCES
        raise OSError(number, os.strerror(number), str(there))
