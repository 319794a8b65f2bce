"""PURE: how far each doubtful figure moves the utilisation that break-even takes."""

from decimal import Decimal

from deploy.costs.comparison import ClaudeSide, SelfHosted, Speed, Swing
from deploy.costs.likelihood import PRICE_SPREAD, people_range
from deploy.costs.self_hosted import OurSide, bill_at
from infra.money import count, dollars, rounded


def swings(ours: OurSide, chosen: ClaudeSide) -> tuple[Swing, ...]:
    """One row a figure, low and high, the widest swing first."""
    even = chosen.break_even.required_utilisation
    rows = (
        ratio_swing(chosen, even),
        speed_swing(ours.speed, even),
        people_swing(ours, even),
        price_swing(ours.figures, even),
    )
    return tuple(sorted(rows, key=lambda row: -abs(spread(row))))


def spread(row: Swing) -> Decimal:
    """How much one figure moves the answer."""
    return row.required_utilisation_high - row.required_utilisation_low


def ratio_swing(chosen: ClaudeSide, even: Decimal) -> Swing:
    """Fewer Claude tokens for the same text make Claude cheaper."""
    ratio = chosen.token_ratio
    needed = chosen.break_even
    return Swing(
        what="Claude tokens per Llama 4 token",
        low=f"{ratio.low}",
        base=f"{ratio.base}",
        high=f"{ratio.high}",
        required_utilisation_low=needed.required_utilisation_high,
        required_utilisation_base=even,
        required_utilisation_high=needed.required_utilisation_low,
    )


def speed_swing(speed: Speed, even: Decimal) -> Swing:
    """The probe's confidence interval, or the planner's band."""
    rate = speed.output_tokens_per_s
    low, high = speed.output_tokens_per_s_low, speed.output_tokens_per_s_high
    return Swing(
        what=f"output tokens/s of one machine ({speed.basis})",
        low=count(low),
        base=count(rate),
        high=count(high),
        required_utilisation_low=rounded(even * rate / low),
        required_utilisation_base=even,
        required_utilisation_high=rounded(even * rate / high),
    )


def people_swing(ours: OurSide, even: Decimal) -> Swing:
    """Half as many people to half as many more; where none are counted, up to half a job."""
    values, price, own = ours.knobs, ours.price, ours.figures

    def needed(fte: Decimal) -> Decimal:
        month = bill_at(own.utilisation, values.model_copy(update={"ops_fte": fte}), price)
        return rounded(even * month.total_usd / own.usd_per_month)

    few, many = people_range(values.ops_fte)
    return Swing(
        what="people who run it, full-time jobs",
        low=f"{few.normalize():f}",
        base=f"{values.ops_fte:f}",
        high=f"{many.normalize():f}",
        required_utilisation_low=needed(few),
        required_utilisation_base=even,
        required_utilisation_high=needed(many),
    )


def price_swing(own: SelfHosted, even: Decimal) -> Swing:
    """A fifth either way on everything that is kept up."""
    low, high = 1 - PRICE_SPREAD, 1 + PRICE_SPREAD
    return Swing(
        what="USD an hour, everything kept up",
        low=dollars(own.usd_per_hour * low),
        base=dollars(own.usd_per_hour),
        high=dollars(own.usd_per_hour * high),
        required_utilisation_low=rounded(even * low),
        required_utilisation_base=even,
        required_utilisation_high=rounded(even * high),
    )
