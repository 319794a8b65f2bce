"""Files of a host as one tar, which is unpacked there as root's."""

import tarfile
import time
from collections.abc import Iterable
from io import BytesIO
from typing import IO

from infra.host import HostFile

UNPACK = ("tar", "-x", "--no-same-owner", "--preserve-permissions", "--directory", "/")


def archive(files: Iterable[HostFile]) -> bytes:
    """The files as a tar, in their order."""
    written = BytesIO()
    with tarfile.open(fileobj=written, mode="w") as tar:
        for file in files:
            tar.addfile(*_member(file))
    return written.getvalue()


def _member(file: HostFile) -> tuple[tarfile.TarInfo, IO[bytes]]:
    content = file.content.encode()
    info = tarfile.TarInfo(file.path.lstrip("/"))
    # systemd takes a unit file of 1970 for a masked one.
    info.size, info.mode, info.mtime = len(content), int(file.mode, 8), int(time.time())
    return info, BytesIO(content)
