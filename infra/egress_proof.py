"""PURE: the proof that nothing leaves: what was tried, what the kernel counted, and what follows from both."""

import hashlib
from collections.abc import Iterator
from datetime import datetime
from ipaddress import ip_address
from typing import ClassVar, Literal, Self

from pydantic import Field

from infra import bounded_json
from infra.egress_rules import Count, Loaded, loaded
from infra.errors import DocumentError, HostError
from infra.quantity import counted
from infra.record import Document, Record

NAMESPACE = "corral-egress"
"""What a signature of a report is made for."""

Outcome = Literal["stopped", "reached", "not stopped", "no way"]

LIMITS = (
    "It is about one server while it was looked at, not about the host: other programs may send what they like.",
    "A peer, and what forwards the journal, into which the server prints, could carry things out.",
    "Root on the host and the kernel itself can undo the lock; GPU drivers and firmware are not the server's user.",
    "The sha256 shows damage to this file, not who wrote it: sign it where that matters.",
)

NAMED_BY_LISTS = (
    "What serves is named by lists on the host: each package's RECORD, the sums noted when the weights came. "
    "Their files were not read again for this report."
)


class Attempt(Record):
    """One TCP connection tried from inside the server's unit, with its user and control groups."""

    target: str
    """ADDRESS:PORT."""
    tried: bool
    """False when the host has no way there: then nothing was sent, and nothing is shown."""
    connected: bool
    """Whether somebody answered."""
    said: str
    """The system's own word for how it ended."""
    dropped: int
    """Packets of the server the lock stopped meanwhile."""

    @property
    def outcome(self) -> Outcome:
        """Stopped only where the kernel counted it: a refusal may as well come from outside."""
        if self.connected:
            return "reached"
        if not self.tried:
            return "no way"
        return "stopped" if self.dropped else "not stopped"


class Served(Record):
    """What a server was started from, by digests that `sha256sum` makes."""

    vllm_version: str
    """Of its engine."""
    engine_sha256: str
    """In site-packages: sha256sum *.dist-info/RECORD | LC_ALL=C sort | sha256sum"""
    model: dict[str, str]
    """File of the weights -> SHA-256; empty for one that was written since its sum was noted."""
    rules_sha256: str
    """Of the rules' text that the lock is loaded from."""
    beside: dict[str, dict[str, str]] | None = Field(default=None, exclude_if=lambda beside: beside is None)
    """Folder of a draft or an adapter (draft, adapters/NAME) -> as `model`; None in a report of an older corral."""

    @property
    def written(self) -> tuple[str, ...]:
        """The files that were written since their sums were noted."""
        folders = {"": self.model, **{f"{name}/": files for name, files in (self.beside or {}).items()}}
        return tuple(
            f"{folder}{name}"
            for folder, files in folders.items()
            for name, summed in files.items()
            if not summed
        )


class Look(Record):
    """What a host said at one moment."""

    hostname: str
    """As the host calls itself."""
    boot_id: str
    """Of this run of its kernel."""
    kernel: str
    """Its release."""
    pid: int
    """The server's first process; 0 where it does not run."""
    uid: int
    """The user that the server runs as."""
    rules: str
    """The lock as the kernel lists it, without its counters."""
    rules_at_start: str
    """The same as it was when the server started."""
    lock: Loaded | None
    """Its counters; null where no lock is loaded."""
    sockets: tuple[str, ...]
    """The other ends of the server's connections, as ADDRESS PORT."""
    attempts: tuple[Attempt, ...] = ()
    """What was tried to get out; of the first look alone."""
    holds_abstract_sockets: bool | None = Field(default=None, exclude_if=lambda held: held is None)
    """Whether those of the host's other programs are closed to the server; None in a report of an older corral."""
    served: Served | None = Field(default=None, exclude_if=lambda served: served is None)
    """None in a report of an older corral, too."""

    @property
    def rules_sha256(self) -> str:
        """Of the rules without their counters."""
        return hashlib.sha256(self.rules.encode()).hexdigest()


LISTENER_END = ".listener.service"


class GatewayProof(Record):
    """The gateway beside a server, or the listener of one: whom it may reach, and that it reaches nobody else."""

    unit: str
    """HAProxy's systemd unit."""
    servers: tuple[str, ...]
    """Whom it may reach: ADDRESS PORT each."""
    look: Look
    """What was tried from inside it, and its lock."""

    @property
    def is_listener(self) -> bool:
        """Whether it answers the gateway of another host alone."""
        return self.unit.endswith(LISTENER_END)


class Proof(Record):
    """One host: targets tried, then completions, with the counters around them."""

    host: str
    """As it was named."""
    unit: str
    """The server's systemd unit."""
    peers: tuple[str, ...] = ()
    """The other hosts of the same engine, which it may reach."""
    listens_outside: bool = False
    """Whether others than this host may ask it."""
    completions: int
    """Answered between the two looks."""
    before: Look
    """The look before these completions."""
    after: Look
    """The look after them."""
    rules_sha256: str
    """Of the rules without their counters."""
    gateway: GatewayProof | None = Field(default=None, exclude_if=lambda gateway: gateway is None)
    """The one that runs on that host; absent where none does."""


class Egress(Document):
    """The report of `corral egress`."""

    kind: ClassVar[str] = "egress report"
    document: Literal["egress"] = "egress"
    schema_version: Literal[1] = 1

    name: str
    """The deployment's."""
    made_at: datetime
    """When (UTC)."""
    verdict: Literal["proved", "observed", "not proved"]
    """Proved by the kernel's counters; only observed, where there is no lock; or not proved."""
    problems: tuple[str, ...]
    """Why it is not proved, a sentence each; empty when it is."""
    hosts: tuple[Proof, ...] = ()
    """A proof for each host; empty where it was only observed."""
    observed: tuple[str, ...] = ()
    """Without a lock: the other ends of the server's connections that were seen."""
    completions: int
    """Answered while it was looked at, on all hosts."""
    limits: tuple[str, ...]
    """What such a report does not show, a sentence each."""
    sha256: str = ""
    """Of this document with this field empty, as compact JSON."""

    def digest(self) -> str:
        """What `sha256` must be."""
        text = self.model_copy(update={"sha256": ""}).model_dump_json()
        return hashlib.sha256(text.encode()).hexdigest()

    def sealed(self) -> Self:
        """The same with its sum."""
        return self.model_copy(update={"sha256": self.digest()})

    @classmethod
    def parse(cls, text: str | bytes, where: str) -> Self:
        """Parse a report. Raises DocumentError when it was changed."""
        report = super().parse(text, where)
        if report.sha256 != report.digest():
            raise DocumentError(
                f"{where} was changed: its sha256 is of something else.",
                f"Make it again: corral egress {report.name}",
            )
        return report


def look(text: str) -> Look:
    """Read what the script on the host printed. Raises HostError when it is not that."""
    try:
        said = bounded_json.load(text.encode())
        lock = loaded(said.pop("nft"))
        return Look.model_validate({**said, "lock": lock})
    except (ValueError, KeyError, TypeError, AttributeError):
        raise HostError(
            "The host's answer about its egress lock cannot be read.",
            "Its python3 must be 3.9 or newer; look there: python3 --version",
        ) from None


def problems(proof: Proof) -> tuple[str, ...]:
    """Why this host's proof does not hold, what got out first; none when it does."""
    return (*_escapes(proof), *_lock_problems(proof), *_during(proof), *_gateway_problems(proof))


def limits(
    sockets_open_on: tuple[str, ...], gateways_on: tuple[str, ...] = (), listeners_on: tuple[str, ...] = ()
) -> tuple[str, ...]:
    """What a report does not show, given the hosts where no Landlock closes abstract sockets to the server.

    And those where a gateway answers for it, or a listener hands its answers to one.
    """
    said = list(LIMITS)
    if where := ", ".join(sockets_open_on):
        said.append(f"On {where} a program with an abstract local socket could carry things out.")
    if where := ", ".join(gateways_on):
        said.append(
            f"On {where} a gateway hands the server's answers to whoever has a key and asked for them."
        )
    if where := ", ".join(listeners_on):
        said.append(f"On {where} a listener hands the server's answers to the gateway of another host.")
    return tuple(said)


def foreign(ends: tuple[str, ...], peers: tuple[str, ...]) -> tuple[str, ...]:
    """The other ends that are neither loopback nor a peer; what is no address is near to nobody."""
    return tuple(end for end in ends if not _is_near(end.partition(" ")[0], peers))


def _is_near(text: str, peers: tuple[str, ...]) -> bool:
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return False
    inner = getattr(address, "ipv4_mapped", None) or address
    return inner.is_loopback or str(inner) in peers


def _escapes(proof: Proof) -> Iterator[str]:
    yield from _reached(proof.before, proof.unit, proof.host)
    if not proof.listens_outside:
        for end in sorted(
            {*foreign(proof.before.sockets, proof.peers), *foreign(proof.after.sockets, proof.peers)}
        ):
            yield f"{proof.unit} on {proof.host} has a connection to {end}"


def _reached(seen: Look, unit: str, host: str) -> Iterator[str]:
    for attempt in seen.attempts:
        if attempt.outcome == "reached":
            yield f"{attempt.target} was reached from inside {unit} on {host}"
        elif attempt.outcome == "not stopped":
            said = f"{attempt.target} was not reached from {host} ({attempt.said.lower()})"
            yield f"{said}, but it was not the lock that stopped it"


def _gateway_problems(proof: Proof) -> Iterator[str]:
    """What its clients are answered is no matter of the lock: all else is."""
    if proof.gateway is None:
        return
    seen, unit = proof.gateway.look, proof.gateway.unit
    yield from _reached(seen, unit, proof.host)
    if seen.lock is None:
        yield f"the lock of {unit} is not loaded on {proof.host}"
    elif seen.lock.uid != seen.uid:
        what = "listener" if proof.gateway.is_listener else "gateway"
        yield f"the lock of {unit} on {proof.host} is not for the {what}'s user"
    elif seen.rules != seen.rules_at_start:
        yield f"the rules of the lock of {unit} on {proof.host} were changed since it was loaded"
    elif not any(attempt.outcome == "stopped" for attempt in seen.attempts):
        yield f"on {proof.host} the lock of {unit} was seen to stop nothing"


def _lock_problems(proof: Proof) -> Iterator[str]:
    before, after = proof.before, proof.after
    if not before.pid:
        yield f"{proof.unit} does not run on {proof.host}"
    elif before.lock is None or after.lock is None:
        yield f"the lock is not loaded on {proof.host}"
    elif {before.lock.uid, after.lock.uid} != {before.uid}:
        yield f"the lock on {proof.host} is not for the server's user"
    elif {before.rules, after.rules} != {before.rules_at_start}:
        yield f"the rules of the lock on {proof.host} were changed since the server started"
    elif not any(attempt.outcome == "stopped" for attempt in before.attempts):
        yield (
            f"on {proof.host} the lock was seen to stop nothing: give --target 1.1.1.1:443, or what it has a way to"
        )
    if (before.boot_id, before.pid, before.uid) != (after.boot_id, after.pid, after.uid):
        yield f"the server on {proof.host} was started anew meanwhile"
    if before.served != after.served:
        yield f"engine, weights or rules on {proof.host} were changed meanwhile"
    for name in before.served.written if before.served else ():
        yield f"the weights on {proof.host} were written since their sums were noted: {name}"


def _during(proof: Proof) -> Iterator[str]:
    """What the kernel counted while completions were answered."""
    if not proof.before.lock or not proof.after.lock:
        return
    sent = moved(proof.before.lock.counters, proof.after.lock.counters)
    if sent.get("dropped"):
        stopped = counted(sent["dropped"], "packet")
        yield f"the server on {proof.host} tried to send out: the lock stopped {stopped} meanwhile"
    if proof.completions and not sum(sent.values()) - sent.get("dropped", 0):
        yield f"the lock on {proof.host} counted no packet of the answers, so it does not see the server"


def moved(before: dict[str, Count], after: dict[str, Count]) -> dict[str, int]:
    """Packets by which each counter moved."""
    return {name: count.packets - before[name].packets for name, count in after.items() if name in before}
