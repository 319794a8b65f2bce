"""PURE: what `corral gateway` and `corral keys` say to a person."""

from typing import NamedTuple

from deploy.gateway.certificates import ends_soon
from deploy.gateway.gateway import GatewayStatus
from deploy.gateway.keys import Key, Keys, NewKey, now_utc
from deploy.gateway.rotation import InFront
from infra.argument import pasted
from infra.quantity import counted


def shown(now: GatewayStatus) -> str:
    """A gateway, and what to do with it."""
    there = f"{now.on_host}: " if now.on_host else ""
    lines = [f"{now.name}'s gateway: {there}{now.state} at {now.base_url}, {counted(now.keys, 'good key')}"]
    lines += [server(now, each) for each in now.servers]
    if now.ca_file:
        lines.append(f"trust:    {pasted(now.ca_file)}")
    if now.certificate_ends_at:
        lines.append(f"TLS:      until {now.certificate_ends_at:%Y-%m-%d}; {how_it_goes_on(now)}")
    lines += between(now)
    if now.metrics_url:
        lines.append(f"metrics:  {there}{now.metrics_url}")
    lines.append(f"audit:    {there}{pasted(now.audit_file)}")
    lines.append(f"keys:     corral keys add {now.name} alice; corral keys usage {now.name}")
    if now.state == "stopped":
        on_host = f" --on-host {pasted(now.on_host)}" if now.on_host else ""
        lines.append(f"start:    corral gateway {now.name}{on_host}")
    return "\n".join(lines)


def between(now: GatewayStatus) -> list[str]:
    """How it reaches the servers of other hosts that have listeners, and until when each certificate is good."""
    if not now.listeners or now.state == "stopped":
        return []
    whose = [(now.client_certificate_ends_at, "the gateway's own")]
    whose += [(each.certificate_ends_at, f"that of {each.server}") for each in now.listeners]
    end, soonest = min((end, who) for end, who in whose if end)
    names = ", ".join(each.server for each in now.listeners)
    first = f" ({soonest})" if ends_soon(end) else ""
    return [
        f"between:  TLS to {names}, both sides by certificate, until {end:%Y-%m-%d}{first}; corral renews it"
    ]


def server(now: GatewayStatus, each: InFront) -> str:
    """One of its servers; where it gets no requests, why, and what to do."""
    line = f"server:   {each.name} is {each.state}, {counted(each.sessions, 'request')}, {each.waiting:,} waiting"
    why = why_not(now.name, each, anew(now, each))
    return f"{line}: {why.found}; {why.fix}" if why else line


class WhyNot(NamedTuple):
    """Why a server gets no requests."""

    found: str
    fix: str
    """What to do about it."""


REACHED_NOT = ("L4CON", "L4TOUT")
TLS_NOT = ("L6RSP", "L6TOUT")
NO_ANSWER = ("L7TOUT", "L7RSP", "SOCKERR")
"""The last is what becomes of a look through a tunnel behind which no server is."""


def why_not(name: str, each: InFront, again: str = "") -> WhyNot | None:
    """PURE: why a server gets no requests, by HAProxy's codes; None of one that gets some.

    `again` is what to do where its way is at fault, unless that is a tunnel.
    """
    look = again or f"look, which opens its way again: corral status {name}"
    said = f" ({each.check}: {each.check_said})"
    if each.is_taken_out:
        found = "it was taken out and gets no requests"
        return WhyNot(
            found, f"unless it is rolled or stopped just now: corral gateway ready {name} {each.name}"
        )
    if each.is_up:
        return None
    if each.check == "INI":
        return WhyNot("it was not looked at yet", f"again in a second: corral gateway status {name}")
    if each.check in REACHED_NOT:
        return WhyNot(f"no connection to it comes about{said}", look)
    if each.check in TLS_NOT:
        return WhyNot(f"it and the gateway do not take each other's certificate{said}", look)
    if each.check in NO_ANSWER:
        return WhyNot(f"its /health gives no answer{said}", look)
    if each.check == "L7STS":
        return WhyNot(f"its /health is not well{said}", f"why: corral logs {name}")
    return WhyNot(f"it is not well{said}" if each.check_said else "it comes up", look)


def anew(now: GatewayStatus, each: InFront) -> str:
    """What to do where a server before which a listener stands is not reached; nothing of another."""
    if each.name not in {known.server for known in now.listeners}:
        return ""
    there = f" --on-host {pasted(now.on_host)}" if now.on_host else ""
    return (
        f"does it serve: corral status {now.name}? Then bring its listener anew, with the options that are to hold: "
        f"corral gateway {now.name}{there}"
    )


def how_it_goes_on(now: GatewayStatus) -> str:
    """Who renews a certificate, and when that is due."""
    assert now.certificate_ends_at
    if now.ca_file:
        return "corral renews it"
    if ends_soon(now.certificate_ends_at):
        return f"renew it now, then, with the options that are to hold: corral gateway {now.name}"
    return "you renew it"


def new_key(made: NewKey) -> str:
    """A key, this once."""
    until = f", until {made.expires_at:%Y-%m-%d %H:%M} UTC" if made.expires_at else ""
    return f"{made.key}\n{made.id}, for {made.person}{until}. It is shown this once; corral keeps its SHA-256 alone."


def listed(known: Keys) -> str:
    """A line a key."""
    return "\n".join(map(line, known.keys)) or "No keys yet."


def line(key: Key) -> str:
    """One key."""
    state = key.state(now_utc())
    ended = key.revoked_at if state == "revoked" else key.expires_at
    until = "" if ended is None else f" {'on' if state == 'revoked' else 'until'} {ended:%Y-%m-%d %H:%M} UTC"
    limits = [
        f"for {', '.join(key.models)}" if key.models else "",
        f"{key.requests_per_minute:,} requests a minute" if key.requests_per_minute else "",
        f"{key.requests_at_once:,} at once" if key.requests_at_once else "",
        f"{key.tokens_per_month:,} tokens a month" if key.tokens_per_month else "",
    ]
    return ", ".join(filter(None, [f"{key.id}: {state}{until}", f"made {key.created_at:%Y-%m-%d}", *limits]))


def revoked(gone: tuple[Key, ...], key: str) -> str:
    """What was ended."""
    return f"Revoked: {', '.join(each.id for each in gone)}" if gone else f"{key} was revoked before."
