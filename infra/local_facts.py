"""The door to this machine: its facts, read by the same script that reads a remote host."""

import subprocess

from infra.errors import HostError
from infra.facts import HostFacts, parse, script


def facts() -> HostFacts:
    """Read this machine. Raises HostError when it is not one that can be read (not Linux, no /proc)."""
    try:
        done = subprocess.run(
            ["sh", "-s"],
            input=script(),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=60,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HostError(f"This machine's facts cannot be read: {error}.", "Try by hand: uname -a") from None
    if done.returncode:
        why = " ".join(done.stderr.split()) or f"the shell ended with {done.returncode}"
        raise HostError(f"This machine's facts cannot be read: {why}.", "Try by hand: uname -a")
    return parse(done.stdout)
