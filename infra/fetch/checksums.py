"""The manifest of what was fetched: offline, and for good, it tells what is missing, changed or was never there."""

import hashlib
import json
import os
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from infra.errors import DocumentError, HostError
from infra.fetch.listing import Wanted, is_digest, is_pickle, is_safe, parsed, shown
from infra.fetch.partial import sums_of

OWN = ".corral"
"""The folder beside the files that holds the manifest, the lock, and what is on its way."""
OF_THE_HUBS_LIBRARY = ".cache"
"""What `hf download --local-dir` keeps beside the files: no server reads it."""
KIND, VERSION = "fetched-weights", 1
LARGEST_MANIFEST_BYTES = 16 << 20


class Kept(NamedTuple):
    """A file as it was when it was found to be right."""

    size: int
    sha256: str
    etag: str
    """What the Hub calls it."""
    mtime_ns: int
    """When it was last written: another time is a reason to look at its bytes again."""

    def is_untouched(self, path: Path) -> bool:
        """Whether nobody wrote it since; False for what cannot be looked at."""
        try:
            status = path.lstat()
        except OSError:
            return False
        return stat.S_ISREG(status.st_mode) and (status.st_size, status.st_mtime_ns) == (
            self.size,
            self.mtime_ns,
        )


class Manifest(NamedTuple):
    """Every file of a commit."""

    repository: str
    commit: str
    files: Mapping[str, Kept]
    fetched_at: str = ""

    def text(self) -> str:
        """As it is stored: its last line is the sum of all before it, so that a change by hand shows."""
        body = {
            "document": KIND,
            "schema_version": VERSION,
            "repository": self.repository,
            "commit": self.commit,
            "fetched_at": self.fetched_at or time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "files": {name: kept._asdict() for name, kept in sorted(self.files.items())},
        }
        return json.dumps(body | {"sha256": sum_of(body)}, indent=2) + "\n"


def sum_of(body: Mapping[str, Any]) -> str:
    """The sum of a manifest's own words."""
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def read(path: Path) -> Manifest | None:
    """A manifest; None where there is none. Raises DocumentError for one that was changed or is none."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            text = file.read(LARGEST_MANIFEST_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise DocumentError(f"{path} cannot be read: {error.strerror}.", "Check its owner: ls -l") from None
    try:
        body = parsed(text)
        told = body.pop("sha256")
        if (body["document"], body["schema_version"]) == (KIND, VERSION) and told == sum_of(body):
            return Manifest(
                str(body["repository"]),
                str(body["commit"]),
                {checked(name): kept(row) for name, row in body["files"].items()},
                str(body["fetched_at"]),
            )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        pass
    raise DocumentError(
        f"{path} was changed since corral wrote it, or is no manifest of this version.",
        "Remove it and fetch again: what is right is not fetched twice.",
    )


def checked(name: str) -> str:
    """A name that stays below its folder: what another tool put into a cache may lie deeper. Raises ValueError."""
    if not is_safe(name):
        raise ValueError(name)
    return name


def kept(row: Any) -> Kept:
    """One file's row. Raises ValueError or TypeError."""
    found = Kept(**row)
    numbers = isinstance(found.size, int) and isinstance(found.mtime_ns, int)
    if not (
        numbers and is_digest(found.sha256, 64) and (is_digest(found.etag, 40) or is_digest(found.etag, 64))
    ):
        raise ValueError(row)
    return found


def write(path: Path, manifest: Manifest) -> None:
    """Write it in one step. Raises HostError."""
    try:
        number, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(number, "w", encoding="utf-8") as file:
                file.write(manifest.text())
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise HostError(
            f"{path} cannot be written: {error.strerror}.", "Look at that disk: df -h, ls -ld"
        ) from None


def problems(
    folder: Path, manifest: Manifest, blobs: Path | None, read_bytes: Callable[[int], None]
) -> Iterator[tuple[str, str]]:
    """Every file that is not as the manifest has it, and what is wrong with it; links may lead into `blobs` alone."""
    there = entries(folder)
    for name in sorted(there - manifest.files.keys()):
        why = "is a pickle, which may run code when it is loaded" if is_pickle(name) else "is extra"
        yield shown_name(name), why
    for name, file in sorted(manifest.files.items()):
        if why := problem_of(folder / name, file, blobs, read_bytes):
            yield shown_name(name), why


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


def entries(folder: Path) -> set[str]:
    """Everything below a folder but real folders and what corral keeps there; links are not followed."""
    found: set[str] = set()
    left = [""]
    while left:
        here = left.pop()
        try:
            for entry in os.scandir(folder / here):
                path = f"{here}/{entry.name}".lstrip("/")
                if path not in (OWN, OF_THE_HUBS_LIBRARY):
                    (left.append if entry.is_dir(follow_symlinks=False) else found.add)(path)
        except OSError:
            found.add(here)
    return found - {""}


def shown_name(name: str) -> str:
    """A file's name as it may be printed."""
    return name if name.isprintable() else shown(name)
