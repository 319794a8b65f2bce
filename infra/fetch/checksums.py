"""The manifest of what was fetched: offline, and for good, it tells what is missing, changed or was never there."""

import hashlib
import json
import os
import stat
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from infra.errors import DocumentError, HostError
from infra.fetch.listing import is_digest, is_safe, parsed

OWN = ".corral"
"""The folder beside the files that holds the manifest, the lock, and what is on its way."""
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
    others: Mapping[str, int] | None = None
    """What else the repository lists, and how many bytes each has: never fetched, and no stranger where another tool
    did. None where the Hub was not asked for its list, so that more may belong to the commit."""
    bundle: str = ""
    """The SHA-256 of the manifest of the bundle that brought them; empty for what was fetched."""

    def text(self) -> str:
        """As it is stored: its last line is the sum of all before it, so that a change by hand shows."""
        body = {
            "document": KIND,
            "schema_version": VERSION,
            "repository": self.repository,
            "commit": self.commit,
            "fetched_at": self.fetched_at or time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "files": {name: kept._asdict() for name, kept in sorted(self.files.items())},
            **({} if self.others is None else {"others": dict(sorted(self.others.items()))}),
            **({"bundle": self.bundle} if self.bundle else {}),
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
                others(body.get("others")),
                str(body.get("bundle", "")),
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


def others(said: Any) -> Mapping[str, int] | None:
    """What else the repository lists. Raises ValueError, TypeError or AttributeError."""
    if said is None:
        return None
    found = {checked(name): size for name, size in said.items()}
    if not all(isinstance(size, int) for size in found.values()):
        raise ValueError(said)
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
