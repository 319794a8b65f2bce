"""Stop the machines of a deployment and start them again.

While a machine is stopped EC2 bills no hours of it; its volumes cost, and no timer of its own runs. So what ends it is
seen to be scheduled before anything changes.
"""

from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime

from infra import wait
from infra.aws import failover, rented_machines, supporting_resources
from infra.aws.api import Aws
from infra.aws.failures import Refused
from infra.aws.order import Order, utc
from infra.aws.request import ec2
from infra.errors import CapacityError, CloudError, CorralError, HostError, UsageError
from infra.rented import Purchase, Rented

# EC2 gives the system some minutes to end by itself, and ends it then.
STOPPED_WITHIN_S = 900.0
UP = ("pending", "running")
DOWN = ("stopping", "stopped")

NEVER: dict[Purchase, str] = {
    "spot": "A one-time spot machine cannot be stopped: EC2 only ends it.",
    "capacity-block": "A capacity block is paid until it ends: to stop its machine saves nothing.",
}


def stop(aws: Aws, order: Order) -> None:
    """Stop all machines, and return when they are, or EC2 takes too long to say so. Safe to repeat.

    Raises UsageError for what cannot be stopped or whose time is over, CloudError when there is nothing, Refused.
    """
    machines = there(aws, order)
    refuse_unstoppable(order, machines)
    if any(machine.state in UP for machine in machines):
        # A disk of ours that is full keeps nothing running: the end that was scheduled at the launch holds.
        with suppress(HostError):
            keep_end(aws, order, machines)
        machines = settled(aws, order, "pending")
        up = [machine for machine in machines if machine.state in UP]
        try:
            aws.call(ec2(machines[0].region, "StopInstances", InstanceIds=ids(up)))
        except Refused as refused:
            raise unstopped(up, refused) from None
    settled(aws, order, *UP, "stopping")


def start(aws: Aws, order: Order) -> None:
    """Start the machines that are stopped, and return when EC2 says that all are healthy. Safe to repeat.

    Raises CapacityError where EC2 has no room now, CloudError for what does not come up, UsageError when its time is
    over, Refused. What does not start stays stopped.
    """
    machines = there(aws, order)
    keep_end(aws, order, machines)
    machines = settled(aws, order, "stopping")
    stopped = [machine for machine in machines if machine.state == "stopped"]
    for machine in stopped:
        rented_machines.remember_billed(aws, machine)
    if stopped:
        try:
            aws.call(ec2(machines[0].region, "StartInstances", InstanceIds=ids(stopped)))
        except Refused as refused:
            if refused.kind != "capacity":
                raise
            raise no_room(order, stopped, refused) from None
        aws.sleep(failover.POLL_S)  # EC2 may go on showing them stopped for a moment
    see_healthy(aws, machines)


def is_stopped(machines: Iterable[Rented]) -> bool:
    """Whether one of the machines is stopped, or on its way there."""
    return any(machine.state in DOWN for machine in machines)


def see_healthy(aws: Aws, machines: tuple[Rented, ...]) -> None:
    """Wait until EC2's checks pass. Raises CloudError when they do not."""
    region, all_ids = machines[0].region, ids(machines)
    state = failover.awaited(aws, region, all_ids)
    if state == "late":
        raise failover.late(aws, region, all_ids)
    if state == "died":
        rows = failover.described(aws, region, all_ids)
        code, name = failover.died_of(rows), machines[0].deployment
        hint = failover.OWN_FAULTS.get(code, f"Take it away and rent anew: corral down {name}")
        raise CloudError(
            f"{', '.join(all_ids)} did not start: {failover.reasons(rows)} ({code}).",
            hint.format(region=region),
        )


def there(aws: Aws, order: Order) -> tuple[Rented, ...]:
    """The machines that are not gone. Raises CloudError when there is none."""
    machines = rented_machines.machines(aws, order.name, order.regions)
    left = tuple(machine for machine in machines if machine.state in (*UP, *DOWN))
    if not left:
        raise CloudError(
            f"No machine of {order.name} is there.",
            f"Rent one: corral up plan.json --target ec2 --name {order.name}",
        )
    return left


def settled(aws: Aws, order: Order, *passing: str) -> tuple[Rented, ...]:
    """The machines once none is in one of these states any more, or after the longest EC2 takes."""

    def going(machines: tuple[Rented, ...]) -> list[Rented]:
        return [machine for machine in machines if machine.state in passing]

    def tell(machines: tuple[Rented, ...]) -> None:
        states = ", ".join(machine.state for machine in going(machines))
        aws.say(f"waiting for {', '.join(ids(going(machines)))}: {states}")

    pace = aws.pace(STOPPED_WITHIN_S, failover.POLL_S)
    return wait.until(lambda: there(aws, order), lambda machines: not going(machines), pace, tell)


def keep_end(aws: Aws, order: Order, machines: tuple[Rented, ...]) -> None:
    """See that the end of the machines is scheduled. Raises UsageError when their time is over."""
    at = end_of(order, machines)
    if at <= aws.now():
        raise UsageError(
            f"The time of {order.name} is over since {utc(at)}.",
            f"Give it more: corral extend {order.name} 8h; or take it away: corral down {order.name}",
        )
    region = machines[0].region
    supporting_resources.schedule(aws, order, region, rented_machines.account(aws, region), ids(machines), at)


def end_of(order: Order, machines: Iterable[Rented]) -> datetime:
    """When they end: as their tags say, which `extend` moves, else as it was ordered."""
    return max((machine.expires_at for machine in machines if machine.expires_at), default=order.expires_at)


def ids(machines: Iterable[Rented]) -> list[str]:
    """Their ids."""
    return [machine.instance_id for machine in machines]


# --- what cannot be


def refuse_unstoppable(order: Order, machines: tuple[Rented, ...]) -> None:
    """Raise UsageError for machines of a kind that is not stopped."""
    for machine in machines:
        if machine.purchase in NEVER:
            raise UsageError(
                NEVER[machine.purchase],
                f"Take it away: corral down {order.name}. What stops and starts is rented on demand.",
            )


def unstopped(machines: list[Rented], refused: Refused) -> CorralError | Refused:
    """Why EC2 did not stop them, where there is a remedy."""
    if refused.code == "OperationNotPermitted":
        return CloudError(
            f"{', '.join(ids(machines))} cannot be stopped: stop protection is on.",
            f"Take it off: aws ec2 modify-instance-attribute --no-disable-api-stop --region {machines[0].region} "
            "--instance-id ID",
        )
    if refused.code == "UnsupportedOperation":
        return CloudError(
            f"EC2 does not stop {', '.join(ids(machines))}: {refused.message}",
            f"It can only be taken away: corral down {machines[0].deployment}",
        )
    return refused


def no_room(order: Order, machines: list[Rented], refused: Refused) -> CapacityError:
    """EC2 gives a stopped machine no claim to come back."""
    return CapacityError(
        f"EC2 has no room for {machines[0].instance_type} in {machines[0].zone} now ({refused.code}): "
        f"{', '.join(ids(machines))} stays stopped.",
        f"Try again later: corral serve {order.name}; or rent elsewhere: corral down {order.name}, then "
        f"corral up plan.json --target ec2 --name {order.name}, which tries every zone.",
    )
