"""A gateway brought to an owned host and run there as a unit of systemd.

It is in front of its host's server, and of those of the other hosts by a listener on each.
"""

from pathlib import Path

from deploy.gateway import (
    between,
    certificates,
    gateway_document,
    haproxy_config,
    host_haproxy,
    key_store,
    keys,
    listeners,
    on_host,
)
from deploy.gateway.gateway_document import DOCUMENT, Gateway
from deploy.gateway.gateway_options import GatewayOptions
from deploy.gateway.haproxy_config import Server
from deploy.gateway.keys import Keys
from deploy.gateway.on_host import OnHost
from deploy.targets.deployment import Deployment
from deploy.targets.ssh import host_unit, one_key, operators
from deploy.targets.ssh.replicas import engines, key_of_its_own, names
from infra import host as hosts
from infra import host_gateway
from infra.argument import pasted
from infra.data import shipped_text
from infra.errors import HostError, UsageError
from infra.facts import HostFacts
from infra.host_gateway import GatewaySetup
from infra.say import progress, warn
from infra.ssh import Host


def start(
    deployment: Deployment, asked: GatewayOptions, folder: Path, known: Keys
) -> tuple[GatewayOptions, Keys]:
    """Start it there, or change it while it runs, which cuts no stream; what is asked of it, its names settled, and
    the keys that it began with.

    `known` are the keys that come along; of one that the host knows too holds what makes it less good. From before it
    listens `folder` tells of it. Raises UsageError, HostError or ServerError; the gateway is as it was where HAProxy
    refuses what it would be told, somebody else has the port, or changes its keys meanwhile, and where a host lacks
    HAProxy.
    """
    there = OnHost(deployment.name, asked_host(deployment, asked))
    host = Host(there.host)
    facts = host.facts()
    refuse_unprepared(deployment, host)
    refuse_several_keys(deployment)
    program = host_haproxy.found(host)
    servers = servers_at(deployment, there.host, asked.port)
    was, before = on_host.keys(there), on_host.document(there)
    refuse_anothers_authority(asked, there, before, folder)
    runs = on_host.is_running(there)
    refuse_taken(asked, facts, there.host, ports_of(before) if runs else set())
    has_listeners = any(server.tls_name for server in servers)
    if runs and has_listeners:
        between.refuse_anothers(there, folder)
    known_here = gateway_document.kept(folder)
    ways = listeners.ways(deployment, asked, servers, tuple(filter(None, (before, known_here))))
    asked = named(asked, host)
    certificate = certificates.prepared(folder, asked)
    kept = keys.merged(key_store.parsed(was, there.host), known)
    with listeners.standing(ways, deployment, asked, folder) as standing:
        client = between.issued(folder, None) if has_listeners else None
        others, stale = listeners.besides(standing, servers, known_here)
        document = Gateway(
            name=deployment.name,
            asked=asked,
            listeners=(*standing, *others),
            client_certificate_ends_at=client.ends_at if client else None,
        )
        progress(f"{there.host}: bringing the gateway")
        engine_key = one_key.held_by(host, deployment.name)
        texts = {
            haproxy_config.CONFIG: haproxy_config.config(asked, servers, engine_key),
            haproxy_config.LUA: shipped_text("deploy.gateway", "gateway.lua"),
            haproxy_config.KEYS_MAP: keys.map_text(kept.keys, asked),
            on_host.KEYS: kept.text(),
            DOCUMENT: document.text(),
            **({haproxy_config.TLS: certificate} if certificate else {}),
            **(
                {haproxy_config.CLIENT: client.pem, between.AUTHORITY: between.authority(folder)}
                if client
                else {}
            ),
        }
        host_haproxy.bring(there, host, texts)
        host_haproxy.try_out(there, program, was)
        document.write(folder / DOCUMENT)
        certificates.keep(folder, asked, certificate)
        host.write(host_gateway.files(setup(deployment, asked, servers, program)))
        (host_haproxy.change if runs else host_haproxy.begin)(there, host)
    listeners.leave(deployment.name, stale)
    return asked, kept


def asked_host(deployment: Deployment, asked: GatewayOptions) -> str:
    """The host that is meant. Raises UsageError for one that the deployment does not have."""
    if deployment.target != "ssh" or not asked.on_host:
        raise UsageError(
            f"{deployment.name} is on no host of yours.",
            f"Leave out --on-host: corral gateway {deployment.name}",
        )
    first, *others = deployment.hosts
    if asked.on_host not in deployment.hosts:
        raise UsageError(
            f"{deployment.name} is not on {asked.on_host}.",
            f"It is on: {', '.join(deployment.hosts)}. Such as: --on-host {pasted(first)}",
        )
    if asked.on_host in others and deployment.plan.machine.hosts > 1:
        raise UsageError(
            f"{deployment.name} is one engine over several hosts, and answers on {first} alone.",
            f"Its gateway stands there: --on-host {pasted(first)}",
        )
    return asked.on_host


def refuse_unprepared(deployment: Deployment, host: Host) -> None:
    """Raise UsageError where the host has nothing of it, or it is another operator's."""
    operators.refuse_others(deployment, host)
    if host_unit.state(deployment.name, host).active == "absent":
        raise UsageError(
            f"{host.destination} has nothing of {deployment.name}, so there is nothing to stand in front of.",
            f"Serve it first: corral serve {deployment.name}",
        )


def refuse_several_keys(deployment: Deployment) -> None:
    """Raise UsageError where a server has a key of its own until it is started anew: it would refuse the gateway's."""
    if others := one_key.with_another(deployment):
        raise key_of_its_own(deployment, others)


def servers_at(deployment: Deployment, destination: str, port: int) -> tuple[Server, ...]:
    """The servers that a gateway on that host reaches: its own, and those of others, over TLS where they listen on
    loopback: each by a listener at that port of its host. Raises HostError for a host known by a name alone.
    """
    serve, called = deployment.plan.serve, dict(zip(engines(deployment), names(deployment), strict=True))
    own = Server(called[destination], host_haproxy.asked_at(serve.host), serve.port)
    others = tuple(other for other in called if other != destination)
    if not hosts.is_loopback(serve.host):
        if others:
            warn(in_the_clear(destination, others))
        return (own, *(Server(called[other], address(other), serve.port) for other in others))
    return (
        own,
        *(
            Server(called[other], address(other), port, is_tunnelled=True, tls_name=called[other])
            for other in others
        ),
    )


def in_the_clear(destination: str, others: tuple[str, ...]) -> str:
    """PURE: what is to be known of a gateway whose servers listen for it on other hosts."""
    return (
        f"Between {destination} and {', '.join(others)} prompts, answers and the engine's key go in the clear, and "
        "vLLM answers some paths without a key: keep these hosts on a network of their own."
    )


def address(destination: str) -> str:
    """The address at which another host is reached. Raises HostError where it is known by a name alone."""
    known = Host(destination).address()
    if not hosts.is_address(known):
        raise HostError(
            f"{destination} is known by a name, {known}, and a gateway's lock by addresses.",
            f"Give its address in ~/.ssh/config: Host {destination}, HostName 10.0.0.5",
        )
    return known


def refuse_taken(asked: GatewayOptions, facts: HostFacts, destination: str, ours: set[int]) -> None:
    """Raise UsageError where somebody else listens at a port of it there."""
    for port in filter(None, (asked.port, asked.metrics_port)):
        if port in facts.ports_in_use - ours:
            raise UsageError(
                f"A gateway cannot listen on {destination} port {port}: somebody does already.",
                f"Another: --port {port % 65535 + 1}; see who does: ssh {pasted(destination)} ss -ltnp",
            )


def ports_of(there: Gateway | None) -> set[int]:
    """Where the one that is there listens, by its own document."""
    return {port for port in (there.asked.port, there.asked.metrics_port) if port} if there else set()


def refuse_anothers_authority(
    asked: GatewayOptions, there: OnHost, before: Gateway | None, folder: Path
) -> None:
    """Raise UsageError where another machine's authority made the certificate that its clients trust."""
    is_anothers = before is not None and certificates.is_own(before.asked)
    if is_anothers and certificates.is_own(asked) and not certificates.has_authority(folder):
        raise UsageError(
            f"The certificate of {there.name}'s gateway on {there.host} is of an authority that another machine keeps.",
            f"Type it there, or bring ca.pem and ca.key of there to {folder}, or a certificate: --tls-cert, --tls-key",
        )


def named(asked: GatewayOptions, host: Host) -> GatewayOptions:
    """With the host's own name or address where it listens everywhere and clients are told of none."""
    if asked.tls_name or asked.host not in ("0.0.0.0", "::"):
        return asked
    return asked.model_copy(update={"tls_name": (host.address(),)})


def setup(
    deployment: Deployment, asked: GatewayOptions, servers: tuple[Server, ...], program: str
) -> GatewaySetup:
    """What its unit and its lock say."""
    return GatewaySetup(
        name=deployment.name,
        haproxy=program,
        servers=tuple(f"{server.host} {server.port}" for server in servers),
        is_loopback=asked.is_loopback and all(hosts.is_loopback(server.host) for server in servers),
        drain_s=asked.drain_s,
    )
