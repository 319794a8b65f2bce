"""Files below a folder that is held open: no link on the way is followed, and nothing that is there is written over."""

import errno
import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from infra.locks import take

HELD = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
NO_LINK = os.O_NOFOLLOW | os.O_CLOEXEC


class Beneath:
    """A folder by its handle. Paths are relative to it and never hold `..`; all but their last part are real folders.

    Raises OSError, with the whole path: for a link or another thing on the way, for what is there already.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._top = os.open(folder, HELD)
        # The folder of the path that was asked last: the files of one folder follow each other.
        self._last: tuple[str, int] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._forget()
        os.close(self._top)

    def take(self) -> None:
        """Have the folder for as long as it is held. Raises BlockingIOError while somebody else has it so."""
        take(self._top)

    def new(self, path: str) -> io.BufferedRandom:
        """A new file, in place of what one who was killed left. Raises BlockingIOError while somebody writes it."""
        left = None
        try:
            left = self.read(path)
        except FileNotFoundError:
            pass
        except OSError:
            self.remove(path)  # a link, or no file
        with left or nullcontext():
            if left:
                take(left.fileno())
                with suppress(FileNotFoundError):  # it was finished just now
                    if not os.path.samestat(os.fstat(left.fileno()), self.status(path)):
                        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN), path)
                    self.remove(path)
            file = self.create(path)
        try:
            take(file.fileno())
        except BaseException:
            file.close()
            raise
        return file

    def status(self, path: str) -> os.stat_result:
        """What lies there; of a link the link itself."""
        with self._place(path) as (folder, name):
            return os.stat(name, dir_fd=folder, follow_symlinks=False)

    def read(self, path: str) -> io.BufferedReader:
        """Open a file that is one; a pipe or a device is never waited for."""
        with self._place(path) as (folder, name):
            number = os.open(name, os.O_RDONLY | os.O_NONBLOCK | NO_LINK, dir_fd=folder)
        return os.fdopen(self._file(path, number), "rb")

    def change(self, path: str) -> io.BufferedRandom:
        """Open a file that is one, and has no other name, to read and write it."""
        with self._place(path) as (folder, name):
            number = os.open(name, os.O_RDWR | os.O_NONBLOCK | NO_LINK, dir_fd=folder)
        return os.fdopen(self._file(path, number, names=1), "r+b")

    def create(self, path: str, mode: int = 0o644) -> io.BufferedRandom:
        """A new file, with that mode whatever the umask; folders on the way are made."""
        with self._place(path, make=True) as (folder, name):
            number = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | NO_LINK, mode=0o600, dir_fd=folder)
        with suppress(PermissionError):  # media such as USB sticks have no modes
            os.fchmod(number, mode)
        return os.fdopen(number, "w+b")

    def make_folder(self, path: str) -> None:
        """A folder, where there is none yet."""
        self._parent(f"{path}/", make=True)

    def link(self, path: str, target: str) -> None:
        """A new symbolic link."""
        with self._place(path, make=True) as (folder, name):
            os.symlink(target, name, dir_fd=folder)

    def same(self, path: str, other: str) -> None:
        """A new name for another file of this folder."""
        with self._place(other) as (folder, name):
            there = os.dup(folder)
        try:
            with self._place(path, make=True) as (folder, new):
                os.link(name, new, src_dir_fd=there, dst_dir_fd=folder, follow_symlinks=False)
        finally:
            os.close(there)

    def rename(self, path: str, other: str) -> None:
        """Give a file another name, in one step; what had that name is gone."""
        with self._place(path) as (folder, name):
            there = os.dup(folder)
        try:
            with self._place(other, make=True) as (folder, new):
                os.replace(name, new, src_dir_fd=there, dst_dir_fd=folder)
        finally:
            os.close(there)

    def remove(self, path: str) -> None:
        """Take a file away."""
        with self._place(path) as (folder, name):
            os.unlink(name, dir_fd=folder)

    @contextmanager
    def _place(self, path: str, make: bool = False) -> Iterator[tuple[int, str]]:
        """The handle of the folder a path is in, and its name there; an OSError tells the whole path."""
        try:
            yield self._parent(path, make), path.rpartition("/")[2]
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self.folder / path)) from None

    def _parent(self, path: str, make: bool) -> int:
        way = path.rpartition("/")[0]
        if self._last and self._last[0] == way:
            return self._last[1]
        here = os.dup(self._top)
        try:
            for part in way.split("/") if way else ():
                if make:
                    with suppress(FileExistsError):
                        os.mkdir(part, 0o700, dir_fd=here)
                        with suppress(PermissionError):
                            os.chmod(part, 0o755, dir_fd=here)
                below = os.open(part, HELD | os.O_NOFOLLOW, dir_fd=here)
                os.close(here)
                here = below
        except BaseException:
            os.close(here)
            raise
        self._forget()
        self._last = (way, here)
        return here

    def _forget(self) -> None:
        if self._last:
            os.close(self._last[1])
        self._last = None

    def _file(self, path: str, number: int, names: int | None = None) -> int:
        """The handle, of a file that is one and has so many names; it is closed otherwise."""
        status = os.fstat(number)
        if stat.S_ISREG(status.st_mode) and status.st_nlink == (names or status.st_nlink):
            return number
        os.close(number)
        raise OSError(errno.EINVAL, "it is no file, or has another name too", str(self.folder / path))
