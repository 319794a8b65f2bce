"""PURE: what a capacity plan hands on: the traffic, the machines that were chosen, and what is predicted of them."""

from collections.abc import Iterable, Sequence

from serving.sizing.capacity import Choice, Fleet, Question
from serving.sizing.capacity_load import machines_for, per_s
from serving.sizing.carried import Carried, Machines, OfKind, Predicted


def carried_by(
    question: Question, choices: Iterable[Choice], planned: Choice, fleet: Fleet | None = None
) -> Carried:
    """The traffic, and the machines of those choices, measured by the replica that is planned."""
    said = {owned.machine: owned.usd_per_hour for owned in question.have}
    taken = [choice for choice in choices if choice.machines]
    return Carried(
        traffic=question.traffic,
        machines=tuple(
            Machines(
                name=choice.machine,
                count=choice.machines,
                servers=choice.replicas_per_machine,
                times=choice.replicas_per_machine * choice.requests_per_s / planned.requests_per_s,
                usd_per_hour=question.usd_per_hour or said.get(choice.machine),
                predicted=of_kind(choice) if len(taken) > 1 else None,
            )
            for choice in taken
        ),
        spare_machines=question.promise.spare_machines,
        missing_requests_per_s=fleet.missing_requests_per_s if fleet else 0.0,
        are_there=bool(question.have),
        promise=question.promise,
        predicted=predicted(question, taken, planned, fleet),
    )


def of_kind(choice: Choice) -> OfKind | None:
    """What is predicted of each machine of a choice; None where nothing was simulated."""
    tail = choice.tail
    if tail is None:
        return None
    return OfKind(
        requests_at_once=choice.concurrency, ttft_s=tail.ttft_s, tpot_s=tail.tpot_s, basis=choice.basis
    )


def predicted(
    question: Question, taken: Sequence[Choice], planned: Choice, fleet: Fleet | None
) -> Predicted | None:
    """What the machines carry at their peak: those that are there together, else so many of the one choice.

    Where slow requests take more machines than the promised fill alone they are as full as they may be at the peak.
    None of machines that carry nothing.
    """
    peak, promise = question.traffic.peak_requests_per_s, question.promise
    if fleet:
        carries, worst = fleet.carries_requests_per_s, fleet.at_worst_requests_per_s
        is_missing = fleet.missing_requests_per_s > 0
    else:
        each, is_missing = planned.requests_per_s_each, False
        serving = planned.machines - promise.spare_machines
        is_tail = planned.machines > machines_for(question, each)
        carries = peak if is_tail else serving * each * promise.fill
        worst_each = planned.at_worst.requests_per_s_each if planned.at_worst else 0.0
        worst = min(carries, serving * worst_each * promise.fill)
        if planned.at_worst and planned.at_worst.machines > planned.machines:
            # Slow requests take more machines then: these carry their share of what those do.
            worst = min(worst, peak * serving / (planned.at_worst.machines - promise.spare_machines))
    carries = carries if is_missing else max(carries, peak)  # it is known to be enough, to the last digit
    if carries <= 0:
        return None
    tails = [choice.tail for choice in taken if choice.tail]
    is_known = len(tails) == len(taken)
    return Predicted(
        carries_requests_per_s=carries if carries == peak else per_s(carries),
        at_worst_requests_per_s=per_s(worst),
        ttft_s=max(tail.ttft_s for tail in tails) if is_known else None,
        tpot_s=max(tail.tpot_s for tail in tails) if is_known else None,
    )
