"""PURE: a capacity plan as text: what to rent, what it costs, what the others lack, what one notch more costs."""

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

from infra.argument import pasted
from infra.asked import Asked, again
from infra.columns import more_rows, table, wrapped
from infra.prices import DEFAULT_REGION, in_brackets
from infra.quantity import counted, listed
from serving.sizing.capacity import Capacity, Choice, Notch, label
from serving.sizing.capacity_search import NEARLY, cost_of, is_alike, worst_cost
from serving.sizing.capacity_words import asked, cautions, dollars, further, tail
from serving.sizing.fleet_text import of_fleet, rest_planned
from serving.sizing.plan_explained import explained
from serving.sizing.plan_text import up

SHOWN = 5
MACHINES_ALONE = "(dollars: machines alone; corral compare counts each one's volume and public address too)"


def capacity_text(
    answer: Capacity,
    explain: bool,
    question: Sequence[Asked] = (),
    written_to: Path | None = None,
    is_whole: bool = True,
) -> str:
    """The answer, or all that was looked at; `question` is what it was asked with."""
    if answer.fleet:
        blocks = of_fleet(answer, answer.fleet, explain, is_whole)
        following = (
            rest_planned(answer, question, written_to)
            if answer.fleet.missing_requests_per_s
            else next_step(answer, question, written_to)
        )
        return "\n\n".join(block for block in (*blocks, following) if block)
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
    return wrapped(f"With --all: {listed(left_out)}.", "") if left_out else ""


def next_step(answer: Capacity, question: Sequence[Asked], written_to: Path | None) -> str:
    """The command that serves the plan, after the one that writes it; empty where nothing is planned."""
    if answer.plan is None:
        return ""
    name = written_to or Path("plan.json")
    save = f"corral capacity {pasted(answer.model)}{again(*question)} -o {pasted(name)} && "
    return f"Next: {'' if written_to else save}{up(answer.plan, name)}"


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


def wrapped_notes(best: Choice, answer: Capacity) -> list[str]:
    """What is known to need care of those weights on that GPU."""
    return [wrapped(note, "  - ") for note in cautions(answer, best.machine, best.precision)]


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
    count = counted(choice.at_worst.machines, "machine")
    dear = "" if worst_monthly(choice) == "-" else f", {worst_monthly(choice)} a month"
    return f"If the speed is at the bad end of its band: {count}{dear}."


def worst_monthly(choice: Choice) -> str:
    """Dollars a month at worst; in brackets those of another region."""
    worst, elsewhere = choice.at_worst, choice.usd_per_month_elsewhere
    if worst is None:
        return "never"
    if worst.usd_per_month is None and elsewhere is not None:
        return f"({dollars(elsewhere / choice.machines * worst.machines)})"
    return dollars(worst.usd_per_month)


def surer(best: Choice, answer: Capacity) -> list[str]:
    """A choice that costs clearly less at worst than the first; nothing where none does."""
    worst = worst_cost(best, best)
    others = [each for each in answer.choices[1:] if each.feasible and each.tail and is_alike(each, best)]
    least = min(others, key=lambda each: worst_cost(each, best), default=None)
    if least is None:
        return []
    now, then = cost_of(least, best), worst_cost(least, best)
    if not then.is_finite() or then * NEARLY > worst:
        return []
    said = f"Less at risk: {label(least)}, {dollars(now)} a month, at worst {dollars(then)}."
    return [wrapped(said)]


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
        assert answer.plan is not None
        lines += "\n" + wrapped(in_brackets(answer.plan.region), "")
    if answer.plan and answer.plan.machine.instance_type:
        lines += f"\n{MACHINES_ALONE}"
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
        worst_monthly(choice),
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
    rows = [(notch.change, difference(notch, answer.choices[0]), notch.choice) for notch in answer.notches]
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


def difference(notch: Notch, best: Choice) -> str:
    """What it costs more, with its sign; in brackets by another region's prices."""
    amount = notch.more_usd_per_month
    if amount is None:
        return "no price"
    told = f"{'+' if amount >= 0 else '-'}${abs(amount):,.0f} a month"
    return f"({told})" if None in (notch.usd_per_month, best.usd_per_month) else told
