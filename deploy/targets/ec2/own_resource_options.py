"""What the user has of his own for a rented machine: roles, boundary, security groups, key. Checked before AWS is."""

import re
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, field_validator, model_validator

from infra.asked import Asked, Flag, flag_names
from infra.aws.partitions import partition_of
from infra.errors import UsageError

NAME = r"[A-Za-z0-9_+=,.@-]{1,128}"
PATH = r"[A-Za-z0-9_+=,.@/-]{1,600}"
IAM = r"arn:aws[a-z-]*:iam::\d{12}"
ROLE = rf"^{IAM}:role/{PATH}$"
KEY = r"(mrk-[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})"
ALIAS = r"alias/[A-Za-z0-9/_-]{1,250}"
KEY_ARN = rf"arn:aws[a-z-]*:kms:[a-z0-9-]+:\d{{12}}:(key/{KEY}|{ALIAS})"
BOUNDARY = rf"^arn:aws[a-z-]*:iam::(\d{{12}}|aws):policy/{PATH}$"
GROUP = r"^sg-([0-9a-f]{8}|[0-9a-f]{17})$"
A_ROLE = "arn:aws:iam::123456789012:role/llm-end"
A_KEY = "alias/llm or 1234abcd-12ab-34cd-56ef-1234567890ab"


class Own(Asked):
    """What is used in place of something of corral's; never changed, never taken away."""

    heading: ClassVar[str] = "What is your own on EC2"

    permissions_boundary: Annotated[
        str | None,
        Flag(metavar="ARN"),
        Field(pattern=BOUNDARY, examples=["arn:aws:iam::123456789012:policy/corral-boundary"]),
    ] = None
    """ec2: the policy that bounds the roles corral makes."""
    instance_profile: Annotated[
        str | None,
        Flag(metavar="NAME|ARN"),
        Field(pattern=rf"^({NAME}|{IAM}:instance-profile/{PATH})$", examples=["llm-box"]),
    ] = None
    """ec2: your own for the machines. [one is made]"""
    scheduler_role: Annotated[str | None, Flag(metavar="ARN"), Field(pattern=ROLE, examples=[A_ROLE])] = None
    """ec2: your own role with which the schedule ends them. [one is made]"""
    security_group_ids: Annotated[
        tuple[Annotated[str, Field(pattern=GROUP)], ...],
        Flag("--security-group-id"),
        Field(examples=["sg-0123456789abcdef0"]),
    ] = ()
    """ec2: your own groups, left as they are; repeatable. [one is made]"""
    kms_key_id: Annotated[str | None, Field(pattern=rf"^({KEY}|{ALIAS}|{KEY_ARN})$", examples=[A_KEY])] = None
    """ec2: your own key for the volume: id, alias or ARN. [the account's]"""

    @field_validator("*", mode="before")
    @classmethod
    def each_once(cls, value: Any) -> Any:
        """What is repeated, without what was said before."""
        return tuple(dict.fromkeys(value)) if isinstance(value, list | tuple) else value

    @model_validator(mode="after")
    def bounding_something(self) -> Self:
        """A boundary needs a role to bound. Raises UsageError."""
        if self.permissions_boundary and self.instance_profile and self.scheduler_role:
            raise UsageError(
                "A permissions boundary is for roles that corral makes; with both of your own it makes none.",
                "Leave out --permissions-boundary.",
            )
        return self


def check_own_place(options: Own, regions: tuple[str, ...], cidr: str | None) -> None:
    """Raise UsageError for what is of one region or partition and is to be used in another."""
    if options.security_group_ids and cidr:
        raise UsageError(
            "--cidr opens the port in a security group of corral's; your own stays as it is.",
            "Leave out --cidr: the server is reached through Session Manager. Or leave out --security-group-id.",
        )
    if len(regions) > 1 and (options.security_group_ids or is_of_one_region(options.kms_key_id or "")):
        which = "--security-group-id" if options.security_group_ids else "--kms-key-id"
        raise UsageError(
            f"{which} is of one region, and {len(regions)} are to be tried: {', '.join(regions)}.",
            "Name one --region, or an alias that each region has (--kms-key-id alias/llm).",
        )
    check_partition(options, partition_of(regions[0]))
    key = re.fullmatch(r"arn:[^:]*:kms:([^:]*):.*", options.kms_key_id or "")
    if key and key[1] not in regions:
        raise UsageError(
            f"The key of --kms-key-id is of {key[1]}, and what is rented is in {regions[0]}.",
            f"Name one of there: aws kms list-aliases --region {regions[0]}",
        )


def check_partition(options: Own, partition: str) -> None:
    """Raise UsageError for an ARN of another partition."""
    for field in Own.model_fields:
        arn = str(getattr(options, field))
        if arn.startswith("arn:") and arn.split(":")[1] != partition:
            raise UsageError(
                f"{flag_names(Own, field)[0]} {arn} is not of the partition {partition}.",
                "Name one of there, or other regions.",
            )


def is_of_one_region(key: str) -> bool:
    """Whether a key is one region's alone: not an alias, and no multi-Region key's id."""
    return bool(key) and (key.startswith("arn:") or not key.startswith(("alias/", "mrk-")))
