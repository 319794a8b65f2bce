"""What is the user's own: named by what AWS could know, looked at before the launch, told when it will not do."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_aws import ACCOUNT, FakeAws
from fake_kms import KEY
from renting import an_order, door, fresh, up

from deploy.cli.main import run
from infra.aws import own_resources, user_policy
from infra.aws.preflight_findings import Finding
from infra.errors import CloudError, UsageError

GROUP = "sg-00000000000000abc"
BOUNDARY = f"arn:aws:iam::{ACCOUNT}:policy/corral-boundary"
END = f"arn:aws:iam::{ACCOUNT}:role/llm-end"
ALL_TRAFFIC = [{"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": GROUP}]}]


@pytest.fixture
def aws() -> FakeAws:
    """An account that has one of each."""
    aws, _ = fresh()
    aws.iam.policies[BOUNDARY] = user_policy.boundary(user_policy.CORRALS)
    aws.iam.have("llm-box", user_policy.box(user_policy.CORRALS), profile="llm-box")
    aws.iam.have("llm-end", user_policy.scheduler(user_policy.CORRALS))
    here = aws.regions["us-east-1"]
    here.keys.have()
    here.groups[GROUP] = {"GroupId": GROUP, "GroupName": "llm", "VpcId": "vpc-1", "Tags": []}
    return aws


def found(aws: FakeAws, tmp_path: Path, **order: Any) -> list[tuple[str, str, str]]:
    """What a look finds, in short."""
    at = door(aws, aws.clock, tmp_path)
    asked = an_order(**order)
    findings: list[Finding] = own_resources.of_account(at, asked, ACCOUNT)
    findings += own_resources.of_region(at, asked, "us-east-1", {"vpc-1"})
    return [(one.topic, one.outcome, one.found) for one in findings]


def test_what_is_there_is_well(aws: FakeAws, tmp_path: Path) -> None:
    assert found(aws, tmp_path) == []
    own_all = {
        "permissions_boundary": BOUNDARY,
        "instance_profile": f"arn:aws:iam::{ACCOUNT}:instance-profile/team/llm-box",
        "scheduler_role": END,
        "security_group_ids": (GROUP,),
        "kms_key_id": KEY,
        "read_s3": ("s3://weights/",),
    }
    profile = own_all["instance_profile"]
    assert found(aws, tmp_path, **own_all) == [
        (
            "roles",
            "warning",
            f"{profile} is yours: whether it lets the machine read its weights and token is not looked at",
        ),
        ("network", "ok", f"your own {GROUP}, left as it is"),
        ("volume", "ok", f"encrypted with {KEY}"),
    ]


def test_what_a_boundary_lets_the_machine_read_is_not_known_and_that_is_said(
    aws: FakeAws, tmp_path: Path
) -> None:
    order = {"permissions_boundary": BOUNDARY, "read_parameters": ("/hf/token",)}
    ((topic, outcome, said),) = found(aws, tmp_path, **order)
    assert (topic, outcome, said.partition(" ")[0]) == ("roles", "warning", BOUNDARY)


def no_role(aws: FakeAws) -> None:
    aws.iam.profiles["llm-box"]["held"] = []


def elsewhere(aws: FakeAws) -> None:
    aws.regions["us-east-1"].groups[GROUP]["VpcId"] = "vpc-2"


def key(**changes: str) -> Callable[[FakeAws], None]:
    def change(aws: FakeAws) -> None:
        aws.regions["us-east-1"].keys.have(**changes)

    return change


def deny(action: str) -> Callable[[FakeAws], None]:
    return lambda aws: aws.denied.add(action)


def nothing(aws: FakeAws) -> None:
    pass


@pytest.mark.parametrize(
    ("change", "order", "expected"),
    [
        (
            nothing,
            {"permissions_boundary": f"{BOUNDARY}s"},
            ("roles", "failed", f"{BOUNDARY}s does not exist"),
        ),
        (nothing, {"instance_profile": "none"}, ("roles", "failed", "none does not exist")),
        (nothing, {"scheduler_role": f"{END}s"}, ("roles", "failed", f"{END}s does not exist")),
        (
            nothing,
            {"scheduler_role": "arn:aws:iam::210987654321:role/llm-end"},
            (
                "roles",
                "failed",
                f"arn:aws:iam::210987654321:role/llm-end is of another account than {ACCOUNT}",
            ),
        ),
        (no_role, {"instance_profile": "llm-box"}, ("roles", "failed", "llm-box holds no role")),
        (
            deny("iam:GetRole"),
            {"scheduler_role": END},
            ("roles", "warning", f"{END}: not shown (AccessDenied)"),
        ),
        (
            nothing,
            {"security_group_ids": (GROUP, "sg-0000000000000dead")},
            ("network", "failed", "sg-0000000000000dead is not there"),
        ),
        (
            elsewhere,
            {"security_group_ids": (GROUP,)},
            ("network", "failed", f"{GROUP} is of vpc-2, the subnets are of vpc-1"),
        ),
        (
            nothing,
            {"security_group_ids": (GROUP,), "nodes": 2},
            ("network", "failed", "the security groups keep the machines from each other"),
        ),
        (nothing, {"kms_key_id": "alias/none"}, ("volume", "failed", "alias/none is no key there")),
        (
            nothing,
            {"kms_key_id": f"arn:aws:kms:eu-west-1:{ACCOUNT}:key/{KEY}"},
            ("volume", "failed", f"arn:aws:kms:eu-west-1:{ACCOUNT}:key/{KEY} is no key there"),
        ),
        (
            key(KeyState="PendingDeletion"),
            {"kms_key_id": "alias/llm"},
            ("volume", "failed", "alias/llm is PendingDeletion"),
        ),
        (
            key(KeySpec="RSA_2048"),
            {"kms_key_id": KEY},
            ("volume", "failed", f"{KEY} is RSA_2048 for ENCRYPT_DECRYPT; EBS takes symmetric keys alone"),
        ),
        (
            deny("kms:DescribeKey"),
            {"kms_key_id": KEY},
            ("volume", "warning", f"{KEY}: not shown (AccessDenied)"),
        ),
    ],
)
def test_what_will_not_do_is_found_before_the_launch(
    change: Callable[[FakeAws], None],
    order: dict[str, Any],
    expected: tuple[str, str, str],
    aws: FakeAws,
    tmp_path: Path,
) -> None:
    change(aws)
    assert found(aws, tmp_path, **order) == [expected]
    if expected[1] == "failed" and "nodes" not in order:
        before = aws.live()
        with pytest.raises(UsageError if expected[0] == "roles" else CloudError, match="cannot be launched"):
            up(door(aws, aws.clock, tmp_path / "up"), an_order(**order))
        assert aws.live() == before
        assert not any(call.changes for call in aws.calls)


def test_each_of_those_has_a_remedy(aws: FakeAws, tmp_path: Path) -> None:
    def fixes(**order: Any) -> list[str]:
        at, asked = door(aws, aws.clock, tmp_path), an_order(**order)
        findings = own_resources.of_account(at, asked, ACCOUNT)
        return [one.fix for one in [*findings, *own_resources.of_region(at, asked, "us-east-1", {"vpc-1"})]]

    read = {"read_s3": ("s3://weights/",)}
    assert fixes(permissions_boundary=BOUNDARY, **read) == ["It needs: corral iam-policy --for boundary"]
    assert fixes(instance_profile="llm-box", **read) == ["It needs: corral iam-policy --for box"]
    assert fixes(scheduler_role="arn:aws:iam::210987654321:role/llm-end") == ["Name one of this account."]
    assert fixes(scheduler_role=f"{END}s") == [
        "See yours: aws iam list-instance-profiles, list-roles, list-policies --scope Local"
    ]
    assert fixes(security_group_ids=("sg-0000000000000dead",)) == [
        "Name those of this region and account: aws ec2 describe-security-groups --region us-east-1"
    ]
    assert fixes(security_group_ids=(GROUP,), nodes=2) == [
        "EFA needs a rule in and one out, all traffic, for the group itself."
    ]
    assert fixes(kms_key_id="alias/none") == ["See yours: aws kms list-aliases --region us-east-1"]
    no_role(aws)
    assert fixes(instance_profile=f"arn:aws:iam::{ACCOUNT}:instance-profile/team/llm-box") == [
        "Add one: aws iam add-role-to-instance-profile --instance-profile-name llm-box --role-name llm-box"
    ]
    elsewhere(aws)
    assert fixes(security_group_ids=(GROUP,)) == ["Name subnets of that VPC: --subnet-id"]
    key(KeySpec="RSA_2048")(aws)
    assert fixes(kms_key_id=KEY) == ["Name another."]
    key(KeyState="Disabled")(aws)
    assert fixes(kms_key_id="alias/llm") == [
        "Enable it: aws kms enable-key --region us-east-1 --key-id alias/llm"
    ]
    deny("iam:GetRole")(aws)
    deny("kms:DescribeKey")(aws)
    assert fixes(scheduler_role=END, kms_key_id=KEY) == [
        "The launch will tell.",
        "The launch will tell: EC2 ends a machine whose key it may not use (kms:CreateGrant, kms:Decrypt).",
    ]


@pytest.mark.parametrize(
    ("sides", "well"),
    [
        (("IpPermissions", "IpPermissionsEgress"), True),
        (("IpPermissions",), False),
        (("IpPermissionsEgress",), False),
    ],
)
def test_the_machines_of_one_server_must_be_let_to_each_other_both_ways(
    sides: tuple[str, ...], well: bool, aws: FakeAws, tmp_path: Path
) -> None:
    aws.regions["us-east-1"].groups[GROUP] |= dict.fromkeys(sides, ALL_TRAFFIC)
    ((_, outcome, _),) = found(aws, tmp_path, security_group_ids=(GROUP,), nodes=2)
    assert outcome == ("ok" if well else "failed")


# --- the options

REGION = ["--region", "us-east-1"]
GOOD: list[list[str]] = [
    ["--permissions-boundary", BOUNDARY],
    ["--permissions-boundary", "arn:aws:iam::aws:policy/PowerUserAccess"],
    ["--instance-profile", "llm-box", "--scheduler-role", END],
    ["--instance-profile", f"arn:aws:iam::{ACCOUNT}:instance-profile/team/llm-box"],
    ["--security-group-id", GROUP, "--security-group-id", "sg-0123abcd"],
    ["--kms-key-id", KEY],
    ["--kms-key-id", "alias/llm", "--region", "us-west-2"],
    ["--kms-key-id", f"mrk-{'0' * 32}", "--region", "us-west-2"],
    ["--kms-key-id", f"arn:aws:kms:us-east-1:{ACCOUNT}:alias/llm"],
]
BAD: list[list[str]] = [
    ["--permissions-boundary", "corral-boundary"],
    ["--permissions-boundary", ""],
    ["--permissions-boundary", END],
    ["--permissions-boundary", "arn:aws-us-gov:iam::123456789012:policy/x"],
    ["--permissions-boundary", BOUNDARY, "--instance-profile", "llm-box", "--scheduler-role", END],
    ["--instance-profile", "a box"],
    ["--instance-profile", END],
    ["--instance-profile", ""],
    ["--scheduler-role", "llm-end"],
    ["--scheduler-role", "arn:aws:iam::12345:role/llm-end"],
    ["--security-group-id", "default"],
    ["--security-group-id", "sg-0123"],
    ["--security-group-id", GROUP, "--region", "us-west-2"],
    ["--security-group-id", GROUP, "--cidr", "203.0.113.7/32"],
    ["--kms-key-id", "llm"],
    ["--kms-key-id", f"{KEY}0"],
    ["--kms-key-id", KEY, "--region", "us-west-2"],
    ["--kms-key-id", f"arn:aws:kms:eu-west-1:{ACCOUNT}:key/{KEY}"],
    ["--kms-key-id", f"arn:aws:kms:us-east-1:{ACCOUNT}:key/{KEY}", "--region", "us-west-2"],
    ["--kms-key-id", f"arn:aws:kms:us-east-1:{ACCOUNT}:alias/alias/../x y"],
]


@pytest.fixture
def plan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    path = str(tmp_path / "plan.json")
    assert run(f"size scout --precision int4 --on g5.12xlarge -o {path}".split()) == 0
    capsys.readouterr()
    return path


def dry_run(plan: str, options: list[str]) -> int:
    return run(["provision", plan, "--target", "ec2", "--name", "t1", "--dry-run", *REGION, *options])


def requests(plan: str, options: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert dry_run(plan, [*options, "--json"]) == 0, options
    return capsys.readouterr().out


def test_what_aws_could_know_is_asked_for(plan: str, capsys: pytest.CaptureFixture[str]) -> None:
    for options in GOOD:
        values = [value for value in options[1::2] if value != "us-west-2"]
        said = requests(plan, options, capsys)
        assert all(json.dumps(value) in said for value in values), options


def test_what_aws_could_not_know_is_refused_at_once(plan: str, capsys: pytest.CaptureFixture[str]) -> None:
    for options in BAD:
        assert dry_run(plan, options) == 2, options
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 2), options


def test_with_all_of_ones_own_a_dry_run_makes_no_role_and_no_group(
    plan: str, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--instance-profile", "llm-box", "--scheduler-role", END, "--security-group-id", GROUP]
    calls = [one["operation"] for one in json.loads(requests(plan, options, capsys))]
    assert [name for name in calls if name.startswith(("Create", "Put", "Add", "Authorize"))] == [
        "CreateScheduleGroup",
        "CreateSchedule",
    ]
    assert {"GetInstanceProfile", "GetRole", "DescribeSecurityGroups"} <= set(calls)


# --- the verb


def printed(options: list[str], capsys: pytest.CaptureFixture[str]) -> Any:
    assert run(["iam-policy", *options]) == 0, options
    return json.loads(capsys.readouterr().out)


def test_each_form_of_the_policy_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    scope = user_policy.Scope(
        partition="aws-us-gov", read_s3=("s3://bucket/scout/", "s3://bucket/engine.tar")
    )
    reads = [
        "--weights",
        "s3://bucket/scout",
        "--engine",
        "s3://bucket/engine.tar",
        "--weights",
        "/srv/model",
    ]
    gov = ["--partition", "aws-us-gov", *reads]
    assert printed(["--for", "boundary", *gov], capsys) == user_policy.boundary(scope)
    assert printed(["--for", "box", *gov], capsys) == user_policy.box(scope)
    assert printed(["--for", "scheduler", *gov], capsys) == user_policy.scheduler(scope)
    narrow = ["--region", "us-gov-west-1", "--instance-type", "g5.*", "--kms-key-id", "alias/llm"]
    assert printed(narrow, capsys) == user_policy.policy(
        user_policy.Scope(
            partition="aws-us-gov",
            regions=("us-gov-west-1",),
            instance_types=("g5.*",),
            kms_key_id="alias/llm",
        )
    )
    role = f"arn:aws:iam::{ACCOUNT}:role/other"
    owned = ["--instance-profile", "llm-box", "--instance-role", role, "--scheduler-role", END]
    passed = [
        one["Resource"] for one in printed(owned, capsys)["Statement"] if one["Action"] == ["iam:PassRole"]
    ]
    assert passed == [role, END]


@pytest.mark.parametrize(
    "options",
    [
        ["--for", "everybody"],
        ["--partition", "moon"],
        ["--partition", "aws-iso"],
        ["--region", "us-moon-1"],
        ["--region", "us-east-1", "--region", "cn-north-1"],
        ["--region", "us-east-1", "--partition", "aws-cn"],
        ["--permissions-boundary", BOUNDARY, "--partition", "aws-cn"],
        ["--instance-type", "g5 12xlarge"],
        ["--instance-type", "g5.12xlage"],
        ["--instance-type", "G5.12xlarge"],
        ["--instance-type", "t3.*"],
        ["--instance-type", "g5.*", "--instance-type", "p55.*"],
        ["--instance-role", "role"],
        ["--weights", "bucket"],
        ["--engine", "bucket"],
        ["--hf-token-parameter", "a b"],
        ["--kms-key-id", "key"],
    ],
)
def test_a_policy_for_what_cannot_be_is_refused(
    options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["iam-policy", *options]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 2)


def test_a_type_that_is_misspelled_is_told_by_what_it_is_near(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["iam-policy", "--instance-type", "p5.48xlage"]) == 2
    assert capsys.readouterr().err == (
        "error: --instance-type p5.48xlage: corral rents no machine of that name. Did you mean p5.48xlarge or "
        "p5.4xlarge?\nhint: For example: --instance-type g5.12xlarge, or --instance-type 'g5.*'\n"
    )
    (types,) = {
        tuple(one["Condition"]["StringLikeIfExists"]["ec2:InstanceType"])
        for one in printed(["--instance-type", "p5?.*", "--instance-type", "g5.12xlarge"], capsys)[
            "Statement"
        ]
        if "ec2:InstanceType" in one.get("Condition", {}).get("StringLikeIfExists", {})
    }
    assert types == ("p5?.*", "g5.12xlarge")
