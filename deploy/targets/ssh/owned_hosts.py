"""What owned hosts say of themselves: facts, and the deployments whose records they carry."""

import shlex
from collections.abc import Callable, Sequence

from pydantic import Field

from deploy.targets.deployment import Deployment, checked_name, folder
from deploy.targets.place import LOOK_S
from deploy.targets.ssh import operators
from deploy.targets.ssh.operators import Owner
from infra import deadline
from infra import host as hosts
from infra.argument import pasted
from infra.errors import DocumentError, HostError, UsageError
from infra.facts import HostFacts
from infra.record import Record
from infra.ssh import Host, checked_destination
from serving.vllm.serve_options import argv, refuse_unsafe

# A record is a plan and some lines; a host may say anything.
LARGEST_RECORD_BYTES = 4 * 2**20
LARGEST_LIST_BYTES = 2**18

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
    """As it was typed."""
    facts: HostFacts
    """What the host said of itself."""
    deployments: dict[str, str]
    """Name -> what systemd says of its unit."""
    owners: dict[str, Owner | None]
    """The other operator whose each is; null for one of ours. What cannot be told without root is not in it."""


class Inventory(Record):
    """Several hosts."""

    hosts: tuple[HostState, ...]
    """Those that answered, in the order in which they were typed."""
    away: dict[str, str] = Field(default={}, exclude_if=lambda away: not away)
    """Host -> why it cannot be asked; absent where all answered."""


def inventory(destinations: Sequence[str]) -> Inventory:
    """Ask each host, none for longer than LOOK_S; one that is away hides no other.

    Raises HostError for one that was asked alone and is away, AuthError for the first that lets nobody in.
    """
    seen, away = list[HostState](), dict[str, HostError]()
    for destination in destinations:
        try:
            seen.append(_state(destination))
        except HostError as error:
            away[destination] = error
    if len(away) == 1 and not seen:
        raise next(iter(away.values()))
    return Inventory(hosts=tuple(seen), away={host: error.message for host, error in away.items()})


def described(inventory: Inventory) -> str:
    """The same for a person."""
    away = [f"{host}\n  {why}" for host, why in inventory.away.items()]
    return "\n".join([*map(_paragraph, inventory.hosts), *away])


def adopt(destination: str, name: str, approve: Callable[[Deployment], None]) -> Deployment:
    """Write the document of a host's deployment here once it was approved, and have it noted there that it is ours too.

    What the host says is held to what was asked: that name, on that host, with options a plan of one's own may have.
    Raises DocumentError when the host has none of that name or a record of something else, UsageError when another of
    that name is known here or an option is not passed on.
    """
    host, said = _found(destination, name)
    deployment = _held(said, name, host)
    refuse_unsafe(deployment.plan.serve)
    _refuse_known(deployment)
    others = [_found(checked_destination(other), name) for other in deployment.hosts if other != destination]
    for other, found in others:
        if _same_everywhere(found) != _same_everywhere(deployment):
            raise DocumentError(
                f"The {name} of {other.destination} is not the one of {destination}, which names that host.",
                f"See what each has: corral hosts show {' '.join(deployment.hosts)}",
            )
    approve(deployment)
    for each in (host, *(other for other, _ in others)):
        operators.adopt(name, each)
    deployment.write(folder(name) / "deployment.json")
    return deployment


def _found(destination: str, name: str) -> tuple[Host, Deployment]:
    """A host, and its record of that name."""
    host = Host(destination)
    with deadline.within(LOOK_S):
        host.facts()
        return host, _read(host, name)


def _read(host: Host, name: str) -> Deployment:
    """The record of that name."""
    path = f"{hosts.root(checked_name(name))}/record.json"
    done = host.run(["head", "-c", str(LARGEST_RECORD_BYTES), path], as_root=True, check=False)
    if done.code:
        raise DocumentError(
            f"{host.destination} carries no deployment called {name}.",
            f"See which: corral hosts show {host.destination}",
        )
    return Deployment.parse(done.stdout, f"{host.destination}:{path}")


def _held(said: Deployment, name: str, host: Host) -> Deployment:
    """The record as that of the name and the host that were asked for. Raises DocumentError where it is of another."""
    if (said.name, said.target) != (name, "ssh"):
        raise DocumentError(
            f"The record of {name} on {host.destination} is of something else: {said.name}, on {said.target}.",
            f"It is not taken. Look there: ssh {host.destination} sudo ls -l {hosts.root(name)}",
        )
    # The other machine may have known this host by another name, if it is the only one.
    named = said.hosts if len(said.hosts) > 1 else (host.destination,)
    if host.destination not in named:
        raise DocumentError(
            f"The record of {name} on {host.destination} is of these hosts: {', '.join(named)}.",
            f"Name one of them as it is named there: corral hosts adopt {pasted(named[0])} {name}",
        )
    # What was sent lies there; no path of the other machine means anything here.
    return said.model_copy(update={"hosts": named, "hf_token_file": ""})


def _same_everywhere(deployment: Deployment) -> tuple[object, ...]:
    return deployment.name, deployment.target, deployment.created_at, deployment.hosts, deployment.plan


def _refuse_known(deployment: Deployment) -> None:
    path = folder(deployment.name) / "deployment.json"
    if path.exists() and Deployment.read(path).created_at != deployment.created_at:
        raise UsageError(
            f"Another deployment called {deployment.name} is known here.",
            f"Look at it: corral status {deployment.name}",
        )


def shown(deployment: Deployment) -> str:
    """What is taken over, before it is: where, and how its server is started."""
    options = shlex.join(argv(deployment.plan.serve))
    return f"{deployment.name} on {', '.join(deployment.hosts)} is started with: vllm {options}"


def _state(destination: str) -> HostState:
    host = Host(destination)
    with deadline.within(LOOK_S):
        facts = host.facts()
        is_root = facts.privilege != "none"
        said = host.run(["sh", "-c", LIST_SCRIPT], as_root=is_root, most_bytes=LARGEST_LIST_BYTES).stdout
        carried = dict(line.partition(" ")[::2] for line in said.splitlines())
        owners = operators.owners(tuple(carried), host) if is_root and carried else {}
    return HostState(host=destination, facts=facts, deployments=carried, owners=owners)


def _paragraph(state: HostState) -> str:
    facts = state.facts
    gpus = ", ".join(gpu.name for gpu in facts.gpu.gpus) or facts.gpu.problem or "none"
    lines = {
        "system": f"{facts.os}, Linux {facts.kernel}, {facts.architecture}, {facts.cpu_count} CPUs",
        "gpus": gpus,
        "driver": facts.gpu.driver_version or "none",
        "memory": f"{facts.memory_available_mib / 1024:.1f} of {facts.memory_total_mib / 1024:.1f} GiB available",
        "disk": f"{facts.disk_free_at('/opt/corral') / 1024:.1f} GiB free for /opt/corral",
        "python": facts.python or "none",
        "tools": ", ".join(sorted(facts.tools)) or "none",
        "root": {"root": "yes", "sudo": "by sudo", "none": "no"}[facts.privilege],
    }
    carried = [f"  {name}: {active}{_whose(state, name)}" for name, active in state.deployments.items()]
    carried = carried or ["  no deployment of ours"]
    return "\n".join([state.host, *[f"  {key:8}{value}" for key, value in lines.items()], *carried])


def _whose(state: HostState, name: str) -> str:
    if name not in state.owners:
        return ""
    return f", {state.owners[name] or 'yours'}"
