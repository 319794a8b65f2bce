"""PURE: a simulation as text: what came, what it waited for, hour by hour, and what to ask next."""

from collections.abc import Sequence

from infra.argument import pasted
from infra.asked import Asked, again
from infra.columns import more_rows, table, wrapped
from infra.money import dollars
from infra.quantity import counted, listed
from serving.simulation.simulate_options import PEAK, FleetOptions
from serving.simulation.simulation import Hour, Kept, Simulation
from serving.sizing.capacity_words import LOCKSTEP

SHOWN = 3
"""Hours, the worst first."""


def simulation_text(found: Simulation, model: str, asked: Sequence[Asked], is_whole: bool = True) -> str:
    """The answer; `asked` is what it was asked with. The whole of it has every hour."""
    blocks = [
        question(found),
        "\n".join([*left_out(found), verdict(found), *lines(found)]),
        latencies(found),
        hourly(found) if is_whole else worst_hours(found),
        "\n".join(wrapped(note, "- ") for note in notes(found)),
        following(found, model, asked),
    ]
    return "\n\n".join(block for block in blocks if block)


def question(found: Simulation) -> str:
    """What was simulated."""
    machine = found.machine.name
    images = ", images included" if found.further and found.further.images_per_request else ""
    return (
        f"{found.model} {found.precision}, {counted(found.replicas, 'replica')} on {found.machines:,}x {machine}, "
        f"{found.router}: {found.hours:.3g} h, {found.requests_per_s:g} requests/s, {found.peak_requests_per_s:g} "
        f"in the busiest hour, {found.input_tokens:,g} tokens in{images}, {found.output_tokens:,g} out"
        f"{of_plan(found)}"
    )


OF_PLAN = {
    "traffic": "what comes",
    "lengths": "how long requests are",
    "promise": "the promise",
    "replicas": "the replicas",
    "price": "the price",
}


def of_plan(found: Simulation) -> str:
    """What of it was taken from the plan, and not typed; empty where no plan was given."""
    said = [OF_PLAN[each] for each in found.of_plan]
    return f"\n  The plan says {listed(said)}; all else is as typed, or by default." if said else ""


def left_out(found: Simulation) -> list[str]:
    """That the day's busiest hour is not among those simulated, so that its peak is not; nothing where it is."""
    peak = found.peak_of_day_requests_per_s
    if peak is None:
        return []
    return [
        wrapped(
            f"NOT THE PEAK: what is simulated ends {found.hours:.3g} h after midnight, before the day's busiest hour, "
            f"of {peak:g} requests/s: the average, the busiest hour and --die-at peak are of those hours alone. The "
            f"whole day: --hours 24; its peak alone: --requests-per-s {peak:g}, without --peak-factor or --rates.",
            "",
        )
    ]


def verdict(found: Simulation) -> str:
    """What is to be known first."""
    came = f"{found.served:,} of {counted(found.arrived, 'request')} served"
    gone = [f"{found.lost:,} lost"] if found.lost else []
    gone += [f"{found.refused:,} refused as too long"] if found.refused else []
    came = ", ".join([came, *gone])
    if found.promise is None:
        return came[:1].upper() + came[1:]
    head = "THE PROMISE IS KEPT" if found.promise.kept else "THE PROMISE IS BROKEN"
    return f"{head} ({promised(found.promise)}): {came}"


def promised(kept: Kept) -> str:
    """The promise in words."""
    words = [
        f"TTFT {kept.ttft_s:g} s" if kept.ttft_s else "",
        f"TPOT {kept.tpot_s * 1000:g} ms" if kept.tpot_s else "",
    ]
    return f"p{kept.percentile:g} {', '.join(word for word in words if word)}"


def lines(found: Simulation) -> list[str]:
    """What belongs to the verdict."""
    said = []
    if found.promise:
        kept = found.promise
        worst = "kept" if kept.kept_at_worst else "broken"
        said += [
            f"  {kept.goodput_share:.1%} keep it: {kept.goodput_requests_per_s:g} requests/s of goodput.",
            f"  If the speed is at the bad end of its band ({found.band:g}x) it is {worst}.",
        ]
    if found.died_at_h is not None:
        said.append(f"  One replica died at hour {found.died_at_h:g}.")
    if found.usd is not None:
        each = f", {dollars(found.usd_per_mtok)} per million output tokens" if found.usd_per_mtok else ""
        said.append(
            f"  {counted(found.machines, 'machine')} for {found.hours:.3g} h: {dollars(found.usd)}{each}."
        )
    else:
        said.append("  No price known.")
    return said


def latencies(found: Simulation) -> str:
    """The three latencies, and the queue."""
    if found.ttft_s is None or found.queue is None:
        return ""
    at = f"p{found.percentile:g}"
    columns = {"mean": "mean", "p50": "p50", "p90": "p90", "p95": "p95", "p99": "p99"} | {at: "asked"}
    head = ("", *columns, f"{at} from", "to")
    rows = [
        (
            name,
            *(
                f"{getattr(spread, field) * scale:,.{digits}f}"
                for field in (*columns.values(), "low", "high")
            ),
        )
        for name, spread, scale, digits in (
            ("TTFT s", found.ttft_s, 1, 2),
            ("TPOT ms", found.tpot_s, 1000, 1),
            ("longest pause s", found.longest_pause_s, 1, 2),
        )
        if spread
    ]
    queue = found.queue
    said = (
        f"  Waiting {queue.waiting_mean:.3g} on average, {queue.waiting_most:,} at most before one; running "
        f"{queue.running_mean:.3g} in each, {queue.running_most:,} at most;",
        f"  engines work {queue.engine_busy:.0%} of the time, API processes {queue.api_busy:.0%}; "
        f"{found.output_tokens_per_s:,.0f} tokens/s come out.",
    )
    return "\n".join(["Waited for", table([head, *rows]), *said])


def hourly(found: Simulation) -> str:
    """A line an hour, where there are several."""
    if len(found.hourly) < 2:
        return ""
    return "Hour by hour\n" + table([head(found), *map(row, found.hourly)])


def worst_hours(found: Simulation) -> str:
    """Those in which most was lost, then waited for, where there are more."""
    if len(found.hourly) <= SHOWN:
        return hourly(found)
    worst = sorted(
        found.hourly, key=lambda hour: (-hour.lost, not hour.overloaded, -(hour.ttft_s or 0), hour.hour)
    )
    shown = table([head(found), *map(row, worst[:SHOWN])])
    return f"The worst hours\n{shown}{more_rows(len(worst), SHOWN)}"


def head(found: Simulation) -> tuple[str, ...]:
    """Above the hours."""
    return (
        "hour",
        "requests/s",
        f"p{found.percentile:g} TTFT s",
        "TPOT ms",
        "pause s",
        "waiting",
        "lost",
        "",
    )


def row(hour: Hour) -> tuple[str, ...]:
    """One hour."""
    return (
        str(hour.hour),
        f"{hour.requests_per_s:g}",
        f"{hour.ttft_s:,.2f}" if hour.ttft_s is not None else "-",
        f"{hour.tpot_s * 1000:.1f}" if hour.tpot_s is not None else "-",
        f"{hour.longest_pause_s:.2f}" if hour.longest_pause_s is not None else "-",
        f"{hour.waiting_mean:.3g}",
        f"{hour.lost:,}" if hour.lost else "",
        "more comes than is served" if hour.overloaded else "",
    )


def notes(found: Simulation) -> list[str]:
    """What the figures rest on."""
    part = found.simulated
    whole = part.share_of_time == 1 and part.replicas == found.replicas
    said = [
        f"From-to is the least and the most of {part.passes} passes: other draws, and every step {found.band:g} times "
        f"as fast and as slow. {part.requests:,} requests were simulated a pass"
        + (", all that come." if whole else f": {of_all(found)}.")
    ]
    if found.parallel.pipeline > 1:
        said.append(LOCKSTEP)
    return [*said, f"Steps: {found.basis}.", f"API process: {found.api_basis}."]


def of_all(found: Simulation) -> str:
    """What part that is."""
    part = found.simulated
    replicas = f"{part.replicas:,} of {counted(found.replicas, 'replica')}"
    alike = ", each with the same share of what comes" if found.router == "least-requests" else ""
    return f"{part.share_of_time:.1%} of each hour on {replicas}{alike}"


def following(found: Simulation, model: str, asked: Sequence[Asked]) -> str:
    """What to ask next: more replicas where the promise is broken, a death where none was asked for."""
    if found.promise and not found.promise.kept:
        there = found.replicas_there
        if there is not None and found.replicas >= there:
            return f"Those are all of the plan's replicas on {found.machine.name}."
        more = 2 * found.replicas if there is None else min(there, 2 * found.replicas)
        return f"Next: {command(model, asked, replicas=more)}"
    if found.died_at_h is None:
        return f"Next: when one replica dies: {command(model, asked, die_at=PEAK)}"
    return ""


def command(model: str, asked: Sequence[Asked], **changes: object) -> str:
    """The same with something changed, and all else as it was said."""
    said = [each.model_copy(update=changes) if isinstance(each, FleetOptions) else each for each in asked]
    return f"corral simulate {pasted(model)}{again(*said)}"
