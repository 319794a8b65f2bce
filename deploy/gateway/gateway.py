"""A gateway of this machine: made, changed, looked at and ended. Its folder is `gateway` in its deployment's."""

import shutil
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field

from deploy.gateway import (
    certificates,
    gateway_document,
    gateway_unit,
    haproxy,
    haproxy_config,
    key_store,
    listeners,
    on_host,
    usage,
)
from deploy.gateway.gateway_document import DOCUMENT, Gateway, Listener
from deploy.gateway.gateway_options import GatewayOptions
from deploy.gateway.gateway_unit import asked_host, servers_at
from deploy.gateway.haproxy_config import Server
from deploy.gateway.keys import Keys
from deploy.gateway.rotation import InFront, in_front
from deploy.targets.abilities import Replicated
from deploy.targets.choose import place_of
from deploy.targets.deployment import Deployment
from deploy.targets.deployment import folder as deployment_folder
from deploy.targets.deployment import load as load_deployment
from deploy.targets.ssh import at_work
from infra import host as hosts
from infra import locks
from infra.argument import pasted
from infra.data import shipped_text
from infra.errors import CorralError, DocumentError, UsageError
from infra.host_gateway import audit_file, called
from infra.record import Record, removed, write_text_atomically
from infra.say import progress, warn
from serving.vllm import server

TUNNELS_END = "127.0.0.1"
"""Where one of several engines answers that is on another machine and reached by a tunnel."""
HERE_ALONE = (haproxy_config.CONFIG, haproxy_config.KEYS_MAP, haproxy_config.SPENT, key_store.DOCUMENT)
"""What is kept of one on this machine, and for one on a host is kept there."""


class GatewayStatus(Record):
    """What a gateway is doing now."""

    name: str
    """The deployment's."""
    state: Literal["running", "stopped"]
    """Whether its process runs."""
    base_url: str
    """Where clients ask it."""
    keys: int
    """Those that are good for a request now."""
    servers: tuple[InFront, ...]
    """As the gateway sees them; none while it is stopped."""
    on_host: str | None = Field(default=None, exclude_if=lambda host: host is None)
    """The owned host on which it stands, and its audit too; absent where that is this machine."""
    audit_file: Path
    """Where it notes each request: no prompt, key or query."""
    ca_file: Path | None = None
    """What clients must trust, where corral's own authority made the certificate."""
    certificate_ends_at: datetime | None = None
    """The last moment of its certificate; null without TLS."""
    metrics_url: str | None = None
    """Where Prometheus asks it; null where it was not asked for."""
    listeners: tuple[Listener, ...] = Field(default=(), exclude_if=lambda known: not known)
    """What ends TLS for it on other hosts; absent where it needs none."""
    client_certificate_ends_at: datetime | None = Field(default=None, exclude_if=lambda end: end is None)
    """The last moment of the certificate that it shows to them; absent where it needs none."""


class GatewayConfig(Record):
    """What HAProxy would be told, but for the engine's key."""

    haproxy_cfg: str
    """The whole configuration as text."""


def folder(name: str) -> Path:
    """Where a deployment's gateway is kept. Raises UsageError for what is no name."""
    return deployment_folder(name) / "gateway"


def load(name: str) -> Gateway:
    """The gateway of a deployment. Raises DocumentError where it has none, or where there is no such deployment."""
    if not (folder(name) / DOCUMENT).exists():
        load_deployment(name)
        raise DocumentError(f"{name} has no gateway.", f"Start one: corral gateway {name}")
    return Gateway.read(folder(name) / DOCUMENT)


def address(name: str) -> str | None:
    """Where clients ask it; None while it does not run, or where there is none."""
    with suppress(CorralError):  # a host that cannot be asked is told of by its server's state
        if exists(name) and is_there(name):
            return load(name).asked.base_url
    return None


def taken_out(name: str) -> tuple[str, ...]:
    """Its servers that somebody has taken out of rotation; none where it cannot be asked."""
    with suppress(CorralError):
        return tuple(each.name for each in in_front(folder(name)) if each.is_taken_out)
    return ()


def is_there(name: str) -> bool:
    """Whether anything of it lives, whether or not it answers. Raises HostError where its host cannot be asked."""
    place = folder(name)
    there = on_host.of(place)
    return on_host.is_living(there) if there else bool(haproxy.members(place))


def exists(name: str) -> bool:
    """Whether a deployment has a gateway."""
    return (folder(name) / DOCUMENT).exists()


def settings(deployment: Deployment, asked: GatewayOptions, engine_key: str) -> str:
    """What HAProxy would be told; opens no way to its servers. Raises UsageError as `servers_of` does."""
    if asked.on_host:
        servers = servers_at(deployment, asked_host(deployment, asked), asked.port)
    else:
        servers = servers_of(deployment, opens=False)
    return haproxy_config.config(asked, servers, engine_key)


def servers_of(deployment: Deployment, opens: bool = True) -> tuple[Server, ...]:
    """Where its engines answer from here: all take one key. Opens the ways to them, unless that is only looked at.

    Raises UsageError for a place whose servers cannot be told one by one, or whose servers have different keys.
    """
    place = place_of(deployment)
    if not isinstance(place, Replicated):
        raise UsageError(
            f"{deployment.name} is on {deployment.target}, where no gateway of corral's stands before it.",
            f"Ask it through its tunnel: corral connect {deployment.name}",
        )
    return tuple(
        Server(name, at.hostname or "", at.port or 80, at.hostname == TUNNELS_END)
        for name, endpoint in place.answering(deployment, opens).items()
        for at in [urlsplit(endpoint.base_url)]
    )


def engine_key(deployment: Deployment) -> str:
    """What all its engines take; made where it has none yet."""
    place, own = place_of(deployment), server.key_file(deployment_folder(deployment.name))
    known = place.answering(deployment, opens=False).values() if isinstance(place, Replicated) else ()
    files = [each.api_key_file for each in known if each.api_key_file and each.api_key_file != own]
    return files[0].read_text().strip() if files else server.api_key(deployment_folder(deployment.name))


def start(deployment: Deployment, asked: GatewayOptions) -> GatewayStatus:
    """Start it, or change it while it runs, which cuts no stream. Raises HostError, UsageError or ServerError.

    Nothing has changed where HAProxy refuses what it would be told, or somebody else has the port. One that has ended
    may stand elsewhere next, with its keys.
    """
    name, place = deployment.name, folder(deployment.name)
    program, servers = "", tuple[Server, ...]()
    if asked.on_host:
        asked_host(deployment, asked)
    else:
        program = haproxy.found()
        servers = servers_of(deployment)  # before the key is read, which may come from there
    busy = UsageError(f"Another corral is at {name}'s gateway now.", f"See: corral gateway status {name}")
    with locks.held(place / ".lock", busy):
        place.chmod(0o700)
        known, before_there = moved(name, asked), on_host.of(place)
        if before_there and before_there.host != asked.on_host:
            listeners.leave(name, known_listeners(place))
        if asked.on_host:
            with at_work.gateway_held(name, on_host.reached(asked.on_host)):
                settled, known = gateway_unit.start(deployment, asked, place, known or key_store.read(place))
                key_store.catch_up(place, settled, known)
            removed([place / file for file in HERE_ALONE])
            forget(before_there, asked)
            return status(name)
        if known:
            known.write(place / key_store.DOCUMENT)
            removed([place / DOCUMENT])
        runs = haproxy.is_running(place)
        before = load(name).asked if exists(name) else None
        for port in {asked.port, asked.metrics_port} - (
            {before.port, before.metrics_port} if runs and before else set()
        ):
            haproxy.refuse_taken(asked.host if port == asked.port else "127.0.0.1", port)
        text = haproxy_config.config(asked, servers, engine_key(deployment))
        certificates.write(place, asked)
        known = key_store.mapped(place, asked)
        write_text_atomically(place / haproxy_config.LUA, shipped_text("deploy.gateway", "gateway.lua"))
        usage.write_spent(place)
        haproxy.write_state(place, runs, text)
        haproxy.check(program, place, text)
        write_text_atomically(place / haproxy_config.CONFIG, text)
        (haproxy.reload if runs else haproxy.start)(program, place)
        Gateway(name=name, asked=asked).write(place / DOCUMENT)
        key_store.catch_up(place, asked, known)
        forget(before_there, asked)
    return status(name)


def forget(before: on_host.OnHost | None, asked: GatewayOptions) -> None:
    """Have the host on which it stood before keep no list of its keys: from here on that is another's."""
    if before and before.host != asked.on_host:
        try:
            on_host.forget(before)
        except CorralError as error:
            warn(
                f"{before.host} keeps an old list of its keys, {hosts.root(called(before.name))}: {error.message}"
            )


def moved(name: str, asked: GatewayOptions) -> Keys | None:
    """The keys of one that stood elsewhere; None where it stands where it did.

    Raises UsageError while it runs there.
    """
    before = load(name).asked if exists(name) else asked
    if before.on_host == asked.on_host:
        return None
    if is_there(name):
        where = before.on_host or "this machine"
        there = f" --on-host {pasted(before.on_host)}" if before.on_host else ""
        raise UsageError(
            f"{name}'s gateway runs on {where}.",
            f"Change it there: corral gateway {name}{there}; or end it first: corral gateway stop {name}",
        )
    return key_store.read(folder(name))


def status(name: str) -> GatewayStatus:
    """What it is doing. Raises DocumentError where there is none."""
    known, place = load(name), folder(name)
    asked = known.asked
    runs = haproxy.is_running(place)
    return GatewayStatus(
        name=name,
        state="running" if runs else "stopped",
        base_url=asked.base_url,
        keys=len(key_store.good(place)),
        servers=in_front(place) if runs else (),
        on_host=asked.on_host,
        audit_file=Path(audit_file(name)) if asked.on_host else haproxy.audit(place),
        ca_file=certificates.authority(place, asked),
        certificate_ends_at=certificates.ends_at(place) if asked.has_tls else None,
        metrics_url=f"http://127.0.0.1:{asked.metrics_port}/metrics" if asked.metrics_port else None,
        listeners=known.listeners,
        client_certificate_ends_at=known.client_certificate_ends_at,
    )


def keep_certificate(name: str) -> None:
    """Renew what corral's own authorities signed, where a gateway that runs here or on a host has it and it ends soon.

    What stands against it is told, and stops nobody.
    """
    place = folder(name)
    if not exists(name) or not (on_host.of(place) or haproxy.members(place)):
        return
    try:
        if certificates.is_own(asked := load(name).asked):
            certificates.renew(place, asked)
    except CorralError as error:
        progress(f"warning: the gateway's certificate is not renewed: {error.message}")
    try:
        listeners.renew(name, place)
    except CorralError as error:
        progress(
            f"warning: the certificates between the gateway and its listeners are not renewed: {error.message}"
        )


def stop(name: str, within_s: float) -> None:
    """End it, letting its streams finish for so long, then take away its listeners; keys and audit stay.

    Safe to repeat. Raises HostError where one of them stays.
    """
    place = folder(name)
    haproxy.stop(place, within_s)
    if known := known_listeners(place):
        listeners.take_away(name, known)
        none = {"listeners": (), "client_certificate_ends_at": None}
        load(name).model_copy(update=none).write(place / DOCUMENT)


def known_listeners(place: Path) -> tuple[Listener, ...]:
    """Those on other hosts that its document tells of."""
    known = gateway_document.kept(place)
    return known.listeners if known else ()


def is_here(name: str) -> bool:
    """Whether one is known to stand on this machine: of another nothing is forgotten before its host has been asked."""
    with suppress(CorralError):
        return not exists(name) or load(name).asked.on_host is None
    return False


def remove(name: str) -> tuple[str, ...]:
    """End it at once and remove all of it but its audit; what is left. What a host has of it goes with its removal."""
    place = folder(name)
    if not place.is_dir():
        return ()
    removed([place / DOCUMENT])  # from here on it is what is of it on this machine
    haproxy.stop(place, 0)
    if left := haproxy.members(place):
        return tuple(f"process {pid}" for pid in left)
    shutil.rmtree(place, ignore_errors=True)
    return (f"folder {place}",) if place.exists() else ()


def audit(name: str) -> str:
    """The file that outlives it; "" where it had no request."""
    file = haproxy.audit(folder(name))
    return str(file) if file.exists() else ""
