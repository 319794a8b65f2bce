"""How the server on a rented box is reached and what the box says of itself."""

import re
import socket
import time
from contextlib import suppress
from pathlib import Path

from deploy.targets.deployment import Deployment, folder
from infra import host as hosts
from infra.aws import failover, session
from infra.aws.api import Aws
from infra.aws.order import Order
from infra.aws.rented_machines import Rented
from infra.errors import HostError, ServerError
from infra.record import write_text_atomically
from serving.vllm import health
from serving.vllm.endpoint import Endpoint
from serving.vllm.startup_log import load_budget_s

POLL_S = 15.0
SAY_EVERY_S = 30.0
# A busy machine takes its time to start the AWS CLI and its plugin.
OPEN_WITHIN_S = 90.0
# Less than a box that was stopped waits to be told its end (onhost/watch.py).
TOLD_WITHIN_S = 600.0
# Boot, and pip or a packed engine; the weights come on top.
ENGINE_WITHIN_S = 1800.0
DOWNLOAD_BYTES_PER_S = 100e6


def phase(aws: Aws, deployment: Deployment, machine: Rented) -> str:
    """The last word of the box's own preparation, from its console; empty before the first."""
    return last_phase(failover.console(aws, machine.region, machine.instance_id), deployment.name)


def last_phase(console: str, name: str) -> str:
    """The last phase a console tells; empty before the first."""
    said = re.findall(rf"^.*?corral: {re.escape(name)}: (.+?)\s*$", console, re.MULTILINE)
    return said[-1] if said else ""


def wait_prepared(aws: Aws, deployment: Deployment, machine: Rented) -> None:
    """Wait until the box has engine and weights. Raises ServerError when it says it failed, or time is over."""
    limit_s = prepared_within_s(deployment)
    begun_s, last = aws.clock(), ""
    until, said_s = begun_s + limit_s, begun_s
    while True:
        now = phase(aws, deployment, machine)
        if now != last or aws.clock() >= said_s + SAY_EVERY_S:
            aws.say(f"serve: {machine.instance_id}: {so_far(deployment, now, aws.clock() - begun_s)}")
            said_s = aws.clock()
        last = now
        if now == "prepared":
            return
        if now.startswith("failed"):
            raise ServerError(
                f"The box could not prepare itself: {now}.", f"Read all: corral logs {deployment.name}"
            )
        if now.startswith("interrupted"):
            raise ServerError(f"{machine.instance_id}: {now}.", again(deployment))
        if aws.clock() >= until:
            raise ServerError(
                f"The box was not prepared after {limit_s / 60:.0f} minutes; last: {last or 'nothing'}.",
                next_step(deployment),
            )
        aws.sleep(POLL_S)


def tell_end(name: str, machine: Rented, minutes: int) -> None:
    """Have a box end itself in so many minutes. Raises HostError when it cannot be told, or does not do it."""
    answer = session.run(machine.instance_id, machine.region, f"sudo {hosts.root(name)}/bin/extend {minutes}")
    if answer.exit_code:
        raise HostError(
            f"{machine.instance_id} did not move its own end: {answer.last_line}.",
            f"It ends when it was to end before. Read why: corral logs {name}",
        )


def wait_told(aws: Aws, name: str, machine: Rented, minutes: int) -> None:
    """The same of a box that has just started and may not be reached yet. Raises HostError when it never is."""
    until = aws.clock() + TOLD_WITHIN_S
    while True:
        try:
            return tell_end(name, machine, minutes)
        except HostError as error:
            if aws.clock() >= until:
                error.hint = f"It ends itself soon unless it is told: corral extend {name} {minutes}m"
                raise
            aws.say(f"{machine.instance_id}: {error.message}")
        aws.sleep(POLL_S)


def prepared_within_s(deployment: Deployment) -> float:
    """How long a box may take until it has engine and weights."""
    return ENGINE_WITHIN_S + deployment.plan.weights_bytes / DOWNLOAD_BYTES_PER_S


def so_far(deployment: Deployment, phase: str, elapsed_s: float) -> str:
    """How far a box is with its preparation, and how long that may take."""
    minutes = f"{elapsed_s / 60:.0f} of at most {prepared_within_s(deployment) / 60:.0f} minutes"
    return f"{phase or 'booting'} ({minutes})"


def wait_ready(aws: Aws, deployment: Deployment, machines: tuple[Rented, ...], found: Endpoint) -> None:
    """Wait until the server has answered a real completion. Raises ServerError when it does not."""
    asked_at = aws.clock()
    ended: ServerError | None = None

    def check() -> health.Verdict:
        nonlocal asked_at, ended
        if aws.clock() >= asked_at + POLL_S:
            asked_at, ended = aws.clock(), ending(aws, deployment, machines)
        return health.DEAD if ended else health.judge(health.look(found), found.served_model_name)

    budget_s = load_budget_s(deployment.plan.weights_bytes)
    try:
        health.wait_until_ready(check, budget_s, aws.sleep, aws.clock)
    except ServerError as error:
        raise (ended or ServerError(error.message, next_step(deployment))) from None


def ending(aws: Aws, deployment: Deployment, machines: tuple[Rented, ...]) -> ServerError | None:
    """What the first of the machines says that ends the wait: EC2 takes it back, or its server was not started, without
    its lock or its key. None while no machine says so.
    """
    for machine in machines:
        said = phase(aws, deployment, machine)
        if said.startswith("interrupted"):
            return ServerError(f"{machine.instance_id}: {said}.", again(deployment))
        if said.startswith("failed"):
            return ServerError(f"{machine.instance_id}: {said}.", next_step(deployment))
    return None


def again(deployment: Deployment) -> str:
    """What to do about a machine that EC2 took back."""
    return f"When it is gone, rent anew with the same options: corral up PLAN --target ec2 --name {deployment.name}"


def next_step(deployment: Deployment) -> str:
    """What to do about a box that does not serve; it costs until it is taken away."""
    return f"Read why: corral logs {deployment.name}; it still costs: corral down {deployment.name}"


def endpoint(deployment: Deployment, order: Order, machine: Rented) -> Endpoint:
    """Where the server answers from here: at the box's own name, or through Session Manager."""
    return Endpoint(
        base_url=base_url(deployment, order, machine),
        served_model_name=deployment.plan.serve.served_model_name,
        api_key_file=key_file(deployment, machine),
    )


def base_url(deployment: Deployment, order: Order, machine: Rented) -> str:
    """The address; a tunnel is opened where no network was let in."""
    # A machine with several network cards has no public name, whoever was let in.
    if order.cidr and machine.public_name:
        return f"http://{machine.public_name}:{order.port}"
    path = folder(deployment.name) / "tunnel.json"
    tunnel = session.held(path, machine.instance_id)
    if tunnel is None:
        tunnel = opened(path, machine, order.port)
    return f"http://127.0.0.1:{tunnel.local_port}"


def key_file(deployment: Deployment, machine: Rented) -> Path:
    """The file with the key the box made for itself, fetched once."""
    path = folder(deployment.name) / f"api-key-{machine.instance_id}"
    if not path.exists():
        words = f"sudo cat {hosts.root(deployment.name)}/secrets.env"
        answer = session.run(machine.instance_id, machine.region, words)
        found = re.search(r"^VLLM_API_KEY=(\S+)\s*$", answer.text, re.MULTILINE)
        if not found:
            raise HostError(f"{machine.instance_id} has no key for its server yet.", "Try again in a minute.")
        write_text_atomically(path, f"{found[1]}\n")
    return path


def free_port(wanted: int) -> int:
    """The wanted port, or one of the hundred after it."""
    for port in range(wanted, wanted + 100):
        with suppress(OSError, OverflowError), socket.create_server(("127.0.0.1", port)):
            return port
    raise HostError(f"No port from {wanted} on is free on this machine.", "See what uses them: ss -ltn")


def opened(path: Path, machine: Rented, port: int) -> session.Tunnel:
    """A new tunnel, on the port of the last one where it is free; where it ends at once, one more on another.

    Somebody else may take the port between our look at it and the plugin's.
    """
    local_port = free_port(session.last_port(path, machine.instance_id) or port)
    tunnel = session.open_tunnel(path, machine.instance_id, machine.region, port, local_port)
    try:
        wait_open(tunnel, path)
    except HostError:
        if session.held(path, machine.instance_id):
            raise
        local_port = free_port(local_port + 1)
        tunnel = session.open_tunnel(path, machine.instance_id, machine.region, port, local_port)
        wait_open(tunnel, path)
    return tunnel


def wait_open(tunnel: session.Tunnel, path: Path) -> None:
    """Wait until the tunnel listens. Raises HostError when what holds it ends before, or it takes too long."""
    until = time.monotonic() + OPEN_WITHIN_S
    while time.monotonic() < until and session.held(path, tunnel.instance_id):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", tunnel.local_port)) == 0:
                return
        time.sleep(0.2)
    raise HostError(
        "Session Manager opened no tunnel.",
        f"Read why: cat {path.parent}/tunnel.log; or check: aws ssm describe-instance-information",
    )
