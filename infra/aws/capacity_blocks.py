"""EC2 Capacity Blocks: what is on offer, and buying one. It is paid whole, at once, and cannot be given back."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from infra.aws.api import Aws
from infra.aws.request import ec2
from infra.errors import UsageError
from infra.record import Record

# botocore 1.44.5, PurchaseCapacityBlock: 1 to 14 days by the day, then whole weeks up to 182 days.
LONGEST_BY_THE_DAY = 14
LONGEST_DAYS = 182


class Offering(Record):
    """One block on offer."""

    offering_id: str
    """What `capacity-block buy` takes; it lasts for minutes."""
    region: str
    """Where it is."""
    zone: str
    """Where in the region."""
    instance_type: str
    """Of its machines."""
    instance_count: int
    """How many machines it has."""
    starts_at: datetime
    """From when on it could be used."""
    ends_at: datetime
    """When it is over."""
    hours: int
    """From its start to its end."""
    usd: Decimal
    """All of it, upfront."""

    @property
    def usd_per_hour(self) -> Decimal:
        """The whole price over its hours, all instances."""
        return self.usd / self.hours


def offerings(aws: Aws, region: str, instance_type: str, count: int, hours: int) -> tuple[Offering, ...]:
    """What is on offer, the cheapest first. Raises Refused where the type is not sold so."""
    asked = ec2(
        region,
        "DescribeCapacityBlockOfferings",
        InstanceType=instance_type,
        InstanceCount=count,
        CapacityDurationHours=hours,
    )
    offered = [offering(row, region) for row in aws.pages(asked, "CapacityBlockOfferings")]
    return tuple(sorted(offered, key=lambda block: (block.usd, block.starts_at)))


def offering(row: dict[str, Any], region: str) -> Offering:
    """One offering as EC2 tells it. Raises UsageError for one that is not in dollars."""
    if row.get("CurrencyCode", "USD") != "USD":
        raise UsageError(f"AWS offers it in {row['CurrencyCode']}.", "Buy it in the console.")
    return Offering(
        offering_id=row["CapacityBlockOfferingId"],
        region=region,
        zone=row["AvailabilityZone"],
        instance_type=row["InstanceType"],
        instance_count=row["InstanceCount"],
        starts_at=row["StartDate"],
        ends_at=row["EndDate"],
        hours=row["CapacityBlockDurationHours"],
        usd=Decimal(row["UpfrontFee"]),
    )


def purchase(aws: Aws, offered: Offering) -> str:
    """Buy it; the id of the reservation to launch into. Sent once and never again: a repeat would be a second block."""
    asked = ec2(
        offered.region,
        "PurchaseCapacityBlock",
        CapacityBlockOfferingId=offered.offering_id,
        InstancePlatform="Linux/UNIX",
        TagSpecifications=[
            {
                "ResourceType": "capacity-reservation",
                "Tags": [{"Key": "corral:capacity-block", "Value": offered.offering_id}],
            }
        ],
    )
    return str(aws.call(asked)["CapacityReservation"]["CapacityReservationId"])


def checked_hours(days: int) -> int:
    """The hours of that many days. Raises UsageError for a length that is not sold."""
    by_the_week = LONGEST_BY_THE_DAY < days <= LONGEST_DAYS and days % 7 == 0
    if not (1 <= days <= LONGEST_BY_THE_DAY or by_the_week):
        raise UsageError(
            f"No capacity block of {days} days is sold.",
            "1 to 14 days, or whole weeks up to 182 days: --days 21",
        )
    return days * 24
