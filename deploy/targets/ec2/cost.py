"""PURE: what a launch may cost, from the prices that were found; and the sentence the user is asked about it."""

from collections.abc import Sequence
from decimal import ROUND_UP, Decimal
from typing import Protocol

from infra.aws import stopped_costs
from infra.aws.account_preflight import Survey
from infra.aws.order import Order
from infra.aws.rates import Rate, by_stored
from infra.aws.request import Spot, root_volume
from infra.errors import UsageError

CENT = Decimal("0.01")


class Priced(Protocol):
    """Where an order may be launched, and what those of these places cost whose price is known."""

    @property
    def spots(self) -> Sequence[Spot]: ...

    @property
    def rates(self) -> Sequence[Rate]: ...


def priced(order: Order, survey: Survey) -> Order:
    """The order with its account, and what it costs an hour at the dearest place where that is known."""
    order = order.model_copy(update={"account": survey.account})
    rate = dearest(survey)
    if rate is None:
        return order
    return order.model_copy(
        update={"usd_per_hour": float(rate.ceiling * order.machines), "price_source": rate.source}
    )


def dearest(found: Priced) -> Rate | None:
    """The place that may cost most; None when no price is known."""
    return max(found.rates, key=lambda rate: rate.ceiling, default=None)


def hourly(order: Order) -> str:
    """What all its machines cost an hour, at most."""
    return f"{order.usd_per_hour:.3f} USD per hour" if order.usd_per_hour else "a price nobody knows"


def check_limit(order: Order) -> None:
    """Raise UsageError for a limit that no price stored here can be held to, where AWS is not asked either."""
    found, limit = by_stored(order), order.max_usd_per_hour
    is_paid = any(spot.purchase == "capacity-block" for spot in found.spots)
    if limit is not None and not (found.rates or is_paid or order.allow_unknown_price):
        raise UsageError(
            f"No price of {' or '.join(order.instance_types)} in {' or '.join(order.regions)} is stored that is "
            f"within --max-usd-per-hour {limit:g}: it cannot be checked without asking AWS.",
            f"Ask it: corral prices --refresh --region {order.regions[0]}",
        )


def stored_sentence(order: Order) -> str:
    """What it costs by the prices stored here, before AWS is asked; where none is, whether it is sold there neither."""
    found = by_stored(order)
    known = [rate.spot for rate in found.rates]
    priced_later = [each for each in found.spots if each.purchase != "capacity-block" and each not in known]
    unknown = {each.region for each in priced_later}
    ask = "".join(
        f"; sold there at all? corral prices --refresh --region {region}" for region in sorted(unknown)
    )
    return f"{cost_sentence(order, found)} (by prices stored here; AWS is asked before the launch{ask})"


def cost_sentence(order: Order, found: Priced) -> str:
    """What it costs, and how long at most."""
    if not found.spots:
        where = f"{machines(order, order.instance_types[0])} in {order.regions[0]}"
        return f"{where}: nothing new is rented, what runs already is kept"
    hours, rate = Decimal(order.ttl_minutes) / 60, dearest(found)
    beside = stopped_costs.usd_beside(
        {spot.region for spot in found.spots},
        {**root_volume(order), "Size": order.volume_gib},
        order.machines,
        hours,
    )
    blocks = [spot for spot in found.spots if spot.purchase == "capacity-block"]
    known = [rate.spot for rate in found.rates]
    unknown = [spot for spot in found.spots if spot not in blocks and spot not in known]
    # One sum tells all of it where each place has a price that does not rise.
    is_added = rate is not None and rate.most is not None and not blocks and not unknown
    added = beside if beside and is_added else Decimal(0)
    said = [cost(order, rate, hours, len({rate.ceiling for rate in found.rates}) > 1, added)] if rate else []
    if blocks:
        block = f"{machines(order, blocks[0].instance_type)} in {blocks[0].region}"
        said.append(f"{block}, in a capacity block that is paid already")
    if unknown:
        regions = " or ".join(dict.fromkeys(spot.region for spot in unknown))
        said.append(
            f"{machines(order, unknown[0].instance_type)} in {regions} at a price nobody knows, "
            f"for at most {float(hours):g} hours"
        )
    fewer = f"; no fewer than {order.least} are kept" if order.least < order.machines else ""
    return f"{'; or '.join(said)}; {beside_it(order, beside, is_added)}; traffic comes on top{fewer}"


def beside_it(order: Order, usd: Decimal | None, is_added: bool) -> str:
    """What its volumes and addresses cost, and whether that is in the sum."""
    size = f"{order.volume_gib} GiB"
    several = order.machines > 1
    volume = f"{order.machines} volumes of {size}" if several else f"a volume of {size}"
    if usd is None:
        return (
            f"plus {volume} and a public address{' each' if several else ''}, at a price corral does not know"
        )
    table = stopped_costs.prices()
    source = f"{table['source']}, {table['checked_on']}"
    for_it = f"for {volume} and a public address{' each' if several else ''} ({source})"
    return f"{cents(usd)} USD of it {for_it}" if is_added else f"plus {cents(usd)} USD {for_it}"


def cost(order: Order, rate: Rate, hours: Decimal, several: bool, added: Decimal) -> str:
    """The dearest place in words, with what is billed beside its hours where that is to be in the sum."""
    usd_per_hour = rate.ceiling * order.machines
    of_all = f" for all {order.machines}" if order.replicas > 1 else ""
    bounded = rate.most is not None
    at_most = "at most " if bounded and (several or rate.spot.purchase == "spot") else ""
    where = f"{machines(order, rate.spot.instance_type)} in {rate.spot.region}"
    what = f"{where}: {at_most}{usd_per_hour:.3f} USD per hour{of_all} ({rate.source})"
    all_of_it, time = cents(usd_per_hour * hours + added), f"{float(hours):g} hours"
    if not bounded:
        return f"{what}, a spot price that may rise; {all_of_it} USD in {time} at that price"
    until = "they end themselves" if order.replicas > 1 else "it ends itself"
    return f"{what}, at most {all_of_it} USD in the {time} until {until}"


def cents(usd: Decimal) -> Decimal:
    """Whole cents, and never less than it is."""
    return usd.quantize(CENT, ROUND_UP)


def machines(order: Order, instance_type: str) -> str:
    """The machines in words."""
    return f"{order.machines}x {instance_type}" if order.machines > 1 else instance_type
