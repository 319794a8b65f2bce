"""A door: signatures by keys of SSH, made and verified by `ssh-keygen -Y`, as git does."""

import subprocess
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from infra.argument import pasted
from infra.bounded_process import TooMuch
from infra.errors import DocumentError, HostError
from infra.printable import one_line
from infra.record import read_bytes
from infra.ssh_client import answered

PATIENCE_S = 120.0
"""For somebody who types a passphrase, or touches a key of hardware."""
MOST_BYTES = 1024 * 1024


def beside(path: Path) -> Path:
    """Where the signature of a file lies."""
    return path.with_name(f"{path.name}.sig")


def sign(data: bytes, key: Path, namespace: str) -> str:
    """The signature, for one namespace: nothing else that the key signs passes for it.

    Raises HostError where ssh-keygen makes none.
    """
    done = keygen(["sign", "-f", str(key), "-n", namespace], data)
    if done.returncode:
        raise HostError(
            f"ssh-keygen did not sign with {key}: {one_line(done.stderr.decode(errors='replace'))}",
            f"Try the key by hand: ssh-keygen -y -f {pasted(key)}",
        )
    return done.stdout.decode()


def verified(
    data: bytes, signature: Path, allowed: Path, identity: str, namespace: str, at: datetime | None = None
) -> str:
    """What ssh-keygen says of a good signature: whose, and by which key, which was allowed at that time; None: now.

    Raises DocumentError for any other, and for files that cannot be read.
    """
    read_bytes(allowed, f"Check the path: ls -l {pasted(allowed.parent)}", MOST_BYTES)
    read_bytes(signature, f"Copy it again, beside what it signs: {pasted(signature.name)}", MOST_BYTES)
    options = ["-f", str(allowed), "-I", identity, "-n", namespace, "-s", str(signature)]
    when = [f"-Overify-time={clock_of(at)}"] if at else []
    done = keygen(["verify", *options, *when], data)
    if done.returncode:
        why = one_line((done.stderr or done.stdout).decode(errors="replace"))
        raise DocumentError(
            f"{signature} is no signature of that file by {identity}, as {allowed} has it: {why}",
            f"See whose it is: ssh-keygen -Y find-principals -f {pasted(allowed)} -s {pasted(signature)}",
        )
    return one_line(done.stdout.decode(errors="replace"))


def clock_of(at: datetime) -> str:
    """A time as ssh-keygen takes it, by this machine's clock; of one that no clock shows, what it refuses."""
    try:
        return f"{at.astimezone():%Y%m%d%H%M%S}"
    except (OverflowError, ValueError, OSError):
        return "never"


def keygen(words: Sequence[str], data: bytes) -> "subprocess.CompletedProcess[bytes]":
    """Run `ssh-keygen -Y`. Raises HostError where there is none, or it does not end."""
    try:
        return answered(["ssh-keygen", "-Y", *words], data, PATIENCE_S, MOST_BYTES)
    except (TooMuch, subprocess.TimeoutExpired):
        raise HostError("ssh-keygen does not end.", "Try it by hand: ssh-keygen -Y sign -h") from None
