"""Unpacking a tar that came from elsewhere: every member is judged before it touches the disk."""

import os
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from infra.errors import DocumentError


def problems(stream: BinaryIO) -> Iterator[str]:
    """Say of each member that must not be unpacked why; in constant memory, and nothing is written."""
    links: set[str] = set()
    try:
        with members_of(stream) as tar:
            while member := tar.next():
                tar.members.clear()  # type: ignore[attr-defined]  # else a stream keeps them all
                if why := unsafe(member, links):
                    yield f"its member {member.name!r} {why}"
    except tarfile.TarError as error:
        yield f"it is no whole tar: {error}"


def extract(stream: BinaryIO, folder: Path) -> None:
    """Unpack a tar into a folder, as the user who runs this. Raises DocumentError at the first unsafe member."""
    links: set[str] = set()
    try:
        with members_of(stream) as tar:
            # Python's own judgement beside ours, where this Python has it (3.11.4).
            tar.extraction_filter = getattr(tarfile, "data_filter", lambda member, path: member)
            while member := tar.next():
                tar.members.clear()  # type: ignore[attr-defined]
                if why := unsafe(member, links):
                    raise tarfile.TarError(f"{member.name!r} {why}")
                tar.extract(harmless(member), folder)
    except tarfile.TarError as error:
        raise DocumentError(
            f"The archive must not be unpacked: {error}.", "Have it made and brought again."
        ) from None


@contextmanager
def members_of(stream: BinaryIO) -> Iterator[tarfile.TarFile]:
    """The stream as an uncompressed tar that is read once, front to back, to its end."""
    with tarfile.open(fileobj=stream, mode="r|", errorlevel=1) as tar:
        yield tar
    while stream.read(2**20):
        pass


def unsafe(member: tarfile.TarInfo, links: set[str]) -> str:
    """Why a member must not be unpacked; "" when it may. `links` holds the symbolic links met so far, and grows.

    Stricter than Python's filter, so that it needs no disk: no way in the archive leads through a link, and a link
    climbs only at its beginning. A link can then not lead outside by way of another.
    """
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts:
        return "would be written outside of the folder"
    if not (member.isreg() or member.isdir() or member.issym() or member.islnk()):
        return "is a device or another special file"
    if passes_a_link(path, links):
        return "would be written through a link"
    if member.islnk() and not is_safe_hard_link(PurePosixPath(member.linkname), links):
        return f"is a hard link to {member.linkname!r}, outside of the folder or a link itself"
    if member.issym():
        if not stays_inside(path, PurePosixPath(member.linkname)):
            return f"is a link to {member.linkname!r}, outside of the folder"
        links.add(str(path))
    return ""


def passes_a_link(path: PurePosixPath, links: set[str]) -> bool:
    """Whether a folder on the way is a symbolic link."""
    return any(str(parent) in links for parent in path.parents)


def is_safe_hard_link(target: PurePosixPath, links: set[str]) -> bool:
    """Whether a hard link's target, counted from the archive's top, is a plain file of the archive."""
    outside = target.is_absolute() or ".." in target.parts
    return not outside and str(target) not in links and not passes_a_link(target, links)


def stays_inside(path: PurePosixPath, target: PurePosixPath) -> bool:
    """Whether a symbolic link at that path stays inside: it climbs first, and no higher than the top."""
    climbs = target.parts.count("..")
    return (
        not target.is_absolute()
        and climbs <= len(path.parts) - 1
        and target.parts[:climbs] == ("..",) * climbs
    )


def harmless(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """The member as ours: no owner, no set-user-id, and nobody else may write it."""
    member.uid, member.gid, member.uname, member.gname = os.getuid(), os.getgid(), "", ""
    member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
    return member
