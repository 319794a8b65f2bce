"""PURE: the month that follows from both sides of a comparison."""

from decimal import Decimal
from typing import Any

from deploy.costs.claude_names import named
from deploy.costs.claude_platforms import platforms
from deploy.costs.comparison import ClaudeSide, HostedSide
from deploy.costs.currency import Currency, beside
from deploy.costs.knobs import Knobs
from deploy.costs.machine_price import MachinePrice
from deploy.costs.month import Elsewhere, Item, Month, Volume
from deploy.costs.monthly_bill import (
    MONTHS_PER_YEAR,
    Bill,
    address_usd_per_hour,
    committed_machines,
    hours_of,
    power_kw,
)
from deploy.costs.self_hosted import OurSide
from infra.money import MTOK, count, dollars, percent, rounded

DAYS_PER_MONTH = Decimal(365) / MONTHS_PER_YEAR


def month(
    ours: OurSide,
    tokens_per_request: Decimal,
    sides: tuple[ClaudeSide, ...],
    hosted: tuple[HostedSide, ...],
    currency: Currency | None,
) -> Month:
    """Ours item by item, and the same tokens at each Claude and at each host."""
    own, bought = ours.figures, bought_usd(ours.knobs, ours.price)
    at_claude = (elsewhere_of_claude(ours, side, bought) for side in sides)
    at_hosts = (elsewhere_of_host(ours, side, bought) for side in hosted if side.status != "ended")
    return Month(
        volume=volume(tokens_per_request, own.mtok_per_month, own.utilisation),
        purchase=ours.price.purchase,
        hours=hours_of(ours.knobs),
        usd_per_month=own.usd_per_month,
        usd_per_year=rounded(own.usd_per_month * MONTHS_PER_YEAR),
        bought_usd=rounded(bought),
        items=items(
            own.bill, ours.knobs.model_copy(update={"utilisation": own.utilisation}), ours.price, currency
        ),
        elsewhere=(*at_claude, *at_hosts),
        currency=currency,
    )


def volume(tokens_per_request: Decimal, mtok: Decimal, utilisation: Decimal) -> Volume:
    """The work in the ways that people count it."""
    requests = mtok * MTOK / tokens_per_request
    return Volume(
        mtok_per_month=mtok,
        mtok_per_day=rounded(mtok / DAYS_PER_MONTH),
        requests_per_month=rounded(requests),
        requests_per_day=rounded(requests / DAYS_PER_MONTH),
        utilisation=utilisation,
    )


def bought_usd(values: Knobs, price: MachinePrice) -> Decimal:
    """What is paid ahead, or once."""
    ahead = values.replicas * price.capex_usd + committed_machines(values) * values.upfront_usd
    return ahead + values.one_off_usd


def elsewhere_of_claude(ours: OurSide, side: ClaudeSide, bought: Decimal) -> Elsewhere:
    """One Claude, where it was asked for; that of each class is said to be nowhere in particular."""
    called = named(side.models[0] if side.models else side.model)
    listed = platforms()[called.platform or "api"]
    return Elsewhere(
        who=side.name,
        via=side.name if side.models else listed.name,
        model=side.name if side.models else called.model,
        region=(not side.models and called.region) or "",
        kind="claude",
        status=side.answer if side.answer == "cannot be asked" else side.status,
        usd_per_month=side.usd_per_month,
        **saved(ours, side.spared(side.usd_per_month), bought),
        checked_on=listed.checked_on,
        source=listed.source,
    )


def elsewhere_of_host(ours: OurSide, side: HostedSide, bought: Decimal) -> Elsewhere:
    """The same model, as another serves it."""
    return Elsewhere(
        who=side.host,
        via=side.host,
        kind="hosted",
        status=side.status,
        usd_per_month=side.usd_per_month,
        **saved(ours, side.usd_per_month, bought),
        checked_on=side.checked_on,
        source=side.source,
    )


def saved(ours: OurSide, there_usd: Decimal, bought: Decimal) -> dict[str, Any]:
    """What doing it here saves, and how soon that has paid for what was bought."""
    own = ours.figures
    saving = there_usd - own.usd_per_month
    running = own.usd_per_month - own.bill.of_what_is_bought_usd
    monthly = there_usd - running
    pays = bought > 0 and monthly > 0
    return {
        "saving_usd_per_month": rounded(saving),
        "saving_usd_per_year": rounded(saving * MONTHS_PER_YEAR),
        "payback_months": rounded(bought / monthly) if pays else None,
    }


# --- ours, item by item


def items(month: Bill, values: Knobs, price: MachinePrice, other: Currency | None) -> tuple[Item, ...]:
    """The lines of the bill that are not 0, each with what it is made of."""
    rows = (
        (
            "your machines" if price.purchase == "owned" else "rent",
            month.rent_usd,
            rented(values, price, other),
        ),
        ("upfront part", month.upfront_usd, over(values.upfront_usd, values.term_months, "months", other)),
        ("machines, written off", month.hardware_usd, written_off(values, price, other)),
        ("interest", month.interest_usd, f"{percent(values.interest_rate)} a year, in equal payments"),
        ("insurance", month.insurance_usd, f"{percent(values.insurance_fraction)} of the price a year"),
        ("power", month.power_usd, powered(values, other)),
        ("hosting", month.hosting_usd, f"{amount(values.hosting_usd_per_month, other)} a machine"),
        ("storage", month.storage_usd, f"{count(values.storage_gb)} GB a machine, kept all month"),
        ("address", month.address_usd, addressed(values, other)),
        ("data out", month.egress_usd, sent_out(values, other)),
        ("other", month.other_usd, ""),
        ("people", month.people_usd, jobs(values, other)),
        ("paid once", month.one_off_usd, over(values.one_off_usd, values.one_off_months, "months", other)),
    )
    return tuple(Item(name=name, usd_per_month=usd, how=how) for name, usd, how in rows if usd)


def machines(values: Knobs) -> str:
    """How many, where there are several."""
    spare = f", {values.spares:f} spare" if values.spares else ""
    return f"{values.replicas:f} machines{spare}: " if values.replicas > 1 else ""


def rented(values: Knobs, price: MachinePrice, other: Currency | None) -> str:
    """The hours that are paid for, and at what."""
    hours = hours_of(values)
    unused = f", up for {count(hours.up)} of them" if hours.billed > hours.up else ""
    starting = f", {count(hours.up - hours.asked)} of them starting" if hours.up > hours.asked else ""
    kept = "your own, on or off" if price.purchase == "owned" else price.purchase
    paid = f"{count(hours.billed)} h at {rate(price.usd_per_hour, other)}, {kept}"
    committed = committed_machines(values)
    if committed == values.replicas:
        return f"{machines(values)}{paid}{unused}{starting}"
    beyond = rate(price.on_demand_usd_per_hour, other)
    rest = f"{values.replicas - committed:f} for {count(hours.up)} h at {beyond}, on-demand"
    return f"{machines(values)}{committed:f} for {paid}{unused}{starting}; {rest}"


def addressed(values: Knobs, other: Currency | None) -> str:
    """How many addresses, how long and at what."""
    many = f"{values.replicas * values.public_addresses:f} public IPv4"
    return f"{many}, {count(hours_of(values).up)} h at {rate(address_usd_per_hour(), other)}"


def jobs(values: Knobs, other: Currency | None) -> str:
    """Whose time, and at what."""
    one = "job" if values.ops_fte == 1 else "jobs"
    return f"{values.ops_fte:f} {one} at {amount(values.usd_per_fte_year, other)} a year"


def written_off(values: Knobs, price: MachinePrice, other: Currency | None) -> str:
    """The price, its years, and what is left."""
    left = f", {percent(values.residual_fraction)} left then" if values.residual_fraction else ""
    return machines(values) + over(price.capex_usd, values.life_years, "years", other) + left


def powered(values: Knobs, other: Currency | None) -> str:
    """What is drawn, how long and at what."""
    hours = count(hours_of(values).up)
    drawn = f"{count(power_kw(values))} kW x PUE {values.pue:f} x {hours} h"
    return f"{machines(values)}{drawn} at {rate(values.usd_per_kwh, other, '/kWh')}"


def sent_out(values: Knobs, other: Currency | None) -> str:
    """How much, and at what."""
    each = values.usd_per_egress_gb
    at = "in AWS's steps" if each is None else f"at {rate(each, other)}"
    return f"{count(values.egress_gb)} GB {at}"


def rate(usd: Decimal, other: Currency | None, unit: str = "") -> str:
    """A price of something small: to a millionth, which is finer than cents."""
    return beside(f"${round(usd, 6).normalize():f}{unit}", usd, other)


def amount(usd: Decimal, other: Currency | None) -> str:
    """Dollars, and what they are in the currency in which they may have been typed."""
    return beside(dollars(usd), usd, other)


def over(usd: Decimal, spread: Decimal, unit: str, other: Currency | None) -> str:
    """An amount, and what it is spread over."""
    return f"{amount(usd, other)} over {spread.normalize():f} {unit}"
