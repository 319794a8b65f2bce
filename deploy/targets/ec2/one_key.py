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


def share(deployment: Deployment, machines: tuple[Rented, ...]) -> None:
    """Have all replicas take one key: that which is kept here, else the first one's. Safe to repeat.

    A server that runs with another is restarted; nobody has had that key. Raises HostError for a box that takes none.
    """
    path = folder(deployment.name) / "api-key"
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
    """What turns one key into the other, in hexadecimal digits. Raises HostError where they are not alike.

    AWS keeps the words of a command in the account's trail, so no key goes there in the clear. The box's own is as
    long, random and used for nothing else: a one-time pad, and what the two differ by tells nothing of either.
    """
    one, other = key.encode(), before.encode()
    if len(one) != len(other):
        raise HostError("The keys of the replicas are not of one kind.", "Take it away, and rent it anew.")
    return bytes(a ^ b for a, b in zip(one, other, strict=True)).hex()


# As root there: the key in that file, turned into the other. The file is replaced as a whole, for root alone.
TAKE = """\
import os, sys
path, pad = sys.argv[1], bytes.fromhex(sys.argv[2])
name, key = open(path, "rb").read().strip().split(b"=", 1)
key = bytes(a ^ b for a, b in zip(key, pad, strict=True))
with open(os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
    file.write(name + b"=" + key + b"\\n")
os.replace(path + ".new", path)
"""


def taking(name: str, differing: str) -> str:
    """The words of a shell that have a box take the key, and a server that runs start anew with it."""
    path = f"{hosts.root(name)}/secrets.env"
    take = shlex.join(("sudo", "/usr/bin/python3", "-ISBc", TAKE, path, differing))
    return f"{take} && sudo systemctl --no-block try-restart {hosts.unit(name)}"
