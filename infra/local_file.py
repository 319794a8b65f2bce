"""A file of this machine on its way elsewhere: what is wrong with it is said of it, and not of where it goes."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from infra.argument import pasted
from infra.errors import HostError


@contextmanager
def read_here(path: Path) -> Iterator[None]:
    """What reads a file of this machine. Raises HostError where its disk fails, is hung or does not let us."""
    try:
        yield
    except OSError as error:
        raise HostError(
            f"{path} cannot be read on this machine: {error.strerror or error}.",
            f"Read it by hand: sha256sum {pasted(path)}; then run the command again.",
        ) from None


def size_bytes(path: Path) -> int:
    """How large a file is. Raises HostError as `read_here` does."""
    with read_here(path):
        return path.stat().st_size


class LocalFile:
    """One that is open to be read. Each of its doings raises HostError as `read_here` does."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with read_here(path):
            self._file: BinaryIO = path.open("rb")

    def __enter__(self) -> "LocalFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def read(self, size: int = -1) -> bytes:
        """So many bytes of it, fewer at its end."""
        with read_here(self._path):
            return self._file.read(size)
