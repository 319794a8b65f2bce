"""PURE: what a report of `corral egress` holds up to: its own counters, who signed it, what should have served."""

import hashlib
from collections.abc import Iterator
from datetime import datetime
from typing import Literal

from infra import egress_rules
from infra.egress_proof import Egress, GatewayProof, Proof, Served, problems
from infra.host_gateway import title_of
from infra.quantity import counted
from infra.record import Record


class Finding(Record):
    """One thing that was checked."""

    what: Literal["verdict", "signature", "rules", "engine", "weights", "draft", "adapter"]
    """What was held against what."""
    holds: bool | None
    """None where there was nothing to hold it against."""
    said: str
    """What was found, as a sentence."""


class Verified(Record):
    """What `corral egress verify` found; its file was read, so its sha256 is right."""

    name: str
    """The deployment's that the report is of."""
    made_at: datetime
    """When the report was made (UTC)."""
    verdict: Literal["proved", "observed", "not proved"]
    """As the report says."""
    file_sha256: str
    """Of the file, byte by byte: what was signed."""
    signer: str
    """Whose signature it is; empty for a report that is not signed."""
    findings: tuple[Finding, ...]
    """Each check, in order."""

    @property
    def problems(self) -> tuple[str, ...]:
        """What does not hold."""
        return tuple(finding.said for finding in self.findings if finding.holds is False)


class Expected(Record):
    """What should have served."""

    where: str
    """Of whom it is said: the bundle /media/usb, the deployment scout."""
    engine_sha256: str = ""
    """As infra.egress_proof.Served has it; empty where it is not known here, such as of what a host fetched."""
    model: dict[str, str] = {}
    """In the same way."""
    beside: dict[str, dict[str, str]] = {}
    """Of a draft and adapters as infra.egress_proof.Served has them; no files of one that is not known here."""
    rules: bool = False
    """Whether the rules must be those that this corral writes."""


def verdict_of(report: Egress) -> Finding:
    """Whether what it says follows from what it holds."""
    said = [
        *(problem for proof in report.hosts for problem in problems(proof)),
        *(
            f"the rules of {proof.host} are not those of its sha256"
            for proof in report.hosts
            if proof.rules_sha256 != proof.before.rules_sha256
        ),
    ]
    if report.verdict != "proved":
        return Finding(what="verdict", holds=True, said=f"it says that it is {report.verdict}")
    if not report.hosts or not report.completions or said:
        why = said[0] if said else "it holds no host that answered"
        return Finding(what="verdict", holds=False, said=f"it says proved, and that does not follow: {why}")
    hosts = "1 host" if len(report.hosts) == 1 else f"{len(report.hosts)} hosts"
    return Finding(what="verdict", holds=True, said=f"proved follows from the counters of {hosts}")


def digests(report: Egress, expected: tuple[Expected, ...]) -> Iterator[Finding]:
    """Rules, engine and weights of each host against what should have served."""
    for proof in report.hosts:
        served = proof.before.served
        if served is None:
            yield Finding(
                what="engine",
                holds=False if expected else None,
                said=f"{proof.host}: an older corral made it, without digests of engine, weights and rules",
            )
            continue
        yield rules(report.name, proof, served, any(each.rules for each in expected))
        if proof.gateway:
            yield gateway_rules(report.name, proof.host, proof.gateway, any(each.rules for each in expected))
        for each in expected:
            yield from compared(proof.host, served, each)


def rules(name: str, proof: Proof, served: Served, is_asked: bool) -> Finding:
    """Whether the lock was loaded from what this corral writes for such a server."""
    text = egress_rules.rules(name, bool(proof.peers), proof.listens_outside)
    return written_by_us(proof.host, text, served, is_asked)


def gateway_rules(name: str, host: str, gateway: GatewayProof, is_asked: bool) -> Finding:
    """The same of a gateway's, or a listener's, which may reach the servers that the report names."""
    text = egress_rules.gateway_rules(title_of(name, gateway.unit), gateway.servers)
    return written_by_us(
        f"{host}'s {'listener' if gateway.is_listener else 'gateway'}", text, gateway.look.served, is_asked
    )


def written_by_us(whose: str, text: str, served: Served | None, is_asked: bool) -> Finding:
    """Whether rules were loaded from that text."""
    ours, theirs = hashlib.sha256(text.encode()).hexdigest(), served.rules_sha256 if served else ""
    if theirs == ours:
        return Finding(what="rules", holds=True, said=f"{whose}: those that this corral writes ({ours[:12]})")
    said = f"{whose}: its rules ({theirs[:12]}) are not those that this corral writes: read them"
    return Finding(what="rules", holds=False if is_asked else None, said=said)


def compared(host: str, served: Served, expected: Expected) -> Iterator[Finding]:
    """Engine and weights of a host; what they should be is not known of each, and that is said."""
    if not expected.engine_sha256:
        said = f"{host}: vLLM {served.vllm_version}; that of {expected.where} is not known here"
        yield Finding(what="engine", holds=None, said=said)
    else:
        is_it = served.engine_sha256 == expected.engine_sha256
        said = f"{host}: vLLM {served.vllm_version} is {'' if is_it else 'not '}that of {expected.where}"
        yield Finding(what="engine", holds=is_it, said=said)
    if not expected.model:
        said = f"{host}: {len(served.model)} files; those of {expected.where} are not known here"
        yield Finding(what="weights", holds=None, said=said)
    else:
        other = sorted(name for name, _ in served.model.items() ^ expected.model.items())
        said = (
            f"{host}: {other[0]} is not as in {expected.where}"
            if other
            else f"{host}: {len(served.model)} files"
        )
        yield Finding(
            what="weights", holds=not other, said=said if other else f"{said} are those of {expected.where}"
        )
    for folder in sorted({*(served.beside or {}), *expected.beside}):
        yield of_folder(folder, host, served, expected)


def of_folder(folder: str, host: str, served: Served, expected: Expected) -> Finding:
    """A draft or an adapter: one that nobody asked for, or that is missing, is another than should have served."""
    what: Literal["draft", "adapter"] = "draft" if folder == "draft" else "adapter"
    there, wanted = (served.beside or {}).get(folder), expected.beside.get(folder)
    if served.beside is None:
        return Finding(
            what=what, holds=False, said=f"{host}: an older corral made it, without digests of {folder}"
        )
    if there is None:
        return Finding(what=what, holds=False, said=f"{host}: it has no {folder}, unlike {expected.where}")
    if wanted is None:
        return Finding(what=what, holds=False, said=f"{host}: it has {folder}, unlike {expected.where}")
    if not wanted:
        said = f"{host}: {folder}, {counted(len(there), 'file')}; what {expected.where} has is not known here"
        return Finding(what=what, holds=None, said=said)
    other = sorted(name for name, _ in there.items() ^ wanted.items())
    said = (
        f"{host}: {folder}/{other[0]} is not as in {expected.where}"
        if other
        else f"{host}: {folder}, {counted(len(there), 'file')} as in {expected.where}"
    )
    return Finding(what=what, holds=not other, said=said)
