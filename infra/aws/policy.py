"""PURE: the IAM policies, each as small as it can be: the box's, the scheduler's."""

from typing import Any

from infra.aws.order import TAG, Order
from infra.aws.partitions import partition_of

PolicyDocument = dict[str, Any]


def trust(service: str, account: str | None = None) -> PolicyDocument:
    """Who may take on a role; with an account, only on behalf of that one (no confused deputy)."""
    statement: dict[str, Any] = {
        "Effect": "Allow",
        "Principal": {"Service": service},
        "Action": "sts:AssumeRole",
    }
    if account:
        statement["Condition"] = {"StringEquals": {"aws:SourceAccount": account}}
    return document(statement)


def box(order: Order, account: str) -> PolicyDocument:
    """What the instance may do. AmazonSSMManagedInstanceCore would let it read every parameter of the account."""
    statements, partition = [allow(SESSION_MANAGER, "*")], partition_of(order.regions[0])
    if order.read_parameters:
        statements += read_secrets(order.read_parameters, partition, account)
    return document(*statements, *read_stored(order.read_s3, partition))


def end(order: Order, account: str) -> PolicyDocument:
    """What the scheduler may do: terminate what carries this deployment's tag."""
    only_ours = {"StringEquals": {f"aws:ResourceTag/{TAG}": order.name}}
    resource = f"arn:{partition_of(order.regions[0])}:ec2:*:{account}:instance/*"
    return document(allow(["ec2:TerminateInstances"], resource) | {"Condition": only_ours})


def read_secrets(names: tuple[str, ...], partition: str, account: str) -> list[dict[str, Any]]:
    """One statement for the parameters, one for the secrets."""
    secrets = [name for name in names if name.startswith("arn:")]
    parameters = [
        f"arn:{partition}:ssm:*:{account}:parameter/{name.lstrip('/')}"
        for name in names
        if name not in secrets
    ]
    statements = []
    if parameters:
        statements.append(allow(["ssm:GetParameter"], parameters))
    if secrets:
        statements.append(allow(["secretsmanager:GetSecretValue"], secrets))
    return statements


def read_stored(places: tuple[str, ...], partition: str) -> list[dict[str, Any]]:
    """An object by its own key; what ends in / by what lies below it, and nothing that only begins alike."""
    paths = sorted({place.removeprefix("s3://") for place in places})
    if not paths:
        return []
    objects = [f"arn:{partition}:s3:::{path}{'*' if path.endswith('/') else ''}" for path in paths]
    return [
        allow(["s3:GetObject"], objects),
        *(list_below(path, partition) for path in paths if path.endswith("/")),
    ]


def list_below(path: str, partition: str) -> dict[str, Any]:
    """Leave to list BUCKET/PREFIX/, and nothing else of the bucket."""
    bucket, _, prefix = path.partition("/")
    listing = allow(["s3:ListBucket"], f"arn:{partition}:s3:::{bucket}")
    return listing | {"Condition": {"StringLike": {"s3:prefix": f"{prefix}*"}}} if prefix else listing


# What the SSM agent calls to be reachable by Session Manager, and nothing more.
SESSION_MANAGER = [
    "ssm:UpdateInstanceInformation",
    "ssmmessages:CreateControlChannel",
    "ssmmessages:CreateDataChannel",
    "ssmmessages:OpenControlChannel",
    "ssmmessages:OpenDataChannel",
]


def allow(actions: list[str], resource: str | list[str]) -> dict[str, Any]:
    """One statement."""
    return {"Effect": "Allow", "Action": actions, "Resource": resource}


def document(*statements: dict[str, Any]) -> PolicyDocument:
    """A policy document."""
    return {"Version": "2012-10-17", "Statement": list(statements)}
