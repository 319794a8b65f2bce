"""PURE: what happened to a server on another machine, as that machine has kept it."""

from infra import host as hosts
from infra.onhost.history import FILE, MOST_BYTES

# What the host's disk did not take waits in its memory.
SCRIPT = """\
tail -c "$1" "$2" 2>/dev/null
echo
cat "$3" 2>/dev/null
"""


def command(name: str) -> tuple[str, ...]:
    """What prints it, as root there."""
    places = (f"{folder}/{FILE}" for folder in (hosts.root(name), f"/run/corral-{name}"))
    return ("sh", "-c", SCRIPT, "history", str(MOST_BYTES), *places)
