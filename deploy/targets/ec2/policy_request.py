"""PURE: from what is asked of `corral iam-policy` to the policy."""

from fnmatch import fnmatchcase
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from deploy.targets.ec2.options import PARAMETER, STORED
from deploy.targets.ec2.own_resource_options import ROLE, Own, check_partition
from infra import catalog
from infra.asked import Flag
from infra.aws import user_policy
from infra.aws.partitions import partition_of
from infra.aws.policy import PolicyDocument
from infra.aws.region import Region
from infra.aws.user_policy import Scope
from infra.errors import UsageError

PARTITIONS = ("aws", "aws-cn", "aws-us-gov")
POLICIES = {
    "user": user_policy.policy,
    "boundary": user_policy.boundary,
    "box": user_policy.box,
    "scheduler": user_policy.scheduler,
}


def rented(text: str) -> str:
    """A type of EC2's, or a pattern of IAM's, that corral rents a machine by. Raises UsageError for any other."""
    if not any(fnmatchcase(name, text) for name in catalog.ec2_types()):
        raise UsageError(
            f"--instance-type {text}: corral rents no machine of that name.{catalog.did_you_mean(text)}",
            "For example: --instance-type g5.12xlarge, or --instance-type 'g5.*'",
        )
    return text


class PolicyOptions(Own):
    """Whom a policy is for, and what it is narrowed to."""

    heading: ClassVar[str] = "The policy"

    whom: Annotated[Literal["user", "boundary", "box", "scheduler"], Flag("--for", metavar="WHOM")] = "user"
    """user: who runs corral; boundary: the most its roles may do; box, scheduler: roles of your own."""
    partition: Literal["aws", "aws-us-gov", "aws-cn"] | None = None
    """aws, aws-us-gov or aws-cn. [that of the regions, else aws]"""
    regions: Annotated[tuple[Region, ...], Flag("--region")] = ()
    """Rent in these regions alone; repeatable. [all]"""
    instance_types: Annotated[
        tuple[Annotated[str, Field(pattern=r"^[a-z0-9*?.-]{1,40}$"), AfterValidator(rented)], ...],
        Flag("--instance-type"),
        Field(examples=["g5.12xlarge or g5.*"]),
    ] = ()
    """Rent these alone, as g5.12xlarge or g5.*; repeatable. [all]"""
    instance_role: Annotated[
        str | None,
        Flag(metavar="ARN"),
        Field(pattern=ROLE, examples=["arn:aws:iam::123456789012:role/llm"]),
    ] = None
    """The role in that profile. [the one of the profile's name]"""
    weights: Annotated[
        tuple[Annotated[str, Field(pattern=STORED)], ...], Field(examples=["s3://bucket/scout/"])
    ] = ()
    """What of S3 the machines may read, s3://BUCKET/PREFIX/, and `weights push` fill; repeatable."""
    engines: Annotated[
        tuple[Annotated[str, Field(pattern=STORED)], ...],
        Flag("--engine"),
        Field(examples=["s3://bucket/engine.tar"]),
    ] = ()
    """boundary, box: a packed engine they may read, s3://BUCKET/FILE; repeatable."""
    read_parameters: Annotated[
        tuple[Annotated[str, Field(pattern=PARAMETER)], ...],
        Flag("--hf-token-parameter"),
        Field(examples=["/hf/token"]),
    ] = ()
    """boundary, box: the parameter or secret they may read; repeatable."""


def policy_for(asked: PolicyOptions) -> PolicyDocument:
    """The policy that is asked for. Raises UsageError for what cannot be meant together."""
    partition = partition_in(asked.partition, asked.regions)
    check_partition(asked, partition)
    scope = Scope(
        partition=partition,
        regions=asked.regions,
        instance_types=asked.instance_types,
        permissions_boundary=asked.permissions_boundary,
        instance_profile=asked.instance_profile,
        instance_role=asked.instance_role,
        scheduler_role=asked.scheduler_role,
        security_group_ids=asked.security_group_ids,
        kms_key_id=asked.kms_key_id,
        read_parameters=asked.read_parameters,
        read_s3=stored(asked.weights, asked.engines),
    )
    return POLICIES[asked.whom](scope)


def partition_in(named: str | None, regions: tuple[str, ...]) -> str:
    """The partition that is named, else that of the regions. Raises UsageError where they disagree."""
    partitions = {partition_of(region) for region in regions} | ({named} if named else set())
    if len(partitions) > 1:
        raise UsageError(
            f"One policy is for one partition, and these are {', '.join(sorted(partitions))}.",
            "Name one of them.",
        )
    partition = partitions.pop() if partitions else "aws"
    if partition not in PARTITIONS:
        raise UsageError(
            f"The partition {partition} is not known well enough for a policy.",
            f"Known: {', '.join(PARTITIONS)}.",
        )
    return partition


def stored(weights: tuple[str, ...], engines: tuple[str, ...]) -> tuple[str, ...]:
    """What of S3 that is: folders of weights, and engines, each an object."""
    places = (*(f"{folder.rstrip('/')}/" for folder in weights), *engines)
    return tuple(place for place in places if place.startswith("s3://"))
