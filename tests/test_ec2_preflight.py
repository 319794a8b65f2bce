"""Before a cent is spent: every finding, and that looking changes nothing."""

from pathlib import Path
from typing import Any

import pytest
from fake_aws import DENIED_TOLD, FakeAws
from renting import an_order, door, down, fresh, up

from infra.aws import account_preflight, permissions, rented_machines
from infra.aws.account_preflight import Survey
from infra.aws.failures import ApiFailure
from infra.aws.order import Order
from infra.aws.region_offer import Subnet
from infra.aws.renting import told
from infra.aws.request import Request
from infra.errors import AuthError, CapacityError, CloudError

pytestmark = pytest.mark.usefixtures("fixes")


def look(aws: Any, order: Order, folder: Path, fake: FakeAws | None = None) -> Survey:
    clock = (fake or aws).clock
    return account_preflight.survey(door(aws, clock, folder), order)


def found(survey: Survey, topic: str) -> list[tuple[str, str]]:
    return [(one.outcome, one.found) for one in survey.findings if one.topic == topic]


def test_all_is_well_and_nothing_was_changed(tmp_path: Path) -> None:
    aws, _ = fresh()
    survey = look(aws, an_order(), tmp_path)
    assert [(one.topic, one.outcome, one.found) for one in survey.findings] == [
        ("identity", "ok", "arn:aws:iam::123456789012:user/ann in account 123456789012"),
        ("zones", "ok", "g5.12xlarge in us-east-1a, us-east-1b, us-east-1c"),
        ("network", "ok", "3 subnets"),
        ("image", "ok", "ami-0123456789abcdef0 Deep Learning Base OSS Nvidia Driver GPU AMI (Ubuntu 24.04)"),
        ("quota", "ok", "Running On-Demand G and VT instances: 48 vCPUs needed, 0 in use, 192 allowed"),
        (
            "price",
            "ok",
            "on-demand g5.12xlarge: 5.672 USD per hour (AWS Price List API (GetProducts), 2026-09-21)",
        ),
    ]
    assert [spot.zone for spot in survey.spots] == ["us-east-1a", "us-east-1b", "us-east-1c"]
    assert not any(call.changes for call in aws.calls)
    assert aws.live() == []
    assert not (tmp_path / "ledger.jsonl").exists()


@pytest.mark.parametrize(
    ("allowed", "running", "outcome"),
    [(0.0, 0, "failed"), (47.0, 0, "failed"), (48.0, 0, "ok"), (95.0, 1, "failed"), (96.0, 1, "ok")],
)
def test_quotas_are_counted_in_vcpus_against_what_runs(
    allowed: float, running: int, outcome: str, tmp_path: Path
) -> None:
    aws, clock = fresh()
    if running:
        up(door(aws, clock, tmp_path / "other"), an_order(name="other", order_id="other"))
    aws.quotas["L-DB2E81BA"] = allowed
    survey = look(aws, an_order(), tmp_path)
    words = f"48 vCPUs needed, {48 * running} in use, {allowed:.0f} allowed"
    assert found(survey, "quota") == [(outcome, f"Running On-Demand G and VT instances: {words}")]
    if outcome == "failed":
        with pytest.raises(CapacityError, match=words) as error:
            account_preflight.checked(survey, an_order())
        assert error.value.hint.endswith("servicequotas/home/services/ec2/quotas/L-DB2E81BA")


def test_a_quota_that_may_not_be_read_or_is_not_known_is_a_warning(tmp_path: Path) -> None:
    aws, _ = fresh()
    aws.denied = {"servicequotas:GetServiceQuota"}
    assert [one[0] for one in found(look(aws, an_order(), tmp_path), "quota")] == ["warning"]
    aws.denied, aws.quotas = set(), {}
    assert found(look(aws, an_order(), tmp_path), "quota") == [
        ("warning", "Running On-Demand G and VT instances: AWS knows no such quota")
    ]


def test_spot_has_quotas_of_its_own_and_p5_one_that_is_found_by_name(tmp_path: Path) -> None:
    aws, _ = fresh()
    aws.quotas["L-3819A6DF"] = 0.0
    order = an_order(purchases=("on-demand", "spot"))
    survey = look(aws, order, tmp_path)
    assert [one[0] for one in found(survey, "quota")] == ["ok", "failed"]
    assert {spot.purchase for spot in survey.spots} == {"on-demand"}
    p5 = look(aws, an_order(instance_types=("p5.48xlarge",), purchases=("spot",)), tmp_path)
    assert found(p5, "quota") == [
        ("failed", "All P5 Spot Instance Requests: 192 vCPUs needed, 0 in use, 0 allowed")
    ]


@pytest.mark.parametrize(
    ("code", "hint"),
    [
        ("NoCredentials", "aws sso login"),
        ("ExpiredToken", "aws sso login"),
        ("InvalidClientTokenId", "aws sts get-caller-identity"),
        ("RequestExpired", "date -u"),
        ("SignatureDoesNotMatch", "date -u"),
    ],
)
def test_credentials_that_do_not_hold_end_it_at_the_first_call(code: str, hint: str, tmp_path: Path) -> None:
    aws, clock = fresh()

    class Refusing:
        calls = 0

        def send(self, request: Request) -> dict[str, Any]:
            self.calls += 1
            raise ApiFailure(code, "no")

    refusing = Refusing()
    with pytest.raises(AuthError) as error:
        told(account_preflight.survey)(
            door(refusing, clock, tmp_path), an_order(regions=("us-east-1", "us-west-2"))
        )
    assert refusing.calls == (2 if code == "InvalidClientTokenId" else 1)
    assert hint in error.value.hint


def test_an_open_port_is_said_to_speak_plain_http(tmp_path: Path) -> None:
    aws, _ = fresh()
    said = found(look(aws, an_order(cidr="203.0.113.0/24"), tmp_path), "network")
    assert said[1] == (
        "warning",
        "port 8000 is opened to 203.0.113.0/24 by plain HTTP: prompts, answers and the key in the clear",
    )
    assert [outcome for outcome, _ in found(look(aws, an_order(), tmp_path / "2"), "network")] == ["ok"]


@pytest.mark.parametrize("code", ["UnauthorizedOperation", "AccessDenied"])
@pytest.mark.parametrize("action", ["ec2:RunInstances", "ec2:CreateSecurityGroup"])
def test_what_is_denied_is_named_before_anything_is_made(action: str, code: str, tmp_path: Path) -> None:
    aws, _ = fresh()
    aws.denied, aws.denied_code = {action}, code
    survey = look(aws, an_order(), tmp_path)
    denied = f"{action} is denied: {code}: {DENIED_TOLD}"
    assert found(survey, "permission") == [("failed", denied)]
    with pytest.raises(AuthError) as error:
        account_preflight.checked(survey, an_order())
    assert error.value.message == f"This cannot be launched. permission: us-east-1: {denied}."
    assert aws.live() == []


@pytest.mark.parametrize("action", ["ec2:DescribeInstances", "ec2:DescribeSubnets", "ec2:RunInstances"])
def test_what_one_region_denies_keeps_nobody_from_another(action: str, tmp_path: Path) -> None:
    aws, clock = fresh()
    aws.denied = {f"us-east-1/{action}"}
    order = an_order(regions=("us-east-1", "us-west-2"))
    assert up(door(aws, clock, tmp_path), order).spot.region == "us-west-2"
    survey = look(aws, an_order(name="t2", regions=order.regions), tmp_path / "2")
    assert found(survey, "permission") == [
        ("failed", f"{action} is denied: UnauthorizedOperation: {DENIED_TOLD}")
    ]


def test_a_region_that_is_not_enabled_does_not_know_the_keys(tmp_path: Path) -> None:
    aws, clock = fresh()
    aws.denied = {"us-east-1/sts:GetCallerIdentity", "us-east-1/ec2:DescribeInstances"}
    aws.denied_code = "AuthFailure"
    order = an_order(regions=("us-east-1", "us-west-2"))
    assert up(door(aws, clock, tmp_path), order).spot.region == "us-west-2"
    with pytest.raises(AuthError) as error:
        up(door(aws, clock, tmp_path / "2"), an_order(name="t2"))
    assert error.value.hint == "Check who you are and that sts:GetCallerIdentity is allowed: " + (
        "aws sts get-caller-identity; corral iam-policy"
    )
    aws.denied.discard("us-east-1/sts:GetCallerIdentity")
    with pytest.raises(AuthError) as error:
        up(door(aws, clock, tmp_path / "2"), an_order(name="t2"))
    assert error.value.hint == (
        "The keys are wrong, or us-east-1 is not enabled for the account: aws account list-regions"
    )


# What a rented machine's life asks of services that know no dry run, by its calls...
CALLED = (
    "iam:CreateRole",
    "iam:PutRolePolicy",
    "iam:CreateInstanceProfile",
    "iam:AddRoleToInstanceProfile",
    "iam:RemoveRoleFromInstanceProfile",
    "iam:DeleteInstanceProfile",
    "iam:DeleteRolePolicy",
    "iam:DeleteRole",
    "scheduler:CreateScheduleGroup",
    "scheduler:CreateSchedule",
    "scheduler:UpdateSchedule",
    "scheduler:DeleteScheduleGroup",
)
# ... and what AWS's Service Authorization Reference says that those calls need beside the action of their own name:
# Tags of CreateRole, CreateInstanceProfile and CreateScheduleGroup; the role that RunInstances and CreateSchedule hand
# on; the schedules that go with their group.
DEPENDENT = (
    "iam:TagRole",
    "iam:TagInstanceProfile",
    "scheduler:TagResource",
    "iam:PassRole",
    "scheduler:DeleteSchedule",
)


def test_all_that_cannot_be_tried_is_asked_about_and_no_more(tmp_path: Path) -> None:
    aws, clock = fresh()
    at = door(aws, clock, tmp_path)
    up(at, an_order())
    (asked,) = [call.parameters for call in aws.calls if call.operation == "SimulatePrincipalPolicy"]
    assert sorted(asked["ActionNames"]) == sorted((*CALLED, *DEPENDENT))
    rented_machines.extend(at, an_order(), 600)
    down(at)
    made = {call.action for call in aws.calls if call.service in ("iam", "scheduler") and call.changes}
    assert made == set(CALLED)


@pytest.mark.parametrize("boundary", ["", "arn:aws:iam::1:policy/bounded"])
def test_the_simulator_is_told_the_boundary_that_the_roles_will_have(boundary: str) -> None:
    asked = permissions.simulation_request(
        an_order(permissions_boundary=boundary), "arn:aws:iam::1:user/a", "1"
    )
    said = {
        "ContextKeyName": "iam:PermissionsBoundary", "ContextKeyValues": [boundary], "ContextKeyType": "string",
    }  # fmt: skip
    assert asked.parameters.get("ContextEntries") == ([said] if boundary else None)


@pytest.mark.parametrize("action", [*CALLED, *DEPENDENT])
def test_what_iam_expects_to_deny_is_a_warning_that_names_it(action: str, tmp_path: Path) -> None:
    aws, _ = fresh()
    aws.iam.simulated_denials = {action}
    assert found(look(aws, an_order(), tmp_path), "permission") == [
        ("warning", f"IAM expects to deny {action}")
    ]


def test_the_simulator_is_asked_about_the_role_and_not_its_session() -> None:
    session = "arn:aws:sts::1:assumed-role/dev/botocore-session-1"
    assert permissions.principal(session) == "arn:aws:iam::1:role/dev"
    assert permissions.principal("arn:aws:iam::1:user/ann") == "arn:aws:iam::1:user/ann"


def test_without_the_published_image_the_newest_by_its_maker_is_taken(tmp_path: Path) -> None:
    aws, _ = fresh()
    aws.denied = {"ssm:GetParameter"}
    assert [one[0] for one in found(look(aws, an_order(), tmp_path), "image")] == ["ok"]
    by_owner = [call.parameters for call in aws.calls if call.operation == "DescribeImages"][-1]
    assert by_owner["Owners"] == ["898082745236"]
    aws.regions["us-east-1"].image_is_there = False
    survey = look(aws, an_order(), tmp_path)
    assert found(survey, "image") == [("failed", "the Deep Learning base image is not available")]
    with pytest.raises(CloudError, match="the Deep Learning base image is not available"):
        account_preflight.checked(survey, an_order())


def test_the_newest_image_that_is_available_is_taken(tmp_path: Path) -> None:
    aws, _ = fresh()
    aws.denied = {"ssm:GetParameter"}
    aws.regions["us-east-1"].other_images = [
        {"ImageId": "ami-0000000000000001", "CreationDate": "2026-11-01", "State": "pending"},
        {"ImageId": "ami-0000000000000002", "CreationDate": "2026-10-15"},
        {"ImageId": "ami-0000000000000003", "CreationDate": "2026-09-01"},
    ]
    (image,) = found(look(aws, an_order(), tmp_path), "image")
    assert image[1].startswith("ami-0000000000000002 ")


def test_an_image_for_another_architecture_is_told(tmp_path: Path) -> None:
    aws, _ = fresh()
    aws.regions["us-east-1"].other_images = [{"ImageId": "ami-0000000000000009", "Architecture": "arm64"}]
    survey = look(aws, an_order(ami="ami-0000000000000009"), tmp_path)
    assert found(survey, "image") == [("failed", "ami-0000000000000009 is arm64")]


def test_a_volume_smaller_than_the_image_is_told(tmp_path: Path) -> None:
    aws, _ = fresh()
    survey = look(aws, an_order(volume_gib=50), tmp_path)
    assert found(survey, "volume") == [("failed", "50 GiB; the image alone is 75 GiB")]


def test_a_volume_faster_than_the_machine_can_read_is_told(tmp_path: Path) -> None:
    aws, _ = fresh()
    survey = look(aws, an_order(instance_types=("g5.xlarge",)), tmp_path)
    assert found(survey, "volume") == [("warning", "500 MiB/s asked; the type reads at 88 MB/s")]


def test_no_zone_with_both_the_type_and_a_subnet_is_told_before_any_launch(tmp_path: Path) -> None:
    aws, _ = fresh()
    aws.regions["us-east-1"].not_sold_in = {"us-east-1a"}
    survey = look(aws, an_order(subnet_ids=("subnet-us-east-1a",)), tmp_path)
    assert found(survey, "zones") == [
        ("failed", "g5.12xlarge is sold in us-east-1b, us-east-1c; the subnets are in us-east-1a")
    ]
    with pytest.raises(CapacityError, match="the subnets are in us-east-1a"):
        account_preflight.checked(survey, an_order())


def test_a_region_without_a_default_vpc_and_subnets_without_a_public_address(tmp_path: Path) -> None:
    aws, _ = fresh()
    aws.regions["us-east-1"].default_vpc = False
    assert found(look(aws, an_order(), tmp_path), "network") == [("failed", "no default VPC")]
    aws.regions["us-east-1"].default_vpc = True
    aws.regions["us-east-1"].public_subnets = False
    assert [one[0] for one in found(look(aws, an_order(), tmp_path), "network")] == ["warning"]


@pytest.mark.parametrize(
    ("order", "subnets", "said"),
    [
        ({}, [], ("failed", "no default VPC",
                  "Make one (aws ec2 create-default-vpc --region us-east-1) or name a subnet: --subnet-id")),
        ({"subnet_ids": ("subnet-1", "subnet-2")}, [],
         ("failed", "none of subnet-1, subnet-2",
          "Make one (aws ec2 create-default-vpc --region us-east-1) or name a subnet: --subnet-id")),
        ({}, [("vpc-1", True), ("vpc-2", True)],
         ("failed", "the subnets are in several VPCs", "Name subnets of one VPC.")),
        ({"instance_types": ("p5.48xlarge",), "nodes": 2}, [("vpc-1", True), ("vpc-1", False)],
         ("failed", "EC2 gives no public address to a machine with several network cards",
          "Name private subnets with a NAT gateway: --subnet-id")),
        ({"instance_types": ("g6e.24xlarge",), "nodes": 2}, [("vpc-1", True)],
         ("failed", "EC2 gives no public address to a machine with several network cards",
          "Name private subnets with a NAT gateway: --subnet-id")),
        ({"instance_types": ("g6e.12xlarge",), "nodes": 2}, [("vpc-1", True)], ("ok", "1 subnet", "")),
        ({"instance_types": ("p5.48xlarge",)}, [("vpc-1", True)], ("ok", "1 subnet", "")),
        ({}, [("vpc-1", False), ("vpc-1", False)],
         ("warning", "the subnets give no public address",
          "It needs a NAT gateway, or VPC endpoints for ssm, ssmmessages and s3.")),
        ({}, [("vpc-1", False), ("vpc-1", True)], ("ok", "2 subnets", "")),
    ],
)  # fmt: skip
def test_what_is_said_of_subnets(
    order: dict[str, Any], subnets: list[tuple[str, bool]], said: tuple[str, str, str]
) -> None:
    nets = {
        f"us-east-1{letter}": Subnet(
            subnet_id=f"subnet-{letter}",
            vpc_id=vpc,
            zone=f"us-east-1{letter}",
            public=public,
            free_addresses=9,
        )
        for letter, (vpc, public) in zip("ab", subnets, strict=False)
    }
    (finding,) = account_preflight.network_found(an_order(**order), "us-east-1", nets)
    assert finding.topic == "network"
    assert (finding.outcome, finding.found, finding.fix) == said


def test_several_network_cards_need_private_subnets(tmp_path: Path) -> None:
    aws, _ = fresh()
    aws.quotas["L-417A185B"] = 1000.0
    survey = look(aws, an_order(instance_types=("p5.48xlarge",), nodes=2), tmp_path)
    assert [one[0] for one in found(survey, "network")] == ["failed", "warning"]
    assert survey.spots == ()


def test_one_region_that_fails_does_not_stop_another(tmp_path: Path) -> None:
    aws, clock = fresh()
    aws.regions["us-east-1"].default_vpc = False
    done = up(door(aws, clock, tmp_path), an_order(regions=("us-east-1", "us-west-2")))
    assert done.spot.zone == "us-west-2a"


def test_of_two_subnets_in_one_zone_the_roomier_is_taken(tmp_path: Path) -> None:
    aws, _ = fresh()
    order = an_order(subnet_ids=("subnet-us-east-1a-small", "subnet-us-east-1a", "subnet-us-east-1b-small"))
    survey = look(aws, order, tmp_path)
    assert [spot.subnet_id for spot in survey.spots] == ["subnet-us-east-1a", "subnet-us-east-1b-small"]
