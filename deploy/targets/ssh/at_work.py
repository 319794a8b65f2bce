"""One operator at a time changes the releases of a deployment on owned hosts, or its gateway there.

The lock is the kernel's, held by a command over SSH whose input is ours: it is free as soon as the corral that took it
is gone, however that ended.
"""

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from deploy.targets.deployment import Deployment
from deploy.targets.ssh.fleet import checked_hosts, connected
from deploy.targets.ssh.operators import who
from infra.errors import UsageError
from infra.host_gateway import called
from infra.ssh import Host

# NAME WHO: "held" once it is ours, until the input ends; else "busy", whose it is, and since when.
HOLD_SCRIPT = """\
umask 077
file=/run/corral-$1.at-work
exec 9>>"$file" || exit
flock -n 9 || { echo "busy $(head -c 200 "$file")"; exit 0; }
printf '%s %s\\n' "$2" "$(date -u +%Y-%m-%dT%H:%M:%SZ)" >"$file"
echo held
exec cat >/dev/null
"""
BUSY = re.compile(r"busy ([A-Za-z0-9._@-]{1,100}) ([0-9TZ:-]{1,30})")


@contextmanager
def alone(deployment: Deployment) -> Iterator[None]:
    """Keep every other operator's corral from rolling or upgrading it meanwhile. Raises UsageError where one does."""
    with ExitStack() as stack:
        for destination in sorted(checked_hosts(deployment)):
            stack.enter_context(held(deployment.name, connected(destination)))
        yield


@contextmanager
def held(name: str, host: Host) -> Iterator[None]:
    """The same on one host."""
    with taken(name, host) as other:
        if other is not None:
            raise busy(other, f"rolling or upgrading {name}", host, f"corral status {name}")
        yield


@contextmanager
def gateway_held(name: str, host: Host) -> Iterator[None]:
    """The same of its gateway on a host: what is brought to be tried next is one corral's."""
    with taken(called(name), host) as other:
        if other is not None:
            raise busy(other, f"changing the gateway of {name}", host, f"corral gateway status {name}")
        yield


@contextmanager
def taken(what: str, host: Host) -> Iterator[str | None]:
    """Take the lock of that name; what its holder said of itself, where another corral has it."""
    with host.held(("sh", "-c", HOLD_SCRIPT, "hold", what, who())) as said:
        yield None if said == "held" else said


def busy(said: str, doing: str, host: Host, look: str) -> UsageError:
    """What to say where another has it."""
    told = BUSY.fullmatch(said)
    by, since = (f"{told[1]}'s corral", f", since {told[2]}") if told else ("Another operator's corral", "")
    return UsageError(
        f"{by} is {doing} on {host.destination}{since}.",
        f"See how far it is: {look}; the host is free again as soon as that corral has ended.",
    )
