"""How the server of an SSH host is reached from here: the key's file, the tunnel's port, the endpoint."""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import ClassVar, Literal

from deploy.targets.deployment import Deployment, folder
from deploy.targets.ssh import one_key
from infra.errors import DocumentError, HostError
from infra.ports import free_port, is_free
from infra.record import Document, removed, write_text_atomically
from infra.ssh import Host
from serving.vllm.endpoint import Endpoint

# The hosts of a fleet are worked on at once, and share one list of ports.
_one_at_a_time = Lock()

LOOPBACK = ("127.0.0.1", "::1", "localhost")


class Tunnels(Document):
    """Which port of this machine leads to which host; kept so that an endpoint stays where it was."""

    kind: ClassVar[str] = "list of tunnels"
    document: Literal["tunnels"] = "tunnels"
    schema_version: Literal[1] = 1

    local_ports: dict[str, int]
    """The port of this machine's loopback, by the host as it is named in the deployment."""


def endpoint(deployment: Deployment, host: Host) -> Endpoint:
    """Where that host's server answers from here, by a tunnel that is opened if need be.

    A server that listens on its loopback, which is the default, is reached through SSH; nothing listens outside.
    """
    if not one_key.file(deployment, host).exists():
        fetch_key(deployment, host)
    return described(deployment, host, _base_url(deployment, host))


def foreseen(deployment: Deployment, host: Host) -> Endpoint:
    """Where it would most likely answer; opens no tunnel, and keeps nothing."""
    port = deployment.plan.serve.port + deployment.hosts.index(host.destination)
    port = _kept(deployment).get(host.destination, port)
    return described(deployment, host, _outside(deployment, host) or f"http://127.0.0.1:{port}")


def reserved(deployment: Deployment, host: Host) -> Endpoint:
    """Where it will answer once there is a tunnel to it."""
    at = _outside(deployment, host) or f"http://127.0.0.1:{_local_port(deployment, host)}"
    return described(deployment, host, at)


def described(deployment: Deployment, host: Host, base_url: str) -> Endpoint:
    """The endpoint of that host at an address."""
    return Endpoint(
        base_url=base_url,
        served_model_name=deployment.plan.serve.served_model_name,
        api_key_file=one_key.file(deployment, host),
    )


def fetch_key(deployment: Deployment, host: Host) -> None:
    """Keep the key the host made for itself in a file only its owner can read."""
    write_text_atomically(one_key.file(deployment, host), f"{one_key.held_by(host, deployment.name)}\n")


def close(deployment: Deployment) -> None:
    """End the tunnels to a deployment's hosts; nothing happens where there is none."""
    _close(deployment, deployment.hosts)


def _close(deployment: Deployment, destinations: Iterable[str]) -> None:
    kept = _kept(deployment)
    for destination in kept.keys() & {*destinations}:
        Host(destination).close_forward(kept.pop(destination))
    if kept:
        with suppress(HostError):
            Tunnels(local_ports=kept).write(_file(deployment))
    else:
        removed([_file(deployment)])  # one that stays keeps a port that is free


def forget(deployment: Deployment) -> tuple[str, ...]:
    """Close the tunnels and remove the keys: the servers they are for are gone. Says what could not be removed.

    A tunnel by the name that a host had here before it was adopted by another leads nowhere either: who opened one by
    that name for the next deployment would be given it.
    """
    _close(deployment, _kept(deployment))
    return removed(folder(deployment.name).glob("api-key*"))


def _base_url(deployment: Deployment, host: Host) -> str:
    serve = deployment.plan.serve
    if outside := _outside(deployment, host):
        return outside
    port = _local_port(deployment, host)
    try:
        host.forward(port, serve.host, serve.port)
    except HostError:
        if is_free(port):
            raise
        port = _local_port(deployment, host, lost=port)  # somebody else has it by now
        host.forward(port, serve.host, serve.port)
    return f"http://127.0.0.1:{port}"


def _outside(deployment: Deployment, host: Host) -> str:
    """The address of a server that listens for others; "" for one on its loopback, which takes a tunnel."""
    serve = deployment.plan.serve
    if serve.host in LOOPBACK:
        return ""
    name = host.address() if serve.host in ("0.0.0.0", "::") else serve.host
    return f"http://{f'[{name}]' if ':' in name else name}:{serve.port}"


def _local_port(deployment: Deployment, host: Host, lost: int = 0) -> int:
    """The port kept for that host, but for one that was lost; else the plan's own where it is free, else any.

    Replicas get theirs in the order of their hosts, whichever is asked for first.
    """
    with _one_at_a_time:
        kept = _kept(deployment)
        if kept.get(host.destination, lost) == lost:
            others = deployment.hosts if one_key.is_shared(deployment) and not lost else ()
            for each in dict.fromkeys((*others, host.destination)):
                if kept.get(each, lost) == lost:
                    kept[each] = free_port(deployment.plan.serve.port, set(kept.values()))
            with suppress(HostError):  # a full disk: the next time it may be another port
                Tunnels(local_ports=kept).write(_file(deployment))
        return kept[host.destination]


def _kept(deployment: Deployment) -> dict[str, int]:
    try:
        return Tunnels.read(_file(deployment)).local_ports
    except DocumentError:
        return {}


def _file(deployment: Deployment) -> Path:
    return folder(deployment.name) / "tunnels.json"
