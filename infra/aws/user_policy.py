"""PURE: the IAM policies an administrator attaches: to who rents with corral, and to roles of the company's own.

Each is the least that the calls need, and no way to more: who holds the person's can make no role without the
permissions boundary, pass no role but those, and start no machine that corral would not find and end. Resource types
and condition keys are those of AWS's service authorization reference.
"""

from typing import Any

from infra.aws.failures import BOUNDED
from infra.aws.order import TAG
from infra.aws.policy import (
    PolicyDocument,
    allow,
    box_statements,
    bucket_arn,
    document,
    ec2_principal,
    list_below,
    stored_arn,
    terminate,
    when,
)
from infra.aws.push_grant import WRITES
from infra.record import Record

# What a managed policy may have in characters, white space not counted (IAM quotas).
LIMIT_CHARACTERS = 6144
# The name of the boundary in an account that has no other: made once, of what `--for boundary` prints.
BOUNDARY = "corral-boundary"

# None of these can be narrowed to a resource; all only read.
READS = [
    "ec2:DescribeAddresses",
    "ec2:DescribeCapacityBlockOfferings",
    "ec2:DescribeCapacityReservations",
    "ec2:DescribeImages",
    "ec2:DescribeInstanceStatus",
    "ec2:DescribeInstanceTypeOfferings",
    "ec2:DescribeInstances",
    "ec2:DescribeKeyPairs",
    "ec2:DescribeLaunchTemplates",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribePlacementGroups",
    "ec2:DescribeRegions",
    "ec2:DescribeSecurityGroups",
    "ec2:DescribeSpotInstanceRequests",
    "ec2:DescribeSpotPriceHistory",
    "ec2:DescribeSubnets",
    "ec2:DescribeTags",
    "ec2:DescribeVolumes",
    "iam:SimulatePrincipalPolicy",
    "pricing:GetProducts",
    "scheduler:ListScheduleGroups",
    "servicequotas:GetServiceQuota",
    "servicequotas:ListServiceQuotas",
    "sts:GetCallerIdentity",
]
# What tags what it makes, in the same call.
CREATES = [
    "ec2:CreatePlacementGroup",
    "ec2:CreateSecurityGroup",
    "ec2:PurchaseCapacityBlock",
    "ec2:RunInstances",
]
CREATING_CALLS = [action.removeprefix("ec2:") for action in CREATES]
# Only on what carries corral's tag.
ON_OURS = [
    "ec2:AuthorizeSecurityGroupEgress",
    "ec2:AuthorizeSecurityGroupIngress",
    "ec2:CancelCapacityReservation",
    "ec2:CancelSpotInstanceRequests",
    "ec2:DeleteKeyPair",
    "ec2:DeleteLaunchTemplate",
    "ec2:DeleteNetworkInterface",
    "ec2:DeletePlacementGroup",
    "ec2:DeleteSecurityGroup",
    "ec2:DeleteVolume",
    "ec2:GetConsoleOutput",
    "ec2:ReleaseAddress",
    "ec2:StartInstances",
    "ec2:StopInstances",
    "ec2:TerminateInstances",
    "ssm:StartSession",
]
# The tags that corral moves after a launch.
MOVED_TAGS = ["corral:billed", "corral:expires-at"]
# With a shell's own document `corral ssh` is asked for; the other two are the tunnel and one command.
SESSION_DOCUMENTS = ["AWS-StartNonInteractiveCommand", "AWS-StartPortForwardingSession"]
LOOK_AT_ROLES = ["iam:GetInstanceProfile", "iam:GetRole"]
ROLES = [
    "iam:AddRoleToInstanceProfile",
    "iam:CreateInstanceProfile",
    "iam:DeleteInstanceProfile",
    "iam:DeleteRole",
    "iam:DeleteRolePolicy",
    "iam:RemoveRoleFromInstanceProfile",
    "iam:TagInstanceProfile",
    "iam:TagRole",
]
SCHEDULES = [
    "scheduler:CreateSchedule",
    "scheduler:CreateScheduleGroup",
    "scheduler:DeleteSchedule",
    "scheduler:DeleteScheduleGroup",
    "scheduler:ListTagsForResource",
    "scheduler:TagResource",
    "scheduler:UpdateSchedule",
]
# What EC2 does with a volume's key for who launches (EBS user guide, Permissions to use KMS keys).
WITH_A_KEY = [
    "kms:CreateGrant",
    "kms:Decrypt",
    "kms:GenerateDataKeyWithoutPlaintext",
    "kms:ReEncryptFrom",
    "kms:ReEncryptTo",
]


class Scope(Record):
    """What a policy is narrowed to, and what of the company's own it is about; None for corral's."""

    partition: str = "aws"
    regions: tuple[str, ...] = ()
    instance_types: tuple[str, ...] = ()
    """Types or patterns: g5.*"""
    permissions_boundary: str | None = None
    instance_profile: str | None = None
    """Name or ARN."""
    instance_role: str | None = None
    """The role in that profile; of the profile's own name where it is not said."""
    scheduler_role: str | None = None
    security_group_ids: tuple[str, ...] = ()
    kms_key_id: str | None = None
    read_parameters: tuple[str, ...] = ()
    read_s3: tuple[str, ...] = ()


CORRALS = Scope()


def policy(scope: Scope = CORRALS) -> PolicyDocument:
    """The policy of a person; `corral iam-policy` prints it. A test holds it against the calls that are made."""
    return document(
        allow(READS, "*"),
        allow(["ssm:GetParameter"], f"{arn(scope, 'ssm', account='')}:parameter/aws/service/deeplearning/*"),
        *launching(scope),
        *on_ours(),
        *sessions(scope),
        *roles(scope),
        allow(
            SCHEDULES,
            [f"{arn(scope, 'scheduler')}:schedule{kind}" for kind in ("-group/corral-*", "/corral-*/*")],
        ),
        *volume_key(scope),
        *looked_into(scope),
    )


def box(scope: Scope) -> PolicyDocument:
    """What a role of the company's own must allow the machines."""
    return document(*box_statements(scope.partition, "*", scope.read_parameters, scope.read_s3))


def scheduler(scope: Scope) -> PolicyDocument:
    """What a role of the company's own must allow EventBridge Scheduler."""
    ours = ("StringLike", f"aws:ResourceTag/{TAG}", "*")
    return document(terminate(scope.partition, "*") | when(ours))


def boundary(scope: Scope) -> PolicyDocument:
    """The permissions boundary: the most that any role corral makes may do, whatever is written into it.

    Of the folders of weights that is also to write, which `corral weights push` lets a machine do while it lasts.
    """
    pushed = [allow(WRITES, stored_arn(place, scope.partition)) for place in folders(scope)]
    return document(*box(scope)["Statement"], *scheduler(scope)["Statement"], *pushed)


def looked_into(scope: Scope) -> list[dict[str, Any]]:
    """Look where a bucket is and count what lies in its folder: `corral weights push`."""
    buckets = sorted({bucket_arn(place, scope.partition) for place in folders(scope)})
    listed = [list_below(place, scope.partition) for place in folders(scope)]
    return [*([allow(["s3:GetBucketLocation"], buckets)] if buckets else []), *listed]


def folders(scope: Scope) -> list[str]:
    """The folders of S3 that are named."""
    return sorted({place for place in scope.read_s3 if place.endswith("/")})


def arn(scope: Scope, service: str, region: str = "*", account: str = "*") -> str:
    """The beginning of an ARN."""
    return f"arn:{scope.partition}:{service}:{region}:{account}"


def launching(scope: Scope) -> list[dict[str, Any]]:
    """Make what carries corral's tag from the first moment, in these regions and of these types alone."""
    ec2, there = arn(scope, "ec2"), ("StringEquals", "aws:RequestedRegion", list(scope.regions))
    ours = ("StringLike", f"aws:RequestTag/{TAG}", "?*")
    # Only the machine itself has a type.
    types = ("StringLikeIfExists", "ec2:InstanceType", list(scope.instance_types))
    made = [
        f"{ec2}:{kind}/*" for kind in ("instance", "network-interface", "spot-instances-request", "volume")
    ]
    groups = scope.security_group_ids or ("*",)
    used = [f"{ec2}:{kind}/*" for kind in ("capacity-reservation", "subnet")]
    used += [f"{arn(scope, 'ec2', account='')}:image/*", f"{ec2}:placement-group/corral-*"]
    used += [f"{ec2}:security-group/{group}" for group in groups]
    block = ("StringLike", "aws:RequestTag/corral:capacity-block", "?*")
    return [
        allow(["ec2:RunInstances"], made) | when(ours, types, there),
        # A key pair, a launch template or a snapshot is nothing a launch needs.
        allow(["ec2:RunInstances"], used) | when(there),
        allow(
            ["ec2:CreatePlacementGroup", "ec2:CreateSecurityGroup"],
            [f"{ec2}:placement-group/corral-*", f"{ec2}:security-group/*"],
        )
        | when(ours, there),
        allow(["ec2:CreateSecurityGroup"], f"{ec2}:vpc/*") | when(there),
        allow(["ec2:PurchaseCapacityBlock"], "*") | when(block, there),
        allow(["ec2:CreateTags"], "*") | when(("StringEquals", "ec2:CreateAction", CREATING_CALLS)),
    ]


def on_ours() -> list[dict[str, Any]]:
    """Change and end what carries corral's tag; of its tags move the end alone."""
    ours = ("StringLike", f"aws:ResourceTag/{TAG}", "*")
    return [
        allow(ON_OURS, "*") | when(ours),
        allow(["ec2:CreateTags"], "*") | when(ours, ("ForAllValues:StringEquals", "aws:TagKeys", MOVED_TAGS)),
    ]


def sessions(scope: Scope) -> list[dict[str, Any]]:
    """Session Manager's two documents and its shell; of sessions the person's own alone."""
    documents = [f"{arn(scope, 'ssm', account='')}:document/{name}" for name in SESSION_DOCUMENTS]
    own = ["ssm:ResumeSession", "ssm:TerminateSession", "ssmmessages:OpenDataChannel"]
    session = f"{arn(scope, 'ssm')}:session"
    return [
        allow(["ssm:StartSession"], [*documents, f"{arn(scope, 'ssm')}:document/SSM-SessionManagerRunShell"]),
        # As AWS's quickstart has it; and by the tag each session has, as its name begins with the user's or the role's.
        allow(own, f"{session}/${{aws:userid}}-*"),
        allow(own, f"{session}/*")
        | when(("StringEquals", "ssm:resourceTag/aws:ssmmessages:session-id", "${aws:userid}")),
    ]


def roles(scope: Scope) -> list[dict[str, Any]]:
    """Make the roles that the company does not have, inside the boundary; pass them to who takes them on."""
    iam = arn(scope, "iam", region="")
    made = [f"{iam}:role/corral-*-box"] * (not scope.instance_profile)
    made += [f"{iam}:role/corral-*-end"] * (not scope.scheduler_role)
    profiles = [f"{iam}:instance-profile/corral-*-box"] * (not scope.instance_profile)
    within = ("ArnLike", "iam:PermissionsBoundary", scope.permissions_boundary or f"{iam}:policy/{BOUNDARY}")
    spot = ("StringEquals", "iam:AWSServiceName", "spot.amazonaws.com")
    making = [
        allow(list(BOUNDED), made) | when(within),
        allow(ROLES, [*made, *profiles]),
        allow(["iam:GetPolicy"], scope.permissions_boundary or f"{iam}:policy/{BOUNDARY}"),
        allow(["iam:CreateServiceLinkedRole"], f"{iam}:role/aws-service-role/spot.amazonaws.com/*")
        | when(spot),
    ]
    looked_at = [f"{iam}:instance-profile/corral-*-box", f"{iam}:role/corral-*"]
    looked_at += [own for own in (profile_arn(scope), scope.scheduler_role) if own]
    services = {
        instance_role(scope): sorted({"ec2.amazonaws.com", ec2_principal(scope.partition)}),
        scope.scheduler_role or f"{iam}:role/corral-*-end": ["scheduler.amazonaws.com"],
    }
    passing = [
        allow(["iam:PassRole"], role) | when(("StringEquals", "iam:PassedToService", names))
        for role, names in services.items()
    ]
    return [*(making if made else []), allow(LOOK_AT_ROLES, looked_at), *passing]


def profile_arn(scope: Scope) -> str:
    """The company's own instance profile, if there is one."""
    name = scope.instance_profile or ""
    return (
        name
        if name.startswith("arn:") or not name
        else f"{arn(scope, 'iam', region='')}:instance-profile/{name}"
    )


def instance_role(scope: Scope) -> str:
    """The role of the machines."""
    name = profile_arn(scope).rpartition("/")[2] or "corral-*-box"
    return scope.instance_role or f"{arn(scope, 'iam', region='')}:role/{name}"


def volume_key(scope: Scope) -> list[dict[str, Any]]:
    """Let EC2 use the company's own key for the volumes, and nobody else."""
    if not scope.kms_key_id:
        return []
    key, _, alias = scope.kms_key_id.partition("alias/")
    resource = f"{arn(scope, 'kms')}:key/{'*' if alias else key.rpartition('/')[2]}"
    aliased = ("ForAnyValue:StringEquals", "kms:ResourceAliases", f"alias/{alias}" if alias else "")
    return [
        allow(["kms:DescribeKey"], resource) | when(aliased),
        allow(WITH_A_KEY, resource)
        | when(
            aliased,
            ("StringLike", "kms:ViaService", "ec2.*.amazonaws.com*"),
            ("BoolIfExists", "kms:GrantIsForAWSResource", "true"),
        ),
    ]
