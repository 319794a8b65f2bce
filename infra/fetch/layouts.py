"""Where files go: into a folder as they are, or into the Hub's own cache, as the Hub's library and others read it."""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

from infra.errors import HostError
from infra.fetch.checksums import OWN, Kept, Manifest, read
from infra.fetch.listing import Wanted
from infra.fetch.partial import Sums

PART = ".part"
DRAFT, ADAPTERS = "draft", "adapters"
"""Below the folder of a model: where its draft lies, and its adapters, each in a folder of its name."""
OLD_S = 30 * 86400.0
"""For how long what came of a file that is not whole is kept for whoever goes on with it."""


class Layout(NamedTuple):
    """One commit's place."""

    folder: Path
    """What a server is given."""
    own: Path
    """Ours: the lock, the manifests, what is on its way. On the same disk, so that a rename is all that is left."""
    manifest: Path
    blobs: Path | None = None
    """In a cache: where the bytes are, by what the Hub calls them; the folder has links to them."""

    def path(self, file: Wanted) -> Path:
        """Where a file's bytes are to be."""
        return self.blobs / file.etag if self.blobs else self.folder / file.name

    def make(self) -> None:
        """The folders. Raises OSError."""
        for folder in filter(None, (self.folder, self.own, self.blobs)):
            folder.mkdir(parents=True, exist_ok=True)

    def name(self, file: Wanted) -> None:
        """Give bytes that lie in a cache the file's name. Raises OSError."""
        if self.blobs is None:
            return
        link, target = self.folder / file.name, os.path.relpath(self.blobs / file.etag, self.folder)
        if link.is_symlink() and os.readlink(link) == target:
            return
        new = self.own / f"{file.etag}.link"
        new.unlink(missing_ok=True)
        new.symlink_to(target)
        os.replace(new, link)

    def kept(self, file: Wanted, sums: Sums) -> Kept:
        """A file that is in its place, and right. Raises OSError."""
        status = self.path(file).stat()
        return Kept(file.size, sums.sha256, file.etag, status.st_mtime_ns)

    def known(self) -> Manifest | None:
        """What was found right earlier. Raises DocumentError."""
        return read(self.manifest)

    @contextmanager
    def held(self, waiting: Callable[[], None]) -> Iterator[bool]:
        """The place for one who fetches at a time; whether another was waited for. One that was killed holds nothing.

        Raises OSError.
        """
        number = os.open(self.own / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            yield taken(number, waiting)
        finally:
            os.close(number)

    def part(self, file: Wanted) -> Path:
        """Where a file is on its way: by its bytes, so that another commit's of that name does not go on with it."""
        place = (
            "" if self.blobs else f".{crc32(file.name.encode()):08x}"
        )  # in a folder two of the same bytes are two
        return self.own / f"{file.etag}{place}{PART}"

    def sweep(self, staying: set[Path]) -> None:
        """Remove what nobody will go on with: links and manifests that are half made, and parts that are old.

        A part may be another commit's, whose fetch was ended and will be gone on with.
        """
        with suppress(OSError):
            for path in self.own.iterdir():
                is_half_made = path.suffix == ".link" or path.name.startswith(".")
                is_part = path.suffix == PART and path not in staying
                if is_half_made or (is_part and time.time() - path.stat().st_mtime > OLD_S):
                    path.unlink()


def taken(number: int, waiting: Callable[[], None]) -> bool:
    """Lock what is open; whether that took a wait. A disk that has no locks lets everybody."""
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        waiting()
        fcntl.flock(number, fcntl.LOCK_EX)
        return True
    except OSError:
        pass
    return False


def in_folder(folder: Path) -> Layout:
    """Files as they are."""
    return Layout(folder, folder / OWN, folder / OWN / "manifest.json")


def in_cache(cache: Path, repository: str, commit: str) -> Layout:
    """As the Hub's library keeps them: https://huggingface.co/docs/hub/local-cache (read 2026-11-29)."""
    place = cache / f"models--{repository.replace('/', '--')}"
    own = place / OWN
    return Layout(place / "snapshots" / commit, own, own / f"{commit}.json", place / "blobs")


def of_existing(folder: Path) -> Layout:
    """The layout a folder has: that of a cache's snapshot, or of files as they are."""
    whole = folder.absolute()
    place = whole.parent.parent
    if whole.parent.name == "snapshots" and place.name.startswith("models--"):
        return Layout(whole, place / OWN, place / OWN / f"{whole.name}.json", place / "blobs")
    return in_folder(whole)


def refused(error: OSError, where: Path) -> HostError:
    """A disk that does not take it."""
    return HostError(
        f"The weights cannot be written to {error.filename or where}: {error.strerror}.",
        "What came is kept. Make room or choose a larger disk (df -h), look whose it is (ls -ld), and run it again.",
    )
