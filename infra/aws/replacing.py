"""Put back what is lost of several replicas: beside those that run, until their end, for no more than was agreed to."""

from datetime import datetime, timedelta
from decimal import Decimal

from infra.aws import account_preflight, failover, power, rented_machines
from infra.aws.account_preflight import Survey
from infra.aws.api import Aws
from infra.aws.failover import Launched
from infra.aws.order import Order, utc
from infra.aws.request import Spot
from infra.errors import CapacityError, UsageError
from infra.rented import Rented

# What a machine takes to boot and load is no use to anybody.
LEAST_LEFT = timedelta(minutes=15)


def is_wanting(order: Order, machines: tuple[Rented, ...]) -> bool:
    """Whether some replicas run, and not just as many as were ordered."""
    return order.replicas > 1 and len(up(machines)) not in (0, order.machines)


def will_do(order: Order, machines: tuple[Rented, ...]) -> bool:
    """Whether as few replicas as are up were said to do."""
    return order.min_replicas is not None and len(up(machines)) >= order.least


def up(machines: tuple[Rented, ...]) -> tuple[Rented, ...]:
    """Those that run, or are about to."""
    return tuple(machine for machine in machines if machine.state in power.UP)


def replaced(aws: Aws, order: Order, survey: Survey, there: tuple[Rented, ...]) -> Launched:
    """Launch what is missing beside those that are up. What came of a try that fails is kept, as it was
    ordered, but for what did not get healthy in time.

    Of those that are up, too, the end is scheduled first: an earlier try may have been cut off before it did that.

    Raises CapacityError where EC2 has too few, or none for what was agreed to, UsageError where the time is over, and
    what a launch raises.
    """
    power.keep_end(aws, order, there)
    end = power.end_of(order, there)
    if end < aws.now() + LEAST_LEFT:
        raise UsageError(
            f"{order.name} ends at {utc(end)}: nothing is rented anew for so short a time.",
            f"Give it more: corral extend {order.name} 8h",
        )
    ids = tuple(machine.instance_id for machine in there)
    missing = order.machines - len(ids)
    aws.say(f"{missing} of {order.machines} replicas of {order.name} lack: rented anew until {utc(end)}")
    try:
        fair = affordable(order, survey, there[0].region)
        launched = failover.launch(aws, until(order, end), fair, ids, end)
    except failover.Late as error:
        # It would be taken for one that serves.
        failover.terminate(aws, error.region, error.instance_ids)
        error.hint = f"It is ended; read what it said: {error.consoles}. Try again: corral serve {order.name}"
        raise
    except CapacityError as error:
        error.hint = f"Those that are there go on. Try again later: corral serve {order.name}"
        raise
    # Another corral, elsewhere, may have done the same meanwhile.
    without_surplus(aws, order, rented_machines.machines(aws, order.name, order.regions))
    return launched


def without_surplus(aws: Aws, order: Order, machines: tuple[Rented, ...]) -> tuple[Rented, ...]:
    """The replicas that are up, after the newest of more than were ordered are ended."""
    oldest = sorted(up(machines), key=lambda machine: (machine.launched_at, machine.instance_id))
    if surplus := oldest[order.machines :]:
        aws.say(f"{', '.join(power.ids(surplus))}: more than the {order.machines} that were ordered, ended")
        for region in dict.fromkeys(machine.region for machine in surplus):
            failover.terminate(aws, region, power.ids(each for each in surplus if each.region == region))
    return tuple(oldest[: order.machines])


def until(order: Order, end: datetime) -> Order:
    """The order with that end on what it makes; whole minutes, and never later."""
    minutes = int((end - order.created_at).total_seconds() // 60)
    return order.model_copy(update={"ttl_minutes": minutes})


def affordable(order: Order, survey: Survey, region: str) -> Survey:
    """The places in that region that cost no more than was agreed to. Raises CapacityError where there is none."""
    here = [spot for spot in survey.spots if spot.region == region]
    if not here:
        raise account_preflight.verdict([each for each in survey.findings if each.outcome == "failed"])
    fair = [spot for spot in here if is_fair(order, survey, spot)]
    if not fair:
        raise CapacityError(
            f"No place in {region} costs as little as was agreed to: {order.usd_per_hour:.3f} USD per hour for all.",
            "",  # that is of the whole try
        )
    return survey.model_copy(update={"spots": tuple(fair)})


def is_fair(order: Order, survey: Survey, spot: Spot) -> bool:
    """Whether all machines at its price cost no more than was agreed to; where no price was known, none is held to."""
    rates = [rate.ceiling for rate in survey.rates if rate.spot == spot]
    if order.usd_per_hour is None or spot.purchase == "capacity-block":
        return True
    # Told in binary fractions, it is compared to a thousandth of a cent.
    most = Decimal(str(order.usd_per_hour)) + Decimal("0.00001")
    return bool(rates) and rates[0] * order.machines <= most
