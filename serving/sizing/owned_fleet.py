"""PURE: what machines that are there carry together, and which of them a traffic takes."""

from collections.abc import Callable, Iterable
from decimal import Decimal

from infra.catalog import machine
from infra.hardware import Machine
from serving.sizing.capacity import AtWorst, Choice, Fleet, Question
from serving.sizing.capacity_load import monthly, per_s
from serving.sizing.owned import MOST_OF_A_SHAPE, Owned
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
    how far at worst. A choice's machines are those that the peak and the spare ones take, at worst too where that is
    asked, the cheapest for what they carry first, or where a price is not known the largest.
    """
    best = [
        (owned, at_worst(question, most_carrying(question, subject, owned, choices_of, kept)))
        for owned in question.have
    ]
    used = counts(question, best, question.at_worst)
    choices = taken(best, used)
    there = [(owned.count, choice) for owned, choice in best]
    takes = [(choice.machines, choice) for choice in choices]
    peak = question.traffic.peak_requests_per_s
    missing = missing_of(peak, carried(question, each_s(there)))
    worst = carried(question, at_worst_s(takes))
    missing_at_worst = missing_of(peak, worst)
    all_at_worst = carried(question, at_worst_s(there))
    fleet = Fleet(
        precision=subject.precision,
        carries_requests_per_s=per_s(carried(question, each_s(takes))),
        at_worst_requests_per_s=per_s(worst),
        all_carry_requests_per_s=per_s(carried(question, each_s(there))),
        all_at_worst_requests_per_s=per_s(all_at_worst),
        missing_requests_per_s=missing,
        missing_at_worst_requests_per_s=missing_at_worst,
        carries_at_worst=not missing and not missing_at_worst,
        takes_at_worst=so_many(best, counts(question, best, is_at_worst=True))
        if missing_at_worst and not missing and not missing_of(peak, all_at_worst)
        else (),
    )
    return fleet, choices


def missing_of(peak_per_s: float, carried_per_s: float) -> float:
    """Requests a second of the peak that are not carried; 0.0 of hardly any."""
    short = peak_per_s - carried_per_s
    return per_s(short) if short > min(LEAST_MISSING_PER_S, peak_per_s / 1000) else 0.0


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
    whole = machine(owned.machine)
    choices, counted = list(choices_of(asked, subject, whole)), set[int]()
    while True:
        best = max(range(len(choices)), key=lambda index: choices[index].requests_per_s_each)
        if best in counted or not choices[best].feasible:
            return alone(choices[best], owned, whole)
        choices[best] = kept(asked, choices[best])
        counted.add(best)


def alone(choice: Choice, owned: Owned, whole: Machine) -> Choice:
    """The choice; of several that do not hold the model by themselves, that they are not planned as one server."""
    if choice.verdict != "does not fit" or owned.count == 1 or whole.gpu is None or whole.hosts > 1:
        return choice
    most = whole.gpu.max_per_host
    two = f"{2 * most}x{whole.gpu.name}"
    if whole.gpus_per_host >= most:
        told = f"Two as one server: --have {two}={owned.count // 2}"
    else:
        told = f"Several as one server (a pipeline) are planned only of hosts of {most} GPUs, as {two}"
    return choice.model_copy(update={"why": f"{choice.why} {told}."})


def more_of(question: Question, choices: Iterable[Choice], is_at_worst: bool) -> Owned | None:
    """More machines of one shape that is there, with which all that are there carry the peak.

    Of the shape of which they cost least, where a price is known of each; else of which they are the fewest. None where
    no shape carries anything, or too many would be needed.
    """
    there, found = {owned.machine: owned for owned in question.have}, list[tuple[float, Owned]]()
    rates = at_worst_s if is_at_worst else each_s
    choices = list(choices)
    for choice in choices:
        owned, ((_, each),) = there[choice.machine], rates([(1, choice)])
        others = rates((there[other.machine].count, other) for other in choices if other is not choice)
        if not each or not choice.feasible:
            continue
        low, high = 0, MOST_OF_A_SHAPE
        while low < high:
            more = (low + high) // 2
            whole = carried(question, [*others, (owned.count + more, each)])
            low, high = (low, more) if whole >= question.traffic.peak_requests_per_s else (more + 1, high)
        if 0 < low < MOST_OF_A_SHAPE:
            found.append((each, owned.model_copy(update={"count": low})))
    is_priced = all(more.usd_per_hour is not None for _, more in found)

    def dear(one: tuple[float, Owned]) -> tuple[Decimal, int, float]:
        each, more = one
        return (more.usd_per_hour or Decimal(0)) * more.count if is_priced else Decimal(0), more.count, each

    return min(found, key=dear)[1] if found else None


def carried(question: Question, each: Iterable[tuple[int, float]]) -> float:
    """Requests a second of so many machines of each kind, without the spare ones, which are the largest."""
    spare, carries = question.promise.spare_machines, 0.0
    for count, rate in sorted(each, key=lambda kind: -kind[1]):
        gone = min(spare, count)
        spare, carries = spare - gone, carries + (count - gone) * rate
    return carries * question.promise.fill


Best = list[tuple[Owned, Choice]]


def counts(question: Question, best: Best, is_at_worst: bool) -> dict[int, int]:
    """How many of each shape are needed, at worst too where that is asked; all where not even these are enough."""
    used = dict.fromkeys(range(len(best)), 0)
    for index in order(best):
        owned, choice = best[index]
        needed(question, best, used, index, owned.count if choice.feasible else 0, is_at_worst)
    if is_at_worst and enough(question, best, used, is_at_worst):
        # What carries little at worst may not be needed beside what was taken after it.
        for index in order(best):
            needed(question, best, used, index, used[index], is_at_worst)
    return used


def needed(
    question: Question, best: Best, used: dict[int, int], index: int, most: int, is_at_worst: bool
) -> None:
    """Set how many of one shape are needed beside the others; the most of it where that is not enough."""
    fewest = 0
    while fewest < most:
        used[index] = (fewest + most) // 2
        if enough(question, best, used, is_at_worst):
            most = used[index]
        else:
            fewest = used[index] + 1
    used[index] = most


def enough(question: Question, best: Best, used: dict[int, int], is_at_worst: bool) -> bool:
    """Whether so many of each carry the peak, at worst too where that is asked."""
    counted = [(used[index], choice) for index, (_, choice) in enumerate(best)]
    rates = (each_s, at_worst_s) if is_at_worst else (each_s,)
    return all(carried(question, each(counted)) >= question.traffic.peak_requests_per_s for each in rates)


def so_many(best: Best, used: dict[int, int]) -> tuple[Owned, ...]:
    """So many of each shape, of which there are some."""
    return tuple(
        owned.model_copy(update={"count": used[index]})
        for index, (owned, _) in enumerate(best)
        if used[index]
    )


def taken(best: Best, used: dict[int, int]) -> tuple[Choice, ...]:
    """The choices, each with as many of its machines as are used."""
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


def order(best: Best) -> list[int]:
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
