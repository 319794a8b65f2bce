"""The replicas of a deployment over several hosts: what each is called, where it answers, what all of them share."""

import re
from collections import Counter

from deploy.targets.deployment import Deployment
from deploy.targets.ssh import host_unit, one_key, operators, tunnels
from deploy.targets.ssh.fleet import checked_hosts, on_each
from infra.errors import HostError, UsageError
from infra.say import progress
from infra.ssh import Host
from serving.vllm.endpoint import Endpoint

OTHER = re.compile(r"[^A-Za-z0-9_.-]")
"""What HAProxy takes in no name of a server."""


def names(deployment: Deployment) -> tuple[str, ...]:
    """What each replica is called: by its host, without the user where that is enough."""
    hosts = [host.removeprefix("ssh://") for host in engines(deployment)]
    short = [OTHER.sub("-", host.rpartition("@")[2]) for host in hosts]
    found = short if len(set(short)) == len(short) else [OTHER.sub("-", host) for host in hosts]
    twice = Counter(found)
    return tuple(name if twice[name] == 1 else f"{name}-{number}" for number, name in enumerate(found, 1))


def engines(deployment: Deployment) -> tuple[str, ...]:
    """The hosts that answer: all, or the first of those that one engine is over."""
    hosts = checked_hosts(deployment)
    return hosts if deployment.plan.machine.hosts == 1 else hosts[:1]


def count(deployment: Deployment) -> int:
    """Of the hosts that answer."""
    return len(engines(deployment))


def replicas(deployment: Deployment) -> dict[str, Deployment]:
    """Each as a deployment of its host alone; one engine over several hosts is one."""
    if deployment.plan.machine.hosts > 1:
        return {names(deployment)[0]: deployment}
    alone = [deployment.model_copy(update={"hosts": (host,)}) for host in deployment.hosts]
    return dict(zip(names(deployment), alone, strict=True))


def answering(deployment: Deployment, opens: bool) -> dict[str, Endpoint]:
    """Where each answers from here, by tunnels where it listens on its loopback."""
    if others := one_key.with_another(deployment):
        raise key_of_its_own(deployment, others)
    find = reached if opens else tunnels.foreseen
    each = [find(deployment, Host(host)) for host in engines(deployment)]
    return dict(zip(names(deployment), each, strict=True))


def key_of_its_own(deployment: Deployment, others: tuple[str, ...]) -> UsageError:
    """What is said of hosts whose servers take another key than all are to."""
    return UsageError(
        f"The server on {' and on '.join(others)} has a key of its own, from an earlier corral.",
        f"Give it the one of all, one server at a time: corral roll {deployment.name}",
    )


def reached(deployment: Deployment, host: Host) -> Endpoint:
    """Where the server of one host answers, or will once that can be reached: it hides no other.

    Raises UsageError where it is another operator's.
    """
    try:
        host.facts()
        operators.refuse_others(deployment, host)
        return tunnels.endpoint(deployment, host)
    except HostError as error:
        name = deployment.name
        progress(f"{host.destination}: {error.message} When it is there again: corral connect {name}")
        return tunnels.reserved(deployment, host)


def restart(deployment: Deployment) -> Endpoint:
    """End the servers, once they have no request, and start them anew; the first one's endpoint."""

    def again(host: Host) -> Endpoint | None:
        operators.refuse_others(deployment, host)
        return host_unit.restart(deployment, host)

    first = on_each(deployment, again)[0]
    assert first is not None  # only the hosts after the first are headless
    return first


def share_key(deployment: Deployment) -> None:
    """Have every host hold the one key, where each makes no key of its own."""
    one_key.bring_all(deployment)
