"""The door to Session Manager: a port of a rented box on this machine, and one command on the box.

No port of the box is open. The AWS CLI with its session-manager-plugin holds the tunnel: the API alone (StartSession)
gives only a web socket and a token.
"""

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import ClassVar, Literal

from infra.errors import DocumentError, HostError
from infra.processes import Birth, birth, is_alive
from infra.record import Document

COMMAND_TIMEOUT_S = 60


class Tunnel(Document):
    """The process that holds a tunnel."""

    kind: ClassVar[str] = "tunnel"
    document: Literal["tunnel"] = "tunnel"
    schema_version: Literal[1] = 1

    instance_id: str
    local_port: int
    holder: Birth


def forward(instance_id: str, region: str, port: int, local_port: int) -> list[str]:
    """The command that puts a port of the box on this machine."""
    parameters = {"portNumber": [str(port)], "localPortNumber": [str(local_port)]}
    return start_session(instance_id, region, "AWS-StartPortForwardingSession", parameters)


def command(instance_id: str, region: str, words: str) -> list[str]:
    """The command that runs something on the box and prints what it says."""
    return start_session(instance_id, region, "AWS-StartNonInteractiveCommand", {"command": [words]})


def start_session(
    instance_id: str, region: str, document: str, parameters: dict[str, list[str]]
) -> list[str]:
    """`aws ssm start-session`."""
    target = ["aws", "ssm", "start-session", "--region", region, "--target", instance_id]
    return [*target, "--document-name", document, "--parameters", json.dumps(parameters)]


def require_plugin() -> None:
    """Raise HostError when this machine lacks what holds a session."""
    missing = [name for name in ("aws", "session-manager-plugin") if shutil.which(name) is None]
    if missing:
        raise HostError(
            f"Session Manager needs {' and '.join(missing)} on this machine.",
            "Install the AWS CLI and the plugin: "
            "https://docs.aws.amazon.com/systems-manager/latest/userguide/session-manager-working-with-install-plugin.html",
        )


def run(instance_id: str, region: str, words: str) -> str:
    """What a command says on the box. Raises HostError when the session does not come about."""
    require_plugin()
    try:
        done = subprocess.run(
            command(instance_id, region, words),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise HostError(
            f"Session Manager on {instance_id} did not answer.", "Try again in a minute."
        ) from None
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
        raise HostError(
            f"Session Manager does not reach {instance_id}: {said[0]}.",
            "The box may still start; else check that its subnet reaches the endpoints ssm and ssmmessages.",
        )
    return done.stdout


def held(path: Path, instance_id: str) -> Tunnel | None:
    """The tunnel that is open to that box."""
    if not path.exists():
        return None
    tunnel = Tunnel.read(path)
    return tunnel if tunnel.instance_id == instance_id and is_alive(tunnel.holder) else None


def open_tunnel(path: Path, instance_id: str, region: str, port: int, local_port: int) -> Tunnel:
    """Hold a tunnel in a process of its own, which outlives us; `close_tunnel` ends it."""
    require_plugin()
    with (path.parent / "tunnel.log").open("wb") as log:
        process = subprocess.Popen(
            forward(instance_id, region, port, local_port),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    holder = birth(process.pid)
    if holder is None:
        raise HostError(
            f"The tunnel to {instance_id} ended at once.", f"Read why: cat {path.parent}/tunnel.log"
        )
    tunnel = Tunnel(instance_id=instance_id, local_port=local_port, holder=holder)
    tunnel.write(path)
    return tunnel


def close_tunnel(path: Path) -> None:
    """End the tunnel, if one is open."""
    if not path.exists():
        return
    try:
        holder = Tunnel.read(path).holder
    except DocumentError:
        holder = None  # it ends with the box
    if holder and is_alive(holder):
        # The CLI leads the process group; the plugin that holds the socket is its child.
        os.killpg(holder.pid, signal.SIGTERM)
    path.unlink(missing_ok=True)
