"""A bundle's folder while it is filled: what an earlier create left there is known by its content, all else is kept.

The file `unfinished` is there from the first byte to the last, and tells what was written: a line a file, with its
checksum, before the file has its name. Until then it is called `.writing`. So it can be killed at any point and go on.
"""

import hashlib
import os
import stat
from pathlib import Path
from typing import BinaryIO, NamedTuple

from pydantic import ValidationError

from deploy.bundle.manifest import LARGEST_MANIFEST, MANIFEST, SIGNATURE, UNFINISHED, WRITING, Bundle, Stored
from infra.archive import shown
from infra.beneath import Beneath
from infra.errors import CorralError, UsageError

BEGUN = "corral bundle create was not finished here. Run it again; it goes on.\n"
ARMOUR = b"-----BEGIN SSH SIGNATURE-----"
# What is read before anything is written; the larger ones are read before they are replaced.
SMALL_BYTES = 2**26
ELSEWHERE = "Name a folder that is empty or does not exist yet."


class Content(NamedTuple):
    """What a file holds."""

    size_bytes: int
    sha256: str


class Filling:
    """The folder by its handle, and which contents of which files are ours."""

    def __init__(self, below: Beneath) -> None:
        self.below = below
        self.ours: dict[str, set[Content]] = {}
        listed, told = of_manifest(self.below), of_journal(self.below)
        self.is_begun = told is not None
        # The files of create's own that are what they are called.
        self.own = {MANIFEST} if listed is not None else set()
        self.own |= {UNFINISHED, WRITING} if self.is_begun else set()
        self.own |= {SIGNATURE} if self.own and is_signature(self.below) else set()
        for file in (*(listed or ()), *(told or ())):
            self._remember(file)

    def begin(self) -> None:
        """From now on the folder is no bundle, until it is finished."""
        if self.is_begun:
            with self.below.change(UNFINISHED) as file:
                whole = file.read()
                kept = whole[: whole.rfind(b"\n") + 1] if whole.startswith(BEGUN.encode()) else BEGUN.encode()
                written_over(file, kept)
        else:
            with self.below.create(UNFINISHED) as file:
                written_over(file, BEGUN.encode())

    def done(self, file: Stored) -> None:
        """Give what was written its name; that it is ours is told before."""
        with self.below.change(UNFINISHED) as journal:
            journal.seek(0, os.SEEK_END)
            journal.write(file.model_dump_json().encode() + b"\n")
            journal.flush()
            os.fsync(journal.fileno())
        self._remember(file)
        self.below.rename(WRITING, file.path)

    def writing(self) -> BinaryIO:
        """The file that is written next; it may hold what a killed create wrote of it."""
        try:
            return self.below.create(WRITING)
        except FileExistsError:
            return self.below.change(WRITING)

    def take(self, path: str) -> BinaryIO:
        """A file of ours to write on, under another name until it is done. Raises UsageError for another's."""
        self.require_ours(path)
        self.below.rename(path, WRITING)
        return self.below.change(WRITING)

    def remove(self, path: str) -> None:
        """Take away a file of ours. Raises UsageError for another's."""
        self.require_ours(path)
        self.below.remove(path)

    def require_ours(self, path: str, only_small: bool = False) -> None:
        """Raise UsageError for a file that create did not write, or that holds something else by now."""
        contents = self.ours.get(path, set())
        status = self.below.status(path)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
            raise not_ours(self.below.folder, path, "is a link or a special file, or has another name too")
        if path in self.own:
            return
        is_ours = any(status.st_size == content.size_bytes for content in contents)
        if is_ours and not (only_small and status.st_size > SMALL_BYTES):
            with self.below.read(path) as file:
                is_ours = Content(status.st_size, hashlib.file_digest(file, "sha256").hexdigest()) in contents
        if not is_ours:
            raise not_ours(
                self.below.folder, path, "was not written by corral bundle create, or changed since"
            )

    def _remember(self, file: Stored) -> None:
        self.ours.setdefault(file.path, set()).add(Content(file.size_bytes, file.sha256))


def not_ours(folder: Path, path: str, why: str) -> UsageError:
    """What is there and must not be touched."""
    return UsageError(f"{shown(path)} in {folder} {why}.", f"Move it away. Or: {ELSEWHERE}")


def written_over(file: BinaryIO, content: bytes) -> None:
    """Make a file hold that and no more, on the disk."""
    file.seek(0)
    file.write(content)
    file.truncate()
    file.flush()
    os.fsync(file.fileno())


def of_manifest(below: Beneath) -> tuple[Stored, ...] | None:
    """What the manifest of an earlier create lists; None for a file of that name that is another's."""
    try:
        with below.read(MANIFEST) as file:
            return Bundle.parse(file.read(LARGEST_MANIFEST), MANIFEST).files
    except (OSError, CorralError):
        return None


def is_signature(below: Beneath) -> bool:
    """Whether a file of that name is one; it lies beside a manifest, which it may be of."""
    try:
        with below.read(SIGNATURE) as file:
            return file.read(len(ARMOUR)) == ARMOUR
    except OSError:
        return False


def of_journal(below: Beneath) -> tuple[Stored, ...] | None:
    """What a create that was not finished told; None for a file of that name that is another's."""
    try:
        with below.read(UNFINISHED) as file:
            text = file.read(LARGEST_MANIFEST).decode()
    except (OSError, UnicodeDecodeError):
        return None
    if BEGUN.startswith(text):
        return ()
    if not text.startswith(BEGUN):
        return None
    lines = text.removeprefix(BEGUN).split("\n")[:-1]  # of the last line there may be a part
    try:
        return tuple(Stored.model_validate_json(line) for line in lines)
    except ValidationError:
        return None
