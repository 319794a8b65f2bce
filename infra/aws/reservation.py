"""A capacity reservation or block of the user's own: where it is, of what, and until when. Reads only."""

from datetime import datetime
from typing import Any

from infra.aws.api import Aws
from infra.aws.failures import Refused
from infra.aws.order import Order, utc
from infra.aws.preflight_findings import Finding, failed, ok, warning
from infra.aws.request import Request, ec2
from infra.record import Record

# EC2 ends the machines of a capacity block this long before the block ends (EC2 User Guide, "Capacity Blocks").
BLOCK_CLEARED_MINUTES = 30


class Reservation(Record):
    """What EC2 tells of it."""

    zone: str
    instance_type: str
    state: str
    """active, scheduled, expired, ..."""
    available: int
    is_block: bool
    starts_at: datetime | None = None
    ends_at: datetime | None = None


def reservation_request(order: Order, region: str) -> Request:
    """Ask for the order's own."""
    return ec2(
        region, "DescribeCapacityReservations", CapacityReservationIds=[str(order.capacity_reservation_id)]
    )


def reservation(aws: Aws, order: Order, region: str) -> Reservation | None:
    """The order's reservation, where it is in that region. Raises Refused."""
    try:
        rows = aws.call(reservation_request(order, region))["CapacityReservations"]
    except Refused as refused:
        if refused.kind == "gone":
            return None
        raise
    return as_reservation(rows[0]) if rows else None


def as_reservation(row: dict[str, Any]) -> Reservation:
    """One row of EC2's answer."""
    return Reservation(
        zone=str(row["AvailabilityZone"]),
        instance_type=str(row["InstanceType"]),
        state=str(row["State"]),
        available=int(row["AvailableInstanceCount"]),
        is_block=row.get("ReservationType") == "capacity-block",
        starts_at=row.get("StartDate"),
        ends_at=row.get("EndDate"),
    )


def found(order: Order, region: str, it: Reservation | None, running: int) -> Finding:
    """Whether the order can be launched into it. `running` machines of the order hold their places already."""
    name = str(order.capacity_reservation_id)
    what = "capacity-block" if it and it.is_block else "on-demand"
    if it is None:
        other = "us-east-1" if region != "us-east-1" else "us-west-2"
        return failed(
            "reservation", region, f"{name} is not here", f"Name the region it is in, as --region {other}"
        )
    if it.state != "active":
        begins = f", begins {utc(it.starts_at)}" if it.state == "scheduled" and it.starts_at else ""
        return failed("reservation", region, f"{name} is {it.state}{begins}", "Launch into an active one.")
    if it.instance_type not in order.instance_types:
        said = f"{name} is of {it.instance_type}, the plan of {' or '.join(order.instance_types)}"
        return failed("reservation", region, said, f"Plan for it: corral size, with --on {it.instance_type}")
    if order.zones and it.zone not in order.zones:
        return failed("reservation", region, f"{name} is in {it.zone}", f"Name its zone: --zone {it.zone}")
    if what not in order.purchases:
        said = f"{name} is {'a capacity block' if it.is_block else 'no capacity block'}"
        return failed("reservation", region, said, f"Say so: --purchase {what}")
    if it.available + running < order.least:
        said = f"{name} has room for {it.available} machines; {order.least} are asked for"
        return failed("reservation", region, said, "End what uses it, or name another.")
    return in_time(order, region, it, name)


def in_time(order: Order, region: str, it: Reservation, name: str) -> Finding:
    """Whether it lasts as long as the order."""
    said = f"{name}: {it.available} free {it.instance_type} in {it.zone}"
    if it.ends_at is None or it.ends_at >= order.expires_at:
        return ok("reservation", region, said)
    before = f", {BLOCK_CLEARED_MINUTES} minutes after EC2 ended its machines" if it.is_block else ""
    return warning(
        "reservation",
        region,
        f"{said}, until {utc(it.ends_at)}{before}: before the order ends ({utc(order.expires_at)})",
        "Shorten --ttl, so that nothing ends unexpectedly.",
    )


def is_in(it: Reservation | None, zone: str, instance_type: str) -> bool:
    """Whether a launch into that zone and type can meet the reservation; without one any can."""
    return it is None or (it.zone, it.instance_type) == (zone, instance_type)
