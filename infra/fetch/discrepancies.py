"""A folder held against the manifest of what was fetched: what is missing, changed or was never there."""

import os
import stat
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

from infra.fetch.checksums import OWN, Kept, Manifest
from infra.fetch.listing import Wanted, is_pickle, shown
from infra.fetch.partial import sums_of
from infra.fetch.walk import entries

NOT_FILES = (OWN, ".cache")
"""Besides ours, what `hf download --local-dir` keeps beside the files: no server reads it."""
LICENCE = "LICENSE"
"""What a user puts beside weights that came without their licence, which wants to be handed on with them."""


def strangers(folder: Path, manifest: Manifest, blobs: Path | None, below: Collection[str]) -> Iterator[str]:
    """What lies in a folder and is neither fetched nor the repository's own, by name; not what is in those below."""
    for name in sorted(entries(folder, {*NOT_FILES, *below}) - manifest.files.keys()):
        is_licence = name == LICENCE and stat.S_ISREG((folder / name).lstat().st_mode)
        if not is_licence and not is_listed(folder / name, name, manifest.others, blobs):
            yield name


def is_listed(path: Path, name: str, others: Mapping[str, int] | None, blobs: Path | None) -> bool:
    """Whether a file that is not fetched is one of the repository's; a pickle only while it has the size it has there.

    Where the Hub's list is not known, what its own library linked into its cache is.
    """
    try:
        if others is None:
            return blobs is not None and path.is_symlink() and path.resolve().parent == blobs.resolve()
        return name in others and (not is_pickle(name) or path.stat().st_size == others[name])
    except (OSError, RuntimeError):
        return False


def why_strange(name: str) -> str:
    """What is wrong with a stranger."""
    return "is a pickle, which may run code when it is loaded" if is_pickle(name) else "is extra"


def wrong(
    folder: Path, files: Mapping[str, Kept], blobs: Path | None, read_bytes: Callable[[int], None]
) -> Iterator[tuple[str, str]]:
    """Every file that is not as it was found right, and what is wrong with it; links may lead into `blobs` alone."""
    for name, file in sorted(files.items()):
        if why := problem_of(folder / name, file, blobs, read_bytes):
            yield name, why


def problem_of(
    path: Path, file: Kept, blobs: Path | None, read_bytes: Callable[[int], None] = lambda count: None
) -> str:
    """What is wrong with a file; "" when it is what was fetched."""
    try:
        if not os.path.lexists(path):
            return "is missing"
        target = path.resolve(strict=True)
        if path.is_symlink() and (blobs is None or target.parent != blobs.resolve()):
            return "is a link that leaves the folder"
        status = target.stat()
        if not stat.S_ISREG(status.st_mode):
            return "is no file"
        if status.st_size != file.size:
            how = "cut off" if status.st_size < file.size else "too long"
            return f"is {how}: {status.st_size} of {file.size} bytes"
        if sums_of(target, Wanted(path.name, file.size, file.sha256, ""), read_bytes).are_right():
            return ""
        return "is changed: its sha256 is another"
    except (OSError, RuntimeError) as error:
        return f"cannot be read: {getattr(error, 'strerror', None) or 'it leads to itself'}"


def shown_name(name: str) -> str:
    """A file's name as it may be printed."""
    return name if name.isprintable() else shown(name)
