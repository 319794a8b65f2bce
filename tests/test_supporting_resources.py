"""What must be there before a machine: made, or found to be this order's; somebody else's is never taken."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from renting import START, an_order

from infra.aws import request, supporting_resources
from infra.aws.failures import Refused
from infra.aws.request import Request, Site
from infra.errors import CloudError, UsageError

ORDER = an_order()
HERE: Any = Site.model_construct(region="us-east-1", vpc_id="vpc-1", account="123456789012")
OURS = [{"Key": "corral:order", "Value": ORDER.order_id}]
THEIRS = [{"Key": "corral:order", "Value": "another"}]
NAME = ORDER.resource_name


class Account:
    """Answers each operation with a value, or raises the refusal of a code."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.asked: list[str] = []

    def call(self, asked: Request) -> Any:
        self.asked.append(asked.operation)
        answer = self.answers.get(asked.operation, {})
        if isinstance(answer, str):
            raise Refused(asked, answer, "so it is")
        return answer

    def pages(self, asked: Request, key: str) -> Iterator[dict[str, Any]]:
        return iter(self.call(asked)[key])


def refused(account: Any, do: Callable[[Any], object]) -> tuple[type[Exception], str, str | None]:
    with pytest.raises((UsageError, CloudError)) as error:
        do(account)
    return type(error.value), error.value.message, error.value.hint


def not_ours(what: str) -> tuple[type[Exception], str, str]:
    return (
        UsageError,
        f"A {what} called {NAME} exists in this account and is not of this deployment.",
        "Choose another --name, or take that one away: corral down t1 --target ec2",
    )


def test_a_security_group_is_made_or_is_ours() -> None:
    made: Any = Account(CreateSecurityGroup={"GroupId": "sg-1"})
    assert supporting_resources.security_group(made, ORDER, HERE) == "sg-1"
    assert made.asked[0] == "CreateSecurityGroup"
    there: Any = Account(
        CreateSecurityGroup="InvalidGroup.Duplicate",
        DescribeSecurityGroups={"SecurityGroups": [{"GroupId": "sg-2", "Tags": OURS}]},
        RevokeSecurityGroupEgress="InvalidPermission.NotFound",
        AuthorizeSecurityGroupEgress="InvalidPermission.Duplicate",
        AuthorizeSecurityGroupIngress="InvalidPermission.Duplicate",
    )
    assert supporting_resources.existing_group(there, ORDER, HERE) == "sg-2"
    own: Any = Account()
    assert supporting_resources.security_group(own, an_order(security_group_ids=("sg-9",)), HERE) == ""
    assert own.asked == []


def test_a_group_that_is_not_shown_or_not_ours_is_refused() -> None:
    def asked(account: Any) -> object:
        return supporting_resources.security_group(account, ORDER, HERE)

    for groups, said in (
        ([], (CloudError, f"The security group {NAME} exists in us-east-1, but EC2 does not show it.",
              "Try again in a minute.")),
        ([{"GroupId": "sg-2", "Tags": THEIRS}], not_ours("security group")),
        ([{"GroupId": "sg-2"}], not_ours("security group")),
    ):  # fmt: skip
        account = Account(
            CreateSecurityGroup="InvalidGroup.Duplicate", DescribeSecurityGroups={"SecurityGroups": groups}
        )
        assert refused(account, asked) == said
    denied: Any = Account(CreateSecurityGroup="UnauthorizedOperation")
    with pytest.raises(Refused) as error:
        asked(denied)
    assert (error.value.code, denied.asked) == ("UnauthorizedOperation", ["CreateSecurityGroup"])


def test_a_placement_group_is_for_several_nodes_and_ours() -> None:
    def asked(account: Any) -> None:
        supporting_resources.placement_group(account, an_order(nodes=2), "us-east-1")

    alone: Any = Account()
    supporting_resources.placement_group(alone, ORDER, "us-east-1")
    assert alone.asked == []
    new: Any = Account()
    asked(new)
    assert new.asked == ["CreatePlacementGroup"]
    for tags in (OURS, THEIRS):
        there: Any = Account(
            CreatePlacementGroup="InvalidPlacementGroup.Duplicate",
            DescribePlacementGroups={"PlacementGroups": [{"Tags": tags}]},
        )
        if tags is OURS:
            asked(there)
        else:
            assert refused(there, asked) == not_ours("placement group")


@pytest.mark.parametrize(
    ("operation", "looked", "answer", "what"),
    [
        ("CreateRole", "GetRole", "Role", "role"),
        ("CreateInstanceProfile", "GetInstanceProfile", "InstanceProfile", "instance profile"),
    ],
)
def test_a_role_and_a_profile_that_are_there_are_ours(
    operation: str, looked: str, answer: str, what: str
) -> None:
    roles = [{"RoleName": "r"}]
    for tags in (OURS, THEIRS):
        account: Any = Account(
            **{operation: "EntityAlreadyExists", looked: {answer: {"Tags": tags, "Roles": roles}}}
        )
        if tags is OURS:
            supporting_resources.roles(account, ORDER, "123456789012")
            assert looked in account.asked
        else:
            assert refused(
                account, lambda given: supporting_resources.roles(given, ORDER, "123456789012")
            ) == not_ours(what)


def test_a_profile_holds_the_role_that_it_is_to_hold() -> None:
    asked = next(
        one for one in request.roles(ORDER, "123456789012") if one.operation == "AddRoleToInstanceProfile"
    )
    refusal = Refused(asked, "LimitExceeded", "one is there")
    for role, is_ours in ((asked.parameters["RoleName"], True), ("another", False)):
        account: Any = Account(GetInstanceProfile={"InstanceProfile": {"Roles": [{"RoleName": role}]}})
        if is_ours:
            supporting_resources.check_existing(account, ORDER, asked, refusal)
        else:
            with pytest.raises(Refused) as error:
                supporting_resources.check_existing(account, ORDER, asked, refusal)
            assert error.value is refusal


def test_the_end_is_scheduled_anew_for_all_or_for_each_replica() -> None:
    ids = ["i-1", "i-2"]
    new: Any = Account()
    supporting_resources.schedule(new, ORDER, "us-east-1", "123456789012", ids, START)
    assert new.asked == ["CreateSchedule"]
    there: Any = Account(CreateSchedule="ConflictException")
    supporting_resources.schedule(there, an_order(replicas=2), "us-east-1", "123456789012", ids, START)
    assert there.asked == ["CreateSchedule", "UpdateSchedule"] * 2
    group: Any = Account(CreateScheduleGroup="ConflictException")
    supporting_resources.schedule_group(group, ORDER, "us-east-1")
    denied: Any = Account(CreateScheduleGroup="AccessDeniedException")
    with pytest.raises(Refused):
        supporting_resources.schedule_group(denied, ORDER, "us-east-1")
