"""Files of a folder copied to a host over SSH, each as needed, and proved equal by SHA-256 on both sides."""

import hashlib
import re
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from infra import bar
from infra.argument import pasted
from infra.errors import DocumentError, HostError
from infra.local_file import read_here
from infra.ssh import Host

# Hashing or copying a hundred gigabytes may take its time.
PATIENCE_S = 6 * 3600

MANIFEST_SCRIPT = """\
cd "$1" 2>/dev/null || exit 0
find . -type f -exec sha256sum {} +
"""

# How sha256sum writes what would end its line, and the backslash itself.
ESCAPED = re.compile(r"\\([\\nr])")
MEANT = {"\\": "\\", "n": "\n", "r": "\r"}


def manifest(folder: Path, names: Sequence[str]) -> dict[str, str]:
    """Name -> SHA-256 of files of a folder. Links are followed: the Hub's cache is made of them."""
    return {name: sha256(folder / name) for name in names}


def sha256(path: Path) -> str:
    """The checksum of one file. Raises HostError where this machine cannot read it."""
    with read_here(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def copy_files(
    host: Host, local: Path, names: Sequence[str], remote: str, known: Mapping[str, str] | None = None
) -> int:
    """Make the remote folder hold those files of the local one; return how many had to be sent.

    Safe to call again: what is there and equal is not sent twice. Nothing is sent where a file has not the sum that is
    known of it: each is read for its sum anyway. Raises DocumentError then, HostError when one differs afterwards.
    """
    wanted = manifest(local, names)
    if changed := [
        name for name, checksum in wanted.items() if (known or {}).get(name, checksum) != checksum
    ]:
        raise DocumentError(
            f"{local / changed[0]} is changed: its sha256 is not the one that was noted when it came here.",
            f"See all of it: corral fetch --verify {pasted(local)}",
        )
    there = remote_manifest(host, remote)
    missing = [name for name, checksum in wanted.items() if there.get(name) != checksum]
    if missing:
        host.run(["mkdir", "-p", remote], as_root=True)
        command = ["tar", "-x", "--no-same-owner", "--directory", remote]
        total_bytes = sum((local / name).stat().st_size for name in missing)
        with bar.shown(f"sending to {host.destination}") as tell:
            host.send(lambda pipe: _pack(local, missing, bar.Counted(pipe, total_bytes, tell)), command)
        prove(wanted, remote_manifest(host, remote), f"{host.destination}:{remote}")
    return len(missing)


def prove(wanted: dict[str, str], there: dict[str, str], where: str) -> None:
    """Raise HostError when a file did not arrive as it is here."""
    wrong = [name for name, checksum in wanted.items() if there.get(name) != checksum]
    if wrong:
        raise HostError(
            f"{wrong[0]} is not the same in {where} as here after it was copied.",
            "Check that host's disk (df -h, dmesg), and run the command again.",
        )


def remote_manifest(host: Host, folder: str) -> dict[str, str]:
    """The same for a folder on the host; empty when there is none."""
    command = ["sh", "-c", MANIFEST_SCRIPT, "manifest", folder]
    lines = host.run(command, as_root=True, timeout_s=PATIENCE_S).stdout.split("\n")
    return dict(_entry(line) for line in lines if line)


def _entry(line: str) -> tuple[str, str]:
    """One line of sha256sum; it marks a name in which it escaped something by a backslash at the line's beginning."""
    checksum, _, name = line.partition("  ")
    if checksum.startswith("\\"):
        checksum, name = checksum[1:], ESCAPED.sub(lambda found: MEANT[found[1]], name)
    return str(PurePosixPath(name)), checksum


def _pack(local: Path, names: list[str], into: Any) -> None:
    """Into a pipe: that tarfile writes to it, and no more, its types do not know."""
    with tarfile.open(fileobj=into, mode="w|", bufsize=2**20, dereference=True) as tar:
        for name in names:
            # A pipe that nobody reads fails here too, and is told by who should have read it.
            with read_here(local / name):
                tar.add(local / name, arcname=name, filter=_readable)


def _readable(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """The server has a user of its own, which must be able to read what only the owner can read here."""
    member.mode = 0o644
    return member
