"""PURE: what a plan from `corral capacity` brings to a comparison: its machines' number, and its tokens a month."""

import math
from decimal import Decimal

from deploy.costs.compare_options import LEAST_MTOK, MOST_MTOK, Question
from deploy.costs.peak import USUAL_FACTOR, Peak, beyond, over_the_month
from deploy.costs.self_hosted import OurSide, machines_needed
from deploy.costs.served_class import ServedClass, here_share
from deploy.costs.unlike import rest_planned
from infra.argument import pasted
from infra.asked import again
from infra.errors import UsageError
from infra.money import MTOK, count, percent, rounded
from serving.probe.lengths import Lengths
from serving.sizing.carried import Carried
from serving.sizing.plan import Plan
from serving.sizing.traffic_options import MachineOptions, TrafficOptions


def machines_of(plan: Plan, asked: Question) -> dict[str, Decimal]:
    """The knobs that the plan sets, where the user named no number of machines of their own."""
    if plan.carried is None or asked.replicas is not None:
        return {}
    return {"replicas": Decimal(plan.carried.count), "spares": Decimal(plan.carried.spare_machines)}


def mtok_of(plan: Plan, question: Question, tokens_per_request: Decimal) -> Decimal | None:
    """Millions of tokens a month: the user's, else the plan's; None where a utilisation says it.

    Of classes those that are answered here; the user's and the plan's are of all.

    Raises UsageError for a traffic that nobody has.
    """
    if question.requests_per_month is not None:
        return question.requests_per_month * tokens_per_request / 1_000_000 * here_share(question.classes)
    if question.mtok_per_month is not None or question.utilisation is not None or plan.carried is None:
        asked = question.mtok_per_month
        return None if asked is None else asked * here_share(question.classes)
    mtok = rounded(Decimal(repr(plan.carried.traffic.tokens_per_month)) / 1_000_000)
    if not LEAST_MTOK <= mtok <= MOST_MTOK:
        raise UsageError(
            f"The plan's traffic is {mtok:.3g} million tokens a month, which is not between {LEAST_MTOK} "
            f"and {MOST_MTOK:,}.",
            "Say how much there is: --mtok-per-month 500",
        )
    return mtok * here_share(question.classes)


def classes_of(plan: Plan, question: Question) -> tuple[ServedClass, ...]:
    """The user's classes, else those that the plan was made for, which are all answered here."""
    planned = plan.carried.traffic.classes if plan.carried else ()
    return question.classes or tuple(ServedClass(**each.model_dump()) for each in planned)


def carrying(planned: Carried) -> int:
    """So many of the plan's machines, which are alike, carry its peak, the spare ones included."""
    peak, serving = planned.traffic.peak_requests_per_s, planned.count - planned.spare_machines
    carried = peak - planned.missing_requests_per_s
    return math.ceil(serving * peak / carried) + planned.spare_machines if carried > 0 else planned.count + 1


def short(plan: Plan, ours: OurSide, peak: Peak) -> str:
    """That the machines do not carry the plan's peak, at worst either, and what would; empty where they do."""
    own, carried = ours.figures, plan.carried
    if carried is None or not peak.is_missing:
        return beyond(own.utilisation, own.most_utilisation)
    of_peak = carried.traffic.peak_requests_per_s
    worst = of_peak - carried.predicted.at_worst_requests_per_s if carried.predicted else 0.0
    at_worst = (
        f", and {worst:.3g} at the bad end of the speed's band"
        if worst > carried.missing_requests_per_s
        else ""
    )
    missing = (
        f"NOT ENOUGH: of {of_peak:.3g} requests/s at peak the plan's machines, {carried}, do not carry "
        f"{carried.missing_requests_per_s:.3g}{at_worst}."
    )
    if not carried.are_alike:
        return f"{missing} Plan what carries the rest, and compare that too: {rest_planned(plan, carried)}"
    needed = max(
        machines_needed(own.mtok_per_month, own.capacity_mtok_per_month, ours.knobs, peak), carrying(carried)
    )
    spare = f" --spares {ours.knobs.spares:f}" if ours.knobs.spares else ""
    return f"{missing} It takes {needed} of them: --replicas {needed}{spare}."


def without_peak(plan: Plan, ours: OurSide, asked: Question) -> str:
    """That a schedule's hours are taken as evenly busy where the plan says no peak, with the command for one that does.

    Empty where it says one, where nothing is scheduled, and on a CPU.
    """
    if plan.carried is not None or asked.schedule is None or not plan.machine.gpu_count:
        return ""
    own, speed = ours.figures, ours.speed
    traffic = TrafficOptions.model_construct(
        requests_per_month=float(round(own.mtok_per_month * MTOK / speed.tokens_per_request)),
        peak_factor=over_the_month(ours.knobs.hours_per_month),
        input_tokens=Lengths(low=max(1, round(speed.input_tokens_per_request))),
        output_tokens=Lengths(low=max(1, round(speed.output_tokens_per_request))),
    )
    machines = (plan.machine.name,) if plan.machine.hosts == 1 else ()
    on = MachineOptions.model_construct(precision=plan.precision, machines=machines)
    return (
        f"NO PEAK: corral size plans for none, so its hours are taken as evenly busy, {percent(own.utilisation)} of "
        f"what it serves; a peak {count(USUAL_FACTOR)} times as high takes {percent(own.utilisation * USUAL_FACTOR)}. "
        f"A plan that carries one: corral capacity {pasted(plan.model)}{again(traffic, on)} -o peak.json"
    )
