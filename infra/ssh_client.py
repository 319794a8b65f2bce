"""The OpenSSH client as a program of this machine: how it is called, begun and heard, and where its sockets lie."""

import fcntl
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from infra.bounded_process import MOST_BYTES, heard, killed_where_that_fails
from infra.errors import HostError
from infra.home import home, is_private, make_folder
from infra.printable import one_line

CONNECT_TIMEOUT_S = 15


def answered(
    argv: Sequence[str], stdin: bytes, timeout_s: float, most_bytes: int = MOST_BYTES
) -> "subprocess.CompletedProcess[bytes]":
    """Run the client. Raises HostError, TooMuch, or subprocess.TimeoutExpired; then it has been ended."""
    with scratch() as given:
        given.write(stdin)
        given.seek(0)
        with (
            started(argv, stdin=given, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process,
            killed_where_that_fails(process),
        ):
            said = heard(process, timeout_s, most_bytes)
            return subprocess.CompletedProcess(argv, process.returncode, *said)


def started(argv: Sequence[str], **pipes: Any) -> "subprocess.Popen[bytes]":
    """The client, begun. Raises HostError where this machine cannot."""
    try:
        return subprocess.Popen(argv, **pipes)
    except OSError as error:
        raise no_client(error) from None


def version() -> str:
    """Which client this machine has. Raises HostError where it has none that runs."""
    with started(
        ["ssh", "-V"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        _, said = heard(process, CONNECT_TIMEOUT_S)
    return one_line(said.decode(errors="replace")) or "ssh"


def client(socket: Path) -> list[str]:
    """The ssh command with the settings every use shares."""
    config = os.environ.get("CORRAL_SSH_CONFIG")
    options = {
        "BatchMode": "yes",
        "StrictHostKeyChecking": "yes",
        "ConnectTimeout": str(CONNECT_TIMEOUT_S),
        "ServerAliveInterval": "15",
        "ServerAliveCountMax": "4",
        "ForwardAgent": "no",
        "ForwardX11": "no",
        "ClearAllForwardings": "no",
        "ControlPath": str(socket),
    }
    given = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    return ["ssh", *(["-F", config] if config else []), *given]


def sockets() -> Path:
    """The folder of the connections' sockets: short, since a socket's path may have 107 characters, and private.

    In memory, or in the home, where the disk takes none or somebody else has one of that name.
    """
    name = f"corral-ssh-{os.getuid()}"
    # A Mac's own has fifty characters, of the 103 that a socket's path may have there.
    own = os.environ.get("TMPDIR") if sys.platform == "linux" else None
    first = Path(own or "/tmp") / name
    for folder in (first, Path("/dev/shm") / name, home() / "ssh"):
        with suppress(OSError):
            if folder.parent == home():
                make_folder(home())
            if is_private(folder):
                return folder
    raise HostError(
        f"{first} belongs to somebody else, or cannot be made.",
        "Set TMPDIR to a folder of yours, and a short one.",
    )


def scratch(most_bytes: int | None = None) -> IO[bytes]:
    """A file in memory for what a client is told or says: a full disk is no obstacle.

    One with a bound has that size, in zeros, and takes no more. A Mac has none: there it is a file on its disk.
    """
    if not hasattr(os, "memfd_create"):
        return tempfile.TemporaryFile()
    file = os.fdopen(os.memfd_create("corral-ssh", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING), "w+b")
    if most_bytes is not None:
        file.truncate(most_bytes)
        fcntl.fcntl(file, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW)
    return file


def no_client(error: OSError) -> HostError:
    """This machine has no ssh, or none that can be started."""
    if not isinstance(error, FileNotFoundError):
        return HostError(
            f"ssh cannot be started on this machine: {error.strerror}.", "Try it by hand: ssh -V"
        )
    return HostError(
        "There is no ssh on this machine.", "Install OpenSSH's client: apt-get install openssh-client"
    )
