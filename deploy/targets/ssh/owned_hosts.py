"""What owned hosts say of themselves: facts, and the deployments whose records they carry."""

from collections.abc import Sequence

from deploy.targets.deployment import Deployment, checked_name, folder
from infra.errors import DocumentError, UsageError
from infra.facts import HostFacts
from infra.record import Record
from infra.ssh import Host

LIST_SCRIPT = """\
for record in /opt/corral/*/record.json; do
    [ -e "$record" ] || continue
    name=${record%/record.json} && name=${name##*/}
    printf '%s %s\\n' "$name" "$(systemctl is-active "corral-$name.service" 2>/dev/null)"
done
"""


class HostState(Record):
    """One host, and the state of systemd's unit of every deployment on it."""

    host: str
    facts: HostFacts
    deployments: dict[str, str]


class Inventory(Record):
    """Several hosts."""

    hosts: tuple[HostState, ...]


def inventory(destinations: Sequence[str]) -> Inventory:
    """Ask each host. Raises HostError or AuthError for the first that does not answer."""
    return Inventory(hosts=tuple(map(_state, destinations)))


def described(inventory: Inventory) -> str:
    """The same for a person."""
    return "\n".join(_paragraph(state) for state in inventory.hosts)


def adopt(destination: str, name: str) -> Deployment:
    """Write the document of a host's deployment here.

    Raises DocumentError when the host has none of that name, UsageError when another of that name is known here.
    """
    path = f"/opt/corral/{checked_name(name)}/record.json"
    host = Host(destination)
    host.facts()
    done = host.run(["cat", path], as_root=True, check=False)
    if done.code:
        raise DocumentError(
            f"{destination} carries no deployment called {name}.",
            f"See which: corral hosts show {destination}",
        )
    deployment = Deployment.parse(done.stdout, f"{destination}:{path}")
    # The other machine may have known its only host by another name.
    return _kept(
        deployment.model_copy(update={"hosts": (destination,)}) if len(deployment.hosts) == 1 else deployment
    )


def _kept(deployment: Deployment) -> Deployment:
    path = folder(deployment.name) / "deployment.json"
    if path.exists() and Deployment.read(path).created_at != deployment.created_at:
        raise UsageError(
            f"Another deployment called {deployment.name} is known here.",
            f"Look at it: corral status {deployment.name}",
        )
    deployment.write(path)
    return deployment


def _state(destination: str) -> HostState:
    host = Host(destination)
    facts = host.facts()
    lines = host.run(["sh", "-c", LIST_SCRIPT], as_root=facts.privilege != "none").stdout.splitlines()
    return HostState(
        host=destination, facts=facts, deployments=dict(line.partition(" ")[::2] for line in lines)
    )


def _paragraph(state: HostState) -> str:
    facts = state.facts
    gpus = ", ".join(gpu.name for gpu in facts.gpu.gpus) or facts.gpu.problem or "none"
    lines = {
        "system": f"{facts.os}, Linux {facts.kernel}, {facts.architecture}, {facts.cpu_count} CPUs",
        "gpus": gpus,
        "driver": facts.gpu.driver_version or "none",
        "memory": f"{facts.memory_available_mib / 1024:.1f} of {facts.memory_total_mib / 1024:.1f} GiB available",
        "disk": f"{facts.disk_free_at('/opt/corral') / 1024:.1f} GiB free for /opt/corral",
        "tools": ", ".join(sorted(facts.tools)) or "none",
        "root": {"root": "yes", "sudo": "by sudo", "none": "no"}[facts.privilege],
    }
    carried = [f"  {name}: {active}" for name, active in state.deployments.items()] or [
        "  no deployment of ours"
    ]
    return "\n".join([state.host, *[f"  {key:8}{value}" for key, value in lines.items()], *carried])
