"""PURE: what a plan promises of its traffic and predicts of its machines: what an engineer signs beside the dollars."""

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import Field

from infra.record import Record
from serving.sizing.carried import Carried, Machines, Predicted
from serving.sizing.traffic import Promise


class PromisedClass(Record):
    """What the requests of one class may wait for."""

    name: str
    """As the traffic calls it; empty where all requests are of one kind."""
    ttft_s: float | None
    """Seconds to the first token, at most; null: nothing is promised."""
    tpot_s: float | None
    """The same between two tokens of an answer."""


class Carries(Record):
    """The plan's traffic at its peak, what is promised to it, and what is predicted of the plan's machines."""

    machines: str
    """The plan's, the spare ones included; a comparison may be of another number."""
    are_compared: bool
    """Whether the dollars are of these machines; false where the user named another number of them."""
    spare_machines: int
    """Of these, whose loss is borne at the peak."""
    requests_per_s: float
    """The plan's traffic on average."""
    peak_factor: float
    """How many times that at the planned peak."""
    peak_requests_per_s: float
    """What the machines must carry."""
    promise: Promise | None
    """For all requests, as it was given to the plan; null in a plan of before it was kept."""
    promised: tuple[PromisedClass, ...]
    """The same of each class of requests, its own promise where it has one; empty where nothing was kept."""
    predicted: Predicted | None
    """Of the machines without the spare ones; null where nothing was kept."""
    waits_are_of: Literal["the peak", "machines as full as counted on"]
    """What the predicted waits were simulated at: the peak, or more of it, where the machines are there already."""
    carries_at_worst: bool | None
    """Whether they carry the peak if the speed is at the bad end of its band; null where nothing was kept."""
    predicted_by: Literal["the planner's model"] = "the planner's model"
    """Whose the predicted figures are: no probe measured them, even where one measured the speed that is billed."""
    rests_on: str
    """What was measured of such a server, if anything; of each kind, where there are several."""
    kinds: Annotated[tuple[Machines, ...], Field(exclude_if=lambda kinds: not kinds)] = ()
    """Each of several kinds of machines, with what is predicted of it; absent where all are alike."""


def carries(planned: Carried, rests_on: str, are_compared: bool) -> Carries:
    """What a plan's traffic and its prediction come to. `rests_on`: the basis of the plan's speed."""
    traffic, promise, predicted = planned.traffic, planned.promise, planned.predicted
    peak = traffic.peak_requests_per_s
    classes = [(part.name, *promise.to(part)) for part in traffic.parts] if promise else []
    kinds = () if planned.are_alike else planned.machines
    if predicted and not all(kind.predicted for kind in kinds):
        # A plan of before each kind's was kept has the waits of one of them alone.
        predicted = predicted.model_copy(update={"ttft_s": None, "tpot_s": None})
    return Carries(
        machines=str(planned),
        are_compared=are_compared,
        spare_machines=planned.spare_machines,
        requests_per_s=traffic.requests_per_s,
        peak_factor=traffic.peak_factor,
        peak_requests_per_s=peak,
        promise=promise,
        promised=tuple(PromisedClass(name=name, ttft_s=ttft, tpot_s=tpot) for name, ttft, tpot in classes),
        predicted=predicted,
        waits_are_of="machines as full as counted on" if planned.are_there else "the peak",
        carries_at_worst=predicted.at_worst_requests_per_s >= peak if predicted else None,
        rests_on=bases_of(kinds) if kinds else rests_on,
        kinds=kinds,
    )


def bases_of(kinds: Iterable[Machines]) -> str:
    """What each kind's speed is taken from, said once where it is the same; empty where it was not kept."""
    names: dict[str, list[str]] = {}
    for kind in kinds:
        if kind.predicted:
            names.setdefault(kind.predicted.basis.rstrip("."), []).append(kind.name)
    if len(names) < 2:
        return "".join(names)
    return ". ".join(f"{' and '.join(of)}: {basis}" for basis, of in names.items())
