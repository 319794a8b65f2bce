"""The door to a gateway on an owned host, or a listener: what its HAProxy is asked there, and what is kept of it there.

Keys and audit are the host's, so that whoever works on the deployment from another machine finds them.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from deploy.gateway import gateway_document
from deploy.gateway.gateway_document import Gateway
from deploy.gateway.haproxy_config import ADMIN, MASTER
from deploy.targets.ssh.fleet import connected
from infra import bounded_json
from infra import host as hosts
from infra.argument import pasted
from infra.errors import HostError, ServerError, UsageError
from infra.host_gateway import Kind, called, keeper
from infra.onhost.audit import Sums
from infra.onhost.gatekeeper import CHANGED
from infra.ssh import Done, Host

KEYS = "keys.json"
STOP_MARGIN_S = 60.0
IF_THERE = '[ ! -e "$1" ] || exec cat "$1"'
SUMMED_WITHIN_S = 1800.0
"""For a host to read its whole audit."""


class OnHost(NamedTuple):
    """A gateway that stands on an owned host, or a listener."""

    name: str
    """Its deployment's."""
    host: str
    """An SSH destination."""
    kind: Kind = "gateway"

    @property
    def title(self) -> str:
        """What its unit and its folder there are called for."""
        return called(self.name, self.kind)


def of(folder: Path) -> OnHost | None:
    """The one that a folder's document tells of; None for one of this machine, or where there is none."""
    known = gateway_document.kept(folder)
    return OnHost(known.name, known.asked.on_host) if known and known.asked.on_host else None


@cache
def reached(destination: str) -> Host:
    """The host; its facts are read once, which say whether root needs sudo there."""
    return connected(destination)


def told(there: OnHost, order: str, *words: str, stdin: str = "", timeout_s: float = 120.0) -> Done:
    """Have it done there (infra/onhost/gatekeeper.py), whatever comes of it. Raises HostError, AuthError."""
    command = keeper(there.title, order, *words)
    return reached(there.host).run(
        command, stdin=stdin.encode(), as_root=True, check=False, timeout_s=timeout_s
    )


def answers(there: OnHost, commands: Sequence[tuple[str, str]]) -> list[str | None]:
    """HAProxy's answer to each command at the socket of that name; None where none came."""
    done = told(there, "ask", stdin=json.dumps(commands))
    try:
        said = bounded_json.load(done.stdout.encode()) if not done.code else None
    except ValueError:
        said = None
    if not isinstance(said, list) or len(said) != len(commands):
        return [None for _ in commands]
    return [answer if isinstance(answer, str) else None for answer in said]


def ask(there: OnHost, socket: str, command: str) -> str:
    """The answer to one. Raises ServerError where none is there to answer."""
    (answer,) = answers(there, [(socket, command)])
    if answer is None:
        raise ServerError(
            f"The {there.kind} does not answer on {there.host}.",
            f"Is it running? corral gateway status {there.name}",
        )
    return answer


def is_running(there: OnHost) -> bool:
    """Whether both of its sockets answer."""
    return all(answers(there, [(ADMIN, "show info"), (MASTER, "show proc")]))


def stop(there: OnHost, within_s: float) -> None:
    """Let it finish its streams for so long, then end it; it starts at no boot. Raises HostError where it stays."""
    done = told(there, "stop", str(within_s), timeout_s=within_s + STOP_MARGIN_S)
    if done.code:
        raise HostError(
            f"The {there.kind} on {there.host} does not end.",
            f"Look there: ssh {pasted(there.host)} systemctl status {hosts.unit(there.title)}",
        )


def is_living(there: OnHost) -> bool:
    """Whether its unit is anything but ended, whether or not it answers. Raises HostError where that cannot be told."""
    asked = ["systemctl", "show", "--value", "--property=ActiveState", hosts.unit(there.title)]
    return reached(there.host).run(asked).stdout.strip() not in ("inactive", "failed")


def keys(there: OnHost) -> str:
    """The list of keys as it is kept there; nothing where there is none yet. Raises HostError."""
    return read(there, KEYS)


def document(there: OnHost) -> Gateway | None:
    """What was last asked of it there, by whomever; None where it was never there. Raises HostError, DocumentError."""
    text = read(there, gateway_document.DOCUMENT)
    return Gateway.parse(text, f"{there.host}:{gateway_document.DOCUMENT}") if text else None


def read(there: OnHost, name: str) -> str:
    """A file of it; nothing where it has none. Raises HostError where that cannot be told."""
    path = f"{hosts.root(there.title)}/{name}"
    return reached(there.host).run(["sh", "-c", IF_THERE, "read", path], as_root=True).stdout


def forget(there: OnHost) -> None:
    """Remove its keys and settings from a host where it stands no more. Raises HostError."""
    stop(there, 0)
    here = hosts.root(there.title)
    kept = [f"{here}/{name}" for name in (KEYS, gateway_document.DOCUMENT, "files", "next")]
    reached(there.host).run(["rm", "-rf", *kept], as_root=True)


def sum_of(text: str) -> str:
    """By which a host knows whether its list of keys is still that one."""
    return hashlib.sha256(text.encode()).hexdigest()


def changed(there: OnHost) -> UsageError:
    """What is said where it is not."""
    return UsageError(
        f"Somebody else changed the keys of {there.name} meanwhile.",
        f"See them, and run the command again: corral keys list {there.name}",
    )


def keep(there: OnHost, was: str, files: Mapping[str, str]) -> None:
    """Keep these files of a gateway there, by their names, if the list of keys is still that one.

    Raises UsageError where somebody has changed it meanwhile, HostError.
    """
    done = told(there, "keep", sum_of(was), stdin=json.dumps(files))
    if done.code == CHANGED:
        raise changed(there)
    if done.code:
        raise HostError(
            f"{there.host} did not keep the files of the {there.kind} of {there.name}.",
            f"Look at its disk: ssh {pasted(there.host)} df -h /opt",
        )


def used(there: OnHost) -> Sums:
    """What its audit comes to there. Raises HostError where that cannot be told."""
    done = told(there, "used", timeout_s=SUMMED_WITHIN_S)
    try:
        found: Sums = bounded_json.load(done.stdout.encode())
    except ValueError:
        raise HostError(
            f"{there.host} does not tell what came through the gateway of {there.name}.",
            f"Look there: ssh {pasted(there.host)} ls -l /var/log/corral",
        ) from None
    return found
