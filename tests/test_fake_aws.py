"""The fake account itself, held against what AWS documents. Each case names the page."""

import json
import secrets
from pathlib import Path
from typing import Any

import pytest
from fake_aws import FakeAws, Faulty, Killed
from fake_kms import KEY
from renting import an_order, door, fresh, up

from infra.aws.failures import ApiFailure, LostResponse
from infra.aws.request import Request, Site, Spot, create_security_group, ec2, run_instances

HERE = Site(
    region="us-east-1", account="1", vpc_id="vpc-1", image_id="ami-0123456789abcdef0", root_device="/dev/sda1"
)
SPOT = Spot(
    region="us-east-1",
    zone="us-east-1a",
    subnet_id="subnet-us-east-1a",
    instance_type="g5.12xlarge",
    purchase="on-demand",
)


def code(aws: FakeAws, request: Request) -> str:
    with pytest.raises(ApiFailure) as failure:
        aws.send(request)
    return failure.value.code


@pytest.fixture
def ready(tmp_path: Path) -> tuple[FakeAws, Request]:
    """An account with all parts, and a launch that would work there."""
    aws, clock = fresh()
    up(door(aws, clock, tmp_path), an_order())
    (group,) = aws.regions["us-east-1"].groups
    return aws, run_instances(an_order(), HERE, SPOT, group, generation=7)


def changed(request: Request, **parameters: Any) -> Request:
    return request.model_copy(update={"parameters": request.parameters | parameters})


def test_a_client_token_makes_one_launch(ready: tuple[FakeAws, Request]) -> None:
    """EC2 developer guide, Ensuring idempotency in Amazon EC2 API requests."""
    aws, launch = ready
    first, again = aws.send(launch), aws.send(launch)
    assert first["Instances"][0]["InstanceId"] == again["Instances"][0]["InstanceId"]
    assert code(aws, changed(launch, InstanceType="g5.xlarge")) == "IdempotentParameterMismatch"
    other = aws.send(changed(launch, ClientToken="another"))
    assert other["Instances"][0]["InstanceId"] != first["Instances"][0]["InstanceId"]


def test_a_token_of_a_machine_that_is_gone_is_refused(ready: tuple[FakeAws, Request]) -> None:
    """EC2 API reference, error codes: "the same client token as a previous request" of a terminated instance."""
    aws, launch = ready
    key = aws.send(launch)["Instances"][0]["InstanceId"]
    aws.send(ec2("us-east-1", "TerminateInstances", InstanceIds=[key]))
    (row,) = aws.send(launch)["Instances"]
    assert (row["InstanceId"], row["State"]["Name"]) == (key, "shutting-down")
    for seconds in (60, 4000):
        aws.clock.sleep(seconds)
        assert code(aws, launch) == "IdempotentInstanceTerminated"


def test_what_was_just_launched_is_not_shown_at_once(ready: tuple[FakeAws, Request]) -> None:
    """EC2 API reference, Eventual consistency."""
    aws, launch = ready
    key = aws.send(launch)["Instances"][0]["InstanceId"]
    ids = [{"Name": "instance-id", "Values": [key]}]
    assert aws.send(ec2("us-east-1", "DescribeInstances", Filters=ids)) == {"Reservations": []}
    status = ec2("us-east-1", "DescribeInstanceStatus", InstanceIds=[key], IncludeAllInstances=True)
    assert code(aws, status) == "InvalidInstanceID.NotFound"
    aws.clock.sleep(10)
    assert len(aws.send(ec2("us-east-1", "DescribeInstances", Filters=ids))["Reservations"]) == 1


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"UserData": secrets.token_hex(16385)}, "InvalidParameterValue"),
        ({"ImageId": "ami-0"}, "InvalidAMIID.NotFound"),
        ({"IamInstanceProfile": {"Name": "none"}}, "InvalidParameterValue"),
        ({"Placement": {"GroupName": "none"}}, "InvalidPlacementGroup.Unknown"),
        ({"ClientToken": "x" * 65}, "InvalidParameterValue"),
        (
            {"TagSpecifications": [{"ResourceType": "spot-instances-request", "Tags": []}]},
            "InvalidParameterValue",
        ),
        (
            {"TagSpecifications": [{"ResourceType": "instance", "Tags": [{"Key": "aws:x", "Value": ""}]}]},
            "InvalidParameterValue",
        ),
    ],
)
def test_sizes_names_and_tags_are_checked(
    ready: tuple[FakeAws, Request], change: dict[str, Any], expected: str
) -> None:
    aws, launch = ready
    assert code(aws, changed(launch, **change)) == expected


@pytest.mark.parametrize(
    "update", [{"VolumeSize": 74}, {"Iops": 1000}, {"Throughput": 800}, {"Throughput": 2001, "Iops": 9000}]
)
def test_gp3_has_limits(ready: tuple[FakeAws, Request], update: dict[str, int]) -> None:
    """EBS user guide, General Purpose SSD volumes: 0.25 MiB/s per provisioned IOPS, at least 3,000 of these."""
    aws, launch = ready
    (mapping,) = launch.parameters["BlockDeviceMappings"]
    volume = mapping | {"Ebs": mapping["Ebs"] | update}
    assert code(aws, changed(launch, BlockDeviceMappings=[volume])).startswith("Invalid")


def test_room_zone_and_quota_are_told_apart(ready: tuple[FakeAws, Request]) -> None:
    aws, launch = ready
    here = aws.regions["us-east-1"]
    here.no_capacity = {("on-demand", "g5.12xlarge", "us-east-1a")}
    assert code(aws, launch) == "InsufficientInstanceCapacity"
    here.not_sold_in = {"us-east-1a"}
    assert code(aws, launch) == "Unsupported"
    here.not_sold_in, here.vcpu_limit = set(), 50
    assert code(aws, launch) == "VcpuLimitExceeded"


def test_a_security_group_in_use_cannot_be_deleted(ready: tuple[FakeAws, Request]) -> None:
    """EC2 API reference, DeleteSecurityGroup; moto lets it go."""
    aws, _ = ready
    here = aws.regions["us-east-1"]
    (group,), (machine,) = here.groups, here.instances
    assert code(aws, ec2("us-east-1", "DeleteSecurityGroup", GroupId=group)) == "DependencyViolation"
    aws.send(ec2("us-east-1", "TerminateInstances", InstanceIds=[machine]))
    assert code(aws, ec2("us-east-1", "DeleteSecurityGroup", GroupId=group)) == "DependencyViolation"
    aws.clock.sleep(60)
    aws.send(ec2("us-east-1", "DeleteSecurityGroup", GroupId=group))
    assert here.groups == {}
    order = create_security_group(an_order(), HERE)
    aws.send(order)
    assert code(aws, order) == "InvalidGroup.Duplicate"


def test_roles_and_profiles_hold_on_to_each_other(ready: tuple[FakeAws, Request]) -> None:
    """IAM API reference: DeleteRole and DeleteInstanceProfile."""
    aws, _ = ready
    name = "corral-t1-box"

    def iam(operation: str, **parameters: str) -> Request:
        return Request(service="iam", operation=operation, region="us-east-1", parameters=parameters)

    assert code(aws, iam("DeleteRole", RoleName=name)) == "DeleteConflict"
    assert code(aws, iam("DeleteInstanceProfile", InstanceProfileName=name)) == "DeleteConflict"
    add = iam("AddRoleToInstanceProfile", InstanceProfileName=name, RoleName=name)
    assert code(aws, add) == "LimitExceeded"
    assert code(aws, iam("GetRole", RoleName="none")) == "NoSuchEntity"


BOUNDARY = "arn:aws:iam::123456789012:policy/bound"


def test_a_role_is_bounded_by_a_policy_that_exists(ready: tuple[FakeAws, Request]) -> None:
    """IAM API reference: CreateRole, PermissionsBoundary; the words are IAM's."""
    aws, _ = ready

    def create(bound: str) -> Request:
        given = {"RoleName": "r", "Tags": [], "AssumeRolePolicyDocument": "{}", "PermissionsBoundary": bound}
        return Request(service="iam", operation="CreateRole", region="us-east-1", parameters=given)

    assert code(aws, create(BOUNDARY)) == "NoSuchEntity"
    assert code(aws, create("no ARN, but as long as one")) == "ValidationError"
    aws.iam.policies[BOUNDARY] = {"Statement": []}
    aws.send(create(BOUNDARY))
    everything = {"Statement": [{"Effect": "Allow", "Action": ["*"], "Resource": "*"}]}
    aws.iam.put_role_policy("r", "p", json.dumps(everything))
    assert not aws.iam.may("r", "ec2:TerminateInstances", "*")


def test_a_profile_is_known_by_its_name_or_its_arn_and_holds_a_role(ready: tuple[FakeAws, Request]) -> None:
    """EC2 API reference: IamInstanceProfileSpecification."""
    aws, launch = ready
    arn = "arn:aws:iam::123456789012:instance-profile/mine"
    for given in ({"Arn": arn}, {"Arn": arn.replace("1234", "4321")}, {"Name": arn}, {"Arn": "mine"}):
        assert code(aws, changed(launch, IamInstanceProfile=given)) == "InvalidParameterValue"
    aws.iam.have("role", {"Statement": []}, profile="mine")
    both = {"Arn": arn, "Name": "mine"}
    assert code(aws, changed(launch, IamInstanceProfile=both)) == "InvalidParameterCombination"
    aws.send(changed(launch, IamInstanceProfile={"Arn": arn}, ClientToken="one"))
    aws.iam.profiles["mine"]["held"] = []
    refused = changed(launch, IamInstanceProfile={"Name": "mine"}, ClientToken="two")
    assert code(aws, refused) == "InvalidParameterValue"


def test_a_group_of_another_vpc_is_refused(ready: tuple[FakeAws, Request]) -> None:
    aws, launch = ready
    (group,) = aws.regions["us-east-1"].groups.values()
    group["VpcId"] = "vpc-2"
    assert code(aws, launch) == "InvalidParameter"


def test_a_key_is_looked_at_only_when_the_machine_starts(ready: tuple[FakeAws, Request]) -> None:
    """EC2 API reference, EbsBlockDevice and CreateVolume: the key is authenticated asynchronously."""
    aws, launch = ready
    (mapping,) = launch.parameters["BlockDeviceMappings"]

    def with_key(key: str, **volume: Any) -> Request:
        ebs = mapping["Ebs"] | {"KmsKeyId": key} | volume
        return changed(launch, BlockDeviceMappings=[mapping | {"Ebs": ebs}], ClientToken=key)

    assert code(aws, with_key("alias/a", Encrypted=False)) == "InvalidParameterDependency"
    keys = aws.regions["us-east-1"].keys
    keys.have()
    keys.have("00000000-0000-0000-0000-000000000000", "alias/off", KeyState="Disabled")
    for key, dies in (("alias/llm", False), (KEY, False), ("alias/none", True), ("alias/off", True)):
        (row,) = aws.send(with_key(key))["Instances"]
        aws.clock.sleep(2)
        reason = aws.regions["us-east-1"].instances[row["InstanceId"]]["code"]
        assert reason == ("Client.InternalError" if dies else ""), key
    ask = Request(
        service="kms", operation="DescribeKey", region="us-east-1", parameters={"KeyId": "alias/none"}
    )
    assert code(aws, ask) == "NotFoundException"


def test_a_request_botocore_would_not_send_is_no_request() -> None:
    aws, _ = fresh()
    with pytest.raises(AssertionError, match="GroupId"):
        aws.send(ec2("us-east-1", "DeleteSecurityGroup", GroupId=7))


def test_a_dry_run_changes_nothing(ready: tuple[FakeAws, Request]) -> None:
    aws, launch = ready
    before = aws.live()
    assert code(aws, changed(launch, DryRun=True)) == "DryRunOperation"
    assert aws.live() == before


@pytest.mark.parametrize(
    ("fault", "error", "launched"),
    [
        ("capacity", ApiFailure, 0),
        ("server error", ApiFailure, 0),
        ("server error after", ApiFailure, 1),
        ("lost", LostResponse, 1),
        ("killed before", Killed, 0),
        ("killed after", Killed, 1),
    ],
)
def test_a_fault_happens_before_or_after_the_call(
    ready: tuple[FakeAws, Request], fault: str, error: type[BaseException], launched: int
) -> None:
    aws, launch = ready
    before = len(aws.regions["us-east-1"].instances)
    with pytest.raises(error):
        Faulty(aws, fault, 1).send(launch)
    assert len(aws.regions["us-east-1"].instances) == before + launched


# --- stop and start


def machine(aws: FakeAws) -> str:
    (key,) = aws.regions["us-east-1"].instances
    return key


def power(aws: FakeAws, operation: str) -> Request:
    return ec2("us-east-1", operation, InstanceIds=[machine(aws)])


def shown(aws: FakeAws) -> dict[str, Any]:
    """The instance as EC2 describes it."""
    ids = [{"Name": "instance-id", "Values": [machine(aws)]}]
    (reservation,) = aws.send(ec2("us-east-1", "DescribeInstances", Filters=ids))["Reservations"]
    row: dict[str, Any] = reservation["Instances"][0]
    return row


def test_a_machine_stops_and_starts_with_another_public_address(ready: tuple[FakeAws, Request]) -> None:
    """EC2 user guide, How EC2 instance stop and start works; API reference, Instance (LaunchTime)."""
    aws, _ = ready
    before = shown(aws)
    aws.send(power(aws, "StopInstances"))
    stopping = shown(aws)
    assert (stopping["State"]["Name"], stopping["PublicDnsName"]) == ("stopping", "")
    assert code(aws, power(aws, "StartInstances")) == "IncorrectInstanceState"
    aws.clock.sleep(60)
    stopped = shown(aws)
    assert (stopped["State"]["Name"], stopped["LaunchTime"]) == ("stopped", before["LaunchTime"])
    assert stopped["StateTransitionReason"].startswith("User initiated (2026-09-21 ")
    assert stopped["StateReason"]["Code"] == "Client.UserInitiatedShutdown"
    aws.send(power(aws, "StopInstances"))
    aws.send(power(aws, "StartInstances"))
    assert shown(aws)["State"]["Name"] == "stopped"
    aws.clock.sleep(10)
    started = shown(aws)
    assert (started["State"]["Name"], started["StateTransitionReason"]) == ("pending", "")
    assert started["LaunchTime"] > before["LaunchTime"]
    assert started["PublicDnsName"] != before["PublicDnsName"] != ""
    assert started["PrivateIpAddress"] == before["PrivateIpAddress"]
    assert code(aws, power(aws, "StopInstances")) == "IncorrectInstanceState"
    aws.send(power(aws, "StartInstances"))
    aws.send(power(aws, "TerminateInstances"))
    assert [code(aws, power(aws, f"{verb}Instances")) for verb in ("Stop", "Start")] == [
        "IncorrectInstanceState"
    ] * 2


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        # "You can't stop the Spot Instance because it is associated with a one-time Spot Instance request."
        ({"purchase": "spot"}, "UnsupportedOperation"),
        ({"root_device": "instance-store"}, "UnsupportedOperation"),
        ({"stop_protected": True}, "OperationNotPermitted"),
    ],
)
def test_what_ec2_does_not_stop(
    changes: dict[str, Any], expected: str, ready: tuple[FakeAws, Request]
) -> None:
    """EC2 user guide, Stop a Spot Instance, Root device type, Enable stop protection."""
    aws, _ = ready
    aws.regions["us-east-1"].instances[machine(aws)] |= changes
    assert code(aws, power(aws, "StopInstances")) == expected
    assert shown(aws)["State"]["Name"] == "running"


def test_a_capacity_block_stops(ready: tuple[FakeAws, Request]) -> None:
    """EC2 user guide, Launch instances using Capacity Blocks: "When you stop or terminate an instance in ..."."""
    aws, _ = ready
    aws.regions["us-east-1"].instances[machine(aws)]["purchase"] = "capacity-block"
    aws.send(power(aws, "StopInstances"))


def test_a_stopped_machine_has_no_claim_to_come_back(ready: tuple[FakeAws, Request]) -> None:
    """EC2 user guide, Troubleshoot instance launch issues (InsufficientInstanceCapacity on a start); vCPU limits."""
    aws, _ = ready
    region = aws.regions["us-east-1"]
    aws.send(power(aws, "StopInstances"))
    aws.clock.sleep(60)
    region.no_capacity = {("on-demand", "g5.12xlarge", shown(aws)["Placement"]["AvailabilityZone"])}
    assert code(aws, power(aws, "StartInstances")) == "InsufficientInstanceCapacity"
    region.no_capacity, region.vcpu_limit = set(), 40
    assert code(aws, power(aws, "StartInstances")) == "VcpuLimitExceeded"
    region.vcpu_limit = 192
    assert shown(aws)["State"]["Name"] == "stopped"
    stranger = ec2("us-east-1", "StartInstances", InstanceIds=["i-00000000000000009"])
    assert code(aws, stranger) == "InvalidInstanceID.NotFound"
