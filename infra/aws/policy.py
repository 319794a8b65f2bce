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


def ec2_principal(partition: str) -> str:
    """Who takes on the role of a machine; China's EC2 has a name of its own (AWS: Service principals in China)."""
    return "ec2.amazonaws.com.cn" if partition == "aws-cn" else "ec2.amazonaws.com"


def box(order: Order, account: str) -> PolicyDocument:
    """What the instance may do."""
    partition = partition_of(order.regions[0])
    return document(*box_statements(partition, account, order.read_parameters, order.read_s3))


def box_statements(
    partition: str, account: str, parameters: tuple[str, ...], places: tuple[str, ...]
) -> list[dict[str, Any]]:
    """Session Manager, the secrets and places that are named, and the keys these are encrypted with.

    AmazonSSMManagedInstanceCore would let it read every parameter of the account.
    """
    return [
        allow(SESSION_MANAGER, "*"),
        *read_secrets(parameters, partition, account),
        *read_stored(places, partition),
        *decrypt(partition, account, parameters, places),
    ]


def end(order: Order, account: str) -> PolicyDocument:
    """What the scheduler may do: terminate what carries this deployment's tag."""
    ours = ("StringEquals", f"aws:ResourceTag/{TAG}", order.name)
    return document(terminate(partition_of(order.regions[0]), account) | when(ours))


def terminate(partition: str, account: str) -> dict[str, Any]:
    """Terminate machines."""
    return allow(["ec2:TerminateInstances"], f"arn:{partition}:ec2:*:{account}:instance/*")


def decrypt(
    partition: str, account: str, parameters: tuple[str, ...], places: tuple[str, ...]
) -> list[dict[str, Any]]:
    """Use a customer key of this account for what is named and nothing else: each service says of what it decrypts
    (the encryption context). Parameters and secrets name themselves; S3 names the object, or its bucket (bucket keys).
    """
    secrets, named = secrets_in(parameters, partition, account), sorted(places)
    contexts = {
        "PARAMETER_ARN": secrets["ssm:GetParameter"],
        "SecretARN": secrets["secretsmanager:GetSecretValue"],
        "aws:s3:arn": sorted(
            {arn for place in named for arn in (stored_arn(place, partition), bucket_arn(place, partition))}
        ),
    }
    return [
        allow(["kms:Decrypt"], f"arn:{partition}:kms:*:{account}:key/*")
        | {"Condition": {"StringLike": {f"kms:EncryptionContext:{key}": arns}}}
        for key, arns in contexts.items()
        if arns
    ]


def read_secrets(names: tuple[str, ...], partition: str, account: str) -> list[dict[str, Any]]:
    """One statement for the parameters, one for the secrets."""
    return [allow([action], arns) for action, arns in secrets_in(names, partition, account).items() if arns]


def secrets_in(names: tuple[str, ...], partition: str, account: str) -> dict[str, list[str]]:
    """The ARNs of the parameters and of the secrets, by the action that reads them."""
    secrets = [name for name in names if name.startswith("arn:")]
    parameters = [
        f"arn:{partition}:ssm:*:{account}:parameter/{name.lstrip('/')}"
        for name in names
        if name not in secrets
    ]
    return {"ssm:GetParameter": parameters, "secretsmanager:GetSecretValue": secrets}


def read_stored(places: tuple[str, ...], partition: str) -> list[dict[str, Any]]:
    """An object by its own key; what ends in / by what lies below it, and nothing that only begins alike."""
    named = sorted(set(places))
    if not named:
        return []
    return [
        allow(["s3:GetObject"], [stored_arn(place, partition) for place in named]),
        *(list_below(place, partition) for place in named if place.endswith("/")),
    ]


def stored_arn(place: str, partition: str) -> str:
    """The object, or all below what ends in /."""
    return f"arn:{partition}:s3:::{place.removeprefix('s3://')}{'*' if place.endswith('/') else ''}"


def bucket_arn(place: str, partition: str) -> str:
    """The bucket it lies in."""
    return f"arn:{partition}:s3:::{place.removeprefix('s3://').partition('/')[0]}"


def list_below(place: str, partition: str) -> dict[str, Any]:
    """Leave to list s3://BUCKET/PREFIX/, and nothing else of the bucket."""
    prefix = place.removeprefix("s3://").partition("/")[2]
    listing = allow(["s3:ListBucket"], bucket_arn(place, partition))
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


def when(*conditions: tuple[str, str, str | list[str]]) -> dict[str, Any]:
    """The condition of a statement: operator, key and values, each; those without a value are left out."""
    asked: dict[str, dict[str, str | list[str]]] = {}
    for operator, key, values in conditions:
        if values:
            asked.setdefault(operator, {})[key] = values
    return {"Condition": asked} if asked else {}


def document(*statements: dict[str, Any]) -> PolicyDocument:
    """A policy document."""
    return {"Version": "2012-10-17", "Statement": list(statements)}
