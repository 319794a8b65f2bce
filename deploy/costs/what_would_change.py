"""PURE: what would turn an answer: more work, a faster or a cheaper machine, another load, another Claude."""

import math

from deploy.costs.comparison import ClaudeSide, SelfHosted
from deploy.costs.monthly_bill import machine_seconds, serving_machines
from deploy.costs.self_hosted import OurSide
from infra.money import MTOK, count, dollars, percent


def what_would_change(ours: OurSide, chosen: ClaudeSide, sides: tuple[ClaudeSide, ...]) -> tuple[str, ...]:
    """What would have to be otherwise for self-hosting to be the cheaper one; nothing where it is."""
    if chosen.answer == "cheaper":
        return ()
    if chosen.answer == "cannot be asked":
        return tuple(filter(None, ("Requests that it takes: shorter ones.", another_model(chosen, sides))))
    if chosen.answer == "too close to call":
        return tuple(text for text in (*to_settle(ours, chosen), another_model(chosen, sides)) if text)
    every = (
        load_needed(ours, chosen),
        volume_needed(ours.figures, chosen),
        speed_needed(ours, chosen),
        price_needed(ours.figures, chosen),
        machines_needed(ours, chosen),
        another_model(chosen, sides),
    )
    return tuple(text for text in every if text)


def to_settle(ours: OurSide, chosen: ClaudeSide) -> tuple[str, ...]:
    """What to find out, where the ranges leave it open."""
    ratio = chosen.token_ratio
    of_ratio = (
        "" if ratio.low == ratio.high else "Token ratio: measure it on your own texts, then --token-ratio."
    )
    of_speed = "" if ours.speed.basis == "measured" else "Speed: probe the machine, then --probe."
    return (
        of_ratio,
        of_speed,
        "Price: what you really pay, then --price-per-hour; a discount is no list price.",
    )


def load_needed(ours: OurSide, chosen: ClaudeSide) -> str:
    """Another load, where this one is not shown to be the most that the machine can serve."""
    if ours.speed.point.is_most or chosen.break_even.required_utilisation <= ours.figures.utilisation:
        return ""
    return (
        "Load: the machine may serve more at another. Find out how much: corral probe sweep "
        "http://127.0.0.1:8000 --output sweep, then --probe sweep."
    )


def volume_needed(own: SelfHosted, chosen: ClaudeSide) -> str:
    """More work for the same machine."""
    even = chosen.break_even
    if not even.feasible:
        return ""
    return (
        f"Volume: {count(even.mtok_per_month)} M tokens a month ({percent(even.required_utilisation)} utilisation) "
        f"instead of {count(own.mtok_per_month)} M."
    )


def as_busy(own: SelfHosted) -> str:
    """The busiest that they may be, in a few words."""
    if own.most_utilisation == 1:
        return "fully busy"
    return f"at {percent(own.most_utilisation)}, the most under the plan's promise"


def speed_needed(ours: OurSide, chosen: ClaudeSide) -> str:
    """More tokens a second from the same machine: a better quantisation, another GPU, more requests at once."""
    own, speed, knobs = ours.figures, ours.speed, ours.knobs
    total = own.usd_per_month / chosen.spared(chosen.usd_per_mtok_blended) * MTOK / machine_seconds(knobs)
    output, busiest = total / speed.tokens_per_output_token, own.most_utilisation
    return (
        f"Speed: {count(output / own.utilisation)} output tokens/s a machine at {percent(own.utilisation)} "
        f"utilisation, or {count(output / busiest)} ({count(total / busiest)} with input) {as_busy(own)}; "
        f"now {count(speed.output_tokens_per_s)}."
    )


def price_needed(own: SelfHosted, chosen: ClaudeSide) -> str:
    """A cheaper machine of the same speed."""
    at_most = chosen.spared(chosen.usd_per_month) / own.usd_per_month * own.usd_per_hour
    return (
        f"Price: at most {dollars(at_most)} an hour for everything at {percent(own.utilisation)} utilisation, "
        f"{dollars(at_most * own.most_utilisation / own.utilisation)} {as_busy(own)}; now {dollars(own.usd_per_hour)}."
    )


def machines_needed(ours: OurSide, chosen: ClaudeSide) -> str:
    """Whether more machines would spread the costs that do not grow with them."""
    if chosen.break_even.feasible or not ours.are_alike:
        return ""
    own, knobs = ours.figures, ours.knobs
    machine = own.bill.per_machine_usd / knobs.replicas
    fixed = own.usd_per_month - own.bill.per_machine_usd + knobs.spares * machine
    gain = (
        own.capacity_mtok_per_month
        * own.most_utilisation
        / serving_machines(knobs)
        * chosen.spared(chosen.usd_per_mtok_blended)
        - machine
    )
    if gain <= 0:
        return "More such machines do not help: each costs more than the most it can serve is worth there."
    machines = math.ceil(fixed / gain) + knobs.spares
    return (
        f"Size: it never pays with so few. {machines:f} such machines, all {as_busy(own)}, spread the fixed costs "
        "so far that it does."
    )


def another_model(chosen: ClaudeSide, sides: tuple[ClaudeSide, ...]) -> str:
    """The Claude models against which it does pay."""
    pays = [
        f"{side.name} (above {percent(side.break_even.required_utilisation)})"
        for side in sides
        if side.model not in (chosen.model, *chosen.models) and side.break_even.feasible and side.is_to_be_had
    ]
    return (
        f"Another Claude, were {chosen.name} not good enough for the work: {', '.join(pays)}." if pays else ""
    )
