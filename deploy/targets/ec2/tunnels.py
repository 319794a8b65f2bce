"""How the server on a rented box is reached from here: the key's file, the tunnel, the endpoint."""

import re
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from deploy.targets.deployment import Deployment, folder
from infra import deadline, wait
from infra import host as hosts
from infra.argument import pasted
from infra.aws import session
from infra.aws.order import Order
from infra.errors import HostError
from infra.ports import free_port
from infra.record import removed, write_text_atomically
from infra.rented import Rented
from infra.say import progress
from serving.vllm import server
from serving.vllm.endpoint import Endpoint

# A busy machine takes its time to start the AWS CLI and its plugin.
OPEN_WITHIN_S, LOOK_EVERY_S = 90.0, 0.2


def endpoint(deployment: Deployment, order: Order, machine: Rented) -> Endpoint:
    """Where the server answers from here: at the box's own name, or through Session Manager."""
    return Endpoint(
        base_url=base_url(deployment, order, machine),
        served_model_name=deployment.plan.serve.served_model_name,
        api_key_file=key_file(deployment, order, machine),
    )


def answering(deployment: Deployment, order: Order, machines: tuple[Rented, ...]) -> dict[str, Endpoint]:
    """Where each of these answers, by its id; what cannot be reached is told and hides no other. Raises HostError where
    none can.
    """
    found: dict[str, Endpoint] = {}
    for machine in machines:
        try:
            found[machine.instance_id] = endpoint(deployment, order, machine)
        except HostError as error:
            if not found and machine == machines[-1]:
                raise
            progress(error.message)
    return found


def noted(deployment: Deployment, order: Order) -> dict[str, Endpoint]:
    """Where each answered last, as far as that was by a tunnel; asks nobody and opens nothing."""
    found: dict[str, Endpoint] = {}
    for path in sorted(folder(deployment.name).glob("tunnel*.json")):
        tunnel = session.Tunnel.read(path)
        own = key_path(deployment, order, tunnel.instance_id)
        found[tunnel.instance_id] = Endpoint(
            base_url=f"http://127.0.0.1:{tunnel.local_port}",
            served_model_name=deployment.plan.serve.served_model_name,
            api_key_file=own if own.exists() else None,
        )
    return found


def base_url(deployment: Deployment, order: Order, machine: Rented) -> str:
    """The address; a tunnel is opened where no network was let in."""
    # A machine with several network cards has no public name, whoever was let in.
    if order.cidr and machine.public_name:
        return f"http://{machine.public_name}:{order.port}"
    path = folder(deployment.name) / tunnel_file(order, machine)
    tunnel = session.held(path, machine.instance_id)
    if tunnel is None:
        tunnel = opened(path, machine, order.port)
    return f"http://127.0.0.1:{tunnel.local_port}"


def tunnel_file(order: Order, machine: Rented) -> str:
    """What is noted of a tunnel; each replica has one."""
    return f"tunnel-{machine.instance_id}.json" if order.replicas > 1 else "tunnel.json"


def close(name: str, but: Sequence[str] = ()) -> None:
    """End the tunnels of a deployment, but for those to these machines."""
    kept = {f"tunnel-{instance_id}.json" for instance_id in but}
    for path in folder(name).glob("tunnel*.json"):
        if path.name not in kept:
            session.close_tunnel(path)
            if path.name != "tunnel.json":
                removed([path.with_suffix(".log")])


def key_path(deployment: Deployment, order: Order, instance_id: str) -> Path:
    """Where the key of a box's server lies here: that of all replicas, or the one's own."""
    place = folder(deployment.name)
    return server.key_file(place) if order.replicas > 1 else place / f"api-key-{instance_id}"


def key_file(deployment: Deployment, order: Order, machine: Rented) -> Path:
    """That file; the key that the box made for itself is fetched once. Raises HostError before replicas have one."""
    path = key_path(deployment, order, machine.instance_id)
    if not path.exists():
        if order.replicas == 1:
            write_text_atomically(path, f"{key_of(deployment, machine)}\n")
            return path
        raise HostError(
            f"The replicas of {deployment.name} have no key in common here.",
            f"They get it as they are served: corral serve {deployment.name}",
        )
    return path


def key_of(deployment: Deployment, machine: Rented) -> str:
    """The key of a box's server. Raises HostError where it has none."""
    return key_in(key_said(deployment, machine), machine)


def key_said(deployment: Deployment, machine: Rented, more: str = "") -> str:
    """What a box says that is asked for its key, and for more in words of a shell. Raises HostError."""
    words = f"sudo cat {hosts.root(deployment.name)}/secrets.env{more}"
    return session.run(machine.instance_id, machine.region, words).text


def key_in(said: str, machine: Rented) -> str:
    """The key in that. Raises HostError where there is none."""
    key = re.search(r"^VLLM_API_KEY=(\S+)\s*$", said, re.MULTILINE)
    if not key:
        raise HostError(f"{machine.instance_id} has no key for its server yet.", "Try again in a minute.")
    return key[1]


def opened(path: Path, machine: Rented, port: int) -> session.Tunnel:
    """A new tunnel, on the port of the last one where it is free; where it ends at once, one more on another.

    Somebody else may take the port between our look at it and the plugin's.
    """
    local_port = free_port(session.last_port(path, machine.instance_id) or port)
    tunnel = session.open_tunnel(path, machine.instance_id, machine.region, port, local_port)
    try:
        wait_open(tunnel, path, machine.region)
    except HostError:
        if session.held(path, machine.instance_id):
            raise
        local_port = free_port(local_port + 1)
        tunnel = session.open_tunnel(path, machine.instance_id, machine.region, port, local_port)
        wait_open(tunnel, path, machine.region)
    return tunnel


def wait_open(tunnel: session.Tunnel, path: Path, region: str) -> None:
    """Wait until the tunnel listens. Raises HostError when what holds it ends before, or it takes too long."""

    def look() -> Literal["open", "closed", "ended"]:
        if not session.held(path, tunnel.instance_id):
            return "ended"
        with socket.socket() as probe:
            return "open" if probe.connect_ex(("127.0.0.1", tunnel.local_port)) == 0 else "closed"

    pace = wait.Pace(deadline.left_s(OPEN_WITHIN_S), LOOK_EVERY_S, time.sleep, time.monotonic)
    if wait.until(look, lambda seen: seen != "closed", pace) != "open":
        raise HostError(
            "Session Manager opened no tunnel.",
            f"Read why: cat {pasted(path.with_suffix('.log'))}; or check: aws ssm describe-instance-information "
            f"--region {region}",
        )
