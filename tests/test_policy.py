"""The IAM policies as IAM judges them: what they are for is allowed, and nothing that only begins alike."""

import pytest
from fake_iam import allows
from renting import an_order

from infra.aws import policy, user_policy
from infra.aws.policy import PolicyDocument

ACCOUNT = "123456789012"


def box(*places: str) -> PolicyDocument:
    return policy.box(an_order(read_s3=places), ACCOUNT)


@pytest.mark.parametrize(
    ("place", "inside", "outside"),
    [
        (
            "s3://my-weights/",
            ["my-weights/config.json", "my-weights/sub/x"],
            ["my-weights-of-others/config.json", "my-weights2/config.json", "my-weight/config.json"],
        ),
        (
            "s3://bucket/scout/",
            ["bucket/scout/config.json", "bucket/scout/sub/x"],
            ["bucket/scout", "bucket/scout-private/key", "bucket/scout.tar", "bucket/key", "bucket2/scout/x"],
        ),
        (
            "s3://bucket/engine.tar",
            ["bucket/engine.tar"],
            ["bucket/engine.tar.sig", "bucket/engine.tar/x", "bucket/engine", "bucket/x/engine.tar"],
        ),
    ],
)
def test_the_box_reads_what_is_named_and_no_neighbour(
    place: str, inside: list[str], outside: list[str]
) -> None:
    keys = [*inside, *outside]
    read = [key for key in keys if allows(box(place), "s3:GetObject", f"arn:aws:s3:::{key}")]
    assert read == inside
    assert not any(
        allows(box(place), action, f"arn:aws:s3:::{key}")
        for action in ("s3:PutObject", "s3:DeleteObject")
        for key in keys
    )


PREFIXES = ("", "scout", "scout/", "scout/sub/", "scout-private/")


@pytest.mark.parametrize(
    ("place", "prefixes"),
    [
        ("s3://bucket/", PREFIXES),
        ("s3://bucket/scout/", ("scout/", "scout/sub/")),
        ("s3://bucket/engine.tar", ()),
    ],
)
def test_the_box_lists_what_lies_below_and_no_neighbour(place: str, prefixes: tuple[str, ...]) -> None:
    allowed = [
        (bucket, prefix)
        for bucket in ("bucket", "bucket-of-others")
        for prefix in PREFIXES
        if allows(box(place), "s3:ListBucket", f"arn:aws:s3:::{bucket}", s3_prefix=prefix)
    ]
    assert allowed == [("bucket", prefix) for prefix in prefixes]


def test_the_box_of_two_folders_lists_either_and_nothing_between() -> None:
    both = box("s3://bucket/a/", "s3://bucket/b/", "s3://bucket/engine.tar")
    prefixes = ("", "a/", "ab/", "b/", "c/")
    bucket = "arn:aws:s3:::bucket"
    assert [prefix for prefix in prefixes if allows(both, "s3:ListBucket", bucket, s3_prefix=prefix)] == [
        "a/",
        "b/",
    ]
    assert not allows(both, "s3:ListBucket", bucket)


def test_a_box_that_needs_nothing_of_s3_has_nothing_of_it() -> None:
    assert "s3:" not in str(box())


def test_the_box_reads_the_one_parameter_and_the_one_secret() -> None:
    secret = f"arn:aws:secretsmanager:us-east-1:{ACCOUNT}:secret:hf-AbCdEf"
    document = policy.box(an_order(read_parameters=("/team/hf-token", secret)), ACCOUNT)
    parameter = f"arn:aws:ssm:us-east-1:{ACCOUNT}:parameter/team/hf-token"
    for suffix, expected in (("", True), ("-prod", False), ("/prod", False)):
        assert allows(document, "ssm:GetParameter", f"{parameter}{suffix}") == expected
        assert allows(document, "secretsmanager:GetSecretValue", f"{secret}{suffix}") == expected


@pytest.mark.parametrize(("tag", "expected"), [("t1", True), ("t10", False), ("t1-b", False), ("t", False)])
def test_the_schedule_ends_machines_of_this_deployment_alone(tag: str, expected: bool) -> None:
    document = policy.end(an_order(name="t1"), ACCOUNT)
    machine = f"arn:aws:ec2:us-east-1:{ACCOUNT}:instance/i-1"
    tags = {"aws_ResourceTag_corral_deployment": tag}
    assert allows(document, "ec2:TerminateInstances", machine, **tags) == expected
    assert not allows(document, "ec2:TerminateInstances", machine)


def test_a_person_ends_sessions_of_his_own_and_not_those_of_one_whose_name_begins_with_his() -> None:
    def ends(user_id: str, session: str, owner_id: str) -> bool:
        arn = f"arn:aws:ssm:us-east-1:{ACCOUNT}:session/{session}"
        tags = {"aws_userid": user_id, "ssm_resourceTag_aws_ssmmessages_session_id": owner_id}
        return allows(user_policy.policy(), "ssm:TerminateSession", arn, **tags)

    assert ends("AIDAAL", "al-0123456789abcdef0", "AIDAAL")
    assert ends("AROADEV:al", "al-0123456789abcdef0", "AROADEV:al")
    assert not ends("AIDAAL", "al-bert-0123456789abcdef0", "AIDAALBERT")


def test_a_person_touches_what_carries_corrals_tag_or_name_alone() -> None:
    person = user_policy.policy()
    machine = f"arn:aws:ec2:us-east-1:{ACCOUNT}:instance/i-1"
    assert allows(person, "ec2:TerminateInstances", machine, aws_ResourceTag_corral_deployment="t1")
    assert not allows(person, "ec2:TerminateInstances", machine, aws_ResourceTag_corral_deployments="t1")
    for name, expected in (("corral-t1-box", True), ("corralling", False), ("not-corral-t1-box", False)):
        assert allows(person, "iam:DeleteRole", f"arn:aws:iam::{ACCOUNT}:role/{name}") == expected
