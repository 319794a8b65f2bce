"""What is offered to somebody who chooses a machine: what this machine needs, what is sold, for how much."""

from collections import Counter
from collections.abc import Iterable

from deploy.targets.deployment import Deployment
from deploy.targets.ec2 import documents, dry_run, granted, ordering, prerequisites
from deploy.targets.ec2.cost import stored_sentence
from deploy.targets.ec2.options import Ec2Options
from infra.aws.stored_prices import refreshed
from infra.day import today
from infra.errors import CorralError
from infra.say import progress, warn
from serving.sizing.plan import Plan

require_here = prerequisites.require


def says_where(wishes: Ec2Options) -> bool:
    """Whether the wishes, or AWS's own setting here, name a region."""
    from infra.aws.boto import named_region  # slow to import

    return bool(wishes.regions or named_region())


def check_sold(plan: Plan, wishes: Ec2Options) -> None:
    """Raise UsageError where what is rented for a plan is not sold as it is wished for."""
    ordering.as_sold(plan, wishes)


def stored_cost(deployment: Deployment, wishes: Ec2Options) -> str:
    """What it may cost by the prices stored here, or that none is; asks nobody."""
    return stored_sentence(ordering.order(deployment, wishes))


def outlined(deployment: Deployment, wishes: Ec2Options) -> tuple[str, ...]:
    """Where it would be, until when, what would be made, and what the account must have granted for it.

    Asks nobody, so that neither whose account it is is known, nor what that has.
    """
    order = ordering.order(deployment, wishes)
    asked = dry_run.changes(order, *dry_run.places(order))
    made = Counter(request.operation for request in asked if request.changes)
    idle = f", or {order.idle_minutes} minutes without a request" if order.idle_minutes else ""
    quota = granted.quota_sentence(order)
    return (
        f"where: {' or '.join(order.zones or order.regions)}, in the account of your credentials",
        f"end: {order.ttl_minutes / 60:g} hours after the launch{idle}",
        f"makes: {', '.join(f'{count}x {name}' if count > 1 else name for name, count in made.items())}",
        *([f"quota: it takes {quota}"] if quota else []),
        f"rights: {granted.policy_line(order, wishes)}",
    )


def ask_prices(types: Iterable[str], wishes: Ec2Options) -> None:
    """Ask AWS what these cost in the first region, and keep it; where it does not say, how to ask again is said."""
    region = wishes.regions[0]
    progress(f"prices: none is stored for {region}; asking AWS")
    try:
        refreshed(documents.reader(), tuple(dict.fromkeys(types)), region, today())
    except CorralError as error:
        warn(
            f"No price of {region} is known: {error.message} Ask again: corral prices --refresh --region {region}"
        )
