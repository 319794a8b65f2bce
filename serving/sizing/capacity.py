"""Capacity planning: from traffic to machines, precision, parallelism, replicas and dollars a month, ranked."""

from collections.abc import Iterable, Iterator
from decimal import Decimal
from math import ceil, inf
from pathlib import Path
from typing import ClassVar, Literal

from infra.catalog import ec2_types, machine
from infra.errors import UsageError
from infra.hardware import Gpu, Machine
from infra.money import Usd
from infra.prices import ON_DEMAND
from infra.record import Document, Record
from serving.model.gpu_support import refusal
from serving.model.models import model
from serving.sizing.assemble import priced
from serving.sizing.fit import best_outcome
from serving.sizing.memory_pool import Case
from serving.sizing.plan import Plan
from serving.sizing.plot import draw
from serving.sizing.predict import Predictor
from serving.sizing.reasons import why_not
from serving.sizing.size import plan
from serving.sizing.size_options import Options, check_context, check_precision, check_region
from serving.sizing.subject import Subject, named, precisions
from serving.sizing.traffic import HOURS_PER_MONTH, Promise, Traffic

TENSOR_SIZES = (1, 2, 4, 8)
MOST_MACHINES = 10_000


class Choice(Record):
    """One way to carry the traffic, or why it cannot."""

    machine: str
    gpu: str
    gpus_per_machine: int
    precision: str
    tensor: int
    pipeline: int
    replicas_per_machine: int
    verdict: str
    feasible: bool
    concurrency: int = 0
    """Requests at once in one replica at which the promise still holds."""
    requests_per_s: float = 0.0
    """What one replica carries then."""
    ttft_s: float = 0.0
    """At the planned peak, for an average prompt."""
    tpot_s: float = 0.0
    e2e_s: float = 0.0
    """A whole average request at the planned peak."""
    machines: int = 0
    machines_at_worst: int = 0
    """If the truth lies at the bad end of the prediction's band."""
    usd_per_hour: Usd | None = None
    paid_ahead: bool = False
    """A Capacity Block: days or weeks at a time, paid before they begin."""
    usd_per_month: Usd | None = None
    usd_per_month_at_worst: Usd | None = None
    basis: str = ""
    pareto: bool = False
    """No other way is both cheaper and faster."""
    why: str = ""
    """Why it is not the one chosen."""


class Notch(Record):
    """What one step more of something would cost a month."""

    change: str
    choice: str
    usd_per_month: Usd | None
    more_usd_per_month: Usd | None


class Capacity(Document):
    """The answer to a capacity question; the first choice is the one to take."""

    kind: ClassVar[str] = "capacity plan"
    document: Literal["capacity"] = "capacity"
    schema_version: Literal[1] = 1

    model: str
    traffic: Traffic
    promise: Promise
    choices: tuple[Choice, ...]
    plan: Plan | None
    """How one replica of the first choice is served; None when nothing carries the traffic."""
    notches: tuple[Notch, ...] = ()


class Question(Record):
    """Everything a search depends on."""

    model: str
    traffic: Traffic
    promise: Promise
    precision: str | None = None
    machines: tuple[str, ...] = ()
    """EC2 types or owned shapes to consider; none means every EC2 type."""
    usd_per_hour: Usd | None = None
    """The price of an owned machine."""
    context: int | None = None
    """--max-model-len; none means what the longest likely request needs."""
    region: str | None = None


def capacity(question: Question) -> Capacity:
    """Search, rank, and price one notch more of context, traffic and precision."""
    choices = ranked(question)
    best = choices[0] if choices and choices[0].feasible else None
    return Capacity(
        model=question.model,
        traffic=question.traffic,
        promise=question.promise,
        choices=choices,
        plan=replica_plan(question, best) if best else None,
        notches=tuple(notches(question, best)) if best else (),
    )


def answer(question: Question, plan_file: Path | None, plot_file: Path | None) -> Capacity:
    """`corral capacity`: the answer, with the first choice's plan and picture written where asked."""
    model(question.model)
    check_region(question.region)
    check_precision(question.precision, precisions(question.model))
    check_context(
        named(question.model, question.precision or precisions(question.model)[0]), options_of(question)
    )
    found = capacity(question)
    if found.plan and plan_file:
        found.plan.write(plan_file)
    if found.plan and plot_file:
        draw(found.plan, plot_file)
    return found


def ranked(question: Question) -> tuple[Choice, ...]:
    """Every choice, the best first: sure before tight, then cheap; each other one says why it is not the first."""
    found = sorted(all_choices(question), key=order)
    front = pareto({index: choice for index, choice in enumerate(found) if choice.feasible})
    return tuple(
        choice.model_copy(update={"pareto": index in front, "why": why(choice, found[0])})
        for index, choice in enumerate(found)
    )


def order(choice: Choice) -> tuple[bool, bool, bool, bool, Decimal, float]:
    """Feasible, sure, priced, by the hour, cheap, fast."""
    cost = choice.usd_per_month
    sure = choice.verdict == "fits"
    return not choice.feasible, not sure, cost is None, choice.paid_ahead, cost or Decimal(0), choice.e2e_s


def why(choice: Choice, first: Choice) -> str:
    """Why a choice is not the first."""
    if choice is first or not choice.feasible:
        return choice.why
    if choice.usd_per_month is None:
        return "no price known"
    if first.usd_per_month is None:
        return ""
    ratio = choice.usd_per_month / first.usd_per_month
    if choice.verdict == "tight" and ratio < 1:
        return f"{1 - ratio:.0%} cheaper, but fits only tightly: confirm it by starting it"
    if choice.paid_ahead:
        return f"{ratio:.2f}x the cost, and a Capacity Block: paid ahead, for days or weeks"
    faster = f", {first.e2e_s / choice.e2e_s:.1f}x as fast" if choice.e2e_s < first.e2e_s else ""
    return f"{ratio:.2f}x the cost{faster}"


def pareto(choices: dict[int, Choice]) -> set[int]:
    """The choices that no other beats in both cost and the time of a request."""
    front, fastest = set(), inf
    priced_ones = [
        (one.usd_per_month, one.e2e_s, index) for index, one in choices.items() if one.usd_per_month
    ]
    for _, e2e_s, index in sorted(priced_ones):
        if e2e_s < fastest:
            front.add(index)
            fastest = e2e_s
    return front


def all_choices(question: Question) -> Iterator[Choice]:
    """Each machine x precision x tensor parallel size."""
    wanted = (question.precision,) if question.precision else precisions(question.model)
    for precision in wanted:
        subject = named(question.model, precision)
        for whole in machines(question):
            yield from machine_choices(question, subject, whole)


def machines(question: Question) -> Iterable[Machine]:
    """The machines to consider."""
    return [machine(name) for name in question.machines] or ec2_types().values()


def machine_choices(question: Question, subject: Subject, whole: Machine) -> Iterator[Choice]:
    """One machine, cut into replicas of every size that fits; or one line of why none does."""
    gpu = whole.gpu
    if gpu is None:
        raise UsageError("Capacity is planned on GPUs.", "Name an EC2 type or COUNTxGPU with --on.")
    sizes = [size for size in TENSOR_SIZES if size <= whole.gpus_per_host]
    cuts = (
        [whole] if whole.hosts > 1 else [whole.model_copy(update={"gpus_per_host": size}) for size in sizes]
    )
    found = [one_choice(question, subject, whole, cut, gpu) for cut in cuts]
    working = [choice for choice in found if choice.feasible]
    yield from working or found[-1:]


def one_choice(question: Question, subject: Subject, whole: Machine, cut: Machine, gpu: Gpu) -> Choice:
    """Replicas of one size on one machine."""
    options = options_of(question)
    case = Case(subject, cut, options)
    outcome = best_outcome(case)
    per_machine = max(1, whole.gpu_count // outcome.split.gpus)
    choice = Choice(
        machine=whole.name,
        gpu=gpu.name,
        gpus_per_machine=whole.gpu_count,
        precision=subject.precision,
        tensor=outcome.split.tensor,
        pipeline=outcome.split.pipeline,
        replicas_per_machine=per_machine,
        verdict=outcome.verdict,
        feasible=False,
    )
    refused = refusal(gpu, subject.precision)
    if refused is None and outcome.verdict == "does not fit":
        refused = why_not(gpu, outcome)
    if refused:
        return choice.model_copy(update={"verdict": "does not fit", "why": refused})
    return loaded(question, whole, choice, Predictor(case, outcome))


def loaded(question: Question, whole: Machine, choice: Choice, predictor: Predictor) -> Choice:
    """The choice with its load, its number of machines and its price; or why the promise cannot be kept."""
    traffic, promise = question.traffic, question.promise
    broken = broken_promise(predictor, promise, traffic, 1)
    if broken:
        return choice.model_copy(update={"why": f"even one request alone: {broken}"})
    most = most_concurrency(predictor, promise, traffic)
    full = predictor.at(most)
    carries = full.output_tokens_per_s / traffic.mean_output
    count = machines_for(question, carries, choice.replicas_per_machine)
    at_worst = machines_for(question, carries / full.band, choice.replicas_per_machine)
    if at_worst > MOST_MACHINES:
        return choice.model_copy(update={"why": f"more than {MOST_MACHINES:,} machines"})
    each = traffic.peak_requests_per_s / ((count - promise.spare_machines) * choice.replicas_per_machine)
    running = predictor.at(concurrency_carrying(predictor, each * traffic.mean_output, most))
    hourly = hourly_usd(question, whole)
    return choice.model_copy(
        update={
            "feasible": True,
            "concurrency": most,
            "requests_per_s": round(carries, 3),
            "ttft_s": round(running.ttft_s, 4),
            "tpot_s": round(running.tpot_s, 5),
            "e2e_s": round(running.ttft_s + traffic.mean_output * running.tpot_s, 3),
            "machines": count,
            "machines_at_worst": at_worst,
            "usd_per_hour": hourly,
            "paid_ahead": paid_ahead(question, whole),
            "usd_per_month": monthly(hourly, count),
            "usd_per_month_at_worst": monthly(hourly, at_worst),
            "basis": full.basis,
        }
    )


def machines_for(question: Question, requests_per_s: float, per_machine: int) -> int:
    """Machines that carry the peak when each replica carries that much at most, and the spare ones."""
    replicas = question.traffic.peak_requests_per_s / (requests_per_s * question.promise.fill)
    return ceil(round(replicas / per_machine, 9)) + question.promise.spare_machines


def broken_promise(predictor: Predictor, promise: Promise, traffic: Traffic, concurrency: int) -> str | None:
    """What of the promise that concurrency breaks, with the numbers."""
    found = predictor.at(concurrency)
    if promise.tpot_s is not None and found.tpot_s > promise.tpot_s:
        return f"TPOT {found.tpot_s * 1000:.1f} ms, promised {promise.tpot_s * 1000:g}"
    first = predictor.first_token_s(traffic.input_tokens.largest, found.tpot_s)
    if promise.ttft_s is not None and first > promise.ttft_s:
        return f"TTFT {first:.2f} s for {traffic.input_tokens.largest:,} tokens, promised {promise.ttft_s:g}"
    return None


def most_concurrency(predictor: Predictor, promise: Promise, traffic: Traffic) -> int:
    """The most requests at once that keep the promise and do not wait for KV cache."""
    low, high = 1, predictor.most_running
    while low < high:
        middle = (low + high + 1) // 2
        kept = broken_promise(predictor, promise, traffic, middle) is None
        low, high = (middle, high) if kept else (low, middle - 1)
    return low


def concurrency_carrying(predictor: Predictor, tokens_per_s: float, most: int) -> int:
    """The least concurrency that delivers that many output tokens a second."""
    low, high = 1, most
    while low < high:
        middle = (low + high) // 2
        enough = predictor.at(middle).output_tokens_per_s >= tokens_per_s
        low, high = (low, middle) if enough else (middle + 1, high)
    return low


def hourly_usd(question: Question, whole: Machine) -> Decimal | None:
    """The machine's price: EC2's, or what the user says an owned one costs."""
    found = priced(whole, Options(region=question.region))
    return found.usd_per_hour if found else question.usd_per_hour


def paid_ahead(question: Question, whole: Machine) -> bool:
    """Whether the machine cannot be had by the hour."""
    found = priced(whole, Options(region=question.region))
    return found is not None and found.purchase != ON_DEMAND


def monthly(usd_per_hour: Decimal | None, machines: int) -> Decimal | None:
    """USD a month for machines that never stop."""
    if usd_per_hour is None:
        return None
    return (usd_per_hour * machines * HOURS_PER_MONTH).quantize(Decimal("0.01"))


def options_of(question: Question) -> Options:
    """The traffic as the planner's options: average lengths for the speed, the longest for the context.

    Raises UsageError for lengths that no model has.
    """
    return Options.of(
        {
            "input_tokens": question.traffic.mean_input,
            "output_tokens": question.traffic.mean_output,
            "max_model_len": question.context or question.traffic.longest,
            "region": question.region,
        }
    )


def replica_plan(question: Question, choice: Choice) -> Plan | None:
    """The plan that serves one replica of a choice at its concurrency."""
    options = options_of(question).model_copy(
        update={"concurrency": choice.concurrency, "tensor_parallel_size": choice.tensor}
    )
    return plan(named(question.model, choice.precision), machine(choice.machine), options, with_curve=True)


def notches(question: Question, best: Choice) -> Iterator[Notch]:
    """One notch more of context, of traffic, and of precision: the same question asked again."""
    context = question.context or question.traffic.longest
    if 2 * context <= model(question.model).architecture.max_position_embeddings:
        yield notch(question, best, f"context {2 * context:,} instead of {context:,}", context=2 * context)
    doubled = question.traffic.model_copy(update={"requests_per_s": 2 * question.traffic.requests_per_s})
    yield notch(question, best, "twice the traffic", traffic=doubled)
    better = precisions(question.model)
    above = better[: better.index(best.precision)]
    if above:
        yield notch(question, best, f"{above[-1]} instead of {best.precision}", precision=above[-1])


def notch(question: Question, best: Choice, change: str, **changes: object) -> Notch:
    """The best choice after a change, and what it costs more."""
    found = sorted(all_choices(question.model_copy(update=changes)), key=order)
    if not found or not found[0].feasible:
        return Notch(change=change, choice="nothing carries it", usd_per_month=None, more_usd_per_month=None)
    new = found[0]
    more = new.usd_per_month - best.usd_per_month if new.usd_per_month and best.usd_per_month else None
    return Notch(change=change, choice=label(new), usd_per_month=new.usd_per_month, more_usd_per_month=more)


def label(choice: Choice) -> str:
    """A choice in a few words."""
    return f"{choice.machines}x {choice.machine} {choice.precision} TP{choice.tensor}"
