"""`corral egress`, step by step: try to get out as the server, ask it completions, look again, judge."""

import re
from collections.abc import Callable
from datetime import UTC, datetime

from deploy.targets.deployment import Deployment, folder
from deploy.targets.local import place as local
from deploy.targets.ssh import host_unit, tunnels
from deploy.targets.ssh import place as ssh
from infra import host as hosts
from infra.data import shipped_text
from infra.egress_proof import LIMITS, Egress, Look, Proof, foreign, look, problems
from infra.errors import ServerError, UsageError
from infra.onhost import egress_look as onhost
from infra.say import progress
from infra.ssh import Host
from serving.vllm import client, server
from serving.vllm.endpoint import Endpoint

# Public name servers, which answer everybody everywhere; by address, so that no name must be asked first.
TARGETS = ("1.1.1.1:443", "8.8.8.8:53", "[2606:4700:4700::1111]:443")
# A port nobody needs to listen on: the packet to it is what counts.
ASKER_PORT = 9
TARGET = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(?P<port>[0-9]{1,5})")
COMPLETIONS = 5
COMPLETION_TIMEOUT_S = 60.0


def prove(deployment: Deployment, targets: tuple[str, ...]) -> Egress:
    """The sealed report. Raises UsageError for a target that has none, ServerError when it does not serve."""
    for target in targets:
        checked_target(target)
    if deployment.target == "ec2":
        raise UsageError(
            f"{deployment.name} is rented, and corral proves egress over SSH only.",
            f"The same lock is on it; see it there: nft list table inet corral-{deployment.name}",
        )
    return (observed(deployment) if deployment.target == "local" else proved(deployment, targets)).sealed()


def proved(deployment: Deployment, targets: tuple[str, ...]) -> Egress:
    """The proof on every host: attempts on all, completions through each, then the counters of all."""
    before = ssh.on_each(deployment, lambda host: look_at(deployment, host, targets or default_targets(host)))
    endpoints = ssh.on_each(deployment, lambda host: endpoint_of(deployment, host))
    asked = [ask(endpoint) if endpoint else 0 for endpoint in endpoints]
    after = ssh.on_each(deployment, lambda host: look_at(deployment, host, ()))
    several = deployment.plan.machine.hosts > 1
    found = tuple(
        Proof(
            host=destination,
            unit=hosts.unit(deployment.name),
            peers=tuple(Host(one).address() for one in deployment.hosts) if several else (),
            listens_outside=deployment.plan.serve.host not in tunnels.LOOPBACK,
            completions=asked[number],
            before=before[number],
            after=after[number],
            rules_sha256=before[number].rules_sha256,
        )
        for number, destination in enumerate(deployment.hosts)
    )
    wrong = tuple(problem for one in found for problem in problems(one))
    return Egress(
        name=deployment.name,
        made_at=datetime.now(UTC),
        verdict="not proved" if wrong else "proved",
        problems=wrong,
        hosts=found,
        completions=sum(asked),
        limits=LIMITS,
    )


def observed(deployment: Deployment) -> Egress:
    """This machine, without root and without a lock: the connections its server was seen to have. Never a proof."""
    running = server.load(folder(deployment.name))
    if running is None or local.status(deployment).state != "serving":
        raise not_serving(deployment.name)
    seen: set[str] = set()
    asked = ask(running.endpoint, lambda: seen.update(connections(deployment)))
    ends = tuple(sorted(seen))
    out = tuple(f"the server has a connection to {end}" for end in foreign(ends, ()))
    return Egress(
        name=deployment.name,
        made_at=datetime.now(UTC),
        verdict="not proved" if out else "observed",
        problems=(*out, "on this machine corral loads no lock: its connections were only looked at"),
        observed=ends,
        completions=asked,
        limits=("Seen between completions only: what is short is missed.", *LIMITS),
    )


def look_at(deployment: Deployment, host: Host, targets: tuple[str, ...]) -> Look:
    """Run the script there, which tries the targets first."""
    for target in targets:
        progress(f"{host.destination}: trying {target} from inside the server's unit")
    script = shipped_text("infra.onhost", "egress_look.py").encode()
    command = ["python3", "-I", "-", deployment.name, *targets]
    found = look(host.run(command, stdin=script, as_root=True).stdout)
    if not found.pid:
        raise not_serving(deployment.name)
    return found


def default_targets(host: Host) -> tuple[str, ...]:
    """Public ones, and where we come from: even a host without internet has a way to that."""
    asker = host.run(["sh", "-c", 'echo "${SSH_CONNECTION%% *}"']).stdout.strip().partition("%")[0]
    near = f"[{asker}]:{ASKER_PORT}" if ":" in asker else f"{asker}:{ASKER_PORT}"
    return (*TARGETS, near) if asker else TARGETS


def endpoint_of(deployment: Deployment, host: Host) -> Endpoint | None:
    """Where that host answers; None where it only works for the first one."""
    return None if host_unit.is_headless(deployment, host) else tunnels.endpoint(deployment, host)


def ask(endpoint: Endpoint, meanwhile: Callable[[], None] = lambda: None) -> int:
    """Ask real completions; how many were answered. Raises EndpointError for the first that was not."""
    for _ in range(COMPLETIONS):
        client.canary(endpoint, COMPLETION_TIMEOUT_S)
        meanwhile()
    return COMPLETIONS


def connections(deployment: Deployment) -> list[str]:
    """The other ends of the connections of this machine's server now."""
    inodes = {inode for pid in server.members(folder(deployment.name)) for inode in onhost.inodes(pid)}
    return onhost.sockets(lambda owner, inode: inode in inodes)


def checked_target(text: str) -> str:
    """A target as given. Raises UsageError when it is not HOST:PORT."""
    found = TARGET.fullmatch(text)
    if not found or not 0 < int(found["port"]) < 65536:
        raise UsageError(f"{text!r} is not HOST:PORT.", "Such as 1.1.1.1:443, or [2606:4700:4700::1111]:443")
    return text


def not_serving(name: str) -> ServerError:
    """There is nothing to prove anything of."""
    return ServerError(
        f"{name} does not serve, so nothing can be shown of it.", f"Start it: corral serve {name}"
    )
