"""PURE: what of a month the way of buying makes: who interrupts the machine, and which hours are paid for."""

import math

from deploy.costs.knobs import Knobs, option, table
from deploy.costs.machine_price import MachinePrice
from deploy.costs.monthly_bill import hours_of
from deploy.costs.purchase_options import HowBought, Purchase
from deploy.costs.schedule import HOURS_A_MONTH
from infra.errors import UsageError
from infra.money import count
from serving.sizing.plan import Plan

OF_OWNED = ("life_years", "residual_fraction", "hosting_usd_per_month", "insurance_fraction")
OF_EACH = ("capex_usd", "price_per_hour", "power_kw", "idle_power_kw", "hosting_usd_per_month")
OF_A_WAY: dict[str, Purchase] = {
    "interruptions_per_month": "spot",
    "committed_hours": "capacity-block",
    "committed_machines": "savings-plan",
    "upfront_usd": "savings-plan",
    "term_months": "savings-plan",
}


def as_bought(values: Knobs, price: MachinePrice, asked: HowBought) -> Knobs:
    """The values of a machine that is bought so: who interrupts it, and which hours it is paid for.

    Raises UsageError for what does not go with that way of buying, and where no hour or no machine is left to serve.
    """
    purchase = price.purchase
    refuse_others(price, asked)
    made = values
    if purchase == "spot":
        taken = asked.knobs.get("interruptions_per_month", table()["interruptions_per_month"].value)
        made = made.model_copy(update={"interruptions_per_month": taken})
    if purchase == "savings-plan" or (purchase == "owned" and not price.is_bought):
        # A machine of one's own costs as much while it is off.
        made = made.model_copy(update={"committed_hours": HOURS_A_MONTH})
    if purchase == "capacity-block":
        made = in_block(made, asked)
    if hours_of(made).serving <= 0:
        raise UsageError(
            f"{made.interruptions_per_month:f} interruptions of {made.startup_minutes:f} minutes leave nothing of "
            f"{made.hours_per_month:f} hours a month to serve in.",
            "Say fewer: --interruptions-per-month 1, or --startup-minutes 15",
        )
    check_part(made, price, asked)
    if made.spares >= made.replicas:
        raise UsageError(
            f"--spares {made.spares:f} of {made.replicas:f} kept up leaves no machine to serve.",
            f"Keep more up: --replicas {made.spares + 1:f}",
        )
    return made


def check_part(values: Knobs, price: MachinePrice, asked: HowBought) -> None:
    """Raise UsageError for a savings plan of more machines than there are, and where the others have no price."""
    committed = values.committed_machines
    if committed is None and asked.on_demand_per_hour is not None:
        raise UsageError(
            "--on-demand-per-hour is of the machines that no savings plan is of, and nobody said how many those are.",
            "Leave it out, or say of how many it is: --purchase savings-plan --committed-machines 1",
        )
    if committed is None or committed == values.replicas:
        return
    if committed > values.replicas:
        raise UsageError(
            f"A savings plan of {committed:f} machines is of more than the {values.replicas:f} kept up.",
            f"Keep as many up, --replicas {committed:f}, or buy fewer: --committed-machines {values.replicas:f}",
        )
    if not price.on_demand_usd_per_hour:
        raise UsageError(
            "Nobody said what a machine costs on demand, as those do that the savings plan is not of.",
            "Name it, for example: --on-demand-per-hour 12.5",
        )


def in_block(values: Knobs, asked: HowBought) -> Knobs:
    """The values of a Capacity Block: all its hours are paid for, and it is on in no others."""
    committed = HOURS_A_MONTH if asked.committed_hours is None else asked.committed_hours
    is_said = "hours_per_month" in asked.knobs or not committed
    on = values.hours_per_month if is_said else min(committed, values.hours_per_month)
    made = values.model_copy(update={"committed_hours": committed, "hours_per_month": on})
    if (up := hours_of(made).up) > committed:
        raise UsageError(
            f"A Capacity Block of {committed:f} hours a month cannot be up for {count(up)}.",
            f"Buy as many: --committed-hours {math.ceil(up)}",
        )
    return made


def refuse_others(price: MachinePrice, asked: HowBought) -> None:
    """Refuse the options of another way of buying it: a figure must not be left out unsaid."""
    purchase = price.purchase
    for name, way in OF_A_WAY.items():
        if getattr(asked, name) is not None and way != purchase:
            raise UsageError(
                f"{option(name)} is of --purchase {way}; this machine's is {purchase}.",
                f"Leave out {option(name)}, or buy it so: --purchase {way} --price-per-hour 12.5",
            )
    for name in OF_OWNED:
        if getattr(asked, name) is not None and not price.is_bought:
            bought = "has a price an hour" if purchase == "owned" else f"is bought {purchase}"
            raise UsageError(
                f"{option(name)} is of a machine of your own; this one {bought}.",
                f"Leave out {option(name)}, or say what the machine cost: --capex-usd 250000",
            )
    if asked.interest_rate is not None and not price.is_bought and asked.upfront_usd is None:
        raise UsageError(
            "--interest-rate is of what is paid ahead, and nothing is.",
            "Leave it out, or say what is paid: --capex-usd 250000, or --purchase savings-plan --upfront-usd 100000",
        )
    if asked.idle_power_kw is not None and (asked.power_kw or 0) < asked.idle_power_kw:
        raise UsageError(
            "A machine draws more under load than idle.",
            f"Say what it draws then: --power-kw {asked.idle_power_kw * 2:f}",
        )


def refuse_one_price_of_unequal(plan: Plan, asked: HowBought) -> None:
    """Raise UsageError for one price or one power of machines that are not alike, unless as their counted mean."""
    carried = plan.carried
    if carried is None or carried.are_alike or asked.replicas is not None:
        return
    given = [f"{option(name)} {value:f}" for name in OF_EACH if (value := getattr(asked, name)) is not None]
    if given:
        spares = f" --spares {carried.spare_machines}" if carried.spare_machines else ""
        raise UsageError(
            f"{carried} are not alike, and {given[0]} would be taken of each.",
            f"Say the mean of the {carried.count}, and of how many it is: --replicas {carried.count}{spares} "
            + " ".join(given),
        )


def counted_of_purchase(values: Knobs, price: MachinePrice) -> tuple[str, ...]:
    """The knobs that count with this way of buying it."""
    purchase, is_bought = price.purchase, price.is_bought
    count = {
        "spares": values.spares,
        "starts_per_month": values.starts_per_month,
        "interruptions_per_month": purchase == "spot",
        "startup_minutes": values.starts_per_month or values.interruptions_per_month,
        "committed_hours": values.committed_hours,
        "committed_machines": values.committed_machines,
        "upfront_usd": values.upfront_usd,
        "term_months": values.upfront_usd,
        "interest_rate": is_bought or values.upfront_usd,
        "insurance_fraction": is_bought,
        "idle_power_kw": purchase == "owned" and values.power_kw,
        "one_off_usd": values.one_off_usd,
        "one_off_months": values.one_off_usd,
    }
    return tuple(name for name, counts in count.items() if counts)
