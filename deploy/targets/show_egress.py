"""PURE: what `corral egress` says to a person."""

from collections.abc import Iterator

from infra.egress_proof import Egress, Look, Proof, moved
from infra.onhost.egress_look import over
from infra.quantity import counted

STOPPED = {"dropped": "stopped"}
"""The counter has the kernel's word for some of what it counts: most is refused."""


def described(report: Egress) -> str:
    """The verdict, what was tried, what was counted, and what it does not show."""
    lines = [f"{report.name}: {report.verdict}, {report.made_at:%Y-%m-%d %H:%M:%S} UTC"]
    lines += [line for proof in report.hosts for line in _host(proof)]
    if not report.hosts:
        lines.append(
            f"  {report.completions} completions; connections seen: {', '.join(report.observed) or 'none'}"
        )
    lines += [f"  problem: {problem}" for problem in report.problems]
    return "\n".join([*lines, "What this does not show:", *[f"  {limit}" for limit in report.limits]])


def _attempts(seen: Look) -> Iterator[str]:
    for attempt in seen.attempts:
        stopped = f", {counted(attempt.dropped, 'packet')} counted" if attempt.dropped else ""
        yield f"  {attempt.target}: {attempt.outcome} ({attempt.said.lower()}{stopped})"


def _host(proof: Proof) -> Iterator[str]:
    before, after = proof.before, proof.after
    yield f"{proof.host}: {proof.unit}, Linux {before.kernel}, rules {proof.rules_sha256[:12]}"
    if served := before.served:
        weights = (
            f"{over(served.model)[:12]} of {counted(len(served.model), 'file')}"
            if served.model
            else "not summed"
        )
        yield f"  vLLM {served.vllm_version}, engine {served.engine_sha256[:12]}; weights {weights}"
        for folder, files in (served.beside or {}).items():
            yield f"  {folder} {over(files)[:12]} of {counted(len(files), 'file')}"
    yield from _attempts(before)
    if gateway := proof.gateway:
        reached = ", ".join(gateway.servers)
        what = "listener" if gateway.is_listener else "gateway"
        yield f"  {what}: {gateway.unit}, which may reach {reached} and nobody else; from inside it:"
        yield from (f"  {line}" for line in _attempts(gateway.look))
    if before.lock and after.lock:
        counts = moved(before.lock.counters, after.lock.counters)
        sent = ", ".join(f"{STOPPED.get(name, name)} {packets}" for name, packets in counts.items())
        yield f"  during {proof.completions} completions, packets sent: {sent}"
