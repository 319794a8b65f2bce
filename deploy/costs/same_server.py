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
    if at_once is None or not points or probe.succeeded < 1 or not has_lengths(plan, probe):
        return None
    return on_curve(points, at_once)


def has_lengths(plan: Plan, probe: ProbeReport) -> bool:
    """Whether the requests that succeeded were, on average, about as long as the plan's."""
    planned = (plan.workload.input_tokens, plan.workload.output_tokens)
    return all(
        abs(found - said) <= ALIKE * said for found, said in zip(mean_lengths(probe), planned, strict=True)
    )


def mean_lengths(probe: ProbeReport) -> tuple[float, float]:
    """Input and output tokens of a request that succeeded; of at least one."""
    return probe.input_tokens / probe.succeeded, probe.output_tokens / probe.succeeded


def other_load(plan: Plan, probe: ProbeReport) -> str:
    """That the probe's requests are not of the plan's lengths, where requests are what is counted."""
    if probe.succeeded < 1 or has_lengths(plan, probe):
        return ""
    found, planned = mean_lengths(probe), (plan.workload.input_tokens, plan.workload.output_tokens)
    return (
        f"OTHER LOAD: a request of the probe had {found[0]:,.0f} tokens in and {found[1]:,.0f} out, one of the plan "
        f"has {planned[0]:,} and {planned[1]:,}; a month of requests is counted in the probe's. Probe as planned "
        f"(--input-tokens {planned[0]} --output-tokens {planned[1]}), or say the month's with --class or "
        "--mtok-per-month."
    )


def on_curve(points: list[CurvePoint], at_once: int) -> float:
    """The rate at a concurrency: on the line between two points, beyond the ends as at the ends."""
    after = bisect([point.concurrency for point in points], at_once)
    if after in (0, len(points)):
        return points[min(after, len(points) - 1)].output_tokens_per_s
    low, high = points[after - 1], points[after]
    share = (at_once - low.concurrency) / (high.concurrency - low.concurrency)
    return low.output_tokens_per_s + share * (high.output_tokens_per_s - low.output_tokens_per_s)
