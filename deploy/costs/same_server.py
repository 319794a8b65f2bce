"""PURE: whether a probe was of the server that the plan is for, as far as the two documents tell."""

from bisect import bisect

from deploy.costs.operating_point import at_once_of
from serving.probe.report import ProbeReport
from serving.sizing.plan import CurvePoint, Plan

ALIKE = 0.1
"""Lengths of requests that differ by no more than that share are the same for this."""


def differences(plan: Plan, probe: ProbeReport) -> tuple[str, ...]:
    """What of the probe is not of the plan's machine, precision or engine, or cannot be.

    That both are of one model is checked before. A probe of a mere URL names neither machine nor precision.
    """
    told = (other_machine(plan, probe), other_precision(plan, probe))
    every = (*told, other_version(plan, probe), "" if any(told) else other_speed(plan, probe))
    return tuple(text for text in every if text)


def other_machine(plan: Plan, probe: ProbeReport) -> str:
    """That what was probed is planned for another machine."""
    if probe.machine in (None, plan.machine.name):
        return ""
    return (
        f"OTHER MACHINE: the probe was of {probe.machine}, the plan is for {plan.machine.name}: the speed of one has "
        "the price of the other."
    )


def other_precision(plan: Plan, probe: ProbeReport) -> str:
    """That what was probed is of another precision."""
    if probe.precision in (None, plan.precision):
        return ""
    return f"OTHER PRECISION: the probe was of {probe.precision}, the plan is for {plan.precision}."


def other_version(plan: Plan, probe: ProbeReport) -> str:
    """That the probed server was of another version of vLLM."""
    found, planned = probe.server.version, plan.vllm_version.removeprefix("v")
    if found is None or found.removeprefix("v") == planned:
        return ""
    return f"OTHER ENGINE: the plan is for vLLM {planned}, the probed server said {found}."


def other_speed(plan: Plan, probe: ProbeReport) -> str:
    """That the probe measured what the plan's machine cannot do, or far less than it does; of one server."""
    expected = predicted_at(plan, probe) if probe.servers == 1 else None
    steady = probe.steady
    rate = steady.output_tokens_per_s if steady else probe.output_tokens_per_s
    band = plan.throughput.band if plan.throughput else 0.0
    if expected is None or band < 1 or expected / band <= rate <= expected * band:
        return ""
    return (
        f"OTHER MACHINE? The probe measured {rate:,.0f} output tokens/s where the plan predicts {expected:,.0f} for "
        f"{plan.model} {plan.precision} on {plan.machine.name}, within a factor of {band:.3g}: check that it was of "
        "that machine and precision."
    )


def predicted_at(plan: Plan, probe: ProbeReport) -> float | None:
    """The plan's output tokens a second at the probe's load; None where the plan says nothing of such requests."""
    at_once, points = at_once_of(probe), sorted(plan.curve, key=lambda point: point.concurrency)
    if at_once is None or not points or probe.succeeded < 1:
        return None
    lengths = (probe.input_tokens / probe.succeeded, probe.output_tokens / probe.succeeded)
    planned = (plan.workload.input_tokens, plan.workload.output_tokens)
    if any(abs(found - said) > ALIKE * said for found, said in zip(lengths, planned, strict=True)):
        return None
    return on_curve(points, at_once)


def on_curve(points: list[CurvePoint], at_once: int) -> float:
    """The rate at a concurrency: on the line between two points, beyond the ends as at the ends."""
    after = bisect([point.concurrency for point in points], at_once)
    if after in (0, len(points)):
        return points[min(after, len(points) - 1)].output_tokens_per_s
    low, high = points[after - 1], points[after]
    share = (at_once - low.concurrency) / (high.concurrency - low.concurrency)
    return low.output_tokens_per_s + share * (high.output_tokens_per_s - low.output_tokens_per_s)
