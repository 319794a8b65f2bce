"""What of the user's own an order names: looked at before the launch, never changed, never taken away."""

from typing import Any

from infra.aws.api import Aws
from infra.aws.failures import Refused
from infra.aws.order import Order
from infra.aws.preflight_findings import Finding, failed, ok, warning
from infra.aws.request import Request, ec2, iam

UNSEEN = "The launch will tell."


def of_account(aws: Aws, order: Order, account: str) -> list[Finding]:
    """The permissions boundary and the roles. One of another account, or that is not there, is a failure."""
    findings = [
        finding for asked in account_requests(order) for finding in role_found(aws, order, asked, account)
    ]
    bound = order.instance_profile or order.permissions_boundary
    if bound and (order.read_s3 or order.read_parameters):
        said = f"{bound} is yours: whether it lets the machine read its weights and token is not looked at"
        form = "box" if order.instance_profile else "boundary"
        findings.append(warning("roles", order.regions[0], said, f"It needs: corral iam-policy --for {form}"))
    return findings


def account_requests(order: Order) -> list[Request]:
    """Ask for each of them by its name."""
    names = {
        "InstanceProfile": order.instance_profile.rpartition("/")[2],
        "Role": order.scheduler_role.rpartition("/")[2],
    }
    asked = [iam(f"Get{kind}", **{f"{kind}Name": name}) for kind, name in names.items() if name]
    bound = order.permissions_boundary
    return ([iam("GetPolicy", PolicyArn=bound)] if bound else []) + asked


def role_found(aws: Aws, order: Order, asked: Request, account: str) -> list[Finding]:
    """What is wrong with one of them; nothing where it is there."""
    region, named = order.regions[0], named_in(order, asked)
    owner = named.split(":")[4] if named.startswith("arn:") else account
    if owner not in (account, "aws"):
        return [
            failed(
                "roles", region, f"{named} is of another account than {account}", "Name one of this account."
            )
        ]
    try:
        answer = aws.ask(asked)
    except Refused as refused:
        if refused.kind == "gone":
            return [
                failed(
                    "roles",
                    region,
                    f"{named} does not exist",
                    "See yours: aws iam list-instance-profiles, list-roles, list-policies --scope Local",
                )
            ]
        return [warning("roles", region, f"{named}: not shown ({refused.code})", UNSEEN)]
    if asked.operation == "GetInstanceProfile" and not answer["InstanceProfile"]["Roles"]:
        name = named.rpartition("/")[2]
        fix = f"Add one: aws iam add-role-to-instance-profile --instance-profile-name {name} --role-name llm-box"
        return [failed("roles", region, f"{named} holds no role", fix)]
    return []


def named_in(order: Order, asked: Request) -> str:
    """What the user called it."""
    return {
        "GetPolicy": order.permissions_boundary,
        "GetInstanceProfile": order.instance_profile,
        "GetRole": order.scheduler_role,
    }[asked.operation]


def of_region(aws: Aws, order: Order, region: str, vpcs: set[str]) -> list[Finding]:
    """The security groups, which must be where the subnets are, and the key of the volume."""
    findings: list[Finding] = []
    if order.security_group_ids:
        asked = groups_request(order, region)
        findings += groups_found(order, region, list(aws.pages(asked, "SecurityGroups")), vpcs)
    if order.kms_key_id:
        findings += key_found(aws, order, region)
    return findings


def region_requests(order: Order, region: str) -> list[Request]:
    """Ask for each of them by its id."""
    groups = [groups_request(order, region)] if order.security_group_ids else []
    return groups + ([key_request(order, region)] if order.kms_key_id else [])


def groups_request(order: Order, region: str) -> Request:
    """A filter, because a list of ids fails whole when one is elsewhere."""
    filters = [{"Name": "group-id", "Values": list(order.security_group_ids)}]
    return ec2(region, "DescribeSecurityGroups", Filters=filters)


def groups_found(order: Order, region: str, rows: list[dict[str, Any]], vpcs: set[str]) -> list[Finding]:
    """Whether each is there, in the VPC of the subnets, and lets the machines of one server talk."""
    missing = sorted(set(order.security_group_ids) - {row["GroupId"] for row in rows})
    if missing:
        fix = f"Name those of this region and account: aws ec2 describe-security-groups --region {region}"
        return [failed("network", region, f"{', '.join(missing)} is not there", fix)]
    away = [f"{row['GroupId']} is of {row['VpcId']}" for row in rows if vpcs and row["VpcId"] not in vpcs]
    if away:
        fix = "Name subnets of that VPC: --subnet-id"
        return [
            failed("network", region, f"{', '.join(away)}, the subnets are of {', '.join(sorted(vpcs))}", fix)
        ]
    if order.nodes > 1 and not all(any(lets_ours(order, row, side) for row in rows) for side in SIDES):
        fix = "EFA needs a rule in and one out, all traffic, for the group itself."
        return [failed("network", region, "the security groups keep the machines from each other", fix)]
    return [
        ok("network", region, f"your own {', '.join(sorted(row['GroupId'] for row in rows))}, left as it is")
    ]


SIDES = ("IpPermissions", "IpPermissionsEgress")


def lets_ours(order: Order, row: dict[str, Any], side: str) -> bool:
    """Whether a group lets all traffic pass on that side between the machines, which are in all the groups."""
    return any(
        rule["IpProtocol"] == "-1"
        and any(pair.get("GroupId") in order.security_group_ids for pair in rule.get("UserIdGroupPairs", []))
        for rule in row.get(side, [])
    )


def key_request(order: Order, region: str) -> Request:
    """EC2 itself looks at a key only once the machine starts, and ends it then (Client.InternalError)."""
    return Request(
        service="kms", operation="DescribeKey", region=region, parameters={"KeyId": order.kms_key_id}
    )


def key_found(aws: Aws, order: Order, region: str) -> list[Finding]:
    """Whether the key is there, enabled, and one that EBS takes: symmetric, to encrypt with."""
    key = order.kms_key_id
    try:
        described = aws.ask(key_request(order, region))["KeyMetadata"]
    except Refused as refused:
        if refused.kind == "gone":
            return [
                failed(
                    "volume",
                    region,
                    f"{key} is no key there",
                    f"See yours: aws kms list-aliases --region {region}",
                )
            ]
        fix = "The launch will tell: EC2 ends a machine whose key it may not use (kms:CreateGrant, kms:Decrypt)."
        return [warning("volume", region, f"{key}: not shown ({refused.code})", fix)]
    state, spec, usage = described["KeyState"], described.get("KeySpec"), described.get("KeyUsage")
    if state != "Enabled":
        return [
            failed(
                "volume",
                region,
                f"{key} is {state}",
                f"Enable it: aws kms enable-key --region {region} --key-id {key}",
            )
        ]
    if (spec, usage) != ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT"):
        return [
            failed(
                "volume",
                region,
                f"{key} is {spec} for {usage}; EBS takes symmetric keys alone",
                "Name another.",
            )
        ]
    return [ok("volume", region, f"encrypted with {key}")]
