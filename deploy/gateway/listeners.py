"""The listeners of a gateway on a host: before each server that listens on another host's loopback, one that ends TLS.

HAProxy too, as a unit beside the server's: begun before the gateway, taken away after it.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

from deploy.gateway import between, certificates, gateway_document, host_haproxy, listener_config, on_host
from deploy.gateway.certificates import ends_soon
from deploy.gateway.gateway_document import DOCUMENT, Gateway, Listener
from deploy.gateway.gateway_options import GatewayOptions
from deploy.gateway.haproxy_config import ADMIN, BETWEEN_CA, CLIENT, CONFIG, TLS, Server
from deploy.gateway.listener_config import Listens
from deploy.gateway.on_host import OnHost
from deploy.targets.deployment import Deployment
from deploy.targets.ssh import operators
from deploy.targets.ssh.replicas import engines, names
from infra import host_gateway, locks
from infra.argument import pasted
from infra.errors import CorralError, HostError, UsageError
from infra.host_gateway import GatewaySetup
from infra.printable import sentence
from infra.say import progress, warn
from infra.ssh import Host

GONE = """\
PATH=$PATH:/usr/sbin:/sbin
for unit in "corral-$1.lock.timer" "corral-$1.lock.service" "corral-$1.service"; do
    [ -e "/etc/systemd/system/$unit" ] || continue
    systemctl disable --now "$unit" >/dev/null 2>&1
    systemctl clean --what=all "$unit" >/dev/null 2>&1
    systemctl reset-failed "$unit" >/dev/null 2>&1
    rm -f "/etc/systemd/system/$unit" || exit
done
nft delete table inet "corral-$1" 2>/dev/null
rm -rf "/opt/corral/$1" "/var/lib/private/corral-$1" "/var/lib/corral-$1" "/run/corral-$1" || exit
exec systemctl daemon-reload
"""


class Way(NamedTuple):
    """From the gateway to a server on another host."""

    server: Server
    """As the gateway reaches it."""
    there: OnHost
    """Its listener."""
    host: Host
    program: str
    """HAProxy's path there."""
    runs: bool
    """Whether a listener runs there by now."""


def ways(
    deployment: Deployment, asked: GatewayOptions, servers: tuple[Server, ...], before: tuple[Gateway, ...]
) -> tuple[Way, ...]:
    """Those to the servers of other hosts that are reached by TLS; of a host that is away none, and that is said.

    `before` is what was asked of the gateway that the listeners of now were brought for, as far as that is known.
    Raises HostError for a host without HAProxy or without the address by which it is known, UsageError for one where
    it is another operator's or somebody else has the port.
    """
    where = dict(zip(names(deployment), engines(deployment), strict=True))
    ours = frozenset(each.asked.port for each in before)
    seen = [look(deployment, asked, each, where[each.name], ours) for each in servers if each.tls_name]
    return tuple(way for way in seen if way)


def look(
    deployment: Deployment, asked: GatewayOptions, server: Server, destination: str, ours: frozenset[int]
) -> Way | None:
    """One of them; where its listener runs by now, that listens at one of `ours`."""
    host, there = Host(destination), OnHost(deployment.name, destination, "listener")
    try:
        facts = host.facts()
    except HostError as error:
        again = f"corral gateway {deployment.name} --on-host {pasted(asked.on_host or '')}"
        progress(
            sentence(
                f"{destination}: {error.message} Its listener is as it was; once it is there, with the options that "
                f"are to hold: {again}"
            )
        )
        return None
    operators.refuse_others(deployment, host)
    program = host_haproxy.found(host)
    if server.host not in facts.interfaces:
        raise HostError(
            f"No interface of {destination} has the address {server.host}, so no listener can stand there.",
            f"Give the address it has, in ~/.ssh/config: Host {destination}, HostName 10.0.0.5",
        )
    runs = on_host.is_running(there)
    if asked.port in facts.ports_in_use - (ours if runs else frozenset()):
        raise UsageError(
            f"The listener of {server.name} cannot listen on {destination} port {asked.port}: somebody does already.",
            f"Listeners and gateway have one port. Another: --port {asked.port % 65535 + 1}; see who does: "
            f"ssh {pasted(destination)} ss -ltnp",
        )
    return Way(server, there, host, program, runs)


@contextmanager
def standing(
    found: tuple[Way, ...], deployment: Deployment, asked: GatewayOptions, folder: Path
) -> Iterator[tuple[Listener, ...]]:
    """Have them stand while the gateway is begun or changed; those begun here go again where that fails.

    Raises HostError, UsageError, ServerError.
    """
    begun: list[Way] = []
    try:
        told: list[Listener] = []
        for way in found:
            if not way.runs:
                begun.append(way)
            told.append(bring(way, deployment, asked, folder))
        yield tuple(told)
    except BaseException:
        for way in begun:
            with suppress(CorralError):  # what failed first is what is told
                away(way.there)
        raise


def bring(way: Way, deployment: Deployment, asked: GatewayOptions, folder: Path) -> Listener:
    """One, with a new certificate, begun or changed, which cuts no stream."""
    serve, there = deployment.plan.serve, way.there
    behind = host_haproxy.asked_at(serve.host)
    certificate = between.issued(folder, way.server.tls_name)
    progress(f"{there.host}: bringing the listener")
    listens = Listens(way.server.host, way.server.port, behind, serve.port, asked.drain_s)
    texts = {
        CONFIG: listener_config.config(listens),
        TLS: certificate.pem,
        BETWEEN_CA: between.authority(folder),
    }
    host_haproxy.bring(there, way.host, texts)
    host_haproxy.try_out(there, way.program, "")
    setup = GatewaySetup(
        name=deployment.name,
        kind="listener",
        haproxy=way.program,
        servers=(f"{behind} {serve.port}",),
        is_loopback=False,
        drain_s=asked.drain_s,
    )
    way.host.write(host_gateway.files(setup))
    (host_haproxy.change if way.runs else host_haproxy.begin)(there, way.host)
    return Listener(server=way.server.name, host=there.host, certificate_ends_at=certificate.ends_at)


def besides(
    standing: tuple[Listener, ...], servers: tuple[Server, ...], before: Gateway | None
) -> tuple[tuple[Listener, ...], tuple[Listener, ...]]:
    """PURE: of the listeners of before those that go on, on hosts that are away, and those that no server needs."""
    named = {server.name for server in servers if server.tls_name}
    now = {each.host for each in standing}
    left = [each for each in (before.listeners if before else ()) if each.host not in now]
    return tuple(each for each in left if each.server in named), tuple(
        each for each in left if each.server not in named
    )


def leave(name: str, known: tuple[Listener, ...]) -> None:
    """Take these away; what stays is told, and stops nobody."""
    try:
        take_away(name, known)
    except CorralError as error:
        warn(sentence(error.message))


def take_away(name: str, known: tuple[Listener, ...]) -> None:
    """Take these away, once their gateway has ended. Raises HostError for the first that stays."""
    failures: list[HostError] = []
    for each in known:
        try:
            away(OnHost(name, each.host, "listener"))
        except CorralError as error:
            failures.append(
                HostError(
                    sentence(f"{each.host} has its listener still, which no gateway asks: {error.message}"),
                    f"Once it is there, again: corral gateway stop {name}",
                )
            )
    if failures:
        raise failures[0]


def away(there: OnHost) -> None:
    """End one and leave nothing of it. Raises HostError, AuthError."""
    on_host.told(there, "stop", "0")  # where there is none, nothing is told
    on_host.reached(there.host).run(["sh", "-c", GONE, "gone", there.title], as_root=True)


def renew(name: str, folder: Path) -> None:
    """Have new certificates shown between the hosts, by those that run, where one ends soon; no stream is cut.

    What stands against one is told with the day on which that ends. Raises UsageError where another machine's authority
    signs them, HostError where openssl cannot or the gateway's host is away.
    """
    known = gateway_document.kept(folder)
    if known is None or not known.asked.on_host or not known.listeners:
        return
    ends = [known.client_certificate_ends_at, *(each.certificate_ends_at for each in known.listeners)]
    if not any(end and ends_soon(end) for end in ends):
        return
    there = OnHost(name, known.asked.on_host)
    with locks.in_turn(folder / ".certificate.lock", lambda: None):
        if not on_host.is_running(there):
            return
        between.refuse_anothers(there, folder)
        new = known.model_copy(
            update={"listeners": tuple(renewed(name, folder, each) for each in known.listeners)}
        )
        if known.client_certificate_ends_at and ends_soon(known.client_certificate_ends_at):
            made = between.issued(folder, None)
            shown(there, CLIENT, made.pem, on_host.keys(there))
            new = new.model_copy(update={"client_certificate_ends_at": made.ends_at})
        on_host.keep(there, on_host.keys(there), {DOCUMENT: new.text()})
        new.write(folder / DOCUMENT)


def renewed(name: str, folder: Path, listener: Listener) -> Listener:
    """One with a new certificate where its own ends soon; as it was where that fails, which is told."""
    if not ends_soon(listener.certificate_ends_at):
        return listener
    made = between.issued(folder, listener.server)
    try:
        shown(OnHost(name, listener.host, "listener"), TLS, made.pem, "")
    except CorralError as error:
        progress(
            sentence(
                f"warning: the certificate of the listener on {listener.host} ends on "
                f"{listener.certificate_ends_at:%Y-%m-%d} and is not renewed: {error.message}"
            )
        )
        return listener
    return listener.model_copy(update={"certificate_ends_at": made.ends_at})


def shown(there: OnHost, file: str, pem: str, was: str) -> None:
    """Have one that runs there show that certificate from now on, and its host keep it."""
    on_host.keep(there, was, {f"files/{file}": pem})
    certificates.swap(partial(on_host.ask, there, ADMIN), file, pem)
