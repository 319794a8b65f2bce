"""The policy of `corral iam-policy` in force: all that corral does is allowed, and no known way to more is."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from fake_aws import ACCOUNT, FakeAws
from fake_iam import allows
from fake_kms import KEY
from iam_judge import Asked, Policed, is_allowed
from renting import an_order, door, down, fresh, up

from infra.aws import capacity_blocks, policy, power, rented_machines, stopped_costs, user_policy
from infra.aws.failures import ApiFailure
from infra.aws.order import Order
from infra.aws.request import Request
from infra.aws.user_policy import LIMIT_CHARACTERS, Scope
from infra.errors import AuthError, CloudError

BOUNDARY = f"arn:aws:iam::{ACCOUNT}:policy/corral-boundary"
END = f"arn:aws:iam::{ACCOUNT}:role/llm-end"
READS: dict[str, Any] = {"read_parameters": ("/hf/token",), "read_s3": ("s3://weights/scout/",)}
OWN: dict[str, Any] = {
    "instance_profile": "llm-box",
    "scheduler_role": END,
    "security_group_ids": ("sg-00000000000000abc",),
    "kms_key_id": "alias/llm",
}


def account() -> tuple[FakeAws, Any]:
    """An account as an administrator prepares it: the boundary, and roles, group and key of its own."""
    aws, clock = fresh()
    aws.iam.policies[BOUNDARY] = user_policy.boundary(Scope(**READS))
    aws.iam.have("llm-box", user_policy.box(Scope(**READS)), profile="llm-box")
    aws.iam.have("llm-end", user_policy.scheduler(Scope()))
    aws.s3.have("weights")
    region = aws.regions["us-east-1"]
    region.keys.have()
    region.groups["sg-00000000000000abc"] = {
        "GroupId": "sg-00000000000000abc",
        "GroupName": "llm",
        "VpcId": "vpc-1",
        "Tags": [],
    }
    region.vcpu_limit, region.public_subnets = 1000, False
    aws.quotas["L-417A185B"] = 1000.0
    return aws, clock


@pytest.mark.parametrize(
    ("scope", "order"),
    [
        ({}, {"permissions_boundary": BOUNDARY}),
        ({"permissions_boundary": BOUNDARY, "regions": ("us-east-1",)}, {"permissions_boundary": BOUNDARY}),
        ({"instance_types": ("g5.*",)}, {"permissions_boundary": BOUNDARY, "cidr": "203.0.113.7/32"}),
        ({}, {"permissions_boundary": BOUNDARY, "purchases": ("spot",)}),
        (
            {},
            {
                "permissions_boundary": BOUNDARY,
                "nodes": 2,
                "instance_types": ("p5.48xlarge",),
                "subnet_ids": ("subnet-us-east-1a",),
            },
        ),
        ({"kms_key_id": KEY}, {"permissions_boundary": BOUNDARY, "kms_key_id": KEY}),
        (OWN, OWN),
        (OWN, OWN | {"instance_profile": f"arn:aws:iam::{ACCOUNT}:instance-profile/llm-box"}),
        (
            {"scheduler_role": END, "permissions_boundary": BOUNDARY},
            {"scheduler_role": END, "permissions_boundary": BOUNDARY},
        ),
    ],
    ids=["boundary", "a region", "types", "spot", "several", "key", "own", "own by ARN", "own schedule role"],
)
def test_who_holds_the_policy_rents_extends_and_takes_away(
    scope: dict[str, Any], order: dict[str, Any], tmp_path: Path
) -> None:
    aws, clock = account()
    before = aws.live()
    held = Policed(aws, user_policy.policy(Scope(**scope, read_s3=READS["read_s3"])))
    at = door(held, clock, tmp_path)
    asked = an_order(**order, **READS)
    up(at, asked)
    rented_machines.extend(at, asked, 600)
    if "spot" not in asked.purchases:
        power.stop(at, asked)
        power.start(at, asked)
        for machine in rented_machines.machines(at, "t1", ("us-east-1",)):
            stopped_costs.told(at, machine)
    rented_machines.expired(at, ("us-east-1",))
    at.call(
        Request(
            service="ec2",
            operation="GetConsoleOutput",
            region="us-east-1",
            parameters={"InstanceId": next(iter(aws.regions["us-east-1"].instances)), "Latest": True},
        )
    )
    assert down(at).left == ()
    assert held.denied == []
    # What is the user's own is as it was.
    assert aws.live() == before


def test_the_roles_of_ones_own_end_a_machine_in_time_and_the_bounded_ones_too(tmp_path: Path) -> None:
    for order in (OWN, {"permissions_boundary": BOUNDARY}):
        aws, clock = account()
        up(door(aws, clock, tmp_path / str(len(order))), an_order(**order))
        clock.sleep(9 * 3600)
        aws.send(Request(service="sts", operation="GetCallerIdentity", region="us-east-1", parameters={}))
        clock.sleep(60)
        assert not any(one.startswith("instance") for one in aws.live()), order


def test_with_roles_of_ones_own_corral_makes_none_and_asks_for_no_right_to(tmp_path: Path) -> None:
    aws, clock = account()
    up(door(aws, clock, tmp_path), an_order(**OWN))
    made = [call.operation for call in aws.calls if call.changes]
    assert made == ["CreateScheduleGroup", "RunInstances", "CreateSchedule"]
    assert "iam:Create" not in json.dumps(user_policy.policy(Scope(**OWN)))
    (launch,) = [call.parameters for call in aws.calls if call.operation == "RunInstances" and call.changes]
    assert launch["IamInstanceProfile"] == {"Name": "llm-box"}
    assert launch["NetworkInterfaces"][0]["Groups"] == ["sg-00000000000000abc"]
    assert launch["BlockDeviceMappings"][0]["Ebs"]["KmsKeyId"] == "alias/llm"


def test_a_role_that_is_made_carries_the_boundary(tmp_path: Path) -> None:
    aws, clock = account()
    up(door(aws, clock, tmp_path), an_order(permissions_boundary=BOUNDARY))
    bound = {name: role["boundary"] for name, role in aws.iam.roles.items() if name.startswith("corral-")}
    assert bound == {"corral-t1-box": BOUNDARY, "corral-t1-end": BOUNDARY}


def test_without_the_boundary_nothing_is_made_and_the_way_is_told(tmp_path: Path) -> None:
    aws, clock = account()
    before = aws.live()
    with pytest.raises(AuthError) as error:
        up(door(Policed(aws, user_policy.policy()), clock, tmp_path), an_order())
    assert "iam:CreateRole" in error.value.message
    assert "--permissions-boundary" in error.value.hint
    assert aws.live() == before


def test_a_region_or_type_that_is_not_allowed_is_denied_before_anything_is_made(tmp_path: Path) -> None:
    for scope in (Scope(regions=("us-west-2",)), Scope(instance_types=("g6.*",))):
        aws, clock = account()
        before = aws.live()
        held = Policed(aws, user_policy.policy(scope))
        with pytest.raises(AuthError, match="denied: UnauthorizedOperation"):
            up(door(held, clock, tmp_path), an_order(permissions_boundary=BOUNDARY))
        assert aws.live() == before


def test_a_key_that_ec2_may_not_use_ends_the_machine_and_is_named(tmp_path: Path) -> None:
    aws, clock = account()
    before = aws.live()
    held = Policed(aws, user_policy.policy())
    with pytest.raises(CloudError, match="Client error on launch") as error:
        up(door(held, clock, tmp_path), an_order(kms_key_id=KEY, permissions_boundary=BOUNDARY))
    assert "kms:CreateGrant" in error.value.hint
    assert aws.live() == before


def test_a_capacity_block_is_bought_with_the_policy(tmp_path: Path) -> None:
    aws, clock = account()
    at = door(Policed(aws, user_policy.policy()), clock, tmp_path)
    (first, *_) = capacity_blocks.offerings(at, "us-east-1", "p5.48xlarge", 1, 24)
    assert capacity_blocks.purchase(at, first).startswith("cr-")


# --- every known way from such rights to more

USER, ADMIN = f"arn:aws:iam::{ACCOUNT}:user/ann", f"arn:aws:iam::{ACCOUNT}:role/Admin"
OURS, PROFILE = (
    f"arn:aws:iam::{ACCOUNT}:role/corral-t1-box",
    f"arn:aws:iam::{ACCOUNT}:instance-profile/corral-t1-box",
)
EC2 = f"arn:aws:ec2:us-east-1:{ACCOUNT}"
MACHINE = f"{EC2}:instance/i-1"
TAGGED = {"aws:RequestTag/corral:deployment": "t1", "aws:RequestedRegion": "us-east-1"}
MARKED = {"aws:ResourceTag/corral:deployment": "t1"}

# Rhino Security Labs, "AWS IAM Privilege Escalation"; DataDog's pathfinding.cloud; the ways of EC2 and SSM beside them.
ATTACKS = [
    *(
        Asked(f"iam:{name}", resource)
        for resource in (USER, ADMIN, OURS, BOUNDARY)
        for name in (
            "AddUserToGroup",
            "AttachGroupPolicy",
            "AttachRolePolicy",
            "AttachUserPolicy",
            "CreateAccessKey",
            "CreateLoginProfile",
            "CreatePolicy",
            "CreatePolicyVersion",
            "CreateUser",
            "DeletePolicy",
            "DeletePolicyVersion",
            "DeleteRolePermissionsBoundary",
            "DeleteUserPermissionsBoundary",
            "DetachRolePolicy",
            "PutGroupPolicy",
            "PutRolePermissionsBoundary",
            "PutUserPolicy",
            "SetDefaultPolicyVersion",
            "UpdateAssumeRolePolicy",
            "UpdateLoginProfile",
            "UpdateRole",
        )
    ),
    Asked("iam:CreateRole", OURS),
    Asked("iam:CreateRole", OURS, {"iam:PermissionsBoundary": "arn:aws:iam::aws:policy/AdministratorAccess"}),
    Asked(
        "iam:CreateRole",
        OURS,
        {"iam:PermissionsBoundary": f"arn:aws:iam::{ACCOUNT}:policy/corral-boundary-not"},
    ),
    Asked("iam:CreateRole", ADMIN, {"iam:PermissionsBoundary": BOUNDARY}),
    Asked(
        "iam:CreateRole", f"arn:aws:iam::{ACCOUNT}:role/corral-admin", {"iam:PermissionsBoundary": BOUNDARY}
    ),
    Asked("iam:PutRolePolicy", OURS),
    Asked("iam:PutRolePolicy", ADMIN, {"iam:PermissionsBoundary": BOUNDARY}),
    *(
        Asked("iam:PassRole", ADMIN, {"iam:PassedToService": f"{name}.amazonaws.com"})
        for name in ("ec2", "scheduler", "lambda")
    ),
    *(
        Asked("iam:PassRole", OURS, {"iam:PassedToService": f"{name}.amazonaws.com"})
        for name in (
            "lambda",
            "glue",
            "cloudformation",
            "ecs-tasks",
            "sagemaker",
            "scheduler",
            "datapipeline",
        )
    ),
    Asked("iam:PassRole", OURS),
    Asked("iam:AddRoleToInstanceProfile", f"arn:aws:iam::{ACCOUNT}:instance-profile/prod"),
    Asked(
        "iam:CreateServiceLinkedRole",
        f"arn:aws:iam::{ACCOUNT}:role/aws-service-role/ssm.amazonaws.com/x",
        {"iam:AWSServiceName": "ssm.amazonaws.com"},
    ),
    Asked("sts:AssumeRole", ADMIN),
    Asked("sts:AssumeRole", OURS),
    *(
        Asked(name)
        for name in (
            "lambda:CreateFunction",
            "lambda:UpdateFunctionCode",
            "lambda:InvokeFunction",
            "glue:CreateDevEndpoint",
            "glue:UpdateDevEndpoint",
            "cloudformation:CreateStack",
            "datapipeline:CreatePipeline",
            "sagemaker:CreateNotebookInstance",
            "codebuild:CreateProject",
            "ecs:RunTask",
            "ssm:SendCommand",
            "ssm:GetParameter",
            "secretsmanager:GetSecretValue",
            "kms:Decrypt",
            "kms:CreateGrant",
            "s3:GetObject",
        )
    ),
    # A machine that corral's teardown could not find, or with more in it than a launch of ours.
    Asked("ec2:RunInstances", f"{EC2}:instance/*", {"aws:RequestedRegion": "us-east-1"}),
    Asked("ec2:RunInstances", f"{EC2}:instance/*", {"aws:RequestTag/corral:deployment": ""}),
    Asked("ec2:RunInstances", f"{EC2}:volume/*", {"aws:RequestedRegion": "us-east-1"}),
    Asked("ec2:RunInstances", f"{EC2}:key-pair/mine", TAGGED),
    Asked("ec2:RunInstances", "arn:aws:ec2:us-east-1::snapshot/snap-1", TAGGED),
    Asked("ec2:RunInstances", f"{EC2}:launch-template/lt-1", TAGGED),
    *(
        Asked(f"ec2:{name}", MACHINE, MARKED)
        for name in (
            "AssociateIamInstanceProfile",
            "ReplaceIamInstanceProfileAssociation",
            "ModifyInstanceAttribute",
            "ModifyInstanceMetadataOptions",
            "CreateImage",
            "CreateSnapshot",
            "DeleteTags",
        )
    ),
    Asked("ec2-instance-connect:SendSSHPublicKey", MACHINE, MARKED),
    Asked("ec2:CreateSnapshot", f"{EC2}:volume/vol-1"),
    # Others' machines: neither touched nor made to look like ours.
    Asked("ec2:TerminateInstances", MACHINE),
    Asked("ec2:AuthorizeSecurityGroupIngress", f"{EC2}:security-group/sg-1"),
    Asked("ssm:StartSession", MACHINE),
    Asked("ssm:StartSession", "arn:aws:ssm:us-east-1::document/AWS-StartPortForwardingSessionToRemoteHost"),
    Asked("ec2:CreateTags", MACHINE, {"aws:TagKeys": ["corral:deployment"]}),
    Asked(
        "ec2:CreateTags", MACHINE, {"aws:TagKeys": ["corral:deployment"], "ec2:CreateAction": "CreateVolume"}
    ),
    Asked("ec2:CreateTags", MACHINE, MARKED | {"aws:TagKeys": ["Environment"]}),
    Asked("ec2:CreateTags", MACHINE, MARKED | {"aws:TagKeys": ["corral:expires-at", "Environment"]}),
    Asked("ssm:TerminateSession", f"arn:aws:ssm:us-east-1:{ACCOUNT}:session/bob-0123"),
    Asked("ssmmessages:OpenDataChannel", f"arn:aws:ssm:us-east-1:{ACCOUNT}:session/AIDABOB-0123"),
    Asked("scheduler:CreateSchedule", f"arn:aws:scheduler:us-east-1:{ACCOUNT}:schedule/default/x"),
]
SCOPES = {
    "corral's own": Scope(),
    "boundary": Scope(permissions_boundary=BOUNDARY),
    "own": Scope(**OWN),
    "own by id": Scope(kms_key_id=KEY, scheduler_role=END),
}


@pytest.mark.parametrize("scope", SCOPES.values(), ids=SCOPES)
def test_no_known_way_leads_to_more(scope: Scope) -> None:
    document = user_policy.policy(scope)
    assert [asked for asked in ATTACKS if is_allowed(document, asked)] == []


def test_what_the_attacks_are_like_is_allowed_where_it_is_corrals() -> None:
    """Each kind of attack differs by one thing from what is allowed, so that it is not denied for another."""
    document = user_policy.policy()
    for asked in (
        Asked("iam:CreateRole", OURS, {"iam:PermissionsBoundary": BOUNDARY}),
        Asked("iam:PutRolePolicy", OURS, {"iam:PermissionsBoundary": BOUNDARY}),
        Asked("iam:PassRole", OURS, {"iam:PassedToService": "ec2.amazonaws.com"}),
        Asked("iam:AddRoleToInstanceProfile", PROFILE),
        Asked("ec2:RunInstances", f"{EC2}:instance/*", TAGGED),
        Asked("ec2:CreateTags", MACHINE, MARKED | {"aws:TagKeys": ["corral:expires-at"]}),
        Asked("ec2:TerminateInstances", MACHINE, MARKED),
        Asked("ssm:StartSession", MACHINE, MARKED),
        Asked("ssmmessages:OpenDataChannel", f"arn:aws:ssm:us-east-1:{ACCOUNT}:session/AIDAANN-0123"),
    ):
        assert is_allowed(document, asked), asked


def test_a_role_with_every_right_in_it_can_do_no_more_than_its_boundary() -> None:
    aws, _ = account()
    everything = {"Version": "2012-10-17", "Statement": [policy.allow(["*"], "*")]}
    aws.iam.create_role("corral-x-box", [], AssumeRolePolicyDocument="{}", PermissionsBoundary=BOUNDARY)
    aws.iam.put_role_policy("corral-x-box", "p", json.dumps(everything))
    ours = {"aws_ResourceTag_corral_deployment": "t1"}
    assert aws.iam.may("corral-x-box", "ec2:TerminateInstances", MACHINE, **ours)
    assert aws.iam.may("corral-x-box", "s3:GetObject", "arn:aws:s3:::weights/scout/config.json")
    for action, resource in (
        ("iam:CreateUser", USER),
        ("iam:AttachRolePolicy", OURS),
        ("sts:AssumeRole", ADMIN),
        ("ec2:TerminateInstances", MACHINE),
        ("s3:GetObject", "arn:aws:s3:::payroll/x"),
        ("ssm:GetParameter", f"arn:aws:ssm:us-east-1:{ACCOUNT}:parameter/prod/password"),
        ("ssm:SendCommand", MACHINE),
        ("kms:Decrypt", f"arn:aws:kms:us-east-1:{ACCOUNT}:key/{KEY}"),
    ):
        assert not aws.iam.may("corral-x-box", action, resource), action


def test_the_machines_read_what_a_key_of_the_customers_encrypts_and_nothing_else_with_it() -> None:
    order: Order = an_order(**READS)
    for document in (policy.box(order, ACCOUNT), user_policy.boundary(Scope(**READS))):
        key = f"arn:aws:kms:us-east-1:{ACCOUNT}:key/{KEY}"
        token = f"arn:aws:ssm:us-east-1:{ACCOUNT}:parameter/hf/token"
        for context, expected in (
            ({"kms_EncryptionContext_PARAMETER_ARN": token}, True),
            ({"kms_EncryptionContext_PARAMETER_ARN": f"{token}-prod"}, False),
            ({"kms_EncryptionContext_aws_s3_arn": "arn:aws:s3:::weights/scout/model.safetensors"}, True),
            ({"kms_EncryptionContext_aws_s3_arn": "arn:aws:s3:::weights"}, True),
            ({"kms_EncryptionContext_aws_s3_arn": "arn:aws:s3:::payroll"}, False),
            ({}, False),
        ):
            assert allows(document, "kms:Decrypt", key, **context) == expected, context


@pytest.mark.parametrize("partition", ["aws", "aws-cn", "aws-us-gov"])
@pytest.mark.parametrize(
    "form", [user_policy.policy, user_policy.boundary, user_policy.box, user_policy.scheduler]
)
def test_a_policy_is_of_one_partition_and_fits_what_iam_takes(partition: str, form: Any) -> None:
    for scope in SCOPES.values():
        home = Scope.model_validate(
            json.loads(scope.model_dump_json().replace("arn:aws:", f"arn:{partition}:")) | READS
        )
        text = json.dumps(form(home.model_copy(update={"partition": partition})))
        assert text.count("arn:aws") == text.count(f"arn:{partition}:")
        assert len("".join(text.split())) <= LIMIT_CHARACTERS


def actions(part: Any) -> Iterator[str]:
    """All actions that a policy names."""
    for statement in part["Statement"]:
        yield from [statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"]


def test_every_action_is_one_that_iam_knows() -> None:
    """Its prefix is the name that a service's requests are signed with, which is not always boto3's.

    Those of no call of a client are the agent's (Session Manager), IAM's own and what KMS asks both keys for.
    """
    session = botocore.session.get_session()
    models = [session.get_service_model(name) for name in session.get_available_services()]
    calls = {f"{model.signing_name}:{call}" for model in models for call in model.operation_names}
    forms = (user_policy.policy, user_policy.boundary, user_policy.box, user_policy.scheduler)
    named = {action for form in forms for scope in SCOPES.values() for action in actions(form(scope))}
    assert sorted(named - calls) == [
        "iam:PassRole",
        "kms:ReEncryptFrom",
        "kms:ReEncryptTo",
        "ssm:UpdateInstanceInformation",
        "ssmmessages:CreateControlChannel",
        "ssmmessages:CreateDataChannel",
        "ssmmessages:OpenControlChannel",
        "ssmmessages:OpenDataChannel",
    ]
    assert {"servicequotas:GetServiceQuota", "ec2:RunInstances", "sts:GetCallerIdentity"} <= named


def test_what_a_call_is_called_by_iam() -> None:
    session = botocore.session.get_session()
    for service in ("ec2", "iam", "kms", "pricing", "s3", "scheduler", "service-quotas", "ssm", "sts"):
        request = Request(service=service, operation="Call", region="us-east-1", parameters={})
        assert request.action == f"{session.get_service_model(service).signing_name}:Call"


def test_the_machines_of_china_have_a_principal_of_their_own() -> None:
    assert policy.ec2_principal("aws-cn") == "ec2.amazonaws.com.cn"
    assert policy.ec2_principal("aws-us-gov") == "ec2.amazonaws.com"
    passed = [
        one["Condition"]["StringEquals"]["iam:PassedToService"]
        for one in user_policy.policy(Scope(partition="aws-cn"))["Statement"]
        if one["Action"] == ["iam:PassRole"]
    ]
    assert passed == [["ec2.amazonaws.com", "ec2.amazonaws.com.cn"], ["scheduler.amazonaws.com"]]


def test_the_judge_denies_as_the_services_do(tmp_path: Path) -> None:
    aws, clock = account()
    nothing = Policed(aws, policy.document())
    for service, operation, code in (
        ("ec2", "DescribeRegions", "UnauthorizedOperation"),
        ("scheduler", "ListScheduleGroups", "AccessDenied"),
    ):
        with pytest.raises(ApiFailure) as failure:
            nothing.send(Request(service=service, operation=operation, region="us-east-1", parameters={}))
        assert failure.value.code == code
