"""What a region offers for an order: zones that sell the type, subnets, the image. Reads only."""

from typing import Any

from infra.aws.api import Aws
from infra.aws.failures import Refused
from infra.aws.order import Order
from infra.aws.request import Request, ec2
from infra.data import shipped_table
from infra.record import Record

LIVE = ["pending", "running", "stopping", "stopped", "shutting-down"]


class Image(Record):
    """A machine image, as DescribeImages tells it."""

    image_id: str
    name: str
    root_device: str
    snapshot_gib: int
    architecture: str

    @property
    def mounts_nvme(self) -> bool:
        """Whether it mounts the instance's own NVMe at /opt/dlami/nvme, as all of Amazon's Deep Learning images do."""
        return self.name.startswith(images()["deep-learning-base"]["family"])


class Subnet(Record):
    """A subnet we may launch into."""

    subnet_id: str
    vpc_id: str
    zone: str
    public: bool
    free_addresses: int


def offered(aws: Aws, order: Order, region: str) -> dict[str, tuple[str, ...]]:
    """The availability zones that sell each type of the order."""
    rows = list(aws.pages(offerings_request(order, region), "InstanceTypeOfferings"))
    return {
        name: tuple(sorted(row["Location"] for row in rows if row["InstanceType"] == name))
        for name in order.instance_types
    }


def offerings_request(order: Order, region: str) -> Request:
    """Ask where the types are sold; DescribeAvailabilityZones would not tell."""
    return ec2(
        region,
        "DescribeInstanceTypeOfferings",
        LocationType="availability-zone",
        Filters=[{"Name": "instance-type", "Values": list(order.instance_types)}],
    )


def subnets(aws: Aws, order: Order, region: str) -> tuple[Subnet, ...]:
    """One subnet a zone, the one with most room; of the default VPC where the order names none."""
    usable = [as_subnet(row) for row in aws.pages(subnets_request(order, region), "Subnets")]
    roomiest = sorted(usable, key=lambda subnet: (subnet.zone, not subnet.public, -subnet.free_addresses))
    return tuple({subnet.zone: subnet for subnet in reversed(roomiest)}.values())[::-1]


def subnets_request(order: Order, region: str) -> Request:
    """Ask for the subnets that may be used. A filter, because a list of ids fails whole when one is elsewhere."""
    if order.subnet_ids:
        return ec2(
            region, "DescribeSubnets", Filters=[{"Name": "subnet-id", "Values": list(order.subnet_ids)}]
        )
    return ec2(region, "DescribeSubnets", Filters=[{"Name": "default-for-az", "Values": ["true"]}])


def as_subnet(row: dict[str, Any]) -> Subnet:
    """One row of DescribeSubnets."""
    return Subnet(
        subnet_id=row["SubnetId"],
        vpc_id=row["VpcId"],
        zone=row["AvailabilityZone"],
        public=bool(row.get("MapPublicIpOnLaunch")),
        free_addresses=int(row.get("AvailableIpAddressCount", 0)),
    )


def image(aws: Aws, order: Order, region: str) -> Image | None:
    """The image to start from: the one ordered, else the newest Deep Learning base image; None when there is none."""
    image_id = order.ami or published(aws, region)
    request = by_id(region, image_id) if image_id else newest_request(region)
    rows = [row for row in aws.pages(request, "Images") if row.get("State") == "available"]
    return as_image(max(rows, key=lambda row: row.get("CreationDate", ""))) if rows else None


def published(aws: Aws, region: str) -> str | None:
    """The id that SSM publishes; None when the parameter is not there or may not be read."""
    try:
        answer = aws.ask(parameter_request(region))
    except Refused as refused:
        if refused.code == "ParameterNotFound" or refused.code.startswith("AccessDenied"):
            return None
        raise
    return str(answer["Parameter"]["Value"])


def parameter_request(region: str) -> Request:
    """Ask SSM for the newest id."""
    return Request(
        service="ssm",
        operation="GetParameter",
        region=region,
        parameters={"Name": images()["deep-learning-base"]["parameter"]},
    )


def by_id(region: str, image_id: str) -> Request:
    """Ask for one image."""
    return ec2(region, "DescribeImages", ImageIds=[image_id])


def newest_request(region: str) -> Request:
    """Ask for the images by their publisher and name."""
    known = images()["deep-learning-base"]
    filters = [{"Name": "name", "Values": [known["name"]]}, {"Name": "state", "Values": ["available"]}]
    return ec2(region, "DescribeImages", Owners=[known["owner"]], Filters=filters)


def as_image(row: dict[str, Any]) -> Image:
    """One row of DescribeImages. The root device differs: /dev/sda1 on Ubuntu, /dev/xvda on Amazon Linux."""
    root = str(row.get("RootDeviceName", "/dev/sda1"))
    volumes = {item.get("DeviceName"): item.get("Ebs", {}) for item in row.get("BlockDeviceMappings", [])}
    return Image(
        image_id=row["ImageId"],
        name=str(row.get("Name", "")),
        root_device=root,
        snapshot_gib=int(volumes.get(root, {}).get("VolumeSize", 0)),
        architecture=str(row.get("Architecture", "x86_64")),
    )


def instances_request(region: str, *filters: dict[str, Any]) -> Request:
    """Ask for the instances that are not gone."""
    return ec2(
        region, "DescribeInstances", Filters=[{"Name": "instance-state-name", "Values": LIVE}, *filters]
    )


def instances(aws: Aws, request: Request) -> list[dict[str, Any]]:
    """The instances of a DescribeInstances, without their reservations."""
    return [row for reservation in aws.pages(request, "Reservations") for row in reservation["Instances"]]


def images() -> dict[str, dict[str, str]]:
    """What images.toml holds."""
    return shipped_table("infra.aws", "images.toml")
