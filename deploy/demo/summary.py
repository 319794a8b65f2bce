"""PURE: the demo's closing summary: what was measured on a toy, and what is from the catalogue."""

from deploy.demo.play import Demo
from deploy.demo.steps import PROBE_INVALID
from infra.columns import wrapped

NEXT = "corral up scout --on g5.12xlarge --region us-east-1 --dry-run"


def summary(demo: Demo) -> str:
    """A short text that never mixes the two kinds of figures."""
    here = demo.engine_kv_tokens is not None
    end = "nothing is left running" if here else "no server was started"
    on = (
        "a toy of 1.8 M random parameters; it says nothing about Llama 4's speed" if here else "your endpoint"
    )
    return "\n".join(
        (
            f"The line ran end to end in {demo.duration_s:.0f} s; {end}.",
            "",
            f"Measured here, on {on}:",
            *(wrapped(line, "- ") for line in measured(demo)),
            "",
            "From the catalogue and by arithmetic; no GPU was rented, nothing was measured:",
            *(wrapped(line, "- ") for line in catalogue(demo)),
            "",
            f"Documents and pages: {demo.folder}",
            "",
            f"Next, what that machine would be asked to do, with nothing rented: {NEXT}",
        )
    )


def measured(demo: Demo) -> tuple[str, ...]:
    """What the probe and the engine said."""
    probe = demo.probe
    lines = [
        f"{probe.succeeded} of {probe.sent} requests succeeded; {probe.output_tokens_per_s:,.0f} output tokens/s"
    ]
    if probe.ttft_s and probe.tpot_s:
        lines.append(
            f"first token after {probe.ttft_s.p50 * 1000:.0f} ms (p50), {probe.ttft_s.p99 * 1000:.0f} ms (p99); "
            f"then {probe.tpot_s.p50 * 1000:.1f} ms a token"
        )
    if any(step.exit_code == PROBE_INVALID for step in demo.steps):
        lines.append("the probe calls this run invalid: it shared the cores with the server it measured")
    if demo.planned_kv_tokens is not None and demo.engine_kv_tokens is not None:
        equal = demo.planned_kv_tokens == demo.engine_kv_tokens
        lines.append(
            f"KV cache: corral planned {demo.planned_kv_tokens:,} tokens and vLLM made {demo.engine_kv_tokens:,}: "
            + ("equal" if equal else "NOT EQUAL, please report it")
        )
    return tuple(lines)


def catalogue(demo: Demo) -> tuple[str, ...]:
    """What the planner and the comparison say of a real machine."""
    plan, price = demo.catalogue, demo.catalogue.price
    lines = [f"{plan.model} {plan.precision} on {plan.machine.name}: {plan.verdict}. {plan.reason}"]
    if price:
        origin = f"{price.source}, checked {price.checked_on}"
        lines.append(f"${price.usd_per_hour} an hour, {price.purchase} in {price.region} ({origin})")
    if plan.throughput:
        lines.append(f"{plan.throughput.output_tokens_per_s:,.0f} output tokens/s, {plan.throughput.basis}")
    return (*lines, demo.verdict)
