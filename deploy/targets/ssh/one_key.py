"""The one key of a deployment whose hosts each serve the plan on their own: whoever asks need not know which it was.

It is the first host's where that has one, else it is made here; it goes to the others over their input. A server that
runs with another, as an earlier corral had each host make its own, keeps that until it is started anew: until then its
key lies here in a file of its own.
"""

import re
from pathlib import Path

from deploy.targets.deployment import Deployment, folder
from deploy.targets.ssh.fleet import connected, on_each
from infra import host as hosts
from infra.printable import sentence
from infra.record import removed, write_text_atomically
from infra.say import progress
from infra.ssh import Host
from serving.vllm import server

# FOLDER UNIT, and the key as its input: "runs" where there is a server, which was started with another.
BRING_SCRIPT = """\
umask 077
IFS= read -r key || exit
printf 'VLLM_API_KEY=%s\\n' "$key" >"$1/secrets.env.new" && mv "$1/secrets.env.new" "$1/secrets.env" || exit
if systemctl is-active "$2" >/dev/null; then echo runs; fi
"""


def is_shared(deployment: Deployment) -> bool:
    """Whether it is several engines, each on a host of its own."""
    return len(deployment.hosts) > 1 and deployment.plan.machine.hosts == 1


def file(deployment: Deployment, host: Host) -> Path:
    """Where the key that the server of a host takes lies here."""
    earlier = earlier_file(deployment, host)
    if not is_shared(deployment) and len(deployment.hosts) > 1:
        return earlier
    return next(
        (path for path in (own_file(deployment, host), earlier) if path.exists()),
        server.key_file(folder(deployment.name)),
    )


def own_file(deployment: Deployment, host: Host) -> Path:
    """Where the key of a server lies that has one of its own until it is started anew."""
    return folder(deployment.name) / f"api-key-of-{re.sub(r'[^A-Za-z0-9._@-]', '-', host.destination)}"


def earlier_file(deployment: Deployment, host: Host) -> Path:
    """Where an earlier corral kept that of a host after the first."""
    index = deployment.hosts.index(host.destination)
    return folder(deployment.name) / ("api-key" if index == 0 else f"api-key.{index + 1}")


def with_another(deployment: Deployment) -> tuple[str, ...]:
    """The hosts whose servers take a key of their own. Asks nobody."""
    shared = server.key_file(folder(deployment.name))
    return tuple(each for each in deployment.hosts if file(deployment, Host(each)) != shared)


def held_by(host: Host, name: str, check: bool = True) -> str:
    """The key that a host has; empty, without `check`, where it has none. Raises HostError where it cannot be read."""
    said = host.run(["cat", f"{hosts.root(name)}/secrets.env"], as_root=True, check=check).stdout
    return said.strip().removeprefix("VLLM_API_KEY=")


def settle(deployment: Deployment) -> None:
    """Have the key lie here, for its owner alone; nothing where each host makes its own. Raises HostError."""
    if not is_shared(deployment):
        return
    if key := held_by(connected(deployment.hosts[0]), deployment.name, check=False):
        write_text_atomically(server.key_file(folder(deployment.name)), f"{key}\n")
    else:
        server.api_key(folder(deployment.name))


def bring(deployment: Deployment, host: Host) -> None:
    """Have a host hold the key that lies here, where it is shared; what runs there takes it at its next start.

    That a server may have another is noted before the host holds the new one: whoever is cut off between leaves a key
    by which it can be asked.
    """
    if not is_shared(deployment):
        return
    key, own = server.api_key(folder(deployment.name)), own_file(deployment, host)
    had, runs = held_by(host, deployment.name, check=False), False
    if had != key:
        if had and not own.exists():
            write_text_atomically(own, f"{had}\n")
        command = ("sh", "-c", BRING_SCRIPT, "key", hosts.root(deployment.name), hosts.unit(deployment.name))
        said = host.run(command, stdin=f"{key}\n".encode(), as_root=True).stdout
        runs = bool(had and said.split())
        if not runs:
            removed([own])
    if (before := earlier_file(deployment, host)) != server.key_file(folder(deployment.name)):
        removed([before])
    if runs:
        progress(
            sentence(
                f"{host.destination}: its server has a key of its own, and takes the one of all when it is started "
                f"anew: corral roll {deployment.name}"
            )
        )


def bring_all(deployment: Deployment) -> None:
    """The same on every host."""
    if is_shared(deployment):
        settle(deployment)
        on_each(deployment, lambda host: bring(deployment, host))


def is_taken(deployment: Deployment, host: Host) -> bool:
    """Whether the server of a host takes the key that lies here."""
    return not own_file(deployment, host).exists()


def taken(deployment: Deployment, host: Host) -> None:
    """Note that the server of a host has ended, so that the next start takes it."""
    removed([own_file(deployment, host)])
