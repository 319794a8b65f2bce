"""A gateway brought to an owned host and run there as a unit of systemd, in front of the server of its host."""

from collections.abc import Mapping
from pathlib import Path

from deploy.gateway import certificates, haproxy, haproxy_config, key_store, keys, on_host
from deploy.gateway.admin_socket import WORKER
from deploy.gateway.gateway_document import DOCUMENT, Gateway
from deploy.gateway.gateway_options import GatewayOptions
from deploy.gateway.haproxy_config import MASTER, Server
from deploy.gateway.keys import Keys
from deploy.gateway.on_host import OnHost
from deploy.targets.deployment import Deployment
from deploy.targets.ssh import host_unit, one_key, operators
from deploy.targets.ssh.replicas import engines, key_of_its_own, names
from infra import host as hosts
from infra import host_gateway
from infra.argument import pasted
from infra.data import shipped_text
from infra.errors import HostError, ServerError, UsageError
from infra.facts import HostFacts
from infra.host import HostFile
from infra.host_gateway import GatewaySetup, called
from infra.onhost.gatekeeper import CHANGED
from infra.say import progress, warn
from infra.ssh import Host
from infra.wait import until

EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1", "localhost": "127.0.0.1"}
"""Where a server that listens there is asked from its own host."""
STARTS_WITHIN_S = 30.0
PROGRAM = """\
PATH=$PATH:/usr/sbin:/usr/local/sbin:/sbin
program=$(command -v haproxy) || exit
echo "$program" && exec "$program" -vv
"""
FOLDERS = """\
umask 077 && mkdir -p "$1/next" /var/log/corral && : >>"$2"
"""
START = """\
systemctl daemon-reload && systemctl reset-failed "$1" 2>/dev/null
systemctl enable "$1" && exec systemctl start "$1"
"""
CHANGE = """\
systemctl daemon-reload && systemctl enable "$1" && exec systemctl reload "$1"
"""


def start(
    deployment: Deployment, asked: GatewayOptions, folder: Path, known: Keys
) -> tuple[GatewayOptions, Keys]:
    """Start it there, or change it while it runs, which cuts no stream; what is asked of it, its names settled, and
    the keys that it began with.

    `known` are the keys that come along; of one that the host knows too holds what makes it less good. From before it
    listens `folder` tells of it. Raises UsageError, HostError or ServerError; the gateway is as it was where HAProxy
    refuses what it would be told, somebody else has the port, or changes its keys meanwhile.
    """
    there = OnHost(deployment.name, asked_host(deployment, asked))
    host = Host(there.host)
    facts = host.facts()
    refuse_unprepared(deployment, host)
    refuse_several_keys(deployment)
    program = found(host)
    servers = servers_at(deployment, there.host)
    was, before = on_host.keys(there), on_host.document(there)
    refuse_anothers_authority(asked, there, before, folder)
    runs = on_host.is_running(there)
    refuse_taken(asked, facts, there.host, ports_of(before) if runs else set())
    asked = named(asked, host)
    certificate = certificates.prepared(folder, asked)
    document = Gateway(name=deployment.name, asked=asked)
    kept = keys.merged(key_store.parsed(was, there.host), known)
    progress(f"{there.host}: bringing the gateway")
    texts = {
        haproxy_config.CONFIG: haproxy_config.config(asked, servers, one_key.held_by(host, deployment.name)),
        haproxy_config.LUA: shipped_text("deploy.gateway", "gateway.lua"),
        haproxy_config.KEYS_MAP: keys.map_text(kept.keys, asked),
        on_host.KEYS: kept.text(),
        DOCUMENT: document.text(),
        **({haproxy_config.TLS: certificate} if certificate else {}),
    }
    bring(there, host, texts)
    tried = on_host.told(there, "try", program, on_host.sum_of(was))
    if tried.code == CHANGED:
        raise on_host.changed(there)
    if tried.code:
        raise haproxy.not_taken(tried.stdout)
    document.write(folder / DOCUMENT)
    certificates.keep(folder, asked, certificate)
    host.write(host_gateway.files(setup(deployment, asked, servers, program)))
    (change if runs else begin)(there, host)
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


def found(host: Host) -> str:
    """HAProxy's path there. Raises HostError where it has none, or one that is too old or without Lua."""
    said = host.run(["sh", "-c", PROGRAM], check=False).stdout
    program, _, about = said.partition("\n")
    if not program.startswith("/"):
        raise HostError(
            f"HAProxy is not installed on {host.destination}.",
            "Debian, Ubuntu: sudo apt-get install haproxy; Fedora, RHEL 10: sudo dnf install haproxy",
        )
    return haproxy.suitable(program, about)


def servers_at(deployment: Deployment, destination: str) -> tuple[Server, ...]:
    """The servers that a gateway on that host reaches: its own, and those of others that listen for it."""
    serve, called = deployment.plan.serve, dict(zip(engines(deployment), names(deployment), strict=True))
    own = Server(called[destination], EVERYWHERE.get(serve.host, serve.host), serve.port)
    others = tuple(other for other in called if other != destination)
    if not hosts.is_loopback(serve.host):
        if others:
            warn(in_the_clear(destination, others))
        return (own, *(Server(called[other], address(other), serve.port) for other in others))
    if others:
        progress(
            f"{destination}: the gateway is in front of this host's server alone; those of {', '.join(others)} "
            "listen on their loopback. One before all, through SSH, stands on this machine: corral gateway "
            f"{deployment.name}"
        )
    return (own,)


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


def bring(there: OnHost, host: Host, texts: Mapping[str, str]) -> None:
    """Put beside what is there what is to be there next, for root alone, over the input of one command."""
    here = hosts.root(called(there.name))
    host.run(["sh", "-c", FOLDERS, "folders", here, host_gateway.audit_file(there.name)], as_root=True)
    secret = (HostFile(path=f"{here}/next/{name}", content=text, mode="0600") for name, text in texts.items())
    host.write((*host_gateway.scripts(there.name), *secret))


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


def begin(there: OnHost, host: Host) -> None:
    """Start its unit, now and at every boot. Raises ServerError with its own last words; nothing runs then."""
    unit = hosts.unit(called(there.name))
    done = host.run(["sh", "-c", START, "start", unit], as_root=True, check=False)
    if done.code or not is_there(there):
        said = last_words(there, host)
        on_host.stop(there, 0)
        raise ServerError(f"The gateway on {there.host} did not start: {said}", journal(there))


def change(there: OnHost, host: Host) -> None:
    """Have it take the new files; the streams it has end with the old ones. Raises ServerError where it does not."""
    before = workers(there)
    unit = hosts.unit(called(there.name))
    done = host.run(["sh", "-c", CHANGE, "change", unit], as_root=True, check=False)

    def has_changed() -> bool:
        return next(iter(workers(there)), None) not in (None, *before) and on_host.is_running(there)

    if done.code or not until(has_changed, bool, haproxy.pace(STARTS_WITHIN_S)):
        raise ServerError(
            f"The gateway on {there.host} did not take the change: {last_words(there, host)}", journal(there)
        )


def is_there(there: OnHost) -> bool:
    """Whether it answers, or begins to in time."""
    return until(lambda: on_host.is_running(there), bool, haproxy.pace(STARTS_WITHIN_S))


def workers(there: OnHost) -> tuple[str, ...]:
    """The processes that serve there, the newest first."""
    (answer,) = on_host.answers(there, [(MASTER, "show proc")])
    return tuple(WORKER.findall(answer or ""))


def last_words(there: OnHost, host: Host) -> str:
    """The last of its journal that is an alert, else its last line."""
    unit = hosts.unit(called(there.name))
    asked = ["journalctl", "--no-pager", "--lines=50", "--output=cat", f"--unit={unit}"]
    return haproxy.alert(host.run(asked, as_root=True, check=False).stdout)


def journal(there: OnHost) -> str:
    """Where to read more."""
    return f"Its log: ssh {pasted(there.host)} sudo journalctl -u {hosts.unit(called(there.name))}"
