"""What is rented under a name: the machines as EC2 shows them, what they cost so far, and moving their end."""

from datetime import UTC, datetime, timedelta
from typing import Any

from infra.asked import again
from infra.aws import region_offer, supporting_resources
from infra.aws.api import Aws
from infra.aws.failures import Refused
from infra.aws.order import EXPIRES_TAG, TAG, Order, utc
from infra.aws.quotas import bought
from infra.aws.request import Request, ec2, move_expiry, ours, spot_prices, status_request
from infra.catalog import ec2_types
from infra.errors import CloudError, UsageError
from infra.prices import price_of
from infra.rented import Rented

# What was billed before a start, and the start that was the last of those: EC2 only tells the last one.
BILLED_TAG = "corral:billed"
# EC2 bills by the second, and at least this long.
LEAST_BILLED_S = 60.0
# A stopped machine has an end, too.
LEFT = ("pending", "running", "stopping", "stopped")


def machines(aws: Aws, name: str, regions: tuple[str, ...]) -> tuple[Rented, ...]:
    """The machines of a deployment in a fixed order, those included that ended within the last hour."""
    unsorted = (
        rented(row, region)
        for region in regions
        for row in region_offer.instances(aws, ec2(region, "DescribeInstances", Filters=ours(name)))
    )
    return tuple(sorted(unsorted, key=lambda machine: (machine.launch_index, machine.instance_id)))


def rented(row: dict[str, Any], region: str) -> Rented:
    """One instance as EC2 describes it."""
    tags = {tag["Key"]: tag["Value"] for tag in row.get("Tags", [])}
    return Rented(
        instance_id=row["InstanceId"],
        deployment=tags.get(TAG, ""),
        region=region,
        zone=row["Placement"]["AvailabilityZone"],
        instance_type=row["InstanceType"],
        purchase=bought(row),
        state=row["State"]["Name"],
        launched_at=row["LaunchTime"],
        ended_at=ended_at(row.get("StateTransitionReason", "")),
        **billed_before(tags.get(BILLED_TAG, "")),
        expires_at=moment(tags.get(EXPIRES_TAG, "")),
        end_reason=row.get("StateReason", {}).get("Code", ""),
        public_name=row.get("PublicDnsName") or "",
        private_address=row.get("PrivateIpAddress") or "",
        launch_index=row.get("AmiLaunchIndex", 0),
    )


def ended_at(reason: str) -> datetime | None:
    """When it ended, from words such as "User initiated (2026-11-24 03:00:00 GMT)"."""
    _, bracket, rest = reason.partition("(")
    try:
        parsed = datetime.strptime(rest.partition(" GMT)")[0], "%Y-%m-%d %H:%M:%S") if bracket else None
    except ValueError:
        return None
    return parsed.replace(tzinfo=UTC) if parsed else None


def billed_before(tag: str) -> dict[str, Any]:
    """What the tag says, such as "7200 2026-11-24T05:00:00Z"; nothing for one that is not ours to read."""
    seconds, _, start = tag.partition(" ")
    at = moment(start)
    return {"billed_before_s": float(seconds), "billed_until_start": at} if at and seconds.isdecimal() else {}


def moment(text: str) -> datetime | None:
    """The time in a tag; None for one that is not ours to read."""
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None


def failing_checks(aws: Aws, machine: Rented) -> str:
    """Which of EC2's own checks of a machine fail now, in words; empty for none, or where EC2 does not say."""
    try:
        rows = aws.ask(status_request(machine.region, [machine.instance_id]))["InstanceStatuses"]
    except Refused:
        return ""
    names = {"InstanceStatus": "system", "SystemStatus": "hardware"}
    return " and its ".join(
        word for row in rows for check, word in names.items() if row[check]["Status"] == "impaired"
    )


# --- money


def usd_so_far(aws: Aws, rented: tuple[Rented, ...]) -> float | None:
    """An estimate: price x seconds, without volumes and traffic. None where a price or a time is not known."""
    total = 0.0
    for machine in rented:
        usd_per_hour, seconds = price(aws, machine), billed_s(machine, aws.now())
        if usd_per_hour is None or seconds is None:
            return None
        total += usd_per_hour * seconds / 3600
    return total


def billed_s(machine: Rented, now: datetime) -> float | None:
    """The seconds EC2 bills: none while it is stopped. None for a stopped one that does not say since when."""
    if machine.billed_until_start and machine.launched_at <= machine.billed_until_start:
        return machine.billed_before_s
    if machine.state == "stopped" and machine.ended_at is None:
        return None
    last_s = ((machine.ended_at or now) - machine.launched_at).total_seconds()
    return machine.billed_before_s + max(LEAST_BILLED_S, last_s)


def remember_billed(aws: Aws, machine: Rented) -> None:
    """Write on a stopped machine what was billed of it: after its next start EC2 tells no more of this one."""
    seconds = billed_s(machine, aws.now()) or machine.billed_before_s
    tag = {"Key": BILLED_TAG, "Value": f"{seconds:.0f} {utc(machine.launched_at)}"}
    aws.call(ec2(machine.region, "CreateTags", Resources=[machine.instance_id], Tags=[tag]))


def price(aws: Aws, machine: Rented) -> float | None:
    """USD per hour as it was bought: the spot price of its zone now, or the listed one."""
    if machine.purchase == "spot":
        return spot_price(aws, machine)
    listed = ec2_types().get(machine.instance_type)
    hourly = price_of(listed, machine.region) if listed else None
    return float(hourly.usd_per_hour) if hourly else None


def spot_price(aws: Aws, machine: Rented) -> float | None:
    """The spot price that holds now."""
    asked = spot_prices(machine.region, (machine.instance_type,), aws.now(), machine.zone)
    try:
        rows = aws.ask(asked)["SpotPriceHistory"]
    except Refused:
        return None
    return float(rows[0]["SpotPrice"]) if rows else None


# --- time


def refuse_earlier(aws: Aws, machines: tuple[Rented, ...], name: str, minutes: int) -> None:
    """Raise UsageError where a machine that is left lives for longer than that already."""
    ends = [machine.expires_at for machine in machines if machine.expires_at and machine.state in LEFT]
    if ends and aws.now() + timedelta(minutes=minutes) < (end := max(ends)):
        raise UsageError(
            f"{name} lives until {utc(end)} already: later than {minutes} minutes from now.",
            f"Name a longer time; or to end it earlier: corral extend {name} --shorten {minutes}m{again()}",
        )


def extend(aws: Aws, order: Order, minutes: int) -> datetime:
    """Let a deployment live that long from now: the schedule and the tags. The box's own limit is the caller's.

    Raises CloudError when nothing of it is left.
    """
    rented = machines(aws, order.name, order.regions)
    left = [machine for machine in rented if machine.state in LEFT]
    if not left:
        raise CloudError(f"Nothing of {order.name!r} runs.", f"Begin anew: corral down {order.name}")
    region, ids = left[0].region, [machine.instance_id for machine in left]
    at = aws.now() + timedelta(minutes=minutes)
    supporting_resources.schedule(aws, order, region, account(aws, region), ids, at)
    aws.call(move_expiry(region, ids, at))
    return at


def account(aws: Aws, region: str) -> str:
    """The account these credentials are of."""
    identity = Request(service="sts", operation="GetCallerIdentity", region=region, parameters={})
    return str(aws.call(identity)["Account"])


def of_any(aws: Aws, region: str) -> tuple[Rented, ...]:
    """The machines of any deployment of ours in a region."""
    asked = region_offer.instances_request(region, {"Name": "tag-key", "Values": [TAG]})
    tagged = (rented(row, region) for row in region_offer.instances(aws, asked))
    return tuple(machine for machine in tagged if machine.deployment)


def expired(aws: Aws, regions: tuple[str, ...]) -> tuple[Rented, ...]:
    """The machines of any deployment of ours whose time is over, in these regions."""
    tagged = (machine for region in regions for machine in of_any(aws, region))
    return tuple(machine for machine in tagged if machine.expires_at and machine.expires_at <= aws.now())
