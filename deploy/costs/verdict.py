"""PURE: the sentence a comparison ends in."""

from decimal import Decimal

from deploy.costs.compare_options import Question
from deploy.costs.comparison import Answer, BreakEven, SelfHosted
from deploy.costs.self_hosted import OurSide
from infra.money import count, dollars, percent

SURE = Decimal("0.9")
"""What holds in fewer of the draws is too close to call."""
OPENINGS: dict[Answer, str] = {
    "cheaper": "Cheaper than",
    "too close to call": "Too close to call against",
    "dearer": "Dearer than",
    "not at this load": "Not at this load against",
    "never": "NEVER against",
    "cannot be asked": "Cannot be asked of",
}


def answer_of(even: BreakEven, chance: Decimal, fully_busy: Decimal, is_most: bool) -> Answer:
    """Whether self-hosting is the cheaper one as compared, or fully busy, or not even then.

    `is_most`: whether the machine is shown to serve no more than that.
    """
    if chance >= SURE:
        return "cheaper"
    if chance > 1 - SURE:
        return "too close to call"
    if even.feasible or fully_busy > 1 - SURE:
        return "dearer"
    return "never" if is_most else "not at this load"


def verdict_of(
    ours: OurSide,
    question: Question,
    name: str,
    usd_per_mtok: Decimal,
    asked_again: Decimal,
    even: BreakEven,
    answer: Answer,
    chance: Decimal,
) -> str:
    """The answer as sentences that carry its numbers: what is compared, how sure that is, and at which load."""
    people = ", counting nobody's time (--ops-fte)" if question.ops_fte is None else ""
    what = compared(ours.figures, usd_per_mtok, asked_again, even, answer)
    return f"{OPENINGS[answer]} {name}{people}: {what}. {how_sure(chance, question)} {taken_at(ours)}"


def cannot_be_asked(ours: OurSide, name: str, why: str, usd_per_mtok: Decimal) -> str:
    """That Claude takes no such request, and what its tokens would cost all the same."""
    own = ours.figures
    here, there = dollars(own.usd_per_mtok_blended), dollars(usd_per_mtok)
    return (
        f"{OPENINGS['cannot be asked']} {name}: {why}. At {percent(own.utilisation)} utilisation a million tokens "
        f"costs {here} here; by its prices so many tokens would be {there} there. {taken_at(ours)}"
    )


def compared(
    own: SelfHosted, usd_per_mtok: Decimal, asked_again: Decimal, even: BreakEven, answer: Answer
) -> str:
    """What a million tokens costs on both sides, ours with what is asked again there, and what break-even takes."""
    here, there = dollars(own.usd_per_mtok_blended + asked_again), dollars(usd_per_mtok)
    again = f" ({dollars(asked_again)} of it for what is asked again there)" if asked_again else ""
    if answer in ("never", "not at this load"):
        floor = dollars(fully_busy_usd(own) + asked_again)
        more = "; that it can serve no more is not shown" if answer == "not at this load" else ""
        if own.utilisation == own.most_utilisation:
            return f"even {as_busy(own)} a million tokens in and out costs {floor} here{again} and {there} there{more}"
        return (
            f"at {percent(own.utilisation)} utilisation a million tokens in and out costs {here} here{again}, "
            f"even {as_busy(own)} {floor}, and {there} there{more}"
        )
    needed = needed_text(even)
    ends = {
        "cheaper": f"it stays so above {needed}",
        "too close to call": f"both cost the same at {needed}",
        "dearer": f"it pays above {needed}"
        if even.feasible
        else f"it takes {needed} to pay, more than {allowed(own)}: only at the good end of the ranges does it pay",
    }
    return (
        f"at {percent(own.utilisation)} utilisation a million tokens in and out costs {here} here{again} "
        f"and {there} there; {ends[answer]}"
    )


def fully_busy_usd(own: SelfHosted) -> Decimal:
    """What a million tokens costs were the machines as busy as they may be, with the power that this takes."""
    busiest = own.most_utilisation
    month = own.usd_per_month + own.usd_of_full_load * (busiest - own.utilisation)
    return month / (own.capacity_mtok_per_month * busiest)


def as_busy(own: SelfHosted) -> str:
    """How busy the machines may be at most, in words."""
    if own.most_utilisation == 1:
        return "fully busy all month"
    return f"at {percent(own.most_utilisation)} utilisation, the most that carries the plan's peak,"


def allowed(own: SelfHosted) -> str:
    """How busy the machines may be at most."""
    return (
        "there is"
        if own.most_utilisation == 1
        else f"the {percent(own.most_utilisation)} that the plan's peak allows"
    )


def needed_text(even: BreakEven) -> str:
    """The utilisation that break-even takes, with what the range of token ratios makes of it."""
    needed, low, high = (
        even.required_utilisation,
        even.required_utilisation_low,
        even.required_utilisation_high,
    )
    between = f" ({percent(low)} to {percent(high)} within the range of token ratios)" if low != high else ""
    return f"{percent(needed)}{between}"


def how_sure(chance: Decimal, question: Question) -> str:
    """In what share of the draws self-hosting is the cheaper one, and what was drawn."""
    people = "" if question.ops_fte is None else ", people"
    ratio = "" if question.token_ratio is not None else ", token ratio"
    return f"It is the cheaper one with a probability of {rough(chance)} (ranges of speed{ratio}, price{people})."


def rough(chance: Decimal) -> str:
    """A probability, no more exactly than draws can say it."""
    if chance > Decimal("0.99"):
        return "over 99%"
    return "under 1%" if chance < Decimal("0.01") else f"{100 * chance:.0f}%"


def taken_at(ours: OurSide) -> str:
    """The load that the machine's capacity is taken at, and what shows that."""
    speed = ours.speed
    point = speed.point
    shown = {
        "saturation": "where it is saturated",
        "refusal": "beyond which it refuses requests",
        "latency promise": "the most within what is promised",
        "planned traffic": "as its plan fills it",
        "one load": "not shown to be the most it can do",
    }[point.shown]
    of = f" (the mean of {speed.machines})" if speed.machines else ""
    rate = f"{count(speed.output_tokens_per_s)} output tokens/s a machine{of}"
    return f"Capacity: {rate}, {speed.basis}, {point.load}, {shown}."
