"""PURE: a capacity plan as text: what to rent, what it costs, what the others lack, what one notch more costs."""

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

from infra.argument import pasted
from infra.asked import Asked, again
from infra.catalog import machine
from infra.columns import more_rows, table, wrapped
from infra.prices import DEFAULT_REGION
from infra.quantity import counted
from serving.model import evaluations, gpu_support
from serving.sizing.asked_images import with_images
from serving.sizing.capacity import Capacity, Choice, ClassTail, Fleet, Tail, label
from serving.sizing.capacity_search import RISKY, cost_of, is_alike, worst_cost
from serving.sizing.plan_again import asked_for
from serving.sizing.plan_explained import explained
from serving.sizing.plan_notes import further_notes
from serving.sizing.plan_text import up
from serving.sizing.sized_model import named
from serving.sizing.traffic import Promise, Traffic
from serving.vllm.versions import rules

SHOWN = 5


def capacity_text(
    answer: Capacity,
    explain: bool,
    question: Sequence[Asked] = (),
    written_to: Path | None = None,
    is_whole: bool = True,
) -> str:
    """The answer, or all that was looked at; `question` is what it was asked with."""
    if answer.fleet:
        blocks = [*of_fleet(answer, answer.fleet), next_step(answer, question, written_to)]
        return "\n\n".join(block for block in blocks if block)
    if answer.plan is None:
        return "\n\n".join([asked(answer), "Nothing corral knows carries it.", losers(answer)])
    best = answer.choices[0]
    blocks = [
        asked(answer),
        chosen(best, answer),
        ranking(answer, is_whole),
        *((front(answer), losers(answer)) if is_whole else ()),
        notches(answer),
    ]
    if explain:
        blocks += [arithmetic(best, answer), explained(answer.plan)]
    blocks += ["" if is_whole else more(answer), next_step(answer, question, written_to)]
    return "\n\n".join(block for block in blocks if block)


def more(answer: Capacity) -> str:
    """What --all shows and the short answer leaves out; empty where that is nothing."""
    parts = {
        "every machine that carries it": len(best_of_each(answer)) > SHOWN,
        "what nothing beats in cost and time": front(answer),
        "why others do not carry it": losers(answer),
    }
    left_out = [part for part, is_there in parts.items() if is_there]
    listed = ", and ".join(filter(None, (", ".join(left_out[:-1]), *left_out[-1:])))
    return wrapped(f"With --all: {listed}.", "") if listed else ""


def next_step(answer: Capacity, question: Sequence[Asked], written_to: Path | None) -> str:
    """The command that serves the plan, after the one that writes it; empty where nothing is planned."""
    if answer.plan is None:
        return ""
    name = written_to or Path("plan.json")
    save = f"corral capacity {pasted(answer.model)}{again(*question)} -o {pasted(name)} && "
    return f"Next: {'' if written_to else save}{up(answer.plan, name)}"


def asked(answer: Capacity) -> str:
    """The question, as understood."""
    traffic, g_tokens = answer.traffic, rate(answer.traffic.tokens_per_month / 1e9)
    return wrapped(
        f"{answer.model}: {rate(traffic.requests_per_s)} requests/s, {rate(traffic.peak_requests_per_s)} at peak, "
        f"{traffic.lengths} ({g_tokens} G tokens a month){promised(answer.promise, traffic)}",
        "",
    )


def rate(per_s: float) -> str:
    """Three digits, as people write them."""
    return f"{per_s:,.0f}" if per_s >= 100 else f"{per_s:.3g}"


def promised(promise: Promise, traffic: Traffic) -> str:
    """The promise in words, and that of each class which has its own."""
    spare = f"{promise.spare_machines} spare" if promise.spare_machines else ""
    to_all = ", ".join(filter(None, (latencies(promise.ttft_s, promise.tpot_s), spare)))
    own = [(part.name, latencies(part.ttft_s, part.tpot_s)) for part in traffic.classes]
    promises = [*filter(None, [to_all]), *(f"to {name} {words}" for name, words in own if words)]
    return "; promised: " + "; ".join(promises) if promises else ""


def latencies(ttft_s: float | None, tpot_s: float | None) -> str:
    """Those of the two that are promised."""
    ttft, tpot = f"TTFT {ttft_s or 0:g} s", f"TPOT {(tpot_s or 0) * 1000:g} ms"
    return ", ".join([*([ttft] if ttft_s else []), *([tpot] if tpot_s else [])])


def chosen(best: Choice, answer: Capacity) -> str:
    """The first choice."""
    replicas = counted(best.machines * best.replicas_per_machine, "replica")
    machines = f"{best.machines}x {best.machine} ({best.gpus_per_machine}x {best.gpu})"
    lines = [
        f"TAKE {machines}, {answer.model} {best.precision}: {cost(best)}",
        f"  {replicas} of tensor parallel {best.tensor}, each up to {counted(best.concurrency, 'request')} at once "
        f"({best.requests_per_s:.2f} requests/s).",
        f"  At peak an average request takes {best.e2e_s:.1f} s: TTFT {best.ttft_s:.2f} s, then "
        f"{best.tpot_s * 1000:.1f} ms a token.",
        *tail(best),
        wrapped(at_worst(best)),
        *surer(best, answer),
        wrapped(f"Basis: {best.basis}."),
    ]
    lines += [*wrapped_notes(best, answer), *further(answer)]
    if best.verdict == "tight":
        lines.insert(1, "  It fits only tightly: confirm it by starting one.")
    return "\n".join(lines)


def tail(choice: Choice) -> list[str]:
    """What the slow requests wait for, of all and of each class."""
    t = choice.tail
    if t is None:
        return []
    return [
        f"  p{t.percentile:g} of {t.requests:,} simulated requests: {waits(t)}.",
        *(f"    {each.name}, {each.requests:,} of them: {waits(each)}." for each in t.classes),
        *([f"    {LOCKSTEP}"] if choice.pipeline > 1 else []),
    ]


LOCKSTEP = "The batches of a pipeline's stages are taken to wait for each other: at most that long."


def waits(tail: Tail | ClassTail) -> str:
    """Its times in words."""
    return f"TTFT {tail.ttft_s:.2f} s, TPOT {tail.tpot_s * 1000:.1f} ms, longest pause {tail.longest_pause_s:.2f} s"


def wrapped_notes(best: Choice, answer: Capacity) -> list[str]:
    """What is known to need care of those weights on that GPU."""
    whole = machine(best.machine)
    assert whole.gpu is not None
    subject = named(answer.model, best.precision)
    told = gpu_support.notes(whole.gpu, subject.family, best.precision, "auto", whole.kind == "owned")
    quality = evaluations.note(subject.repo, subject.precision)
    return [wrapped(note, "  - ") for note in (*told, *filter(None, [quality]))]


def further(answer: Capacity) -> list[str]:
    """What of the requests and the engine is reckoned with and was never measured, of the server that is planned."""
    if answer.plan is None:
        return []
    subject, gpu = named(answer.model, answer.plan.precision), machine(answer.plan.machine.name).gpu
    assert gpu is not None
    options = with_images(subject, asked_for(answer.plan))
    told = further_notes(subject, gpu, options, rules(answer.plan.vllm_version))
    return [wrapped(note, "  - ") for note in told]


def cost(choice: Choice) -> str:
    """What it costs a month, or what is known in its place."""
    if choice.usd_per_month is not None:
        return f"{dollars(choice.usd_per_month)} a month"
    if choice.usd_per_month_elsewhere is not None:
        return f"no price known there; {dollars(choice.usd_per_month_elsewhere)} a month in {DEFAULT_REGION}"
    return "no price known"


def at_worst(choice: Choice) -> str:
    """What it takes when every step takes the prediction's band longer."""
    if choice.at_worst is None:
        return "If the speed is at the bad end of its band no number of them keeps the promise."
    dear = choice.at_worst.usd_per_month
    price = f", {dollars(dear)} a month" if dear is not None else ""
    return (
        f"If the speed is at the bad end of its band: {counted(choice.at_worst.machines, 'machine')}{price}."
    )


def surer(best: Choice, answer: Capacity) -> list[str]:
    """A choice that costs much less at worst, where the first is a risk; nothing where none does."""
    worst = worst_cost(best, best)
    others = [each for each in answer.choices[1:] if each.feasible and is_alike(each, best)]
    least = min(others, key=lambda each: worst_cost(each, best), default=None)
    if least is None:
        return []
    now, then = cost_of(least, best), worst_cost(least, best)
    if not then.is_finite() or then * RISKY > worst:
        return []
    said = f"Less at risk: {label(least)}, {dollars(now)} a month, at worst {dollars(then)}."
    return [wrapped(said)]


def of_fleet(answer: Capacity, fleet: Fleet) -> list[str]:
    """What the machines that are there carry, which of them it takes, and what is missing."""
    peak, carries = rate(answer.traffic.peak_requests_per_s), rate(fleet.carries_requests_per_s)
    known = [choice.usd_per_month for choice in answer.choices if choice.machines]
    dear = sum((usd for usd in known if usd is not None), Decimal(0)) if known and None not in known else None
    costs = f", {dollars(dear)} a month" if dear is not None else ""
    head = (
        f"THEY CARRY IT: {carries} requests/s of {peak} at peak, {answer.model} {fleet.precision}{costs}"
        if not fleet.missing_requests_per_s
        else f"{rate(fleet.missing_requests_per_s)} REQUESTS/S ARE MISSING: they carry {carries} of {peak} at peak, "
        f"{answer.model} {fleet.precision}"
    )
    worst = f"  If the speed is at the bad end of its band: {rate(fleet.at_worst_requests_per_s)} requests/s."
    idle = (
        f"  With those that it does not take: {rate(fleet.all_carry_requests_per_s)} requests/s, "
        f"{rate(fleet.all_at_worst_requests_per_s)} at worst."
    )
    titles = ("it takes", "TP", "replicas", "requests/s each", "at worst", "TPOT ms", "verdict")
    rows = [
        (
            f"{choice.machines}x {choice.machine}",
            str(choice.tensor),
            str(choice.machines * choice.replicas_per_machine),
            rate(choice.requests_per_s_each),
            rate(choice.at_worst.requests_per_s_each) if choice.at_worst else "none",
            f"{choice.tpot_s * 1000:.1f}" if choice.feasible else "-",
            choice.verdict,
        )
        for choice in answer.choices
    ]
    whys = [wrapped(f"{choice.machine}: {choice.why}") for choice in answer.choices if choice.why]
    bases = dict.fromkeys(choice.basis for choice in answer.choices if choice.basis)
    return [
        asked(answer),
        "\n".join(
            [
                head,
                *tails(answer),
                worst,
                *surer_fleet(answer),
                *([idle] if fleet.all_carry_requests_per_s > fleet.carries_requests_per_s else []),
                *(wrapped(f"Basis: {basis}.") for basis in bases),
                *(quality(fleet, answer)),
                *further(answer),
            ]
        ),
        "\n".join([table([titles, *rows]), *whys, wrapped(filling(answer), "")]),
    ]


def surer_fleet(answer: Capacity) -> list[str]:
    """Other weights in which they carry the peak at the bad end too; nothing where these do, or none does."""
    found = answer.surer_fleet
    if found is None:
        return []
    return [
        wrapped(
            f"Less at risk: in {found.precision} they carry {rate(found.carries_requests_per_s)} requests/s, "
            f"{rate(found.at_worst_requests_per_s)} at worst: --precision {found.precision}"
        )
    ]


def quality(fleet: Fleet, answer: Capacity) -> list[str]:
    """What others measured of the answers of those weights."""
    subject = named(answer.model, fleet.precision)
    return [wrapped(note, "  - ") for note in [evaluations.note(subject.repo, subject.precision)] if note]


def filling(answer: Capacity) -> str:
    """Of what a full machine carries the share that is counted on."""
    return f"(requests/s each: of a full machine, of which {answer.promise.fill:.0%} is counted on, --fill)"


def tails(answer: Capacity) -> list[str]:
    """What slow requests wait for on each kind of machine that it takes."""
    return [
        line
        for choice in answer.choices
        if choice.tail and choice.machines
        for line in (
            f"  Each {choice.machine}, filled as far as it is to be:",
            *(f"  {each}" for each in tail(choice)),
        )
    ]


def ranking(answer: Capacity, is_whole: bool) -> str:
    """The best choice of each machine, one line each."""
    head = (
        "machines",
        "precision",
        "TP",
        "$/month",
        "at worst",
        "TPOT ms",
        "request s",
        "verdict",
        "why not",
    )
    choices, most = best_of_each(answer), None if is_whole else SHOWN
    shown = choices[:most]
    lines = "Ranked\n" + table([head, *map(row, shown)]) + more_rows(len(choices), most)
    if any(choice.usd_per_month is None and choice.usd_per_month_elsewhere for choice in shown):
        lines += f"\n(in brackets: {DEFAULT_REGION}'s price, by which all are ranked; ask AWS: corral prices --refresh)"
    if (
        any(choice.at_worst and choice.tail is None for choice in shown)
        and answer.choices[0].tail is not None
    ):
        lines += "\n(at worst: slow requests are simulated of the first, and of what costs nearly as little)"
    return lines


def best_of_each(answer: Capacity) -> list[Choice]:
    """For each machine its best feasible choice, in order."""
    best: dict[str, Choice] = {}
    for choice in answer.choices:
        if choice.feasible:
            best.setdefault(choice.machine, choice)
    return list(best.values())


def row(choice: Choice) -> tuple[str, ...]:
    """One choice of the ranking."""
    return (
        f"{choice.machines}x {choice.machine}",
        choice.precision,
        str(choice.tensor),
        monthly(choice),
        dollars(choice.at_worst.usd_per_month) if choice.at_worst else "never",
        f"{choice.tpot_s * 1000:.1f}",
        f"{choice.e2e_s:.1f}",
        choice.verdict,
        choice.why,
    )


def monthly(choice: Choice) -> str:
    """Dollars a month; in brackets those of another region."""
    if choice.usd_per_month is None and choice.usd_per_month_elsewhere is not None:
        return f"({dollars(choice.usd_per_month_elsewhere)})"
    return dollars(choice.usd_per_month)


def front(answer: Capacity) -> str:
    """The choices that nothing beats in both cost and time."""
    best = sorted(
        (choice for choice in answer.choices if choice.pareto),
        key=lambda choice: choice.usd_per_month or choice.usd_per_month_elsewhere or Decimal(0),
    )
    lines = [(monthly(choice), f"{choice.e2e_s:.1f} s a request", label(choice)) for choice in best]
    return "Nothing is both cheaper and faster than\n" + table(lines) if len(lines) > 1 else ""


def losers(answer: Capacity) -> str:
    """Why the machines that carry nothing do not: the reason at the precision that came nearest."""
    carrying = {choice.machine for choice in answer.choices if choice.feasible}
    last = {choice.machine: choice for choice in answer.choices if choice.machine not in carrying}
    reasons: dict[tuple[str, str], list[str]] = {}
    for name, choice in last.items():
        reasons.setdefault((choice.precision, choice.why), []).append(name)
    lines = [f"{', '.join(names)}, {precision}: {why}" for (precision, why), names in reasons.items()]
    return "Cannot carry it\n" + "\n".join(wrapped(line, "- ") for line in lines) if lines else ""


def notches(answer: Capacity) -> str:
    """What one step more of each costs."""
    rows = [(notch.change, difference(notch.more_usd_per_month), notch.choice) for notch in answer.notches]
    return "One notch more\n" + table(rows) if rows else ""


def arithmetic(best: Choice, answer: Capacity) -> str:
    """How the number of machines follows."""
    traffic, promise = answer.traffic, answer.promise
    per_machine = best.requests_per_s * best.replicas_per_machine * promise.fill
    peak = f"{traffic.peak_requests_per_s:.4g}"
    hourly = f" x ${best.usd_per_hour.normalize():f}/h x 730 h" if best.usd_per_hour is not None else ""
    return "\n".join(
        [
            "How many machines",
            f"  peak = {traffic.requests_per_s:.4g} x {traffic.peak_factor:g} = {peak} requests/s",
            f"  one machine = {counted(best.replicas_per_machine, 'replica')} x {best.requests_per_s:.3f} "
            f"x fill {promise.fill:g} = {per_machine:.3f} requests/s",
            f"  machines = ceil({peak} / {per_machine:.3f}) + {promise.spare_machines} spare = {best.machines}",
            f"  cost = {best.machines}{hourly} = {dollars(best.usd_per_month)} a month",
        ]
    )


def dollars(amount: Decimal | None) -> str:
    """Whole dollars."""
    return f"${amount:,.0f}" if amount is not None else "-"


def difference(amount: Decimal | None) -> str:
    """A difference with its sign."""
    return f"{'+' if amount >= 0 else '-'}${abs(amount):,.0f} a month" if amount is not None else "no price"
