"""PURE: what machines that are there carry together, and which of them a traffic takes."""

from collections.abc import Callable, Iterable
from decimal import Decimal

from infra.catalog import machine
from infra.hardware import Machine
from serving.sizing.capacity import AtWorst, Choice, Fleet, Question
from serving.sizing.capacity_load import monthly, per_s
from serving.sizing.owned import Owned
from serving.sizing.sized_model import SizedModel

Choices = Callable[[Question, SizedModel, Machine], Iterable[Choice]]
LEAST_MISSING_PER_S = 0.0005
"""What is less is the rounding of what each carries."""
Kept = Callable[[Question, Choice], Choice]


def together(
    question: Question, subject: SizedModel, choices_of: Choices, kept: Kept, at_worst: Kept
) -> tuple[Fleet, tuple[Choice, ...]]:
    """What they carry with one kind of weights, and of each shape the way to serve that carries most.

    `choices_of` says the ways of one machine, `kept` how far one is filled when slow requests count too, and `at_worst`
    how far at worst. A choice's machines are those that the peak and the spare ones take, the cheapest for what they
    carry first, or where a price is not known the largest.
    """
    best = [
        (owned, at_worst(question, most_carrying(question, subject, owned, choices_of, kept)))
        for owned in question.have
    ]
    choices = taken(question, best)
    there = [(owned.count, choice) for owned, choice in best]
    takes = [(choice.machines, choice) for choice in choices]
    peak = question.traffic.peak_requests_per_s
    short = peak - carried(question, each_s(there))
    fleet = Fleet(
        precision=subject.precision,
        carries_requests_per_s=per_s(carried(question, each_s(takes))),
        at_worst_requests_per_s=per_s(carried(question, at_worst_s(takes))),
        all_carry_requests_per_s=per_s(carried(question, each_s(there))),
        all_at_worst_requests_per_s=per_s(carried(question, at_worst_s(there))),
        missing_requests_per_s=per_s(short) if short > min(LEAST_MISSING_PER_S, peak / 1000) else 0.0,
    )
    return fleet, choices


def each_s(counted: Iterable[tuple[int, Choice]]) -> list[tuple[int, float]]:
    """So many of each, and the requests a second of one."""
    return [(count, choice.requests_per_s_each) for count, choice in counted]


def at_worst_s(counted: Iterable[tuple[int, Choice]]) -> list[tuple[int, float]]:
    """The same at worst."""
    return [
        (count, choice.at_worst.requests_per_s_each if choice.at_worst else 0.0) for count, choice in counted
    ]


def most_carrying(
    question: Question, subject: SizedModel, owned: Owned, choices_of: Choices, kept: Kept
) -> Choice:
    """The way to serve on one of a shape that carries most, when slow requests count too."""
    asked = question.model_copy(update={"usd_per_hour": owned.usd_per_hour})
    choices, counted = list(choices_of(asked, subject, machine(owned.machine))), set[int]()
    while True:
        best = max(range(len(choices)), key=lambda index: choices[index].requests_per_s_each)
        if best in counted or not choices[best].feasible:
            return choices[best]
        choices[best] = kept(asked, choices[best])
        counted.add(best)


def carried(question: Question, each: Iterable[tuple[int, float]]) -> float:
    """Requests a second of so many machines of each kind, without the spare ones, which are the largest."""
    spare, carries = question.promise.spare_machines, 0.0
    for count, rate in sorted(each, key=lambda kind: -kind[1]):
        gone = min(spare, count)
        spare, carries = spare - gone, carries + (count - gone) * rate
    return carries * question.promise.fill


def taken(question: Question, best: list[tuple[Owned, Choice]]) -> tuple[Choice, ...]:
    """The choices, each with as many of its machines as are needed."""
    used = dict.fromkeys(range(len(best)), 0)
    for index in order(best):
        owned, choice = best[index]
        fewest, most = 0, owned.count if choice.feasible else 0
        while fewest < most:
            used[index] = (fewest + most) // 2
            fewest, most = (fewest, used[index]) if enough(question, best, used) else (used[index] + 1, most)
        used[index] = most
    return tuple(
        choice.model_copy(
            update={
                "machines": used[index],
                "usd_per_month": monthly(owned.usd_per_hour, used[index]),
                "at_worst": choice.at_worst and of_count(choice.at_worst, used[index], owned.usd_per_hour),
                "usd_per_month_elsewhere": None,
            }
        )
        for index, (owned, choice) in enumerate(best)
    )


def enough(question: Question, best: list[tuple[Owned, Choice]], used: dict[int, int]) -> bool:
    """Whether so many of each carry the peak."""
    each = [(used[index], choice.requests_per_s_each) for index, (_, choice) in enumerate(best)]
    return carried(question, each) >= question.traffic.peak_requests_per_s


def order(best: list[tuple[Owned, Choice]]) -> list[int]:
    """The shapes, the cheapest for what they carry first; the largest where a price is not known."""

    def dear(index: int) -> tuple[Decimal, float]:
        owned, choice = best[index]
        carries = Decimal(str(choice.requests_per_s_each or 1e-9))
        return (owned.usd_per_hour or Decimal(0)) / carries, -choice.requests_per_s_each

    priced = all(owned.usd_per_hour is not None for owned, _ in best)
    return sorted(range(len(best)), key=lambda index: dear(index) if priced else (Decimal(0), dear(index)[1]))


def of_count(worst: AtWorst, machines: int, usd_per_hour: Decimal | None) -> AtWorst:
    """The same of so many machines that are there."""
    return worst.model_copy(update={"machines": machines, "usd_per_month": monthly(usd_per_hour, machines)})
