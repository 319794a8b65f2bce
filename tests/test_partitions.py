"""AWS's separate clouds: names, and the place of IAM, as botocore has them."""

import json
from typing import Any

import pytest
from botocore.loaders import create_loader
from renting import START, an_order

from infra.aws import policy
from infra.aws.boto import Boto, checked_regions, default_region, known_regions
from infra.aws.partitions import IAM_REGIONS, PREFIXES, iam_region, partition_of
from infra.aws.permissions import simulation_request
from infra.aws.request import create_schedule, ec2, iam

PARTITIONS: list[dict[str, Any]] = create_loader().load_data("endpoints")["partitions"]


def test_every_region_lies_where_botocore_says() -> None:
    regions = {name: one["partition"] for one in PARTITIONS for name in one["regions"]}
    assert {name: partition_of(name) for name in regions} == regions
    assert set(IAM_REGIONS) == set(regions.values()) == {"aws", *PREFIXES.values()}


def test_iam_is_asked_where_botocore_signs_it_for() -> None:
    """Where its table says so; the others have one region, or their first."""
    signed = {"aws-eusc": "eusc-de-east-1", "aws-iso-e": "eu-isoe-west-1"}
    for one in PARTITIONS:
        if one["partition"] in signed:
            continue
        iam_there = one["services"]["iam"]
        signed[one["partition"]] = iam_there["endpoints"][iam_there["partitionEndpoint"]]["credentialScope"][
            "region"
        ]
    assert signed == IAM_REGIONS
    assert [iam_region(region) for region in ("eu-west-1", "us-gov-east-1")] == ["us-east-1", "us-gov-west-1"]


def test_a_region_of_another_partition_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert checked_regions(("us-gov-west-1", "cn-north-1", "eusc-de-east-1"))
    assert {"us-east-1", "us-gov-east-1", "cn-northwest-1"} < set(known_regions())
    monkeypatch.setenv("AWS_REGION", "cn-north-1")
    assert default_region() == "cn-north-1"


@pytest.mark.parametrize(("region", "partition"), [("us-gov-west-1", "aws-us-gov"), ("us-east-1", "aws")])
def test_every_name_is_of_the_partition(region: str, partition: str) -> None:
    order = an_order(
        regions=(region,),
        read_parameters=("/hf/token",),
        read_s3=("s3://mine/scout/", "s3://mine/engine.tar"),
    )
    written = json.dumps(
        [
            policy.box(order, "123456789012"),
            policy.end(order, "123456789012"),
            create_schedule(order, region, "123456789012", ["i-0"], START).parameters,
            simulation_request(order, "arn:aws:iam::123456789012:user/ann", "123456789012").parameters[
                "ResourceArns"
            ],
        ]
    )
    assert written.count('"arn:') == written.count(f'"arn:{partition}:') > 8


def test_iam_is_asked_where_the_rest_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_REGION")
    door = Boto()
    asked = [
        door.where(one) for one in (iam("GetRole"), ec2("us-gov-east-1", "DescribeRegions"), iam("GetRole"))
    ]
    assert asked == ["us-east-1", "us-gov-east-1", "us-gov-west-1"]
