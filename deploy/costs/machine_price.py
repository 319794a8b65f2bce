"""PURE: what the machine costs an hour, or to buy, and who says so."""

from datetime import date
from decimal import Decimal
from typing import Any

from deploy.costs.currency import Currency, beside
from deploy.costs.knobs import Assumption, Whose
from deploy.costs.purchase_options import WAYS, HowBought, Purchase
from infra.errors import UsageError
from infra.money import dollars
from infra.prices import OLD_AFTER_DAYS
from infra.record import Record
from serving.sizing.plan import Plan


class MachinePrice(Record):
    """Rent by the hour, or the price of an owned machine; never both."""

    usd_per_hour: Decimal = Decimal(0)
    capex_usd: Decimal = Decimal(0)
    on_demand_usd_per_hour: Decimal = Decimal(0)
    """Of the machines that a savings plan is not of; 0 where nobody said it."""
    on_demand: tuple[Assumption, ...] = ()
    """How that is said in the report."""
    purchase: Purchase
    whose: Whose
    source: str
    checked_on: date | None = None

    @property
    def is_bought(self) -> bool:
        """Whether it has a price to buy it, which is 0 of one that is written off, and none an hour."""
        return self.purchase == "owned" and not self.usd_per_hour

    def doubts(self, on: date) -> tuple[str, ...]:
        """That the price is old."""
        days = (on - self.checked_on).days if self.checked_on else 0
        if days <= OLD_AFTER_DAYS:
            return ()
        return (f"The machine's price is {days} days old: check it, and give today's with --price-per-hour.",)

    def assumption(self, other: Currency | None) -> Assumption:
        """How it is said in the report, in the other currency too where one is named."""
        bought = self.is_bought
        usd = self.capex_usd if bought else self.usd_per_hour
        said = dollars(usd) if bought else f"${usd.normalize():f}"
        return Assumption(
            name="capex_usd" if bought else "price_per_hour",
            means="price of one machine" if bought else f"price of one machine an hour, {self.purchase}",
            value=beside(said, usd, other),
            whose=self.whose,
            source=self.source,
            checked_on=self.checked_on,
        )


def machine_price(plan: Plan, asked: HowBought) -> MachinePrice:
    """The user's price before the plan's. Raises UsageError when there is none, one of 0, two, or none of that way.

    An hourly price of machines that the user has is their own, unless --purchase says how they are rented.
    """
    price_per_hour, capex_usd = asked.price_per_hour, asked.capex_usd
    if price_per_hour is not None and capex_usd is not None:
        raise UsageError(
            "A machine is rented or bought: both prices were given.", "Use --price-per-hour or --capex-usd."
        )
    if capex_usd is not None:
        return MachinePrice(capex_usd=capex_usd, purchase="owned", whose="yours", source="--capex-usd")
    rented = asked.purchase or ("owned" if plan.carried and plan.carried.are_there else "on-demand")
    if price_per_hour is not None:
        return MachinePrice(
            usd_per_hour=price_per_hour,
            purchase=rented,
            whose="yours",
            source="--price-per-hour",
            **on_demand(plan, asked),
        )
    if (told := told_price(plan)) is not None:
        source = "the plan: said to corral capacity" + (" --have" if rented == "owned" else "")
        return MachinePrice(usd_per_hour=told, purchase=rented, whose="yours", source=source)
    if plan.price is None or not has_price(plan):
        raise UsageError(
            f"Nobody said what {plan.machine.name} costs.",
            "Name its price: --price-per-hour USD (rented), or --capex-usd USD with --power-kw, --life-years, "
            "--hosting-usd-per-month (owned).",
        )
    price = plan.price
    purchase = listed_way(price.purchase)
    if asked.purchase not in (None, purchase):
        raise UsageError(
            f"The plan has no {asked.purchase} price of {plan.machine.name}, only {price.purchase}.",
            f"Name it, for example: --purchase {asked.purchase} --price-per-hour {price.usd_per_hour.normalize():f}",
        )
    return MachinePrice(
        usd_per_hour=price.usd_per_hour,
        purchase=purchase,
        whose="list price",
        source=f"{price.purchase} in {price.region}; {price.source}",
        checked_on=price.checked_on,
    )


def has_price(plan: Plan) -> bool:
    """Whether a plan says what its machine costs."""
    return told_price(plan) is not None or bool(plan.price and plan.price.usd_per_hour)


def on_demand(plan: Plan, asked: HowBought) -> dict[str, Any]:
    """What a machine costs that a savings plan is not of, where it may be of a part: as said, else as listed."""
    listed = plan.price if plan.price and listed_way(plan.price.purchase) == "on-demand" else None
    if asked.committed_machines is None or (asked.on_demand_per_hour is None and listed is None):
        return {}
    usd, whose, source, checked_on = asked.on_demand_per_hour, "yours", "--on-demand-per-hour", None
    if usd is None and listed is not None:
        usd, whose, source, checked_on = listed.usd_per_hour, "list price", listed.source, listed.checked_on
    said = Assumption.model_validate(
        {
            "name": "on_demand_per_hour",
            "means": "price of one machine an hour that the savings plan is not of",
            "value": f"${(usd or Decimal(0)).normalize():f}",
            "whose": whose,
            "source": source,
            "checked_on": checked_on,
        }
    )
    return {"on_demand_usd_per_hour": usd, "on_demand": (said,)}


def listed_way(said: str) -> Purchase:
    """The way of buying that a price list names; any that is none of ours is paid for while it is on."""
    return next((way for way in WAYS if way == said != "owned"), "on-demand")


def told_price(plan: Plan) -> Decimal | None:
    """What a machine of the plan's costs an hour on average, where the user said it of each."""
    machines = plan.carried.machines if plan.carried else ()
    dear = [each.count * each.usd_per_hour for each in machines if each.usd_per_hour is not None]
    return (
        sum(dear, Decimal(0)) / sum(each.count for each in machines)
        if dear and len(dear) == len(machines)
        else None
    )
