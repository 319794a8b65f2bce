"""The door to this machine's kernel log, as its journal keeps it: what was said since a moment."""

import re
import subprocess
from datetime import datetime

# Of this boot, with the time of each: whoever may not read it is shown none at all, and a kernel always says some.
COMMAND = (
    "journalctl", "--dmesg", "--boot", "--quiet", "--no-pager", "--output=short-unix", "--lines=20000",
)  # fmt: skip
SAID = re.compile(r"([0-9]{1,12}\.[0-9]{1,9}) \S+ kernel: (.*)")
WITHIN_S = 10.0


def since(moment: datetime) -> str | None:
    """The kernel's lines from then on; None where they cannot be read. Never raises."""
    try:
        done = subprocess.run(COMMAND, capture_output=True, timeout=WITHIN_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    said = [
        found for line in done.stdout.decode(errors="replace").splitlines() if (found := SAID.match(line))
    ]
    if done.returncode or not said:
        return None
    return "\n".join(found[2] for found in said if float(found[1]) >= moment.timestamp())
