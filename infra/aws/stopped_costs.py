"""What is billed beside a machine's hours: its volumes by the month, and public addresses."""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from infra.aws.api import Aws
from infra.aws.failures import Refused
from infra.aws.order import utc
from infra.aws.request import ec2
from infra.data import shipped_table
from infra.rented import Rented


def told(aws: Aws, machine: Rented) -> str:
    """What goes on costing while it is stopped, and until when."""
    until = f" until {utc(machine.expires_at)}, when it ends" if machine.expires_at else ""
    try:
        volumes, addresses = volumes_of(aws, machine), addresses_of(aws, machine)
    except Refused as refused:
        return f"its volumes still cost{until} (how much, EC2 does not tell: {refused.code})"
    gib = sum(volume["Size"] for volume in volumes)
    what = f"its {gib} GiB of volumes" + (f" and {len(addresses)} addresses of yours" if addresses else "")
    usd = usd_per_month(machine.region, volumes, len(addresses))
    if usd is None:
        return f"{what} still cost{until}, in {machine.region} at a price corral does not know"
    table = prices()
    return f"{what} still cost {usd:.2f} USD a month ({table['source']}, {table['checked_on']}){until}"


def usd_per_month(region: str, volumes: list[dict[str, Any]], addresses: int) -> Decimal | None:
    """All of it together; None where one of the prices is not known."""
    table = prices()
    each = [gp3_usd(table["gp3"], volume) for volume in volumes]
    if region not in table["gp3"]["regions"] or any(volume["VolumeType"] != "gp3" for volume in volumes):
        return None
    hours = Decimal(addresses * table["address"]["hours_per_month"])
    return sum(each, hours * Decimal(table["address"]["usd_per_hour"]))


def usd_beside(regions: Iterable[str], volume: dict[str, Any], nodes: int, hours: Decimal) -> Decimal | None:
    """The most that the volume and a public address of each node cost for so long; None where a price is not known."""
    table = prices()
    if not set(regions) <= set(table["gp3"]["regions"]):
        return None
    volumes = gp3_usd(table["gp3"], volume) / Decimal(table["gp3"]["least_hours_per_month"])
    return nodes * hours * (volumes + Decimal(table["address"]["usd_per_hour"]))


def gp3_usd(price: dict[str, Any], volume: dict[str, Any]) -> Decimal:
    """A gp3 volume: its size, and what of speed is beyond what comes with it."""
    iops = Decimal(max(0, volume.get("Iops", 0) - price["free_iops"]))
    mib_per_s = Decimal(max(0, volume.get("Throughput", 0) - price["free_mib_per_s"]))
    return (
        Decimal(volume["Size"]) * Decimal(price["usd_per_gib_month"])
        + iops * Decimal(price["usd_per_iops_month"])
        + mib_per_s * Decimal(price["usd_per_mib_per_s_month"])
    )


def volumes_of(aws: Aws, machine: Rented) -> list[dict[str, Any]]:
    """The volumes it has, whoever attached them."""
    asked = {"Name": "attachment.instance-id", "Values": [machine.instance_id]}
    return list(aws.pages(ec2(machine.region, "DescribeVolumes", Filters=[asked]), "Volumes"))


def addresses_of(aws: Aws, machine: Rented) -> list[dict[str, Any]]:
    """The Elastic IPs it has; corral makes none."""
    asked = {"Name": "instance-id", "Values": [machine.instance_id]}
    return list(aws.call(ec2(machine.region, "DescribeAddresses", Filters=[asked]))["Addresses"])


def prices() -> dict[str, Any]:
    """What stopped_costs.toml holds."""
    return shipped_table("infra.aws", "stopped_costs.toml")
