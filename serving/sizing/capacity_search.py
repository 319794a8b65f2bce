"""Capacity planning: from traffic to machines, precision, parallelism, replicas and dollars a month, ranked."""

from collections.abc import Iterable, Iterator
from decimal import Decimal
from functools import partial
from math import ceil, floor, inf, log10
from pathlib import Path
from typing import Any

from infra.catalog import ec2_types, machine
from infra.errors import UsageError
from infra.hardware import Machine
from infra.output import refuse_another
from serving.model.models import model
from serving.sizing import owned_fleet, plan_plot
from serving.sizing.assemble import assemble
from serving.sizing.capacity import Capacity, Choice, Fleet, Notch, Question, Rest, label
from serving.sizing.capacity_checks import check, seen
from serving.sizing.capacity_load import options_of, replicas
from serving.sizing.capacity_tail import at_worst_simulated, filled, filled_at_worst, simulated
from serving.sizing.carried import Carried
from serving.sizing.carried_by import carried_by
from serving.sizing.fit import best_outcome
from serving.sizing.memory_pool import Case
from serving.sizing.owned import Owned
from serving.sizing.plan import Plan
from serving.sizing.server_sizes import ServerSizes
from serving.sizing.size import as_stored
from serving.sizing.size_options import further_of
from serving.sizing.sized_model import SizedModel, named, precisions

TENSOR_SIZES = (1, 2, 4, 8)
NEARLY = Decimal("1.05")
"""What costs so many times as much costs nearly as much: a price that is weeks old is no surer."""
RISKY = 2
SURE = 3
"""So many are simulated to find one that costs less at worst."""


def capacity(question: Question) -> Capacity:
    """Search, rank, and price one notch more of context, traffic and precision."""
    question = seen(question)
    if question.have:
        return of_fleet(question)
    sizes = ServerSizes(question.promise, question.traffic)
    choices = ranked(question, sizes)
    best = choices[0] if choices and choices[0].feasible else None
    return Capacity(
        model=question.model,
        traffic=question.traffic,
        promise=question.promise,
        choices=choices,
        plan=replica_plan(question, best, carried_by(question, (best,), best)) if best else None,
        notches=tuple(notches(question, best, sizes)) if best else (),
        further=further_of(options_of(question)),
    )


def answer(question: Question, plan_file: Path | None, plot_file: Path | None) -> Capacity:
    """`corral capacity`: the answer, with the first choice's plan and picture written where asked."""
    check(question)
    if plan_file:
        refuse_another(plan_file, Plan)
    if plot_file:
        plan_plot.check(plot_file)
    answered = capacity(question)
    if answered.plan and plan_file:
        answered.plan.write(plan_file)
    if answered.plan and plot_file:
        plan_plot.draw(answered.plan, plot_file)
    return answered


def of_fleet(question: Question) -> Capacity:
    """What the machines that are there carry, in the most faithful weights that carry the peak, or that carry most."""
    sizes, tried = ServerSizes(question.promise, question.traffic), []
    choices_of, kept = partial(machine_choices, sizes=sizes), partial(filled, sizes=sizes)
    at_worst = partial(filled_at_worst, sizes=sizes)
    for precision in (question.precision,) if question.precision else precisions(question.model):
        subject = named(question.model, precision)
        tried.append(owned_fleet.together(question, subject, choices_of, kept, at_worst))
        if tried[-1][0].carries_at_worst or tried[-1][0].takes_at_worst:
            break
    sure = [each for each in tried if each[0].carries_at_worst and question.at_worst]
    enough = [*sure, *(each for each in tried if each[0].missing_requests_per_s == 0)]
    # Of several that carry nothing the smallest came nearest.
    most = max(reversed(tried), key=lambda each: each[0].carries_requests_per_s)
    fleet, choices = enough[0] if enough else most
    surer = next((each for each, _ in tried if each.carries_at_worst), None)
    best = max(choices, key=lambda choice: choice.machines * choice.requests_per_s_each)
    return Capacity(
        model=question.model,
        traffic=question.traffic,
        promise=question.promise,
        choices=choices,
        plan=replica_plan(question, best, carried_by(question, choices, best, fleet))
        if best.feasible
        else None,
        further=further_of(options_of(question)),
        fleet=fleet,
        surer_fleet=None if surer is fleet else surer,
        **rests(question, fleet, choices, surer is None),
    )


def rests(
    question: Question, fleet: Fleet, choices: tuple[Choice, ...], is_sought_at_worst: bool
) -> dict[str, Any]:
    """What would carry what all that are there do not, and what they do not at worst; nothing where nothing is missing.

    Nothing either where idle ones carry it at worst. What is to be rented at worst is sought only where that is asked.
    """
    found, precision = dict[str, Any](), fleet.precision
    if missing := fleet.missing_requests_per_s:
        more = owned_fleet.more_of(question, choices, is_at_worst=False)
        found["rest"] = rest_of(question, precision, missing, more)
    if fleet.missing_at_worst_requests_per_s and not fleet.takes_at_worst:
        missing = question.traffic.peak_requests_per_s - fleet.all_at_worst_requests_per_s
        more = owned_fleet.more_of(question, choices, is_at_worst=True)
        found["more_at_worst"] = more
        if is_sought_at_worst:
            rent = found["rest"].rent if "rest" in found else None
            on = (rent.machine,) if rent else ()
            found["rest_at_worst"] = rest_of(question, precision, missing, more, on, is_at_worst=True)
    return found


def rest_of(
    question: Question,
    precision: str,
    missing_per_s: float,
    more: Owned | None,
    on: tuple[str, ...] = (),
    is_at_worst: bool = False,
) -> Rest:
    """What would carry so much at peak: rented in the same weights, as that question alone is answered, or more.

    At worst the one that costs the least then, of those that were looked at closely.
    """
    average = upward(missing_per_s / question.traffic.peak_factor)
    traffic = question.traffic.model_copy(update={"requests_per_s": average})
    changes = {"traffic": traffic, "have": (), "at_worst": False, "precision": precision, "machines": on}
    alone = question.model_copy(update=changes)
    rented = [each for each in ranked(alone, ServerSizes(alone.promise, traffic)) if each.feasible]
    looked_at = [each for each in rented if each.tail and is_alike(each, rented[0])]
    if is_at_worst and looked_at:
        rented = [min(looked_at, key=lambda each: worst_cost(each, rented[0]))]
    return Rest(requests_per_s=average, rent=rented[0] if rented else None, more=more)


def upward(rate: float) -> float:
    """Three digits of it, and no less: what is planned for is all of it."""
    step = 10.0 ** (floor(log10(rate)) - 2)
    return float(f"{ceil(rate / step - 1e-9) * step:.3g}")


def ranked(question: Question, sizes: ServerSizes) -> tuple[Choice, ...]:
    """Every choice, the best first, then sure before tight, cheap before dear; each says why it is not the first."""
    choices = settled(question, sizes)
    if choices and choices[0].feasible:
        choices[0] = at_worst_simulated(question, choices[0], sizes)
        choices = surest_simulated(question, choices, sizes)
    front = pareto(choices)
    return tuple(
        choice.model_copy(update={"pareto": index in front, "why": why(choice, choices[0])})
        for index, choice in enumerate(choices)
    )


def settled(question: Question, sizes: ServerSizes) -> list[Choice]:
    """Every choice, the best first, which is simulated: where its slow requests take more machines, another may be.

    So are those of nearly its cost. What slow requests make dearer than that is told no closer.
    """
    choices = in_order(question, list(all_choices(question, sizes)))
    while (unsure := next((each for each in nearly(choices) if each.tail is None), None)) is not None:
        closer = simulated(question, unsure, sizes, most_near(unsure, choices))
        choices = in_order(question, [closer if each is unsure else each for each in choices])
    return heeding_the_worst(question, choices, sizes)


def most_near(choice: Choice, choices: list[Choice]) -> int | None:
    """The most machines of a choice that cost nearly as little as the best that is simulated; None where none is."""
    found = [
        most_below(NEARLY * least, choice, each)
        for each in choices
        if each.tail and each.feasible and is_alike(each, choice) and (least := cost_of(each, choice))
    ]
    return min((most for most in found if most), default=None)


def surest_simulated(question: Question, choices: list[Choice], sizes: ServerSizes) -> list[Choice]:
    """The choices; the one that clearly costs less at worst than the first is simulated, if it is of the first few."""
    first = choices[0]
    for _ in range(SURE):
        rest = choices[1:]
        others = [each for each in rest if each.feasible and is_alike(each, first)]
        least = min(others, key=lambda each: worst_cost(each, first), default=None)
        if least is None or least.tail or worst_cost(least, first) * NEARLY > worst_cost(first, least):
            break
        most = most_below(worst_cost(first, least) / NEARLY, least, first)
        known = simulated(question, least, sizes, most)
        if known.tail:
            known = at_worst_simulated(question, known, sizes, most)
        choices = [first, *in_order(question, [known if each is least else each for each in rest])]
    return choices


def most_below(usd_per_month: Decimal, choice: Choice, other: Choice) -> int | None:
    """The most machines of a choice that cost no more than that; None where that, or their price, is not known."""
    cost = cost_of(choice, other)
    return int(usd_per_month / (cost / choice.machines)) if cost and usd_per_month.is_finite() else None


def nearly(choices: list[Choice]) -> list[Choice]:
    """The first and those of its kind that cost hardly more, one of each machine and weights; none of what fails."""
    first, found = choices[0] if choices else None, dict[tuple[str, str], Choice]()
    if first is None or not first.feasible:
        return []
    for choice in choices:
        cost, least = cost_of(choice, first), cost_of(first, choice)
        near = choice is first or (cost is not None and least is not None and cost <= NEARLY * least)
        if near and is_alike(choice, first):
            found.setdefault((choice.machine, choice.precision), choice)
    return list(found.values())


def heeding_the_worst(question: Question, choices: list[Choice], sizes: ServerSizes) -> list[Choice]:
    """The choices; before all others, of those that cost nearly the least, the most faithful that is no great risk.

    Such is one whose worst case costs RISKY times another's of them.
    """
    near = nearly(choices)
    if len(near) < 2:
        return choices
    known = [at_worst_simulated(question, choice, sizes) for choice in near]
    rest = [choice for choice in choices if not any(choice is each for each in near)]
    least = min(worst_cost(choice, choice) for choice in known)
    safe = [choice for choice in known if worst_cost(choice, choice) < RISKY * least] or known
    faithful = precisions(question.model)
    best = min(safe, key=lambda choice: faithful.index(choice.precision))
    return [best, *in_order(question, [*(each for each in known if each is not best), *rest])]


def worst_cost(choice: Choice, other: Choice) -> Decimal:
    """What a choice costs a month at worst, beside another; infinite where no number of machines is enough then."""
    cost = cost_of(choice, other)
    if cost is None or choice.at_worst is None:
        return Decimal("Infinity")
    return cost * choice.at_worst.machines / choice.machines


def in_order(question: Question, choices: list[Choice]) -> list[Choice]:
    """The choices, the best first: feasible, sure, by the hour, priced, cheap, faithful, few, fast.

    Where the region's price of some is not known, all are ranked by those of another: else the dearest may come first.
    Between two of one cost the more faithful weights win, and where nobody knows a price fewer GPUs.
    """
    by_region = all(choice.usd_per_month is not None for choice in choices if choice.usd_per_month_elsewhere)
    faithful = precisions(question.model)

    def order(choice: Choice) -> tuple[bool, bool, bool, bool, Decimal, int, int, float]:
        cost = choice.usd_per_month if by_region else choice.usd_per_month_elsewhere or choice.usd_per_month
        return (
            not choice.feasible,
            choice.verdict != "fits",
            choice.paid_ahead,
            cost is None,
            cost or Decimal(0),
            choice.machines * choice.gpus_per_machine if cost is None else 0,
            faithful.index(choice.precision),
            choice.e2e_s,
        )

    return sorted(choices, key=order)


def why(choice: Choice, first: Choice) -> str:
    """Why a choice is not the first."""
    if choice is first or not choice.feasible:
        return choice.why
    cost, least = cost_of(choice, first), cost_of(first, choice)
    if cost is None or least is None:
        return "no price known" if choice.usd_per_month is None else ""
    ratio = cost / least
    if ratio < 1 and is_alike(choice, first):
        return f"{1 - ratio:.1%} cheaper, but {instead(choice, first)}"
    if choice.verdict == "tight" and ratio < 1:
        return f"{1 - ratio:.0%} cheaper, but fits only tightly: confirm it by starting it"
    if choice.paid_ahead:
        return f"{ratio:.2f}x the cost, and a Capacity Block: paid ahead, for days or weeks"
    faster = f", {first.e2e_s / choice.e2e_s:.1f}x as fast" if choice.e2e_s < first.e2e_s else ""
    return f"{ratio:.2f}x the cost{faster}"


def instead(choice: Choice, first: Choice) -> str:
    """Why one that costs hardly more is taken before it."""
    worst = worst_cost(choice, first)
    if worst < RISKY * worst_cost(first, choice):
        return f"{choice.precision} in place of {first.precision}"
    return (
        f"{worst / worst_cost(first, choice):.1f}x the cost at worst"
        if worst.is_finite()
        else "never at worst"
    )


def is_alike(choice: Choice, first: Choice) -> bool:
    """Whether it is as sure to fit, and by the hour or paid ahead as it is."""
    kinds = ((each.feasible, each.verdict, each.paid_ahead) for each in (choice, first))
    return next(kinds) == next(kinds)


def cost_of(choice: Choice, other: Choice) -> Decimal | None:
    """What a choice costs a month, beside another: both in the region, or both elsewhere."""
    if choice.usd_per_month is not None and other.usd_per_month is not None:
        return choice.usd_per_month
    return choice.usd_per_month_elsewhere


def pareto(choices: list[Choice]) -> set[int]:
    """The first, and the choices that no other of its kind beats in both cost and the time of a request."""
    if not choices or not choices[0].feasible:
        return set()
    first, front, fastest = choices[0], {0}, inf
    alike = [
        (cost, choice.e2e_s, index)
        for index, choice in enumerate(choices)
        if is_alike(choice, first) and (cost := cost_of(choice, first)) is not None
    ]
    for _, e2e_s, index in sorted(alike):
        if e2e_s < fastest:
            front.add(index)
            fastest = e2e_s
    return front


def all_choices(question: Question, sizes: ServerSizes) -> Iterator[Choice]:
    """Each machine x precision x tensor parallel size."""
    wanted = (question.precision,) if question.precision else precisions(question.model)
    for precision in wanted:
        subject = named(question.model, precision)
        for whole in machines(question):
            yield from machine_choices(question, subject, whole, sizes)


def machines(question: Question) -> Iterable[Machine]:
    """The machines to consider."""
    return [machine(name) for name in dict.fromkeys(question.machines)] or ec2_types().values()


def machine_choices(
    question: Question, subject: SizedModel, whole: Machine, sizes: ServerSizes
) -> Iterator[Choice]:
    """One machine, cut into replicas of every size that fits; or one line of why none does."""
    if whole.gpu is None:
        raise UsageError("Capacity is planned on GPUs.", "Name an EC2 type or COUNTxGPU with --on.")
    tensors = [size for size in TENSOR_SIZES if size <= whole.gpus_per_host]
    cuts = (
        [whole] if whole.hosts > 1 else [whole.model_copy(update={"gpus_per_host": size}) for size in tensors]
    )
    choices = [replicas(question, subject, whole, cut, sizes) for cut in cuts]
    working = [choice for choice in choices if choice.feasible]
    yield from working or choices[-1:]


def replica_plan(question: Question, choice: Choice, carried: Carried) -> Plan:
    """The plan that serves one replica of a choice at its concurrency, with what it is a part of."""
    promised = question.promise.is_made_to(question.traffic)
    options = options_of(question).model_copy(
        update={
            "concurrency": choice.concurrency,
            "tensor_parallel_size": choice.tensor,
            # More at once would break the promise: the others wait.
            "max_num_seqs": choice.concurrency if promised else None,
        }
    )
    subject = named(question.model, choice.precision)
    case = Case(subject, machine(choice.machine), as_stored(subject, options))
    planned = assemble(case, best_outcome(case), with_curve=True)
    asked = {"input_tokens": question.traffic.mean_input, "output_tokens": question.traffic.mean_output}
    workload = planned.workload.model_copy(update=asked)
    return planned.model_copy(update={"workload": workload, "carried": carried})


def notches(question: Question, best: Choice, sizes: ServerSizes) -> Iterator[Notch]:
    """One notch more of context, of traffic, and of precision: the same question asked again."""
    context = question.context or question.traffic.longest
    if 2 * context <= model(question.model).architecture.max_position_embeddings:
        yield notch(
            question, best, sizes, f"context {2 * context:,} instead of {context:,}", context=2 * context
        )
    doubled = question.traffic.model_copy(update={"requests_per_s": 2 * question.traffic.requests_per_s})
    yield notch(question, best, sizes, "twice the traffic", traffic=doubled)
    better = precisions(question.model)
    above = better[: better.index(best.precision)]
    if above:
        yield notch(question, best, sizes, f"{above[-1]} instead of {best.precision}", precision=above[-1])


def notch(question: Question, best: Choice, sizes: ServerSizes, change: str, **changes: object) -> Notch:
    """The best choice after a change, and what it costs more."""
    choices = settled(question.model_copy(update=changes), sizes)
    if not choices or not choices[0].feasible:
        return Notch(change=change, choice="nothing carries it", usd_per_month=None, more_usd_per_month=None)
    new = choices[0]
    costs = cost_of(new, best), cost_of(best, new)
    more = costs[0] - costs[1] if costs[0] is not None and costs[1] is not None else None
    return Notch(change=change, choice=label(new), usd_per_month=new.usd_per_month, more_usd_per_month=more)
