"""A deployment taken away from its hosts, and the proof that nothing of it is left."""

from contextlib import suppress

from deploy.targets import hub_weights
from deploy.targets.deployment import Deployment
from deploy.targets.place import Teardown
from deploy.targets.ssh import host_unit, operators, tunnels
from deploy.targets.ssh.fleet import connected, on_each
from deploy.targets.ssh.host_setup import removal_script
from infra.errors import CorralError
from infra.say import warn
from infra.ssh import Host

Removed = list[str] | operators.Owner
"""What the removal on one host says, or whose it is that is there."""

REMOVED_WITHIN_S = 1800.0
"""For a host to remove the files of an engine and of a model when the server has ended, whatever disk they are on."""
LEFTOVERS = ("path", "unit", "table", "process")


def down(deployment: Deployment) -> Teardown:
    """Take away what we put on every host, and prove it by asking again.

    Raises UsageError where no host has ours, but another operator's; where one of several does, that is left alone.
    """
    with suppress(CorralError):  # the removal says what is amiss
        stop_first(deployment)
    said = left_alone(deployment, on_each(deployment, lambda host: remove(deployment, host)))
    left = [[line.removeprefix("left ") for line in lines if line.startswith("left ")] for lines in said]
    files = tunnels.forget(deployment)
    counts = {
        kind: sum(item.startswith(f"{kind} ") for items in left for item in items) for kind in LEFTOVERS
    }
    named = [f"{host}: {item}" for host, items in zip(deployment.hosts, left, strict=True) for item in items]
    kept = [
        f"{host}: {kept_weights(line)}"
        for host, lines in zip(deployment.hosts, said, strict=True)
        for line in lines
        if line.startswith("kept ")
    ]
    audits = [
        f"{host}:{line.removeprefix('audit ')}"
        for host, lines in zip(deployment.hosts, said, strict=True)
        for line in lines
        if line.startswith("audit ")
    ]
    return Teardown(
        name=deployment.name, counts=counts, left=(*named, *files), kept=tuple(kept), audit=", ".join(audits)
    )


def stop_first(deployment: Deployment) -> None:
    """Of one engine over several hosts end the server that answers before what works for it, where it is ours."""
    if deployment.plan.machine.hosts > 1:
        host = connected(deployment.hosts[0])
        operators.refuse_others(deployment, host)
        host_unit.stop(deployment, host)


def left_alone(deployment: Deployment, said: list[Removed]) -> list[list[str]]:
    """The lines of every host's removal. Raises UsageError where all have another operator's."""
    others = [
        operators.anothers(deployment.name, Host(destination), lines)
        for destination, lines in zip(deployment.hosts, said, strict=True)
        if isinstance(lines, operators.Owner)
    ]
    if len(others) == len(said):
        raise others[0]
    for other in others:
        warn(f"{other.message.rstrip('.')}; it is left alone.")
    return [[] if isinstance(lines, operators.Owner) else lines for lines in said]


def kept_weights(line: str) -> str:
    """A line "kept KIB PATH" of the removal, for a person."""
    _, kib, path = line.split(" ", 2)
    return hub_weights.kept_line(path, int(kib) * 1024)


def remove(deployment: Deployment, host: Host) -> Removed:
    """Run the removal there; its lines: "left TYPE ITEM", "kept KIB PATH", "audit PATH".

    What is another operator's stays. Whose it is, is told under the lock that the removal holds to its end.
    """
    command = operators.command(deployment, deployment.name, host, "end", operators.known_id())
    script = (operators.SCRIPT + removal_script()).encode()
    timeout_s = host_unit.stop_timeout_s(deployment) + REMOVED_WITHIN_S
    said = host.run(command, stdin=script, as_root=True, timeout_s=timeout_s).stdout
    return operators.other_in(said, host) or said.splitlines()
