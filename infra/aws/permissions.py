"""Ask ahead what is allowed: EC2 by its dry runs, IAM's simulator for what knows none."""

from typing import Any

from infra.aws.api import Aws
from infra.aws.failures import Refused, plain_words, translated
from infra.aws.order import Order
from infra.aws.partitions import partition_of
from infra.aws.preflight_findings import Finding, failed, warning
from infra.aws.request import Request, Site, Spot, create_security_group, dry, ec2, run_instances


def dry_runs(aws: Aws, order: Order, here: Site, spots: list[Spot]) -> list[Finding]:
    """Ask EC2 whether it would allow what comes; only what it denies is a finding."""
    firsts = {spot.purchase: spot for spot in reversed(spots)}.values()
    requests = [dry(create_security_group(order, here))] if spots and not order.security_group_ids else []
    requests += [launch_dry_run(order, here, spot) for spot in firsts]
    findings = []
    for request in requests:
        refused = refusal(aws, request)
        if refused and refused.kind == "auth":
            findings.append(failed("permission", here.region, denial(refused), translated(refused).hint))
        elif refused:
            raise refused
    return findings


def denial(refused: Refused) -> str:
    """What is denied, in AWS's words: they name the kind of policy that does."""
    return f"{refused.request.action} is denied: {refused.code}: {plain_words(refused.message)}"


def launch_dry_run(order: Order, here: Site, spot: Spot) -> Request:
    """The launch without what does not exist yet: security group, instance profile, placement group."""
    parameters = dict(run_instances(order, here, spot, "sg-0").parameters)
    for missing in ("IamInstanceProfile", "Placement", "ClientToken"):
        if missing != "IamInstanceProfile" or not order.instance_profile:
            parameters.pop(missing, None)
    if not order.security_group_ids:
        parameters["NetworkInterfaces"] = [
            {key: value for key, value in interface.items() if key != "Groups"}
            for interface in parameters["NetworkInterfaces"]
        ]
    return dry(ec2(here.region, "RunInstances", **parameters))


def refusal(aws: Aws, request: Request) -> Refused | None:
    """What EC2 says to a dry run; None when it would do it."""
    try:
        aws.call(request)
    except Refused as refused:
        return None if refused.code == "DryRunOperation" else refused
    return None


def simulated(aws: Aws, order: Order, arn: str, account: str) -> list[Finding]:
    """Ask IAM's simulator about the actions that know no dry run. A denial is a warning: conditions can mislead it."""
    region = order.regions[0]
    try:
        answer = aws.ask(simulation_request(order, arn, account))
    except Refused as refused:
        return [
            warning("permission", region, f"IAM was not asked ahead: {refused.code}", "The calls will tell.")
        ]
    denied = [row["EvalActionName"] for row in answer["EvaluationResults"] if not allowed_anywhere(row)]
    fix = "The whole policy: corral iam-policy"
    return [warning("permission", region, f"IAM expects to deny {action}", fix) for action in denied]


def simulation_request(order: Order, arn: str, account: str) -> Request:
    """Ask about every action that is needed and cannot be tried, on the resources it will be used on."""
    partition, name = partition_of(order.regions[0]), order.resource_name
    base = f"arn:{partition}:iam::{account}"
    schedules = f"arn:{partition}:scheduler:{order.regions[0]}:{account}"
    box = [] if order.instance_profile else [f"{base}:role/{name}-box", f"{base}:instance-profile/{name}-box"]
    end = [] if order.scheduler_role else [f"{base}:role/{name}-end"]
    bounded = [known("iam:PermissionsBoundary", order.permissions_boundary)] * bool(
        order.permissions_boundary
    )
    parameters: dict[str, Any] = {
        "PolicySourceArn": principal(arn),
        "ActionNames": [*(UNTRIED_ROLE if box or end else ()), *(UNTRIED_PROFILE if box else ()), *UNTRIED],
        "ResourceArns": [
            *box,
            *end,
            *filter(None, [order.scheduler_role]),
            f"{schedules}:schedule-group/{name}",
            f"{schedules}:schedule/{name}/end",
            f"arn:{partition}:ec2:{order.regions[0]}:{account}:instance/*",
        ],
    }
    if bounded:
        parameters["ContextEntries"] = bounded
    return Request(
        service="iam", operation="SimulatePrincipalPolicy", region="us-east-1", parameters=parameters
    )


def known(key: str, value: str) -> dict[str, Any]:
    """A condition key that the calls will have."""
    return {"ContextKeyName": key, "ContextKeyValues": [value], "ContextKeyType": "string"}


# What making roles needs, a profile for the machines', and all else.
UNTRIED_ROLE = (
    "iam:CreateRole",
    "iam:TagRole",
    "iam:PutRolePolicy",
    "iam:DeleteRolePolicy",
    "iam:DeleteRole",
)
UNTRIED_PROFILE = (
    "iam:CreateInstanceProfile",
    "iam:TagInstanceProfile",
    "iam:AddRoleToInstanceProfile",
    "iam:RemoveRoleFromInstanceProfile",
    "iam:DeleteInstanceProfile",
)
UNTRIED = (
    "iam:PassRole",
    "scheduler:CreateScheduleGroup",
    "scheduler:TagResource",
    "scheduler:CreateSchedule",
    "scheduler:UpdateSchedule",
    "scheduler:DeleteSchedule",
    "scheduler:DeleteScheduleGroup",
)


def allowed_anywhere(row: dict[str, Any]) -> bool:
    """Whether one of the resources is allowed, or the simulator lacked what it needed to judge."""
    if row.get("MissingContextValues"):
        return True
    decisions = [part["EvalResourceDecision"] for part in row.get("ResourceSpecificResults", [])]
    return "allowed" in (row["EvalDecision"], *decisions)


def principal(arn: str) -> str:
    """The role behind a session of it; the simulator knows no sessions."""
    if ":assumed-role/" not in arn:
        return arn
    head, _, tail = arn.partition(":assumed-role/")
    return f"{head.replace(':sts:', ':iam:')}:role/{tail.partition('/')[0]}"
