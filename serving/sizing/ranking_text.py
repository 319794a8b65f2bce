"""PURE: a ranking as text for a person: a machine a line, the cheapest first."""

from collections.abc import Iterable, Sequence

from infra.argument import pasted
from infra.asked import again
from infra.columns import more_rows, table, wrapped
from infra.prices import ON_DEMAND
from serving.sizing.plan import Plan
from serving.sizing.plan_text import rate
from serving.sizing.size import Ranking
from serving.sizing.size_options import Options

HEAD = ("machine", "GPUs", "precision", "verdict", "$/h", "tok/s", "$/Mtok out", "context", "KV GiB/GPU")
SHOWN = 8


def ranking_text(ranking: Ranking, options: Options | None = None, is_whole: bool = True) -> str:
    """The machines that hold the model, one line each: what EC2 rents out, then what one may own."""
    if not ranking.machines:
        return f"No machine corral knows holds {ranking.model} at {ranking.precision} with these settings."
    load, shown = ranking.workload, best_of_each(ranking.machines)
    title = (
        f"{ranking.model}: machines that hold it, the cheapest first "
        f"(speed at {load.concurrency} requests of {load.input_tokens:,} in, {load.output_tokens:,} out; modelled)"
    )
    rented = [plan for plan in shown if plan.machine.instance_type]
    own = [plan for plan in shown if not plan.machine.instance_type]
    best, most = shown[0], None if is_whole else SHOWN
    said = again(*(() if options is None else (options,)))
    step = (
        f"Next: corral size {pasted(ranking.model)} --precision {best.precision} "
        f"--on {pasted(best.machine.name)}{said}"
    )
    sources = sorted({f"{p.price.source}, {p.price.checked_on}" for p in shown if p.price})
    blocks = [
        title,
        ranking_table("EC2", rented, most),
        ranking_table("Owned: the smallest shape of each GPU", own, most),
    ]
    return "\n\n".join(
        [*(block for block in blocks if block), wrapped("Prices: " + "; ".join(sources), ""), step]
    )


def ranking_table(title: str, plans: Sequence[Plan], most: int | None) -> str:
    """One kind of machine, in order, the first so many; None: each."""
    if not plans:
        return ""
    shown = table([HEAD, *map(ranking_row, plans[:most])])
    return f"{title}\n{shown}" + more_rows(len(plans), most)


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
        f"{plan.machine.gpu_count}x {plan.machine.gpu}",
        plan.precision,
        plan.verdict,
        hourly(plan),
        rate(speed.output_tokens_per_s) if speed else "-",
        f"{plan.usd_per_mtok:.2f}" if plan.usd_per_mtok else "-",
        f"{plan.kv.max_context_tokens:,}",
        f"{plan.memory.kv_cache_gib:.1f}",
    )


def hourly(plan: Plan) -> str:
    """USD an hour, marked where it cannot be had by the hour."""
    if plan.price is None:
        return "-"
    return f"{plan.price.usd_per_hour:.2f}" + (" ahead" if plan.price.purchase != ON_DEMAND else "")
