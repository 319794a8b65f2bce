"""An account in which a policy is in force: what IAM is asked for each call, and an AWS that denies what it denies.

The actions, resources and condition keys are those of AWS's service authorization reference (EC2, IAM, EventBridge
Scheduler, KMS), as far as corral's calls go: a launch is judged for every resource it makes or uses, for the tags, and
for the role it passes. EC2 uses a volume's key on behalf of the caller after it answered, and ends the machine when it
may not.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from fake_aws import ACCOUNT, FakeAws
from fake_iam import allows, normal

from infra.aws.failures import ApiFailure
from infra.aws.request import Request

USER_ID = "AIDAANN"


class Asked(NamedTuple):
    """One question to IAM."""

    action: str
    resource: str = "*"
    context: dict[str, Any] = {}
    after: bool = False
    """Whether it is asked only after the call has answered."""


class Policed:
    """The fake account, to a user with that policy."""

    def __init__(self, aws: FakeAws, policy: dict[str, Any]) -> None:
        self.aws = aws
        self.policy = policy
        self.denied: list[Asked] = []

    def send(self, request: Request) -> dict[str, Any]:
        for asked in questions(self.aws, request):
            if is_allowed(self.policy, asked):
                continue
            self.denied.append(asked)
            if asked.after:
                region = self.aws.regions[request.region]
                region.die_at_start.append("Client.InternalError: Client error on launch")
                continue
            words = f"not authorized to perform: {asked.action} on resource: {asked.resource}"
            code = "UnauthorizedOperation" if request.service == "ec2" else "AccessDenied"
            raise ApiFailure(code, words)
        return self.aws.send(request)


def is_allowed(policy: dict[str, Any], asked: Asked) -> bool:
    """Whether the policy allows what is asked."""
    context = {normal(key): value for key, value in asked.context.items()}
    return allows(policy, asked.action, asked.resource, aws_userid=USER_ID, **context)


def questions(aws: FakeAws, request: Request) -> Iterator[Asked]:
    """What IAM is asked for one call."""
    special = {
        "RunInstances": launch,
        "CreateSecurityGroup": creation,
        "CreatePlacementGroup": creation,
        "PurchaseCapacityBlock": creation,
        "CreateTags": retagging,
        "GetParameter": parameter,
        "DescribeKey": key,
        "GetBucketLocation": in_bucket,
    }
    if request.operation in special:
        yield from special[request.operation](aws, request)
    elif request.service == "iam":
        yield from of_iam(aws, request)
    elif request.service == "scheduler":
        yield from of_scheduler(aws, request)
    elif (
        request.operation.startswith(("Describe", "List", "Get")) and request.operation != "GetConsoleOutput"
    ):
        yield Asked(request.action)
    else:
        yield from on_existing(aws, request)


def in_bucket(aws: FakeAws, request: Request) -> Iterator[Asked]:
    """S3 knows buckets by their names alone."""
    yield Asked(request.action, f"arn:aws:s3:::{request.parameters['Bucket']}")


def requested(specification: dict[str, Any]) -> dict[str, Any]:
    """The condition keys of tags that are asked for."""
    tags = {f"aws:RequestTag/{tag['Key']}": tag["Value"] for tag in specification.get("Tags", [])}
    return tags | {"aws:TagKeys": [tag["Key"] for tag in specification.get("Tags", [])]}


def specifications(request: Request) -> dict[str, dict[str, Any]]:
    """The tags that are asked for, by type."""
    return {one["ResourceType"]: one for one in request.parameters.get("TagSpecifications", [])}


def tagging(request: Request, base: str) -> Iterator[Asked]:
    """Tags on what is made need the right to set them then."""
    for kind, specification in specifications(request).items():
        context = requested(specification) | {"ec2:CreateAction": request.operation}
        yield Asked("ec2:CreateTags", f"{base}:{kind}/*", context)


def launch(aws: FakeAws, request: Request) -> Iterator[Asked]:
    """What is made, what is used, the tags, the role, the key."""
    asked, base = request.parameters, f"arn:aws:ec2:{request.region}:{ACCOUNT}"
    there = {"aws:RequestedRegion": request.region}
    given = specifications(request)
    for kind in ("instance", "volume", "network-interface", *set(given) & {"spot-instances-request"}):
        typed = {"ec2:InstanceType": asked["InstanceType"]} if kind == "instance" else {}
        yield Asked(request.action, f"{base}:{kind}/*", there | typed | requested(given.get(kind, {})))
    used = [f"arn:aws:ec2:{request.region}::image/{asked['ImageId']}"]
    for interface in asked.get("NetworkInterfaces", []):
        used.append(f"{base}:subnet/{interface['SubnetId']}")
        used += [f"{base}:security-group/{group}" for group in interface.get("Groups", ["sg-default"])]
    reservation = asked.get("CapacityReservationSpecification", {}).get("CapacityReservationTarget", {})
    others = {
        "placement-group": asked.get("Placement", {}).get("GroupName"),
        "capacity-reservation": reservation.get("CapacityReservationId"),
        "key-pair": asked.get("KeyName"),
        "launch-template": asked.get("LaunchTemplate", {}).get("LaunchTemplateId"),
    }
    used += [f"{base}:{kind}/{name}" for kind, name in others.items() if name]
    volumes = [mapping["Ebs"] for mapping in asked.get("BlockDeviceMappings", [])]
    used += [
        f"arn:aws:ec2:{request.region}::snapshot/{one['SnapshotId']}"
        for one in volumes
        if "SnapshotId" in one
    ]
    for resource in used:
        yield Asked(request.action, resource, there)
    yield from tagging(request, base)
    if profile := asked.get("IamInstanceProfile"):
        name = next(iter(profile.values())).rpartition("/")[2]
        for role in aws.iam.profiles.get(name, {"held": []})["held"]:
            yield passing(role, "ec2.amazonaws.com")
    for volume in volumes:
        if "KmsKeyId" in volume and not asked.get("DryRun"):
            yield from of_volume(aws, request.region, volume["KmsKeyId"])


def of_volume(aws: FakeAws, region: str, name: str) -> Iterator[Asked]:
    """EBS user guide, Permissions to use KMS keys."""
    via = {"kms:ViaService": f"ec2.{region}.amazonaws.com"}
    for action in (
        "CreateGrant",
        "Decrypt",
        "GenerateDataKeyWithoutPlaintext",
        "ReEncryptFrom",
        "ReEncryptTo",
    ):
        granted = {"kms:GrantIsForAWSResource": "true"} if action == "CreateGrant" else {}
        yield Asked(f"kms:{action}", *key_of(aws, region, name, via | granted), after=True)


def key_of(aws: FakeAws, region: str, name: str, more: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """A key's ARN, and the condition keys it has."""
    keys = aws.regions[region].keys
    try:
        found = keys.describe_key(name)["KeyMetadata"]
    except ApiFailure:
        return f"{keys.base}:key/none", more
    aliases = [alias for alias, key in keys.aliases.items() if key == found["KeyId"]]
    return found["Arn"], more | {"kms:ResourceAliases": aliases}


def key(aws: FakeAws, request: Request) -> Iterator[Asked]:
    yield Asked(request.action, *key_of(aws, request.region, request.parameters["KeyId"], {}))


def creation(aws: FakeAws, request: Request) -> Iterator[Asked]:
    """What is made carries its tags from the first moment."""
    base, there = f"arn:aws:ec2:{request.region}:{ACCOUNT}", {"aws:RequestedRegion": request.region}
    for kind, specification in specifications(request).items():
        name = request.parameters["GroupName"] if kind == "placement-group" else "*"
        yield Asked(request.action, f"{base}:{kind}/{name}", there | requested(specification))
    if "VpcId" in request.parameters:
        yield Asked(request.action, f"{base}:vpc/{request.parameters['VpcId']}", there)
    yield from tagging(request, base)


def carried(aws: FakeAws, region: str, name: str) -> dict[str, Any]:
    """The tags something carries, as condition keys."""
    here = aws.regions[region]
    kinds = (
        here.instances,
        here.volumes,
        here.interfaces,
        here.groups,
        here.placement_groups,
        here.spot_requests,
    )
    tags: list[dict[str, str]] = next((kind[name]["Tags"] for kind in kinds if name in kind), [])
    return {f"aws:ResourceTag/{tag['Key']}": tag["Value"] for tag in tags}


def retagging(aws: FakeAws, request: Request) -> Iterator[Asked]:
    for name in request.parameters["Resources"]:
        resource = f"arn:aws:ec2:{request.region}:{ACCOUNT}:instance/{name}"
        yield Asked(
            request.action, resource, carried(aws, request.region, name) | requested(request.parameters)
        )


def on_existing(aws: FakeAws, request: Request) -> Iterator[Asked]:
    """A call on things that exist, by their ids or names."""
    values = [value for name, value in request.parameters.items() if name.endswith(("Id", "Ids", "Name"))]
    for name in [one for value in values for one in (value if isinstance(value, list) else [value])]:
        resource = f"arn:aws:ec2:{request.region}:{ACCOUNT}:thing/{name}"
        yield Asked(request.action, resource, carried(aws, request.region, name))


def parameter(aws: FakeAws, request: Request) -> Iterator[Asked]:
    yield Asked(request.action, f"arn:aws:ssm:{request.region}::parameter{request.parameters['Name']}")


def passing(role: str, service: str) -> Asked:
    return Asked("iam:PassRole", f"arn:aws:iam::{ACCOUNT}:role/{role}", {"iam:PassedToService": service})


def of_iam(aws: FakeAws, request: Request) -> Iterator[Asked]:
    """Roles are judged by the boundary that they have, or that they are made with."""
    given, base = request.parameters, f"arn:aws:iam::{ACCOUNT}"
    if "Simulate" in request.operation:
        yield Asked(request.action, given["PolicySourceArn"])
    elif "PolicyArn" in given:
        yield Asked(request.action, given["PolicyArn"])
    elif "InstanceProfileName" in given:
        yield Asked(request.action, f"{base}:instance-profile/{given['InstanceProfileName']}")
        if request.operation == "AddRoleToInstanceProfile":
            yield passing(given["RoleName"], "ec2.amazonaws.com")
        if "Tags" in given:
            yield Asked("iam:TagInstanceProfile", f"{base}:instance-profile/{given['InstanceProfileName']}")
    else:
        bound = given.get("PermissionsBoundary") or aws.iam.roles.get(given["RoleName"], {}).get("boundary")
        context = {"iam:PermissionsBoundary": bound} if bound else {}
        yield Asked(request.action, f"{base}:role/{given['RoleName']}", context)
        if "Tags" in given:
            yield Asked("iam:TagRole", f"{base}:role/{given['RoleName']}")


def of_scheduler(aws: FakeAws, request: Request) -> Iterator[Asked]:
    given, base = request.parameters, f"arn:aws:scheduler:{request.region}:{ACCOUNT}"
    if request.operation == "ListScheduleGroups":
        yield Asked(request.action)
    elif "ResourceArn" in given:
        yield Asked(request.action, given["ResourceArn"])
    elif "GroupName" in given:
        yield Asked(request.action, f"{base}:schedule/{given['GroupName']}/{given['Name']}")
        yield passing(given["Target"]["RoleArn"].rpartition("/")[2], "scheduler.amazonaws.com")
    else:
        yield Asked(request.action, f"{base}:schedule-group/{given['Name']}")
        if "Tags" in given:
            yield Asked("scheduler:TagResource", f"{base}:schedule-group/{given['Name']}")
