"""Rent what an order asks for, or find it running; on failure or Ctrl-C leave nothing behind."""

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from infra.aws import failover, power, rented_machines, replacing, supporting_resources
from infra.aws.account_preflight import Survey
from infra.aws.api import Aws
from infra.aws.failover import Launched
from infra.aws.failures import Refused, translated
from infra.aws.order import Order
from infra.aws.quotas import bought
from infra.aws.request import Spot
from infra.aws.teardown import Remains, Teardown, Unseen, enabled_regions
from infra.errors import CapacityError, CorralError, Interrupted
from infra.rented import Rented

P = ParamSpec("P")
T = TypeVar("T")


def told(function: Callable[P, T]) -> Callable[P, T]:
    """Let what AWS refused leave as a CorralError: a sentence, a hint, an exit code."""

    @wraps(function)
    def telling(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except Refused as refused:
            raise translated(refused) from None

    return telling


def rent(aws: Aws, order: Order, survey: Survey, keep: bool = False) -> Launched:
    """Launch the order, or adopt what already runs of it, or was stopped; replicas that lack are added to the others.

    `keep` leaves a failed launch for looking at.

    Raises CapacityError, AuthError, CloudError, Interrupted; nothing is left then unless the error says so, or it was
    there before.
    """
    if back := started(aws, order, survey):
        return back
    if order.replicas > 1 and (there := replacing.up(seen(survey))):
        return joined(aws, order, survey, there)
    try:
        return adopted(aws, order, survey) or failover.launch(aws, order, survey)
    except (Refused, CorralError) as error:
        failure = translated(error) if isinstance(error, Refused) else error
        raise failure if keep else rolled_back(aws, order, failure) from None
    except KeyboardInterrupt:
        raise rolled_back(aws, order, Interrupted("Interrupted while launching.")) from None


def started(aws: Aws, order: Order, survey: Survey) -> Launched | None:
    """The machines of this very order, started again, when some of them are stopped and none is gone."""
    machines = [row for row in survey.running if row["State"]["Name"] in (*power.UP, *power.DOWN)]
    stopped = any(row["State"]["Name"] in power.DOWN for row in machines)
    if not stopped or (order.replicas == 1 and len(machines) != order.nodes):
        return None
    ids = tuple(str(row["InstanceId"]) for row in machines)
    aws.say(f"stopped: {', '.join(ids)}: started again")
    try:
        power.start(aws, order)
    except Refused as refused:
        raise translated(refused) from None
    return Launched(spot=spot_of(machines[0]), instance_ids=ids, attempts=())


def seen(survey: Survey) -> tuple[Rented, ...]:
    """The machines that carry the name."""
    return tuple(rented_machines.rented(row, row["Region"]) for row in survey.running)


def joined(aws: Aws, order: Order, survey: Survey, there: tuple[Rented, ...]) -> Launched:
    """The replicas that run, with those added that lack. Those that run go on, whatever comes of it."""
    there = replacing.without_surplus(aws, order, there)
    try:
        if len(there) < order.machines:
            return replacing.replaced(aws, order, survey, there)
    except (Refused, CorralError) as error:
        failure = translated(error) if isinstance(error, Refused) else error
        if not isinstance(failure, CapacityError) or not replacing.will_do(order, there):
            failure.hint = (
                f"All that runs of {order.name} still costs: corral down {order.name}. {failure.hint}"
            )
            raise failure from None
        aws.say(f"{len(there)} of {order.machines} replicas of {order.name}: {failure.message}")
    except KeyboardInterrupt:
        raise Interrupted(
            f"Interrupted while renting what {order.name} lacks; all that runs of it still costs.",
            f"Go on: corral serve {order.name}; take it away: corral down {order.name}",
        ) from None
    ids, region = tuple(machine.instance_id for machine in there), there[0].region
    aws.say(f"already launched: {', '.join(ids)}")
    end = power.end_of(order, there)
    supporting_resources.schedule(aws, order, region, survey.account, list(ids), end)
    power.see_healthy(aws, there)
    spot = spot_of(next(row for row in survey.running if row["InstanceId"] == ids[0]))
    return Launched(spot=spot, instance_ids=ids, attempts=())


def adopted(aws: Aws, order: Order, survey: Survey) -> Launched | None:
    """The machines of this very order, when all of them run: from an earlier `up` that was cut off, or is done."""
    alive = [row for row in survey.running if row["State"]["Name"] in ("pending", "running")]
    ids = [str(row["InstanceId"]) for row in alive]
    if not ids:
        return None
    spot = spot_of(alive[0])
    if len(ids) == order.nodes:
        aws.say(f"already launched: {', '.join(ids)}")
        end = power.end_of(order, [rented_machines.rented(row, spot.region) for row in alive])
        supporting_resources.schedule(aws, order, spot.region, survey.account, ids, end)
        state = failover.awaited(aws, spot.region, ids)
        if state == "ready":
            return Launched(spot=spot, instance_ids=tuple(ids), attempts=())
    # All or none: a set with a dead or hung node is of no use.
    failover.terminate(aws, spot.region, ids)
    return None


def spot_of(row: dict[str, Any]) -> Spot:
    """Where a running instance is, and how it was bought."""
    return Spot(
        region=row["Region"],
        zone=str(row["Placement"]["AvailabilityZone"]),
        subnet_id=str(row.get("SubnetId", "")),
        instance_type=str(row["InstanceType"]),
        purchase=bought(row),
    )


def rolled_back(aws: Aws, order: Order, failure: CorralError) -> CorralError:
    """Take away what the failed launch made; the failure, saying so when that did not succeed."""
    aws.say("taking away what was made")
    try:
        # Of this order only: another corral may be at work under the same name.
        remains = Teardown(aws, order.name, order.order_id).run(order.regions)
    except (Refused, CorralError, KeyboardInterrupt):
        remains = None
    if remains and not remains.left:
        return failure
    failure.hint = f"Something may be left of it; take it away: corral down {order.name}. {failure.hint}"
    return failure


def take_away(aws: Aws, name: str, regions: tuple[str, ...], search: tuple[str, ...]) -> Remains:
    """Remove everything of a deployment from the regions it was ordered in and from every other where its tag is found.

    Raises Refused when AWS does not answer or does not know us.
    """
    enabled = enabled_regions(aws, (*regions, *search)[0])
    teardown = Teardown(aws, name)
    away = [region for region in regions if region not in enabled]
    for region in away:
        teardown.troubles[Unseen(region=region)] = "the region is not enabled for this account"
    elsewhere = [region for region in enabled if region not in regions and teardown.is_in(region)]
    return teardown.run([*(region for region in regions if region in enabled), *elsewhere])
