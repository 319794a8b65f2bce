"""The EC2 prices corral goes by, each with whose it is and how old; and asking AWS for today's."""

from datetime import date
from decimal import Decimal

from infra import catalog, prices
from infra.asked import Asked
from infra.aws import price_list
from infra.aws.api import Aws
from infra.aws.boto import Boto
from infra.aws.failures import translated
from infra.aws.region import Region
from infra.errors import CloudError, UsageError
from infra.prices import DEFAULT_REGION, HourlyPrice, price_of
from infra.record import Record
from infra.say import progress


class PriceQuestion(Asked):
    """Which prices are shown, and whether AWS is asked for them."""

    region: Region | None = None
    """Only this region. [all; us-east-1 with --refresh]"""
    refresh: bool = False
    """Ask AWS (pricing:GetProducts) and keep what it says."""


class StoredPrice(HourlyPrice):
    """One price, as corral uses it."""

    age_in_days: int
    """From the day it was read until today."""
    was_usd_per_hour: Decimal | None = None
    """Before this was asked for, where it was another."""


class NoPrice(Record):
    """A type without a price of today, and why."""

    instance_type: str
    """The EC2 type."""
    region: str
    """Where it was asked for."""
    reason: str
    """Why none can be had, in words."""


class PriceTable(Record):
    """What `corral prices` answers."""

    prices: tuple[StoredPrice, ...]
    """In the order of regions and prices."""
    refused: tuple[NoPrice, ...] = ()
    """What AWS was asked for in vain; the price above, if there is one, stays in use."""
    trouble: str = ""
    """Why what is kept on this machine is not used."""


def checked_types(names: list[str]) -> tuple[str, ...]:
    """The types as named, each once; all where none is. Raises UsageError for what EC2 does not sell."""
    for name in names:
        if name not in catalog.ec2_types():
            catalog.machine(name)
            raise UsageError(f"{name} is not an EC2 type.", "For example: corral prices g5.12xlarge")
    return tuple(dict.fromkeys(names)) or tuple(catalog.ec2_types())


def table(types: tuple[str, ...], region: str | None, today: date) -> PriceTable:
    """What is stored; asks nobody."""
    places = [(name, place) for place in ((region,) if region else prices.regions()) for name in types]
    return PriceTable(prices=stored(places, today), trouble=prices.trouble())


def fresh(types: tuple[str, ...], region: str | None, today: date) -> PriceTable:
    """Ask AWS for the on-demand prices of one region."""
    place = region or DEFAULT_REGION
    progress(f"prices: asking AWS for {len(types)} types in {place}")
    return refreshed(Aws(Boto(), say=progress), types, place, today)


def refreshed(aws: Aws, types: tuple[str, ...], place: str, today: date) -> PriceTable:
    """Ask, keep what may be used, and say what is stored now.

    Raises AuthError or CloudError when AWS answers nothing at all, CloudError when no answer can be used.
    """
    places, trouble = [(name, place) for name in types], prices.trouble()
    before = {row.instance_type: row.usd_per_hour for row in stored(places, today)}
    answers = price_list.ask(aws, places)
    if answers.failure and not answers.prices:
        raise translated(answers.failure)
    prices.keep(answers.prices.values())
    refused = [NoPrice(instance_type=n, region=r, reason=why) for (n, r), why in answers.refused.items()]
    if not answers.prices:
        raise nothing(refused)
    return PriceTable(prices=stored(places, today, before), refused=tuple(refused), trouble=trouble)


def nothing(refused: list[NoPrice]) -> CloudError:
    """The error for prices that were asked for by name, or all of them, and did not come."""
    reasons = "; ".join(f"{price.instance_type} in {price.region}: {price.reason}" for price in refused[:3])
    more = f"; and {len(refused) - 3} more" if len(refused) > 3 else ""
    return CloudError(
        f"AWS named no price that may be used: {reasons}{more}.",
        "What was stored stays in use: corral prices. Is the type sold on demand in that --region?",
    )


def stored(
    places: list[tuple[str, str]], today: date, before: dict[str, Decimal] | None = None
) -> tuple[StoredPrice, ...]:
    """The stored price of each place that has one, and what it was before where it changed."""
    rows = []
    for name, region in places:
        price = price_of(catalog.machine(name), region)
        if price:
            was = (before or {}).get(name, price.usd_per_hour)
            changed = was if was != price.usd_per_hour else None
            age = price.age_days(today)
            rows.append(StoredPrice(**price.model_dump(), age_in_days=age, was_usd_per_hour=changed))
    return tuple(rows)
