"""PURE: the machine's side of a comparison: what it costs, what it can serve, $/M tokens at several utilisations."""

import math
from decimal import Decimal
from typing import NamedTuple

from deploy.costs.comparison import AtUtilisation, SelfHosted, Speed
from deploy.costs.knobs import Knobs
from deploy.costs.machine_price import MachinePrice
from deploy.costs.monthly_bill import Bill, bill, capacity_mtok, usage_usd_per_mtok, usd_per_mtok
from infra.errors import UsageError
from infra.money import count, rounded

UTILISATIONS = (Decimal("0.1"), Decimal("0.3"), Decimal("0.6"), Decimal(1))
LOWER_BOUND = "never idle: a lower bound, no forecast"


class OurSide(NamedTuple):
    """The machine's side, and what it follows from."""

    speed: Speed
    knobs: Knobs
    price: MachinePrice
    figures: SelfHosted


def our_side(speed: Speed, values: Knobs, price: MachinePrice, mtok: Decimal | None) -> OurSide:
    """The machine's side, at the given utilisation or at the one that so many millions of tokens a month make.

    Raises UsageError for more tokens than the machines can serve.
    """
    return OurSide(speed, values, price, self_hosted(speed, values, price, mtok))


def self_hosted(speed: Speed, values: Knobs, price: MachinePrice, mtok: Decimal | None) -> SelfHosted:
    """What the machine costs and can serve."""
    month = bill(values, price.usd_per_hour, price.capex_usd)
    total, capacity = month.total_usd, capacity_mtok(speed.total_tokens_per_s, values)
    busy = values.utilisation if mtok is None else utilisation_of(mtok, capacity, values)
    hourly = total / values.hours_per_month
    here = at_utilisation(busy, total, capacity, speed)
    fleet_tokens_per_s = speed.total_tokens_per_s * values.replicas
    blended = usage_usd_per_mtok(hourly, fleet_tokens_per_s)
    return SelfHosted(
        usd_per_hour=rounded(hourly),
        usd_per_month=rounded(total),
        usd_per_mtok_output=here.usd_per_mtok_output,
        usd_per_mtok_blended=here.usd_per_mtok_blended,
        utilisation=rounded(busy),
        mtok_per_month=here.mtok_per_month,
        capacity_mtok_per_month=rounded(capacity),
        usage_usd_per_mtok_output=rounded(blended * speed.tokens_per_output_token),
        usage_usd_per_mtok_blended=rounded(blended),
        at=tuple(
            at_utilisation(each, total, capacity, speed) for each in sorted({*UTILISATIONS, rounded(busy)})
        ),
        bill=rounded_bill(month),
    )


def utilisation_of(mtok: Decimal, capacity: Decimal, values: Knobs) -> Decimal:
    """The share of its capacity that the named volume takes. Raises UsageError when it is more than all of it."""
    if mtok > capacity:
        machines = math.ceil(mtok * values.replicas / capacity)
        raise UsageError(
            f"{count(mtok)} M tokens a month are more than the {count(capacity)} M that "
            f"{values.replicas:f} of these machines can serve.",
            f"It takes {machines} of them: --replicas {machines}",
        )
    return mtok / capacity


def at_utilisation(busy: Decimal, total: Decimal, capacity: Decimal, speed: Speed) -> AtUtilisation:
    """The month's bill over the tokens that are served at that utilisation."""
    each = usd_per_mtok(total, busy * capacity)
    return AtUtilisation(
        utilisation=rounded(busy),
        mtok_per_month=rounded(busy * capacity),
        usd_per_mtok_output=rounded(each * speed.tokens_per_output_token),
        usd_per_mtok_blended=rounded(each),
        note=LOWER_BOUND if busy == 1 else "",
    )


def rounded_bill(month: Bill) -> Bill:
    """The bill's items as they are printed."""
    return month.model_copy(update={name: rounded(getattr(month, name)) for name in Bill.model_fields})
