"""PURE: how busy a plan's machines may be on average, so that they still carry its peak within its promise."""

from decimal import ROUND_DOWN, ROUND_UP, Decimal
from typing import NamedTuple

from deploy.costs.schedule import HOURS_A_MONTH
from infra.money import exact, percent, rounded
from serving.sizing.plan import Plan
from serving.sizing.traffic_options import TrafficOptions


class Peak(NamedTuple):
    """What a plan's peak leaves of its machines; a plan without a traffic leaves all."""

    factor: Decimal = Decimal(1)
    """How many times the average it is."""
    fill: Decimal = Decimal(1)
    """The share of what they serve when saturated that they carry at the peak, so that the promise is kept."""

    is_missing: bool = False
    """Whether the plan says itself that its machines do not carry it: that is warned of, and not refused."""
    unlike: Plan | None = None
    """The plan, where its machines are of several kinds: a number says nothing of more or fewer of them."""

    @property
    def most_utilisation(self) -> Decimal:
        """On average, 0 to 1."""
        return rounded(self.fill / self.factor)


NO_PEAK = Peak()


def peak_of(plan: Plan, is_of_plan: bool) -> Peak:
    """The plan's own, for the plan's machines or for so many as the user says.

    A plan of before its promise was kept says nothing of how far its machines may be filled.
    """
    carried, throughput = plan.carried, plan.throughput
    if carried is None:
        return Peak()
    factor = exact(carried.traffic.peak_factor)
    is_missing = is_of_plan and carried.missing_requests_per_s > 0
    peak = Peak(factor, is_missing=is_missing, unlike=None if carried.are_alike else plan)
    serving = carried.serving(carried.spare_machines)
    if carried.predicted is None or throughput is None or throughput.output_tokens_per_s <= 0 or not serving:
        return peak
    times = sum(each.count * each.times for each in serving)
    all_of_them = times * throughput.output_tokens_per_s / carried.traffic.mean_output
    fill = exact(carried.predicted.carries_requests_per_s / all_of_them)
    # What each carries was rounded: a plan is never refused for that.
    rough = fill.quantize(Decimal("0.001"), rounding=ROUND_UP)
    return peak._replace(fill=min(Decimal(1), rough))


def beyond(utilisation: Decimal, most: Decimal) -> str:
    """That machines are busier than their plan's peak allows; empty where they are not."""
    if utilisation <= most:
        return ""
    at_most = most.quantize(Decimal("0.001"), rounding=ROUND_DOWN)
    return (
        f"NOT ENOUGH: at {percent(utilisation)} utilisation on average the machines do not carry the plan's peak "
        f"within its promise, which allows {percent(most)}: --utilisation {at_most}"
    )


USUAL_FACTOR = exact(TrafficOptions.model_fields["peak_factor"].default)
"""Of `corral capacity` where nobody says otherwise."""


def over_the_month(hours_per_month: Decimal) -> float:
    """Of a traffic in so many hours alone: the usual peak over the mean of the whole month, for --peak-factor."""
    return float(f"{float(USUAL_FACTOR * HOURS_A_MONTH / hours_per_month):.3g}")
