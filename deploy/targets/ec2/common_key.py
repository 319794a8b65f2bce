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

UNLOADED = "key-not-loaded"
"""The file beside a box's key while the server that runs there may have been started with another."""


def share(deployment: Deployment, machines: tuple[Rented, ...]) -> None:
    """Have all replicas take one key: that which is kept here, else the first one's. Safe to repeat.

    A server that runs with another is restarted, also where whoever had it take the key was cut off before that; nobody
    has had that key. Raises HostError for a box that takes none.
    """
    path = server.key_file(folder(deployment.name))
    own = {machine: held(deployment, machine) for machine in machines}
    if not path.exists():
        write_text_atomically(path, f"{own[machines[0]][0]}\n")
    key = path.read_text(encoding="utf-8").strip()
    for machine, (before, is_loaded) in own.items():
        if before == key and is_loaded:
            continue
        progress(f"{machine.instance_id}: takes the key of the others")
        words = loading(deployment.name) if before == key else taking(deployment.name, pad(key, before))
        answer = session.run(machine.instance_id, machine.region, words)
        if answer.exit_code:
            raise HostError(
                f"{machine.instance_id} does not take the key of the others: {answer.last_line}.",
                boxes.next_step(deployment),
            )


def held(deployment: Deployment, machine: Rented) -> tuple[str, bool]:
    """The key of a box, and whether its server has it or will at its next start. Raises HostError where it has none."""
    mark = f"{hosts.root(deployment.name)}/{UNLOADED}"
    said = tunnels.key_said(deployment, machine, f"; sudo test ! -e {mark} || echo {UNLOADED}")
    return tunnels.key_in(said, machine), UNLOADED not in said.split()


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


# As root there: the key in that file, turned into the other. The file is replaced as a whole, for root alone; from
# before that a mark says that the server has not been started with it.
TAKE = """\
import os, sys
path, mark, pad = sys.argv[1], sys.argv[2], bytes.fromhex(sys.argv[3])
name, key = open(path).read().strip().split("=", 1)
key = bytes(a ^ b for a, b in zip(bytes.fromhex(key), pad, strict=True)).hex()
with open(os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
    file.write(f"{name}={key}\\n")
open(mark, "w").close()
os.replace(path + ".new", path)
"""


def taking(name: str, differing: str) -> str:
    """The words of a shell that have a box take the key, and a server that runs start anew with it."""
    here = hosts.root(name)
    words = ("/usr/bin/python3", "-ISBc", TAKE, f"{here}/secrets.env", f"{here}/{UNLOADED}", differing)
    return f"{shlex.join(('sudo', *words))} && {loading(name)}"


def loading(name: str) -> str:
    """The words of a shell that have a server that runs start anew with the key that is there."""
    restart = f"sudo systemctl --no-block try-restart {hosts.unit(name)}"
    return f"{restart} && sudo rm -f {hosts.root(name)}/{UNLOADED}"
