"""PURE: how fast the machine is, from a probe, or from the plan where nothing was measured."""

from decimal import Decimal

from deploy.costs.comparison import Speed
from infra.errors import ProbeInvalid, UsageError
from infra.money import LARGEST, SMALLEST, rounded
from serving.probe.report import ProbeReport
from serving.sizing.plan import Plan

CI_KEY = "steady.output_tokens_per_s"


def speed_of(plan: Plan, probe: ProbeReport | None, allow_invalid: bool) -> Speed:
    """The measured speed, else the planner's, of one machine. Raises ProbeInvalid for a run that must not be used."""
    return of_machine(plan, of_server(plan, probe, allow_invalid))


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


def of_server(plan: Plan, probe: ProbeReport | None, allow_invalid: bool) -> Speed:
    """The speed of the one server that is planned."""
    if probe is None:
        return modelled(plan)
    if not probe.valid and not allow_invalid:
        why = "; ".join(probe.invalid_because) or "it says no more"
        raise ProbeInvalid(
            f"The probe says of itself that it must not be used: {why}.",
            "Probe again on a free machine, or look at the figures all the same: --allow-invalid",
        )
    return measured(probe)


def measured(probe: ProbeReport) -> Speed:
    """The steady part's output rate where there is one, at the mix of the requests that succeeded."""
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
    part = "steady part" if steady else "whole run, ramp and drain included"
    return Speed(
        output_tokens_per_s=exact(rate),
        output_tokens_per_s_low=exact(low),
        output_tokens_per_s_high=exact(high),
        input_tokens_per_request=exact(probe.input_tokens / probe.succeeded),
        output_tokens_per_request=exact(probe.output_tokens / probe.succeeded),
        basis="measured",
        how=f"{part} of {probe.succeeded} requests, {said_load(probe)}, {probe.started_at}",
    )


def modelled(plan: Plan) -> Speed:
    """The planner's prediction. Raises UsageError for a plan without one."""
    predicted = plan.throughput
    if predicted is None or predicted.output_tokens_per_s <= 0:
        raise UsageError(
            "The plan predicts no speed and no probe was given.",
            "Measure it: corral probe URL, then --probe FILE",
        )
    rate, band = predicted.output_tokens_per_s, predicted.band or 1.0
    return Speed(
        output_tokens_per_s=exact(rate),
        output_tokens_per_s_low=exact(rate / band),
        output_tokens_per_s_high=exact(rate * band),
        input_tokens_per_request=exact(plan.workload.input_tokens),
        output_tokens_per_request=exact(plan.workload.output_tokens),
        basis="modelled",
        how=f"the plan at {predicted.concurrency} requests at once; {predicted.basis}",
    )


def exact(value: float) -> Decimal:
    """A measured figure as a Decimal."""
    return rounded(Decimal(repr(float(value))))


def said_load(probe: ProbeReport) -> str:
    """The load of the probe in words."""
    rate, at_once = probe.load.get("request_rate"), probe.load.get("concurrency")
    if rate is not None:
        return f"arriving at {rate}/s"
    return f"{at_once} at once" if at_once is not None else "load not said"
