"""PURE: how fast the machine is, from a probe, or from the plan where nothing was measured."""

from collections.abc import Sequence
from decimal import Decimal

from deploy.costs.comparison import Speed
from deploy.costs.measured_load import Measured
from deploy.costs.operating_point import Promised, planned_point, probed_point
from deploy.costs.unlike import fleet_planned
from infra.argument import pasted
from infra.errors import ProbeInvalid, UsageError
from infra.money import LARGEST, SMALLEST, exact, rounded
from serving.probe.report import ProbeReport
from serving.probe.spoiled import where_to_look
from serving.sizing.carried import Carried, Machines, counted, mean_times
from serving.sizing.plan import Plan
from serving.sizing.traffic import Promise

CI_KEY = "steady.output_tokens_per_s"


def speed_of(
    plan: Plan, measured: Measured | None, allow_invalid: bool, promised: Promised, spares: int | None = None
) -> Speed:
    """The measured speed, else the planner's, of one machine; of unlike ones the mean without the spare ones.

    `spares`: how many these are; the plan's if None. Raises ProbeInvalid for a run that must not be used, UsageError
    where a kind of them does not keep the promise.
    """
    speed, carried = of_server(plan, measured, allow_invalid, promised), plan.carried
    if carried is None:
        return speed
    if carried.are_alike:
        return of_machine(carried.machines, of_each_server(carried, speed))
    check_each_kind(plan, carried, promised, is_measured=measured is not None)
    # Where all are spare, which is refused elsewhere, it is of all.
    serving = carried.serving(carried.spare_machines if spares is None else spares) or carried.machines
    return of_machine(serving, of_unlike(plan, serving, speed))


def check_each_kind(plan: Plan, carried: Carried, promised: Promised, is_measured: bool) -> None:
    """Raise UsageError where the slow requests of a kind of machine do not keep what is promised.

    `is_measured`: whether a probe says that of the kind that is planned.
    """
    promise = carried.promise or Promise()
    typed = {"ttft_s": promised.ttft_s, "tpot_s": promised.tpot_s}
    said = {name: seconds for name, seconds in typed.items() if seconds is not None}
    again = carried.model_copy(update={"promise": promise.model_copy(update=said)})
    for kind in carried.machines:
        of = kind.predicted
        if is_measured and kind.name == plan.machine.name:
            continue
        if of and not promised.is_kept_by(of.ttft_s, of.tpot_s):
            raise UsageError(
                f"The plan's {kind.name}, as full as counted on, do not keep {promised}: p{promise.percentile:g} TTFT "
                f"{of.ttft_s:.3g} s and TPOT {of.tpot_s:.3g} s.",
                f"Plan for that promise, which fills each kind no further: {fleet_planned(plan, again)}",
            )


def of_each_server(carried: Carried, speed: Speed) -> Speed:
    """The speed, whose load is that of one of several servers on each machine where it is the plan's."""
    if speed.basis == "measured" or carried.machines[0].servers == 1:
        return speed
    point = speed.point.model_copy(update={"load": f"{speed.point.load} a server"})
    return speed.model_copy(update={"point": point})


def of_unlike(plan: Plan, serving: Sequence[Machines], speed: Speed) -> Speed:
    """The speed of the planned server, as that of one kind of several: each has a load of its own."""
    kinds = [(kind.name, kind.predicted.requests_at_once) for kind in serving if kind.predicted]
    if speed.basis == "measured":
        load = f"{speed.point.load} on {plan.machine.name}"
    elif len(kinds) < len(serving):
        load = "a load of each kind that this plan did not keep"
    else:
        load = ", ".join(f"{at_once} requests at once a server on {name}" for name, at_once in kinds)
    unknown = dict.fromkeys(("requests_at_once", "ttft_s", "tpot_s"))
    point = speed.point.model_copy(update=unknown | {"load": load})
    how = f"{speed.how}, on {plan.machine.name}"
    return speed.model_copy(update={"point": point, "machines": counted(serving), "how": how})


def of_machine(machines: Sequence[Machines], speed: Speed) -> Speed:
    """The speed of a machine with several of the plan's servers on it; on average, where machines are unequal."""
    average = mean_times(machines)
    if average == 1:
        return speed
    times = Decimal(repr(average))
    each = f"a machine, the mean of {speed.machines}" if speed.machines else "a machine"
    return speed.model_copy(
        update={
            "output_tokens_per_s": rounded(times * speed.output_tokens_per_s),
            "output_tokens_per_s_low": rounded(times * speed.output_tokens_per_s_low),
            "output_tokens_per_s_high": rounded(times * speed.output_tokens_per_s_high),
            "how": f"{speed.how}; {average:.3g} such servers {each}",
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
