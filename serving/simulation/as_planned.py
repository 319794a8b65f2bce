"""PURE: what of a simulation a plan says: what comes, how long it is, what is promised, on how many of its machines."""

from typing import Literal, NamedTuple

from infra.argument import pasted
from infra.errors import UsageError
from infra.quantity import counted
from serving.probe.lengths import Lengths
from serving.simulation.simulate_options import ComingOptions, FleetOptions
from serving.sizing.carried import Carried, Machines, mean_times
from serving.sizing.plan import Plan
from serving.sizing.traffic import Promise, Traffic
from serving.sizing.traffic_options import LatencyOptions

Said = Literal["traffic", "lengths", "promise", "replicas", "price"]


class AsPlanned(NamedTuple):
    """A question with what a plan says in the place of what was not typed."""

    coming: ComingOptions
    traffic: Traffic | None
    """Whose classes come, where the plan has some and no other lengths were typed."""
    fleet: FleetOptions
    promise: Promise
    said: tuple[Said, ...]
    """What of it is the plan's."""
    there: int | None
    """Replicas on the machines of that kind, where the plan counts on several kinds."""


def as_planned(
    name: str, plan: Plan, coming: ComingOptions, fleet: FleetOptions, promise: LatencyOptions
) -> AsPlanned:
    """What was typed, filled in. Raises UsageError for several kinds of machines, where it is not said which part."""
    carried, said = plan.carried, list[Said]()
    planned = carried.promise if carried else None
    kind = kind_of(plan, carried) if carried else None
    there = None
    if carried and kind and len(carried.machines) > 1:
        there = kind.count * kind.servers
        check_part(name, carried, kind, coming, fleet)
    if carried and not coming.is_said:
        said.append("traffic")
        rate = {"requests_per_s": carried.traffic.requests_per_s, "peak_factor": carried.traffic.peak_factor}
        coming = coming.model_copy(update=rate)
    traffic = carried.traffic if carried and not (coming.input_tokens or coming.output_tokens) else None
    if not (coming.trace or (coming.input_tokens and coming.output_tokens)):
        said.append("lengths")
        prompt, answer = lengths_of(plan)
        coming = coming.model_copy(
            update={
                "input_tokens": coming.input_tokens or prompt,
                "output_tokens": coming.output_tokens or answer,
            }
        )
    if is_of_plan(promise.before(planned), promise):
        said.append("promise")
    if kind and fleet.replicas is None:
        said.append("replicas")
        fleet = fleet.model_copy(update={"replicas": kind.count * kind.servers})
    if kind and kind.usd_per_hour is not None and fleet.usd_per_hour is None:
        said.append("price")
        fleet = fleet.model_copy(update={"usd_per_hour": kind.usd_per_hour})
    return AsPlanned(coming, traffic, fleet, promise.before(planned), tuple(said), there)


def is_of_plan(promise: Promise, typed: LatencyOptions) -> bool:
    """Whether a latency is promised that was not typed."""
    return (promise.ttft_s is not None and typed.ttft is None) or (
        promise.tpot_s is not None and typed.tpot is None
    )


def lengths_of(plan: Plan) -> tuple[Lengths, Lengths]:
    """Of the prompts, images included, and the answers that a plan is for."""
    if plan.carried:
        return plan.carried.traffic.input_tokens, plan.carried.traffic.output_tokens
    return Lengths(low=plan.workload.input_tokens), Lengths(low=plan.workload.output_tokens)


def kind_of(plan: Plan, carried: Carried) -> Machines | None:
    """Of the machines that a plan counts on those that it is the plan of."""
    return next((each for each in carried.machines if each.name == plan.machine.name), None)


def check_part(
    name: str, carried: Carried, kind: Machines, coming: ComingOptions, fleet: FleetOptions
) -> None:
    """Raise UsageError where not only the machines of that kind are meant, and what comes to them."""
    there = kind.count * kind.servers
    if fleet.replicas is not None and fleet.replicas <= there and coming.is_said:
        return
    share = kind.count * kind.times / (carried.count * mean_times(carried.machines))
    rate = carried.traffic.requests_per_s * share
    peak = f" --peak-factor {carried.traffic.peak_factor:g}" if carried.traffic.peak_factor > 1 else ""
    told = (
        f"The plan counts on {carried}, and machines of one kind are simulated at a time"
        if fleet.replicas is None or fleet.replicas <= there
        else f"The plan counts on {carried}: that is {counted(there, 'replica')} on {kind.name}, not {fleet.replicas:,}"
    )
    raise UsageError(
        f"{told}.",
        f"{kind.name} with its share: corral simulate {pasted(name)} --replicas {there} "
        f"--requests-per-s {rate:.3g}{peak}",
    )
