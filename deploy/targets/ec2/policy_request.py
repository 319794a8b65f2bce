"""PURE: from the flags of `corral iam-policy` to what a policy is narrowed to."""

from typing import Any

from deploy.targets.ec2.options import PARAMETER, STORED, given, matching
from deploy.targets.ec2.own import ROLE, check_own, check_partition
from infra.aws import user_policy
from infra.aws.ec2 import checked_regions
from infra.aws.partitions import partition_of
from infra.aws.policy import PolicyDocument
from infra.aws.user_policy import Scope
from infra.errors import UsageError

PARTITIONS = ("aws", "aws-cn", "aws-us-gov")
FORMS = {
    "user": user_policy.policy,
    "boundary": user_policy.boundary,
    "box": user_policy.box,
    "scheduler": user_policy.scheduler,
}


def policy_for(form: str, partition: str | None, **narrowed: Any) -> PolicyDocument:
    """The policy of that form. Raises UsageError for what cannot be meant together."""
    if form not in FORMS:
        raise UsageError(f"--for {form} is no policy.", f"It is one of: {', '.join(FORMS)}.")
    checked_regions(narrowed["regions"])
    scope = Scope(partition=partition_in(partition, narrowed["regions"]), **narrowed)
    return FORMS[form](checked(scope))


def partition_in(named: str | None, regions: tuple[str, ...]) -> str:
    """The partition that is named, else that of the regions. Raises UsageError where they disagree."""
    found = {partition_of(region) for region in regions} | ({named} if named else set())
    if len(found) > 1:
        raise UsageError(
            f"One policy is for one partition, and these are {', '.join(sorted(found))}.", "Name one of them."
        )
    partition = found.pop() if found else "aws"
    if partition not in PARTITIONS:
        raise UsageError(
            f"The partition {partition} is not known well enough for a policy.",
            f"Known: {', '.join(PARTITIONS)}.",
        )
    return partition


def checked(scope: Scope) -> Scope:
    """Return it, or raise UsageError for a value that AWS could not know."""
    check_own(scope)
    check_partition(scope, scope.partition)
    matching(scope.read_parameters, PARAMETER, "--hf-token-parameter", "/hf/token")
    matching(scope.instance_types, r"[a-z0-9*?.-]{1,40}", "--instance-type", "g5.12xlarge or g5.*")
    example = "arn:aws:iam::123456789012:role/llm"
    matching(given(scope.instance_role), ROLE, "--instance-role", example)
    return scope


def stored(weights: tuple[str, ...], engines: tuple[str, ...]) -> tuple[str, ...]:
    """What of S3 that is: folders of weights, and engines, each an object."""
    matching(weights, STORED, "--weights", "s3://bucket/scout/")
    matching(engines, STORED, "--engine", "s3://bucket/engine.tar")
    places = (*(f"{folder.rstrip('/')}/" for folder in weights), *engines)
    return tuple(place for place in places if place.startswith("s3://"))
