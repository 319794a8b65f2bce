"""What a gateway of a plan would be, before there is a deployment: nothing is started, made or asked elsewhere."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from deploy.gateway import certificates, gateway_unit, haproxy
from deploy.gateway.gateway_options import GatewayOptions
from deploy.gateway.haproxy_config import COUNTING, GENERATING, MODELS
from deploy.targets.deployment import default_name
from infra.argument import pasted
from infra.asked import again
from infra.aws import session
from infra.errors import CorralError, UsageError
from infra.quantity import counted
from infra.record import Record
from infra.ssh import Host
from serving.sizing.plan import Plan


class Need(Record):
    """One thing that it takes on the machine on which it stands."""

    what: str
    """As a person would look for it."""
    is_there: bool
    """Whether it was found."""
    found: str
    """Where it is, else why it does not do."""
    fix: str = ""
    """What to do about it; empty where it is there."""


class ForeseenGateway(Record):
    """A gateway that `corral gateway` would start once the plan is deployed."""

    name: str
    """The deployment's, as `corral up` calls it where nobody names it."""
    base_url: str
    """Where clients would ask it."""
    asked: GatewayOptions
    """Where it would listen, and what a request and a key may take."""
    certificate: str
    """Who vouches for it; empty where it speaks plain HTTP on loopback."""
    paths: tuple[str, ...]
    """All that a client may ask."""
    model: str
    """What requests name."""
    servers: int
    """That it would stand in front of."""
    needs: tuple[Need, ...]
    """What it takes on this machine; of another host nothing is looked at."""


def foreseen(path: Path, asked: GatewayOptions) -> ForeseenGateway:
    """What it would be. Raises DocumentError for no plan, and UsageError for a host that no plan has."""
    plan = Plan.read(path)
    if asked.on_host and plan.machine.instance_type:
        raise UsageError(
            f"This plan is for a machine that EC2 rents out, and {asked.on_host} is none.",
            "Leave out --on-host: it stands on the machine that you type on",
        )
    named = gateway_unit.named(asked, Host(asked.on_host)) if asked.on_host else asked
    return ForeseenGateway(
        name=default_name(plan),
        base_url=named.base_url,
        asked=asked,
        certificate=certificate(named),
        paths=(*GENERATING, COUNTING, MODELS),
        model=plan.serve.served_model_name,
        servers=plan.carried.servers if plan.carried else 1,
        needs=() if asked.on_host else tuple(needed(plan, asked)),
    )


def certificate(asked: GatewayOptions) -> str:
    """Who vouches for it."""
    if not asked.has_tls:
        return ""
    names = ", ".join(asked.tls_name or (asked.host,))
    own = f"an authority of corral's own, for {names}, renewed every 90 days; clients trust its ca.pem"
    return f"yours, {asked.tls_cert}" if asked.tls_cert else own


def needed(plan: Plan, asked: GatewayOptions) -> Iterator[Need]:
    """What it takes here, each looked at."""
    yield need("HAProxy 2.6 or newer, with Lua", haproxy.found)
    for port in filter(None, (asked.port, asked.metrics_port)):
        host = asked.host if port == asked.port else "127.0.0.1"
        yield need(f"port {port} of {host}", partial(free, host, port))
    if certificates.is_own(asked):
        yield need("openssl", certificates.openssl)
    elif asked.tls_cert and asked.tls_key:
        yield need("the certificate", partial(until, asked))
    if plan.machine.instance_type:
        yield need("the AWS CLI and its session-manager-plugin", way_to_ec2)


def need(what: str, look: Callable[[], str]) -> Need:
    """One of them, with what stands against it."""
    try:
        return Need(what=what, is_there=True, found=look())
    except CorralError as error:
        return Need(what=what, is_there=False, found=error.message, fix=error.hint)


def free(host: str, port: int) -> str:
    """That nobody listens there now. Raises UsageError."""
    haproxy.refuse_taken(host, port)
    return "is free"


def until(asked: GatewayOptions) -> str:
    """When the user's own certificate ends. Raises DocumentError."""
    certificates.prepared(Path(), asked)
    return f"{asked.tls_cert}, until {certificates.end_of(asked.tls_cert or Path()):%Y-%m-%d}"


def way_to_ec2() -> str:
    """What holds the tunnels to rented machines. Raises HostError where one is missing."""
    session.require_plugin()
    return "are here"


def shown(path: Path, would: ForeseenGateway) -> str:
    """PURE: the same for a person, with what is typed for it."""
    asked = would.asked
    where = f"{asked.on_host}, " if asked.on_host else ""
    limits = [f"{asked.requests_per_minute:,} requests a minute", f"{asked.requests_at_once:,} at once"]
    limits += [f"{asked.tokens_per_month:,} tokens a month"] if asked.tokens_per_month else []
    lines = [
        f"{would.name} has no gateway yet; this one would answer at {would.base_url}. Nothing is started.",
        f"listens:      {where}{asked.host} port {asked.port}, {would.certificate or 'plain HTTP, on loopback alone'}",
        f"in front of:  {counted(would.servers, 'server')} of {would.model}",
        f"lets through: {' '.join(would.paths)}; each with a key, /health without one, and no other path",
        f"keys:         none yet; one for each person, {', '.join(limits)} unless it says otherwise",
    ]
    for each in would.needs:
        lines.append(f"{'needs:' if each.is_there else 'LACKS:':13} {each.what}: {each.found}")
        lines += [f"{'':14}{each.fix}"] if each.fix else []
    if asked.on_host:
        lines.append(f"needs:        HAProxy 2.6 or newer, with Lua, on {asked.on_host}, which was not asked")
    usual = ("host",) if asked.host == GatewayOptions.model_validate({"on_host": asked.on_host}).host else ()
    typed = f"corral gateway {would.name}{again(asked, without=usual)}"
    lines.append(f"Next: corral up {pasted(path)} && {typed} && corral keys add {would.name} alice")
    return "\n".join(lines)
