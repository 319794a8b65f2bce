"""Files on the medium: written so that an interrupted copy goes on, read back so that a wrong byte is met."""

import hashlib
import io
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import count as numbers
from pathlib import Path
from typing import BinaryIO

from deploy.bundle.manifest import Stored
from infra.errors import DocumentError, HostError

BLOCK = 2**22
EVERY_S = 2.0


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
    stream: BinaryIO, folder: Path, name: str, split_bytes: int | None, meter: Meter
) -> Iterator[Stored]:
    """Write a stream into the folder, in parts where a size is given; what is there and equal stays as it is."""
    if split_bytes is None:
        yield store_one(stream, folder, name, sys.maxsize, meter)
        return
    for number in numbers(1):
        part = store_one(stream, folder, f"{name}.part-{number:04}", split_bytes, meter)
        if part.size_bytes or number == 1:
            yield part.model_copy(update={"part_of": name})
        if part.size_bytes < split_bytes:
            return


def store_one(stream: BinaryIO, folder: Path, name: str, limit_bytes: int, meter: Meter) -> Stored:
    """Make a file hold what the stream gives, up to a limit: compare block by block, and write only what differs."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    digest, size = hashlib.sha256(), 0
    with path.open("r+b" if path.exists() else "w+b") as file:
        while block := stream.read(min(BLOCK, limit_bytes - size)):
            if file.read(len(block)) != block:
                file.seek(size)
                file.write(block)
            digest.update(block)
            size += len(block)
            meter.count(len(block))
        if file.seek(0, os.SEEK_END) > size:
            file.truncate(size)
        file.flush()
        os.fsync(file.fileno())
    return Stored(path=name, size_bytes=size, sha256=digest.hexdigest())


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
        with (folder / part.path).open("rb") as file:
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
    place = next(path for path in (folder, *folder.parents) if path.exists())
    free_bytes = shutil.disk_usage(place).free
    if need_bytes - there_bytes > free_bytes:
        raise HostError(
            f"The bundle needs {(need_bytes - there_bytes) / 2**30:.1f} GiB more in {place}, "
            f"which has {free_bytes / 2**30:.1f} GiB free.",
            "Use a larger disk.",
        )
