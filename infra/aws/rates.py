"""What each place costs where an order may be launched: AWS's price of today, else the stored one with its age."""

from datetime import date
from decimal import Decimal
from typing import NamedTuple

from infra.aws import price_list
from infra.aws.api import ASK_FOR_S, Aws
from infra.aws.failures import Refused
from infra.aws.order import Order
from infra.aws.preflight_findings import Finding, failed, ok, warning
from infra.aws.request import Spot, spot_prices
from infra.prices import HourlyPrice, on_demand_price, trouble
from infra.quantity import counted
from infra.record import Record
from infra.rented import Purchase

SPOT_SOURCE = "EC2 DescribeSpotPriceHistory"
LOOK_UP = "Allow pricing:GetProducts (corral iam-policy), or check it: https://aws.amazon.com/ec2/pricing/on-demand/"
UNKNOWN = "Choose another --region or --instance-type, or go on without a price: --allow-unknown-price"
TOO_DEAR = "Raise the limit, or allow a cheaper place: --instance-type, --region, --purchase spot"


class Rate(Record):
    """USD an hour of one machine in one place."""

    spot: Spot
    now: Decimal
    most: Decimal | None
    """What it can become while it runs: on demand the same; of a spot machine the on-demand price or the user's limit,
    None where there is neither."""
    source: str
    """Who says so of the most, else of now."""

    @property
    def ceiling(self) -> Decimal:
        """The most that is known."""
        return self.now if self.most is None else self.most


class Rates(NamedTuple):
    """One region's places that may be launched, and what was found out about their prices."""

    spots: list[Spot]
    rates: list[Rate]
    """Of those of them whose price is known."""
    prices: list[HourlyPrice]
    """What AWS itself said."""
    findings: list[Finding]


class Known(NamedTuple):
    """What is known of prices in one region."""

    on: date
    listed: dict[str, HourlyPrice]
    """On demand, by type: AWS's own, else the stored one."""
    doubts: dict[str, str]
    """Why it is not AWS's own, by type."""
    spot: dict[tuple[str, str], Decimal]
    """By type and zone."""


def rates(aws: Aws, order: Order, region: str, spots: list[Spot]) -> Rates:
    """Ask what the places cost. One that is above the user's limit, or without any price, is not to be launched."""
    answers = price_list.ask(aws, [(name, region) for name in types_of(spots, "on-demand", "spot")])
    known = Known(
        on=aws.now().date(),
        listed=stored(spots, region) | {name: price for (name, _), price in answers.prices.items()},
        doubts={name: reason for (name, _), reason in answers.refused.items()},
        spot=spot_now(aws, region, types_of(spots, "spot")),
    )
    rated = Rates([], [], list(answers.prices.values()), [])
    for purchase, name in dict.fromkeys((spot.purchase, spot.instance_type) for spot in spots):
        places = [spot for spot in spots if (spot.purchase, spot.instance_type) == (purchase, name)]
        priced = [rate for spot in places if (rate := rate_of(order, known, spot))]
        fair = [rate for rate in priced if within(order, rate.now)]
        unknown_allowed = purchase == "capacity-block" or order.allow_unknown_price
        rated.spots.extend([rate.spot for rate in fair] if priced else places if unknown_allowed else [])
        rated.rates.extend(fair)
        rated.findings.append(told(order, known, region, places[0], priced, fair))
    if known.doubts and trouble():
        rated.findings.append(warning("price", region, trouble(), "Ask AWS anew: corral prices --refresh"))
    return rated


def by_stored(order: Order) -> Rates:
    """What the order may cost by the prices stored here alone, one place a region, type and way of buying it.

    What is above the user's limit is no place, and of what is left the price may not be known. Asks nobody.
    """
    rated = Rates([], [], [], [])
    for region in order.regions:
        spots = [
            Spot(region=region, zone="", subnet_id="", instance_type=name, purchase=purchase)
            for purchase in order.purchases
            for name in order.instance_types
        ]
        known = Known(on=order.created_at.date(), listed=stored(spots, region), doubts={}, spot={})
        for spot in spots:
            rate = rate_of(order, known, spot)
            if rate is None or within(order, rate.now):
                rated.spots.append(spot)
                rated.rates.extend([rate] if rate else [])
    return rated


def types_of(spots: list[Spot], *purchases: Purchase) -> tuple[str, ...]:
    """The types that may be bought so."""
    return tuple(dict.fromkeys(spot.instance_type for spot in spots if spot.purchase in purchases))


def stored(spots: list[Spot], region: str) -> dict[str, HourlyPrice]:
    """The stored on-demand prices of their types."""
    prices = {spot.instance_type: on_demand_price(spot.instance_type, region) for spot in spots}
    return {name: price for name, price in prices.items() if price}


def spot_now(aws: Aws, region: str, types: tuple[str, ...]) -> dict[tuple[str, str], Decimal]:
    """The spot prices in effect; none where EC2 does not tell."""
    if not types:
        return {}
    try:
        rows = list(aws.pages(spot_prices(region, types, aws.now()), "SpotPriceHistory", ASK_FOR_S))
    except Refused:
        return {}
    # The newest comes first.
    return {(row["InstanceType"], row["AvailabilityZone"]): Decimal(row["SpotPrice"]) for row in rows[::-1]}


def rate_of(order: Order, known: Known, spot: Spot) -> Rate | None:
    """What a place costs; None where nobody knows, and for a capacity block: that was paid when it was bought."""
    price = known.listed.get(spot.instance_type)
    if spot.purchase == "capacity-block":
        return None
    ceilings = [(price.usd_per_hour, price.origin)] if price else []
    if spot.purchase == "on-demand":
        return (
            Rate(spot=spot, now=ceilings[0][0], most=ceilings[0][0], source=ceilings[0][1]) if price else None
        )
    if order.max_usd_per_hour is not None:
        ceilings.append((Decimal(str(order.max_usd_per_hour)) / order.machines, "--max-usd-per-hour"))
    most, source = min(ceilings, default=(None, f"{SPOT_SOURCE}, {known.on}"))
    now = known.spot.get((spot.instance_type, spot.zone), most)
    return Rate(spot=spot, now=now, most=most, source=source) if now is not None else None


def within(order: Order, usd_per_hour: Decimal) -> bool:
    """Whether all machines at that price are within the user's limit."""
    limit = order.max_usd_per_hour
    return limit is None or usd_per_hour * order.machines <= Decimal(str(limit))


# --- in words


def told(
    order: Order, known: Known, region: str, spot: Spot, priced: list[Rate], fair: list[Rate]
) -> Finding:
    """What was found out about the price of a type bought one way."""
    what = f"{spot.purchase} {spot.instance_type}"
    doubt = known.doubts.get(spot.instance_type, "")
    if spot.purchase == "capacity-block":
        return ok("price", region, f"{what}: paid when it was bought")
    if not priced:
        sentence = f"{what}: no price is known; {doubt}"
        judge = warning if order.allow_unknown_price else failed
        return judge("price", region, sentence, UNKNOWN)
    sentence = f"{what}: {words(order, known, spot, priced)}"
    if not fair:
        limit = f"more than --max-usd-per-hour {order.max_usd_per_hour:g}"
        return failed("price", region, f"{sentence}: {limit}", TOO_DEAR)
    if doubt:
        return warning("price", region, f"{sentence}; {doubt}", LOOK_UP)
    if spot.purchase == "spot" and not spot_of(known, priced):
        return warning("price", region, sentence, "Allow ec2:DescribeSpotPriceHistory: corral iam-policy")
    return ok("price", region, sentence)


def words(order: Order, known: Known, spot: Spot, priced: list[Rate]) -> str:
    """The price, whose it is, and its age where it is not of today."""
    price = known.listed.get(spot.instance_type)
    unit = "USD per hour" + (f", {order.machines} of them" if order.machines > 1 else "")
    listed = f"{usd(price.usd_per_hour)} {unit} ({price.origin}{age(price, known.on)})" if price else ""
    if spot.purchase == "on-demand":
        return listed
    now = spot_of(known, priced)
    least_to_most = " to ".join(dict.fromkeys(map(usd, (now[0], now[-1])))) if now else ""
    sentence = f"{least_to_most} {unit} now ({SPOT_SOURCE})" if now else "its price now is not shown"
    return f"{sentence}; on demand {listed}" if listed else sentence


def spot_of(known: Known, priced: list[Rate]) -> list[Decimal]:
    """The spot prices EC2 shows, the least first."""
    return sorted(rate.now for rate in priced if (rate.spot.instance_type, rate.spot.zone) in known.spot)


def usd(amount: Decimal) -> str:
    """A price as it is written, nothing rounded."""
    return f"{amount.normalize():f}"


def age(price: HourlyPrice, on: date) -> str:
    """How old a stored price is; nothing for one of today."""
    days = price.age_days(on)
    return f", {counted(days, 'day')} old" if days > 0 else ""
