"""What a region offers, as values: of its subnets the roomiest, of its images what EC2 says of one."""

from pathlib import Path
from typing import Any

import pytest
from renting import an_order, door, fresh

from infra.aws import region_offer
from infra.aws.region_offer import Image, Subnet
from infra.aws.request import Request


def row(name: str, zone: str, free: int, public: bool | None = True) -> dict[str, Any]:
    """One of DescribeSubnets."""
    said = {} if public is None else {"MapPublicIpOnLaunch": public}
    return {"SubnetId": name, "VpcId": "v", "AvailabilityZone": zone, "AvailableIpAddressCount": free} | said


def test_one_subnet_a_zone_the_public_one_then_the_roomiest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake, clock = fresh()
    aws = door(fake, clock, tmp_path)
    rows = [
        row("b-private", "b", 99, False),
        row("b-small", "b", 1),
        row("b-large", "b", 9),
        row("a-private", "a", 5, None),
        row("a-larger", "a", 7, False),
        {"SubnetId": "c", "VpcId": "v", "AvailabilityZone": "c"},
    ]
    asked: list[Any] = []

    def pages(request: Request, key: str) -> list[dict[str, Any]]:
        asked.append((request, key))
        return rows

    monkeypatch.setattr(aws, "pages", pages)
    assert region_offer.subnets(aws, an_order(subnet_ids=("s-1", "s-2")), "us-east-1") == (
        Subnet(subnet_id="a-larger", vpc_id="v", zone="a", public=False, free_addresses=7),
        Subnet(subnet_id="b-large", vpc_id="v", zone="b", public=True, free_addresses=9),
        Subnet(subnet_id="c", vpc_id="v", zone="c", public=False, free_addresses=0),
    )
    region_offer.subnets(aws, an_order(), "us-west-2")
    filters = [
        {"Name": "subnet-id", "Values": ["s-1", "s-2"]},
        {"Name": "default-for-az", "Values": ["true"]},
    ]
    assert [(request.operation, request.region, request.parameters, key) for request, key in asked] == [
        ("DescribeSubnets", region, {"Filters": [each]}, "Subnets")
        for region, each in zip(("us-east-1", "us-west-2"), filters, strict=True)
    ]


def test_an_image_as_ec2_says_it() -> None:
    volumes = [
        {"DeviceName": "/dev/sdb", "Ebs": {"VolumeSize": 500}},
        {"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 60}},
        {"DeviceName": "/dev/sdc", "VirtualName": "ephemeral0"},
    ]
    said = {"ImageId": "ami-1", "Name": "AL2023", "RootDeviceName": "/dev/xvda", "Architecture": "arm64"}
    assert region_offer.as_image(said | {"BlockDeviceMappings": volumes}) == Image(
        image_id="ami-1", name="AL2023", root_device="/dev/xvda", snapshot_gib=60, architecture="arm64"
    )
    assert region_offer.as_image({"ImageId": "ami-2"}) == Image(
        image_id="ami-2", name="", root_device="/dev/sda1", snapshot_gib=0, architecture="x86_64"
    )
    named = ("Deep Learning Base OSS Nvidia Driver GPU AMI (Ubuntu 24.04) 2026", "ubuntu/Deep Learning")
    assert [region_offer.as_image({"ImageId": "x", "Name": name}).mounts_nvme for name in named] == [
        True,
        False,
    ]


def test_what_is_asked_of_a_region() -> None:
    offerings = region_offer.offerings_request(an_order(instance_types=("g5.xlarge", "p5.48xlarge")), "r1")
    assert (offerings.operation, offerings.parameters) == (
        "DescribeInstanceTypeOfferings",
        {
            "LocationType": "availability-zone",
            "Filters": [{"Name": "instance-type", "Values": ["g5.xlarge", "p5.48xlarge"]}],
        },
    )
    more = {"Name": "tag-key", "Values": ["x"]}
    living = {
        "Name": "instance-state-name",
        "Values": ["pending", "running", "stopping", "stopped", "shutting-down"],
    }
    assert region_offer.instances_request("r1", more).parameters == {"Filters": [living, more]}
    newest = region_offer.newest_request("r1")
    assert (newest.operation, newest.parameters["Owners"], newest.parameters["Filters"][1]) == (
        "DescribeImages",
        ["898082745236"],
        {"Name": "state", "Values": ["available"]},
    )
    assert region_offer.by_id("r1", "ami-1").parameters == {"ImageIds": ["ami-1"]}
    asked = region_offer.parameter_request("r1")
    assert (asked.service, asked.operation, asked.region) == ("ssm", "GetParameter", "r1")
    assert asked.parameters["Name"].startswith("/aws/service/deeplearning/ami/x86_64/")
