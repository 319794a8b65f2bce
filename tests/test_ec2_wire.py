"""Provision and down on the real wire: the program as a process, boto3, HTTP, moto's server on loopback."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import moto_aws
import pytest
from moto_aws import MotoAws

from infra.aws.kinds import TYPES


@pytest.fixture(scope="module")
def aws() -> Iterator[MotoAws]:
    with moto_aws.running() as server:
        yield server


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    path = tmp_path / "plan.json"
    path.write_text(
        corral({}, "size", "scout", "--precision", "int4", "--on", "g5.12xlarge", "--json").stdout
    )
    return path


def corral(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from deploy.cli.main import main; main()", *arguments],
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def test_provision_rents_one_tagged_machine_and_down_proves_that_nothing_is_left(
    aws: MotoAws, plan: Path
) -> None:
    up = corral(aws.environment, "provision", str(plan), "--target", "ec2", "--name", "t1", "--yes", "--json")
    assert (up.returncode, json.loads(up.stdout)["region"]) == (0, "us-east-1"), up.stderr
    (machine,) = aws.instances()
    assert machine["InstanceType"] == "g5.12xlarge"
    assert machine["MetadataOptions"]["HttpTokens"] == "required"
    assert {tag["Key"]: tag["Value"] for tag in machine["Tags"]}["corral:deployment"] == "t1"
    again = corral(aws.environment, "provision", str(plan), "--target", "ec2", "--name", "t1", "--yes")
    assert (again.returncode, [row["InstanceId"] for row in aws.instances()]) == (0, [machine["InstanceId"]])

    down = corral(aws.environment, "down", "t1", "--json")
    assert down.returncode == 0, down.stderr
    assert json.loads(down.stdout) == {"name": "t1", "counts": dict.fromkeys(TYPES, 0), "left": []}
    assert aws.instances() == []
    assert corral(aws.environment, "down", "t1", "--json").returncode == 0


def test_a_volume_that_outlives_its_machine_is_found(aws: MotoAws, plan: Path) -> None:
    tags = [{"Key": "corral:deployment", "Value": "left-behind"}]
    ec2 = aws.client("ec2", "us-west-2")
    specification = [{"ResourceType": "volume", "Tags": tags}]
    ec2.create_volume(AvailabilityZone="us-west-2a", Size=10, TagSpecifications=specification)
    ec2.create_volume(AvailabilityZone="us-west-2a", Size=11)
    down = corral(aws.environment, "down", "left-behind", "--target", "ec2", "--json")
    assert (down.returncode, json.loads(down.stdout)["left"]) == (0, []), down.stderr
    assert [volume["Size"] for volume in ec2.describe_volumes()["Volumes"]] == [11]


def test_without_a_terminal_and_without_yes_nothing_is_rented(aws: MotoAws, plan: Path) -> None:
    done = corral(aws.environment, "provision", str(plan), "--target", "ec2", "--name", "t2")
    assert done.returncode == 2
    assert "g5.12xlarge: 5.672 USD per hour" in done.stderr
    assert "hint: Say so beforehand: --yes" in done.stderr
    assert aws.instances() == []
