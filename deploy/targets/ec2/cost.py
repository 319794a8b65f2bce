"""PURE: what a launch may cost, from the prices that were found; and the sentence the user is asked about it."""

from infra.aws.account_preflight import Survey
from infra.aws.order import Order
from infra.aws.rates import Rate


def priced(order: Order, survey: Survey) -> Order:
    """The order with its account, and what it costs an hour at the dearest place where that is known."""
    order = order.model_copy(update={"account": survey.account})
    rate = dearest(survey)
    if rate is None:
        return order
    return order.model_copy(
        update={"usd_per_hour": float(rate.ceiling * order.nodes), "price_source": rate.source}
    )


def dearest(survey: Survey) -> Rate | None:
    """The place that may cost most; None when no price is known."""
    return max(survey.rates, key=lambda rate: rate.ceiling, default=None)


def hourly(order: Order) -> str:
    """What all its machines cost an hour, at most."""
    return f"{order.usd_per_hour:.3f} USD per hour" if order.usd_per_hour else "a price nobody knows"


def cost_sentence(order: Order, survey: Survey) -> str:
    """What it costs, and how long at most."""
    if not survey.spots:
        where = f"{machines(order, order.instance_types[0])} in {order.regions[0]}"
        return f"{where}: nothing new is rented, what runs already is kept"
    hours, rate = order.ttl_minutes / 60, dearest(survey)
    blocks = [spot for spot in survey.spots if spot.purchase == "capacity-block"]
    unknown = len(survey.spots) - len(blocks) - len(survey.rates)
    said = [cost(order, rate, hours, len({rate.ceiling for rate in survey.rates}) > 1)] if rate else []
    if blocks:
        block = f"{machines(order, blocks[0].instance_type)} in {blocks[0].region}"
        said.append(f"{block}, in a capacity block that is paid already")
    if unknown or not said:
        said.append(
            f"{machines(order, order.instance_types[0])} in {' or '.join(order.regions)} at a price nobody knows, "
            f"for at most {hours:g} hours"
        )
    return f"{'; or '.join(said)}; plus its volume"


def cost(order: Order, rate: Rate, hours: float, several: bool) -> str:
    """The dearest place in words."""
    each = float(rate.ceiling) * order.nodes
    bounded = rate.most is not None
    at_most = "at most " if bounded and (several or rate.spot.purchase == "spot") else ""
    where = f"{machines(order, rate.spot.instance_type)} in {rate.spot.region}"
    what = f"{where}: {at_most}{each:.3f} USD per hour ({rate.source})"
    if not bounded:
        return f"{what}, a spot price that may rise; {each * hours:.2f} USD in {hours:g} hours at that price"
    return f"{what}, at most {each * hours:.2f} USD in the {hours:g} hours until it ends itself"


def machines(order: Order, instance_type: str) -> str:
    """The machines in words."""
    return f"{order.nodes}x {instance_type}" if order.nodes > 1 else instance_type
