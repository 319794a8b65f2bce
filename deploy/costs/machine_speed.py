"""PURE: how fast the machine is, from a probe, or from the plan where nothing was measured."""

from decimal import Decimal

from deploy.costs.comparison import Speed
from deploy.costs.measured_load import Measured
from deploy.costs.operating_point import Promised, planned_point, probed_point
from infra.argument import pasted
from infra.errors import ProbeInvalid, UsageError
from infra.money import LARGEST, SMALLEST, exact, rounded
from serving.probe.report import ProbeReport
from serving.probe.spoiled import where_to_look
from serving.sizing.plan import Plan

CI_KEY = "steady.output_tokens_per_s"


def speed_of(plan: Plan, measured: Measured | None, allow_invalid: bool, promised: Promised) -> Speed:
    """The measured speed, else the planner's, of one machine. Raises ProbeInvalid for a run that must not be used."""
    return of_machine(plan, of_server(plan, measured, allow_invalid, promised))


def of_machine(plan: Plan, speed: Speed) -> Speed:
    """The speed of a machine with several of the plan's servers on it; on average, where its machines are unequal."""
    carried = plan.carried
    if carried is None or carried.times == 1:
        return speed
    times = Decimal(repr(carried.times))
    each = "a machine" if len(carried.machines) == 1 else f"a machine, the mean of {carried}"
    return speed.model_copy(
        update={
            "output_tokens_per_s": rounded(times * speed.output_tokens_per_s),
            "output_tokens_per_s_low": rounded(times * speed.output_tokens_per_s_low),
            "output_tokens_per_s_high": rounded(times * speed.output_tokens_per_s_high),
            "how": f"{speed.how}; {carried.times:.3g} such servers {each}",
        }
    )


def of_server(plan: Plan, measured: Measured | None, allow_invalid: bool, promised: Promised) -> Speed:
    """The speed of the one server that is planned."""
    if measured is None:
        return modelled(plan, promised)
    probe = measured.probe
    if not probe.valid and not allow_invalid:
        why = "; ".join(probe.invalid_because) or "it says no more"
        raise ProbeInvalid(
            f"The probe says of itself that it must not be used: {why}.",
            f"{where_to_look(probe.spoiled_by)} Or look at the figures all the same: --allow-invalid",
        )
    return of_probe(plan, measured, promised)


def of_probe(plan: Plan, measured: Measured, promised: Promised) -> Speed:
    """The steady part's output rate where there is one, at the mix of the requests that succeeded."""
    probe = measured.probe
    steady = probe.steady
    rate = steady.output_tokens_per_s if steady else probe.output_tokens_per_s
    between = probe.confidence.get(CI_KEY) if steady else None
    low, high = (max(between.low, rate / 100), between.high) if between else (rate, rate)
    is_speed = all(SMALLEST <= each <= LARGEST for each in (probe.output_tokens_per_s, rate, low, high))
    if probe.succeeded < 1 or probe.output_tokens < 1 or probe.input_tokens < 0 or not is_speed:
        raise ProbeInvalid(
            "The probe has no succeeded request with output tokens: there is no speed to put a price on.",
            "Look at its errors, and probe again.",
        )
    point = measured.point or probed_point(probe, plan)
    if not promised.is_kept_by(point.ttft_s, point.tpot_s):
        raise UsageError(
            f"The probe's load, {point.load}, does not keep {promised}: {slow_ones(probe)}.",
            "Give the sweep.json of other loads, or promise more: corral probe sweep " + pasted(probe.url),
        )
    part = "steady part" if steady else "whole run, ramp and drain included"
    each = f", of which each of {probe.servers} equal servers did its share" if probe.servers > 1 else ""
    return Speed(
        output_tokens_per_s=exact(rate / probe.servers),
        output_tokens_per_s_low=exact(low / probe.servers),
        output_tokens_per_s_high=exact(high / probe.servers),
        input_tokens_per_request=exact(probe.input_tokens / probe.succeeded),
        output_tokens_per_request=exact(probe.output_tokens / probe.succeeded),
        basis="measured",
        how=f"{part} of {probe.succeeded} requests, {point.load}, {probe.started_at}{each}",
        point=point,
    )


def slow_ones(probe: ProbeReport) -> str:
    """The p95 of TTFT and TPOT, as far as there are any."""
    named = (("TTFT", probe.ttft_s), ("TPOT", probe.tpot_s))
    said = [f"p95 {name} {summary.p95:.3g} s" for name, summary in named if summary is not None]
    return " and ".join(said) or "it has no latencies"


def modelled(plan: Plan, promised: Promised) -> Speed:
    """The planner's prediction. Raises UsageError for a plan without one, or where no load keeps the promise."""
    predicted = plan.throughput
    if predicted is None or predicted.output_tokens_per_s <= 0:
        raise UsageError(
            "The plan predicts no speed and no probe was given.",
            "Measure it (corral probe), then give its probe.json: --probe probe.json",
        )
    best, point = planned_point(plan, predicted, promised)
    rate, band = best.output_tokens_per_s, predicted.band or 1.0
    return Speed(
        output_tokens_per_s=exact(rate),
        output_tokens_per_s_low=exact(rate / band),
        output_tokens_per_s_high=exact(rate * band),
        input_tokens_per_request=exact(plan.workload.input_tokens),
        output_tokens_per_request=exact(plan.workload.output_tokens),
        basis="modelled",
        how=f"the plan at {point.load}; {predicted.basis}",
        point=point,
    )
