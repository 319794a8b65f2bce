"""PURE: a comparison of machines of several kinds: a number of them says not of which, so more of them is planned."""

from deploy.costs.compare_options import Question
from infra.errors import UsageError
from serving.sizing.capacity_search import upward
from serving.sizing.carried import Carried
from serving.sizing.plan import Plan
from serving.sizing.plan_again import capacity_again


def refuse_another_number_of_unlike(plan: Plan, asked: Question) -> None:
    """Raise UsageError for more or fewer of machines that are not alike than the plan counts on."""
    carried = plan.carried
    if carried is None or carried.are_alike or asked.replicas in (None, carried.count):
        return
    is_more = asked.replicas is not None and asked.replicas > carried.count
    raise UsageError(
        f"The plan's machines, {carried}, are not alike: --replicas {asked.replicas:f} does not say of which kind.",
        f"Plan what carries the rest, and compare that too: {rest_planned(plan, carried)}"
        if is_more and carried.missing_requests_per_s
        else f"Say how many there are of each, and compare that plan: {fleet_planned(plan, carried)}",
    )


def rest_planned(plan: Plan, carried: Carried) -> str:
    """The command that plans what is to be rented for what the machines do not carry."""
    rate = upward(carried.missing_requests_per_s / carried.traffic.peak_factor)
    return f"{capacity_again(plan, carried, rate, of_those_there=False)} -o rest.json"


def fleet_planned(plan: Plan, carried: Carried, requests_per_s: float | None = None) -> str:
    """The command that plans the same machines, for the plan's traffic or so much on average."""
    rate = carried.traffic.requests_per_s if requests_per_s is None else upward(requests_per_s)
    return f"{capacity_again(plan, carried, rate, of_those_there=True)} -o plan.json"
