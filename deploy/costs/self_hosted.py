"""PURE: the machine's side of a comparison: what it costs, what it can serve, $/M tokens at several utilisations."""

import math
from decimal import Decimal
from typing import NamedTuple

from deploy.costs.comparison import AtUtilisation, SelfHosted, Speed
from deploy.costs.knobs import Knobs, table
from deploy.costs.machine_price import MachinePrice
from deploy.costs.monthly_bill import (
    SECONDS_PER_HOUR,
    Bill,
    bill,
    capacity_mtok,
    hours_of,
    serving_machines,
    usage_usd_per_mtok,
    usd_per_mtok,
)
from deploy.costs.peak import NO_PEAK, Peak
from deploy.costs.unlike import fleet_planned
from infra.errors import UsageError
from infra.money import MTOK, count, rounded

ROUNDING = Decimal("0.000001")
UTILISATIONS = (Decimal("0.1"), Decimal("0.3"), Decimal("0.6"), Decimal(1))
LOWER_BOUND = "never idle: a lower bound, no forecast"
MOST = "the most that carries the plan's peak"
BEYOND = "busier than the plan's peak allows"


class OurSide(NamedTuple):
    """The machine's side, and what it follows from."""

    speed: Speed
    knobs: Knobs
    price: MachinePrice
    figures: SelfHosted
    are_alike: bool = True
    """Whether all machines are of one kind, so that there may be more of them."""


def our_side(
    speed: Speed, values: Knobs, price: MachinePrice, mtok: Decimal | None, peak: Peak = NO_PEAK
) -> OurSide:
    """The machine's side, at the given utilisation or at the one that so many millions of tokens a month make.

    Raises UsageError for more tokens than the machines can serve, or carry at their plan's peak.
    """
    return OurSide(speed, values, price, self_hosted(speed, values, price, mtok, peak), peak.unlike is None)


def self_hosted(
    speed: Speed, values: Knobs, price: MachinePrice, mtok: Decimal | None, peak: Peak
) -> SelfHosted:
    """What the machine costs and can serve."""
    capacity = capacity_mtok(speed.total_tokens_per_s, values)
    busy = values.utilisation if mtok is None else utilisation_of(mtok, capacity, values, speed, peak)
    month, most = bill_at(busy, values, price), bill_at(Decimal(1), values, price)
    total = month.total_usd
    if total <= 0:
        raise UsageError(
            "Nothing here costs anything in that month: there is no price to compare.",
            "Say what it takes, for example its power or somebody's time: --power-kw 5, or --ops-fte 0.25",
        )
    here = at_utilisation(busy, total, capacity, speed, peak)
    fleet_tokens_per_s = speed.total_tokens_per_s * serving_machines(values)
    blended = usage_usd_per_mtok(most.total_usd / hours_of(values).serving, fleet_tokens_per_s)
    return SelfHosted(
        usd_per_hour=rounded(total / values.hours_per_month),
        usd_per_month=rounded(total),
        usd_per_mtok_output=here.usd_per_mtok_output,
        usd_per_mtok_blended=here.usd_per_mtok_blended,
        utilisation=rounded(busy),
        mtok_per_month=here.mtok_per_month,
        capacity_mtok_per_month=rounded(capacity),
        usage_usd_per_mtok_output=rounded(blended * speed.tokens_per_output_token),
        usage_usd_per_mtok_blended=rounded(blended),
        at=tuple(
            at_utilisation(each, bill_at(each, values, price).total_usd, capacity, speed, peak)
            for each in sorted({*UTILISATIONS, peak.most_utilisation, rounded(busy)})
        ),
        most_utilisation=peak.most_utilisation,
        usd_of_full_load=rounded(most.total_usd - bill_at(Decimal(0), values, price).total_usd),
        bill=rounded_bill(month),
    )


def utilisation_of(mtok: Decimal, capacity: Decimal, values: Knobs, speed: Speed, peak: Peak) -> Decimal:
    """The share of its capacity that the named volume takes. Raises UsageError when that is more than there may be."""
    most = capacity if peak.is_missing else capacity * peak.most_utilisation
    if mtok > most * (1 + ROUNDING):
        hours = hours_of(values).serving
        rate = mtok * MTOK / speed.tokens_per_request / (hours * SECONDS_PER_HOUR)
        takes = what_it_takes(mtok, capacity, values, peak, float(rate)) + more_at_another_load(speed)
        if peak.most_utilisation < 1:
            carried = rate * capacity * peak.fill / mtok
            serving = serving_machines(values)
            carry = "1 of these machines carries" if serving == 1 else f"{serving:f} of these machines carry"
            raise UsageError(
                f"NOT ENOUGH: {count(mtok)} M tokens a month in {count(hours)} h are {count(rate)} requests/s on "
                f"average and {count(rate * peak.factor)} at the plan's peak, of which {carry} {count(carried)}, "
                f"taken at {speed.point.load}.",
                takes,
            )
        raise UsageError(
            f"{count(mtok)} M tokens a month are more than the {count(capacity)} M that "
            f"{serving_machines(values):f} of these machines can serve, taken at {speed.point.load}.",
            takes,
        )
    return mtok / capacity


def what_it_takes(mtok: Decimal, capacity: Decimal, values: Knobs, peak: Peak, requests_per_s: float) -> str:
    """How many machines a volume takes; where they are of several kinds, the command that says of which."""
    if peak.unlike and peak.unlike.carried:
        planned = fleet_planned(peak.unlike, peak.unlike.carried, requests_per_s)
        return f"They are not alike: plan what carries as much: {planned}"
    return so_many(machines_needed(mtok, capacity, values, peak), values.spares)


def so_many(machines: int, spares: Decimal) -> str:
    """How many machines a volume takes, as it is typed where corral compares so many."""
    most = table()["replicas"].most
    if machines > most:
        return f"It takes {machines:,} of them, and no more than {most:,f} are compared: say a part of the volume"
    spare = f" --spares {spares:f}" if spares else ""
    return f"It takes {machines} of them: --replicas {machines}{spare}"


def machines_needed(mtok: Decimal, capacity: Decimal, values: Knobs, peak: Peak) -> int:
    """So many carry it, the spare ones included."""
    needed = mtok * serving_machines(values) / (capacity * peak.most_utilisation)
    return math.ceil(needed / (1 + ROUNDING)) + int(values.spares)


def more_at_another_load(speed: Speed) -> str:
    """That another load may let them serve more; nothing where this one is shown to be the most."""
    return "" if speed.point.is_most else "; at another load they may serve more, which a sweep finds"


def bill_at(busy: Decimal, values: Knobs, price: MachinePrice) -> Bill:
    """The month's bill at that utilisation: what is of one's own draws less when idle."""
    return bill(
        values.model_copy(update={"utilisation": busy}),
        price.usd_per_hour,
        price.capex_usd,
        price.on_demand_usd_per_hour,
    )


def even_mtok(own: SelfHosted, usd_per_mtok: Decimal) -> Decimal:
    """The millions of tokens a month that cost the same at that price elsewhere as here.

    Power that is only for being busy is a price of each token; where it alone is as dear, no volume that the machine
    can serve is enough.
    """
    fixed = own.usd_per_month - own.usd_of_full_load * own.utilisation
    gain = usd_per_mtok - own.usd_of_full_load / own.capacity_mtok_per_month
    return fixed / gain if gain > 0 else (fixed + own.usd_of_full_load) / usd_per_mtok


def at_utilisation(
    busy: Decimal, total: Decimal, capacity: Decimal, speed: Speed, peak: Peak
) -> AtUtilisation:
    """The month's bill over the tokens that are served at that utilisation."""
    each = usd_per_mtok(total, busy * capacity)
    return AtUtilisation(
        utilisation=rounded(busy),
        mtok_per_month=rounded(busy * capacity),
        usd_per_mtok_output=rounded(each * speed.tokens_per_output_token),
        usd_per_mtok_blended=rounded(each),
        note=note_of(rounded(busy), peak.most_utilisation),
    )


def note_of(busy: Decimal, most: Decimal) -> str:
    """What is to be known of being so busy; mostly nothing."""
    if busy > most:
        return BEYOND
    if busy == 1:
        return LOWER_BOUND
    return MOST if busy == most else ""


def rounded_bill(month: Bill) -> Bill:
    """The bill's items as they are printed."""
    return month.model_copy(update={name: rounded(getattr(month, name)) for name in Bill.model_fields})
