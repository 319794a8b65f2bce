"""Files of a host as one tar, which is unpacked there as root's: all of them, or none where the disk is full."""

import hashlib
import tarfile
import time
from collections.abc import Iterable
from io import BytesIO
from typing import IO

from infra.host import HostFile

# tar unlinks a file before it writes its successor: each is written beside it, where a rename needs no room.
UNPACK_SCRIPT = """\
set -f # a name is a line
IFS='
'
cd "$1" || exit
files=$(tar -xv --no-same-owner --preserve-permissions --quoting-style=literal \\
    --transform 's/$/.new/' --show-transformed-names) || {
    code=$?
    rm -f -- $files
    exit $code
}
for file in $files; do mv -fT -- "$file" "${file%.new}" || exit; done
"""
UNPACK = ("sh", "-c", UNPACK_SCRIPT, "unpack", "/")
CHECK = ("sha256sum", "--check", "--status")
"""Fails where a file there is another than `sums` has it."""


def archive(files: Iterable[HostFile]) -> bytes:
    """The files as a tar, in their order."""
    written = BytesIO()
    with tarfile.open(fileobj=written, mode="w") as tar:
        for file in files:
            tar.addfile(*_member(file))
    return written.getvalue()


def sums(files: Iterable[HostFile]) -> str:
    """What `CHECK` reads, so that what is the same there is not written anew."""
    return "".join(f"{hashlib.sha256(file.content.encode()).hexdigest()}  {file.path}\n" for file in files)


def _member(file: HostFile) -> tuple[tarfile.TarInfo, IO[bytes]]:
    content = file.content.encode()
    info = tarfile.TarInfo(file.path.lstrip("/"))
    # systemd takes a unit file of 1970 for a masked one.
    info.size, info.mode, info.mtime = len(content), int(file.mode, 8), int(time.time())
    return info, BytesIO(content)
