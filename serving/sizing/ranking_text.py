"""PURE: a ranking as text for a person: a machine a line, the cheapest first."""

import sys
from collections.abc import Iterable, Sequence

from infra import terminal
from infra.argument import pasted
from infra.asked import again
from infra.columns import INDENT, more_rows, table, width_of, wrapped
from infra.prices import ON_DEMAND, in_brackets
from serving.sizing.plan import Plan
from serving.sizing.plan_text import rate, ttft
from serving.sizing.size import Ranking, known_price
from serving.sizing.size_options import Options

HEAD = ("machine", "GPUs", "precision", "$/h", "tok/s", "TTFT", "$/Mtok", "context")
"""`context` is the longest request, by the search that is behind each that is spoken of."""
LEAST = ("GPUs", "context", "$/Mtok", "TTFT")
"""What a terminal has no room for goes in this order, the least first; eighty columns have it for all but the GPUs,
which the plan of one machine begins with."""
UNKNOWN = "-"
SHOWN = 8


def ranking_text(ranking: Ranking, options: Options | None = None, is_whole: bool = True) -> str:
    """The machines that hold the model, one line each: what EC2 rents out, then what one may own."""
    if not ranking.machines:
        return f"No machine corral knows holds {ranking.model} at {ranking.precision} with these settings."
    load, shown = ranking.workload, best_of_each(ranking.machines)
    title = wrapped(
        f"{ranking.model}: machines that hold it, the cheapest first. Speed and TTFT (modelled) and dollars a million "
        f"output tokens at {load.concurrency} requests of {load.input_tokens:,} in, {load.output_tokens:,} out; "
        "context: the longest request it could take, were --max-model-len raised to it (its plan says what else that "
        "takes).",
        "",
    )
    rented = [plan for plan in shown if plan.machine.instance_type]
    own = [plan for plan in shown if not plan.machine.instance_type]
    best, most = shown[0], None if is_whole else SHOWN
    said = again(*(() if options is None else (options,)))
    step = (
        f"Next: corral size {pasted(ranking.model)} --precision {best.precision} "
        f"--on {pasted(best.machine.name)}{said}"
    )
    prices = [price for plan in shown if (price := known_price(plan))]
    sources = sorted({f"{price.source}, {price.checked_on}" for price in prices})
    blocks = [
        title,
        ranking_table("EC2", rented, most),
        ranking_table("Owned: the smallest shape of each GPU", own, most),
    ]
    if any(map(is_elsewhere, rented[:most])):
        blocks.insert(2, wrapped(in_brackets(best.region), ""))
    if sources:
        blocks.append(wrapped("Prices: " + "; ".join(sources), ""))
    return "\n\n".join([*(block for block in blocks if block), step])


def ranking_table(title: str, plans: Sequence[Plan], most: int | None) -> str:
    """One kind of machine, in order, the first so many; None: each."""
    if not plans:
        return ""
    rows = [ranking_row(plan) for plan in plans[:most]]
    columns = [*zip(*rows, strict=True)]
    told = [
        at
        for at, cells in enumerate(columns)
        if at == 0 or (cells != columns[0] and any(cell != UNKNOWN for cell in cells))
    ]
    shown, left_out = [[row[at] for at in told] for row in (HEAD, *rows)], tuple[str, ...]()
    if most is not None:
        shown, left_out = fitting(shown)
    ahead = f"\n{AHEAD}" if any(map(is_ahead, plans[:most])) else ""
    return f"{title}\n{table(shown)}{ahead}{more(len(plans), most, left_out)}"


def fitting(rows: list[list[str]]) -> tuple[list[list[str]], tuple[str, ...]]:
    """The rows with the columns that a terminal has room for, and which it has none for; a pipe has it for all."""
    room, left_out = terminal.width(sys.stdout), list[str]()
    for name in LEAST:
        widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
        if room is None or len(INDENT) + width_of(widths) <= room:
            break
        if name in rows[0]:
            at = rows[0].index(name)
            rows = [[*row[:at], *row[at + 1 :]] for row in rows]
            left_out.append(name)
    return rows, tuple(left_out)


def more(count: int, most: int | None, left_out: tuple[str, ...]) -> str:
    """The line below a table of which the first so many rows are shown, and not every column."""
    if not left_out:
        return more_rows(count, most)
    hidden = f"{count - most} more, and " if most is not None and count > most else ""
    return "\n" + wrapped(f"and {hidden}{listed(left_out)} of each, with --all")


def listed(names: Sequence[str]) -> str:
    """As one says them."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


AHEAD = f"{INDENT}* paid ahead, for days or weeks at once: a Capacity Block"


def best_of_each(plans: Iterable[Plan]) -> list[Plan]:
    """For each machine the most faithful precision that surely fits, else the first that may."""
    best: dict[str, Plan] = {}
    for plan in plans:
        if plan.machine.name not in best or (plan.verdict == "fits") > (
            best[plan.machine.name].verdict == "fits"
        ):
            best[plan.machine.name] = plan
    return list(best.values())


def ranking_row(plan: Plan) -> tuple[str, ...]:
    """One machine of a ranking."""
    speed = plan.throughput
    return (
        plan.machine.name,
        f"{plan.machine.gpu_count}x{plan.machine.gpu}",
        plan.precision if plan.verdict == "fits" else f"{plan.precision}, {plan.verdict}",
        hourly(plan),
        rate(speed.output_tokens_per_s) if speed else UNKNOWN,
        ttft(speed) if speed else UNKNOWN,
        f"{plan.usd_per_mtok:.2f}" if plan.usd_per_mtok else UNKNOWN,
        f"{plan.kv.max_context_tokens:,}",
    )


def hourly(plan: Plan) -> str:
    """USD an hour, marked where it cannot be had by the hour; in brackets those of another region."""
    price = known_price(plan)
    if price is None:
        return UNKNOWN
    told = f"{price.usd_per_hour:.2f}{'*' if is_ahead(plan) else ''}"
    return f"({told})" if is_elsewhere(plan) else told


def is_elsewhere(plan: Plan) -> bool:
    """Whether only another region's price of it is known."""
    return plan.price is None and known_price(plan) is not None


def is_ahead(plan: Plan) -> bool:
    """Whether what it costs is paid before it begins."""
    price = known_price(plan)
    return price is not None and price.purchase != ON_DEMAND
