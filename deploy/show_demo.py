"""PURE: the demo's closing summary: what was measured on a toy, and what is from the catalogue."""

from deploy.demo import PROBE_INVALID, Demo


def summary(demo: Demo) -> str:
    """A short text that never mixes the two kinds of figures."""
    return "\n".join(
        (
            f"The line ran end to end in {demo.duration_s:.0f} s; nothing is left running.",
            "",
            "Measured here (a toy of 1.8 M random parameters, or your endpoint: says nothing about Llama 4's speed)",
            *measured(demo),
            "",
            "From the catalogue and by arithmetic (no GPU was rented, nothing was measured)",
            *catalogue(demo),
            "",
            f"The documents are in {demo.folder}.",
        )
    )


def measured(demo: Demo) -> tuple[str, ...]:
    """What the probe and the engine said."""
    probe = demo.probe
    lines = [
        f"  {probe.succeeded} of {probe.sent} requests succeeded, {probe.output_tokens_per_s:,.0f} output tokens/s",
    ]
    if probe.ttft_s and probe.tpot_s:
        lines.append(
            f"  first token after {probe.ttft_s.p50 * 1000:.0f} ms (p50) and {probe.ttft_s.p99 * 1000:.0f} ms (p99), "
            f"then {probe.tpot_s.p50 * 1000:.1f} ms a token"
        )
    if any(step.exit_code == PROBE_INVALID for step in demo.steps):
        lines.append("  the probe calls this run invalid, as server and probe share this machine's cores")
    if demo.engine_kv_tokens is not None:
        same = (
            "the same"
            if demo.engine_kv_tokens == demo.planned_kv_tokens
            else "NOT THE SAME: please report it"
        )
        lines.append(
            f"  KV cache: {demo.planned_kv_tokens:,} tokens planned, {demo.engine_kv_tokens:,} made by vLLM: {same}"
        )
    return tuple(lines)


def catalogue(demo: Demo) -> tuple[str, ...]:
    """What the planner says of a real machine."""
    plan = demo.catalogue
    lines = [f"  {plan.model} {plan.precision} on {plan.machine.name}: {plan.verdict}. {plan.reason}"]
    price = plan.price
    if price:
        lines.append(
            f"  ${price.usd_per_hour}/h {price.purchase} in {price.region}, checked {price.checked_on}"
        )
    if plan.throughput:
        lines.append(f"  {plan.throughput.output_tokens_per_s:,.0f} output tokens/s, {plan.throughput.basis}")
    return tuple(lines)
