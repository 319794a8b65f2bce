"""What must exist before a machine can be launched, and the schedule after. Each part is made, or found to be ours."""

from datetime import datetime
from typing import Any

from infra.aws import request
from infra.aws.api import Answer, Aws
from infra.aws.failures import Refused
from infra.aws.order import ORDER_TAG, Order
from infra.aws.request import Request, Site
from infra.errors import CloudError, UsageError


def security_group(aws: Aws, order: Order, here: Site) -> str:
    """The id of the security group, with its rules; nothing where the user has groups, which stay as they are."""
    if order.security_group_ids:
        return ""
    try:
        group_id = str(aws.call(request.create_security_group(order, here))["GroupId"])
    except Refused as refused:
        if refused.code != "InvalidGroup.Duplicate":
            raise
        group_id = existing_group(aws, order, here)
    for rule in request.security_group_rules(order, here.region, group_id):
        made_or_there(aws, rule)
    return group_id


def existing_group(aws: Aws, order: Order, here: Site) -> str:
    """The id of the group of that name, if it is ours."""
    filters = [
        {"Name": "group-name", "Values": [order.resource_name]},
        {"Name": "vpc-id", "Values": [here.vpc_id]},
    ]
    asked = request.ec2(here.region, "DescribeSecurityGroups", Filters=filters)
    groups = list(aws.pages(asked, "SecurityGroups"))
    if not groups:
        raise CloudError(
            f"The security group {order.resource_name} exists in {here.region}, but EC2 does not show it.",
            "Try again in a minute.",
        )
    return str(checked_ours(order, groups[0], "security group")["GroupId"])


def placement_group(aws: Aws, order: Order, region: str) -> None:
    """The placement group, where there are several nodes."""
    if order.nodes == 1:
        return
    if not made_or_there(aws, request.create_placement_group(order, region)):
        filters = [{"Name": "group-name", "Values": [order.resource_name]}]
        asked = request.ec2(region, "DescribePlacementGroups", Filters=filters)
        for group in aws.pages(asked, "PlacementGroups"):
            checked_ours(order, group, "placement group")


def roles(aws: Aws, order: Order, account: str) -> None:
    """The box's instance profile and the scheduler's role, where the user has none."""
    for asked in request.roles(order, account):
        try:
            aws.call(asked)
        except Refused as refused:
            check_existing(aws, order, asked, refused)


def check_existing(aws: Aws, order: Order, asked: Request, refused: Refused) -> None:
    """Raise, unless what was to be made is there already and ours."""
    parameters = asked.parameters
    if asked.operation == "CreateRole" and refused.kind == "exists":
        described = aws.call(request.iam("GetRole", RoleName=parameters["RoleName"]))["Role"]
        checked_ours(order, described, "role")
    elif asked.operation == "CreateInstanceProfile" and refused.kind == "exists":
        checked_ours(order, profile(aws, parameters["InstanceProfileName"]), "instance profile")
    elif asked.operation == "AddRoleToInstanceProfile" and refused.code == "LimitExceeded":
        # A profile holds one role; on a repeat it is this one.
        held = [role["RoleName"] for role in profile(aws, parameters["InstanceProfileName"])["Roles"]]
        if held != [parameters["RoleName"]]:
            raise refused
    else:
        raise refused


def profile(aws: Aws, name: str) -> Answer:
    """An instance profile."""
    answer: Answer = aws.call(request.iam("GetInstanceProfile", InstanceProfileName=name))["InstanceProfile"]
    return answer


def schedule_group(aws: Aws, order: Order, region: str) -> None:
    """The group that carries the schedule's tags. Its name is ours alone once the roles are."""
    made_or_there(aws, request.create_schedule_group(order, region))


def schedule(
    aws: Aws, order: Order, region: str, account: str, instance_ids: list[str], at: datetime
) -> None:
    """End the instances at that time, whatever was scheduled before."""
    for ids in [instance_ids] if order.replicas == 1 else [[each] for each in instance_ids]:
        if not made_or_there(aws, request.create_schedule(order, region, account, ids, at)):
            aws.call(request.update_schedule(order, region, account, ids, at))


def made_or_there(aws: Aws, asked: Request) -> bool:
    """Make something; False when it was there already."""
    try:
        aws.call(asked)
    except Refused as refused:
        if refused.kind == "exists":
            return False
        raise
    return True


def checked_ours(order: Order, resource: dict[str, Any], what: str) -> dict[str, Any]:
    """Return the resource, or raise UsageError when it is not of this order."""
    tags = {tag["Key"]: tag["Value"] for tag in resource.get("Tags", [])}
    if tags.get(ORDER_TAG) != order.order_id:
        raise UsageError(
            f"A {what} called {order.resource_name} exists in this account and is not of this deployment.",
            f"Choose another --name, or take that one away: corral down {order.name} --target ec2",
        )
    return resource
