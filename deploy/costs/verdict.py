"""PURE: the sentence a comparison ends in, and what would turn it."""

import math
from decimal import Decimal

from deploy.costs.comparison import Answer, BreakEven, ClaudeSide, SelfHosted
from deploy.costs.monthly_bill import machine_seconds, serving_machines
from deploy.costs.self_hosted import OurSide
from infra.money import MTOK, count, dollars, percent


def answer_of(own: SelfHosted, even: BreakEven) -> Answer:
    """Whether self-hosting is cheaper at that utilisation, at another, or at none."""
    if not even.feasible:
        return "never"
    return "cheaper" if own.utilisation >= even.required_utilisation else "not at this utilisation"


def verdict_of(own: SelfHosted, name: str, usd_per_mtok: Decimal, even: BreakEven) -> str:
    """The answer as a sentence that carries its numbers."""
    here, there = dollars(own.usd_per_mtok_blended), dollars(usd_per_mtok)
    busy = f"at {percent(own.utilisation)} utilisation a million tokens costs {here} here and {there} there"
    match answer_of(own, even):
        case "cheaper":
            text = f"Cheaper than {name}: {busy}; it stays so above {percent(even.required_utilisation)}."
        case "not at this utilisation":
            text = f"Dearer than {name} today: {busy}; it pays above {percent(even.required_utilisation)}."
        case "never":
            floor = dollars(own.usd_per_month / own.capacity_mtok_per_month)
            text = (
                f"NEVER against {name}: even fully busy all month a million tokens costs {floor} here "
                f"and {there} there."
            )
    return text + caveat(own, even)


def caveat(own: SelfHosted, even: BreakEven) -> str:
    """Where the token ratio's range would turn the answer."""
    ends = [
        answer_of(own, even.model_copy(update={"required_utilisation": needed, "feasible": needed <= 1}))
        for needed in (even.required_utilisation_low, even.required_utilisation_high)
    ]
    if even.required_utilisation_low == even.required_utilisation_high:
        return ""
    if len({*ends, answer_of(own, even)}) == 1:
        return " The whole range of token ratios says the same."
    low, high = percent(even.required_utilisation_low), percent(even.required_utilisation_high)
    return f" Within the range of token ratios it takes {low} to {high}: measure the ratio on your own texts."


def what_would_change(ours: OurSide, chosen: ClaudeSide, sides: tuple[ClaudeSide, ...]) -> tuple[str, ...]:
    """What would have to be otherwise for self-hosting to be the cheaper one; nothing where it is."""
    if chosen.answer == "cheaper":
        return ()
    every = (
        volume_needed(ours.figures, chosen),
        speed_needed(ours, chosen),
        price_needed(ours.figures, chosen),
        machines_needed(ours, chosen),
        another_model(chosen, sides),
    )
    return tuple(text for text in every if text)


def volume_needed(own: SelfHosted, chosen: ClaudeSide) -> str:
    """More work for the same machine."""
    even = chosen.break_even
    if not even.feasible:
        return ""
    return (
        f"Volume: {count(even.mtok_per_month)} M tokens a month ({percent(even.required_utilisation)} utilisation) "
        f"instead of {count(own.mtok_per_month)} M."
    )


def speed_needed(ours: OurSide, chosen: ClaudeSide) -> str:
    """More tokens a second from the same machine: a better quantisation, another GPU, more requests at once."""
    own, speed, knobs = ours.figures, ours.speed, ours.knobs
    total = own.usd_per_month / chosen.usd_per_mtok_blended * MTOK / machine_seconds(knobs)
    output = total / speed.tokens_per_output_token
    return (
        f"Speed: {count(output / own.utilisation)} output tokens/s a machine at {percent(own.utilisation)} "
        f"utilisation, or {count(output)} ({count(total)} with input) fully busy; "
        f"now {count(speed.output_tokens_per_s)}."
    )


def price_needed(own: SelfHosted, chosen: ClaudeSide) -> str:
    """A cheaper machine of the same speed."""
    at_most = chosen.usd_per_month / own.usd_per_month * own.usd_per_hour
    return (
        f"Price: at most {dollars(at_most)} an hour for everything at {percent(own.utilisation)} utilisation, "
        f"{dollars(at_most / own.utilisation)} fully busy; now {dollars(own.usd_per_hour)}."
    )


def machines_needed(ours: OurSide, chosen: ClaudeSide) -> str:
    """Whether more machines would spread the costs that do not grow with them."""
    if chosen.break_even.feasible:
        return ""
    own, knobs = ours.figures, ours.knobs
    machine = own.bill.per_machine_usd / knobs.replicas
    fixed = own.usd_per_month - own.bill.per_machine_usd + knobs.spares * machine
    gain = own.capacity_mtok_per_month / serving_machines(knobs) * chosen.usd_per_mtok_blended - machine
    if gain <= 0:
        return "More such machines do not help: each costs more than the most it can serve is worth there."
    return f"Size: {math.ceil(fixed / gain) + knobs.spares:f} such machines, all fully busy, to spread the fixed costs."


def another_model(chosen: ClaudeSide, sides: tuple[ClaudeSide, ...]) -> str:
    """The Claude models against which it does pay."""
    pays = [
        f"{side.name} (above {percent(side.break_even.required_utilisation)})"
        for side in sides
        if side.model != chosen.model and side.break_even.feasible and side.status != "retired"
    ]
    return (
        f"Another Claude, were {chosen.name} not good enough for the work: {', '.join(pays)}." if pays else ""
    )
