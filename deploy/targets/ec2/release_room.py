"""Whether a rented box has room for a release beside the one that it serves: asked of the box, before it is touched."""

import re
import shlex

from deploy.targets import preflight
from deploy.targets.deployment import Deployment
from deploy.targets.ec2 import ordering, release_order
from deploy.targets.place import Check
from infra import host as hosts
from infra.aws import session
from infra.errors import HostError
from infra.record import Record
from infra.rented import Rented

GIB = 2**30


# An engine or weights that are there already, of whichever release, take no room again (release.sh: room).
SCRIPT = """\
root=$1 releases=$2 own=$3 mark=$4 weights=$5
has() {
    for each in "$root" "$releases"/*; do [ "$(cat "$each/$1" 2>/dev/null)" != "$2" ] || { echo yes; return; }; done
}
free() { df --output=avail -B1 "$1" | tail -n 1; }
echo "root=$(free /opt)"
if mountpoint -q /opt/dlami/nvme; then echo "nvme=$(free /opt/dlami/nvme)"; fi
echo "engine=$(has engine/.complete "$mark")"
echo "weights=$(has model.complete "$weights")"
echo "begun=$(du -sB1 "$own/model/" 2>/dev/null | cut -f1)"
"""


class Room(Record):
    """What a box has."""

    root: int
    """Bytes free where engines go, and weights where it has no disk of its own."""
    nvme: int | None = None
    """Bytes free of that disk, which a stop empties; None where it has none."""
    has_engine: bool = False
    has_weights: bool = False
    begun: int = 0
    """Bytes that are there of weights which were not brought whole."""


def asked(deployment: Deployment, machine: Rented, setup: hosts.HostSetup) -> Room:
    """Ask a box. Raises HostError where it does not say."""
    name = deployment.name
    own = hosts.own_root(name, deployment.release)
    releases = own.rpartition("/")[0]
    places = (hosts.root(name), releases, own, hosts.engine_mark(setup.engine), setup.weights)
    words = shlex.join(("sudo", "sh", "-c", SCRIPT, "room", *places))
    answer = session.run(machine.instance_id, machine.region, words)
    told = dict(re.findall(r"^(\w+)=\s*(\w*)\s*$", answer.text, re.MULTILINE))
    if answer.exit_code or not told.get("root", "").isdecimal():
        raise HostError(
            f"{machine.instance_id} does not say how much room it has: {answer.last_line}.",
            "Try again in a minute.",
        )
    nvme, begun = told.get("nvme", ""), told.get("begun", "")
    return Room(
        root=int(told["root"]),
        nvme=int(nvme) if nvme.isdecimal() else None,
        has_engine=bool(told.get("engine")),
        has_weights=bool(told.get("weights")),
        begun=int(begun) if begun.isdecimal() else 0,
    )


def check(deployment: Deployment, machine: Rented, setup: hosts.HostSetup) -> Check:
    """Whether there is room for all that this release takes. Raises HostError where a box does not say."""
    return judged(deployment, machine.instance_id, asked(deployment, machine, setup), setup)


def judged(deployment: Deployment, instance_id: str, room: Room, setup: hosts.HostSetup) -> Check:
    """PURE: the same, of what a box has said."""
    engine_gib = 0.0 if room.has_engine else float(preflight.figures()["engine_disk_gib"]["cuda"])
    weights_gib = 0.0
    if not room.has_weights:
        weights_gib = max(0, ordering.fetched_bytes(deployment.plan, setup) - room.begun) / GIB
    root_gib = engine_gib + (weights_gib if room.nvme is None else 0.0)
    found = f"{room.root / GIB:.1f} GiB free on the root volume, {root_gib:.1f} needed beside what serves"
    is_enough = room.root / GIB >= root_gib
    if room.nvme is not None and (weights_gib or room.has_weights):
        need = f"{room.nvme / GIB:.1f} GiB free on its own NVMe, {weights_gib:.1f} needed"
        found += f"; {need}; a stop empties that, and `serve` fetches the weights of the release that is kept again"
        is_enough = is_enough and room.nvme / GIB >= weights_gib
    return Check(
        name=f"disk {instance_id}",
        outcome="ok" if is_enough else "failed",
        found=found,
        fix="" if is_enough else release_order.under_another_name(deployment),
    )
