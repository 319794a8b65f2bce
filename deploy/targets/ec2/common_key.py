"""The one key of several servers of a rented deployment: each box has made its own, and takes that of the others."""

import shlex

from deploy.targets.deployment import Deployment, folder
from deploy.targets.ec2 import boxes, tunnels
from infra import host as hosts
from infra.aws import session
from infra.errors import HostError
from infra.record import write_text_atomically
from infra.rented import Rented
from infra.say import progress
from serving.vllm import server


def share(deployment: Deployment, machines: tuple[Rented, ...]) -> None:
    """Have all replicas take one key: that which is kept here, else the first one's. Safe to repeat.

    A server that runs with another is restarted; nobody has had that key. Raises HostError for a box that takes none.
    """
    path = server.key_file(folder(deployment.name))
    own = {machine: tunnels.key_of(deployment, machine) for machine in machines}
    if not path.exists():
        write_text_atomically(path, f"{own[machines[0]]}\n")
    key = path.read_text(encoding="utf-8").strip()
    for machine, before in own.items():
        if before != key:
            progress(f"{machine.instance_id}: takes the key of the others")
            answer = session.run(
                machine.instance_id, machine.region, taking(deployment.name, pad(key, before))
            )
            if answer.exit_code:
                raise HostError(
                    f"{machine.instance_id} does not take the key of the others: {answer.last_line}.",
                    boxes.next_step(deployment),
                )


def pad(key: str, before: str) -> str:
    """What turns one key of 32 random bytes into the other, both in hexadecimal digits. Raises HostError for others.

    AWS keeps the words of a command in the account's trail, so no key goes there in the clear. What the box made for
    itself is as long, random and used for nothing else: a one-time pad, so what the two differ by tells nothing.
    """
    try:
        one, other = bytes.fromhex(key), bytes.fromhex(before)
        return bytes(a ^ b for a, b in zip(one, other, strict=True)).hex()
    except ValueError:
        raise HostError(
            "The key kept here, or a replica's own, is none that a rented box makes.",
            "Where somebody has put another there, remove api-key from the deployment's folder.",
        ) from None


# As root there: the key in that file, turned into the other. The file is replaced as a whole, for root alone.
TAKE = """\
import os, sys
path, pad = sys.argv[1], bytes.fromhex(sys.argv[2])
name, key = open(path).read().strip().split("=", 1)
key = bytes(a ^ b for a, b in zip(bytes.fromhex(key), pad, strict=True)).hex()
with open(os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
    file.write(f"{name}={key}\\n")
os.replace(path + ".new", path)
"""


def taking(name: str, differing: str) -> str:
    """The words of a shell that have a box take the key, and a server that runs start anew with it."""
    path = f"{hosts.root(name)}/secrets.env"
    take = shlex.join(("sudo", "/usr/bin/python3", "-ISBc", TAKE, path, differing))
    return f"{take} && sudo systemctl --no-block try-restart {hosts.unit(name)}"
