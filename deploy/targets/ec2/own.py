"""The options that name what is the user's own: roles, boundary, security groups, key. Checked before AWS is asked."""

import re
from typing import Protocol

from infra.aws.partitions import partition_of
from infra.errors import UsageError

NAME = r"[A-Za-z0-9_+=,.@-]{1,128}"
PATH = r"[A-Za-z0-9_+=,.@/-]{1,600}"
IAM = r"arn:aws[a-z-]*:iam::\d{12}"
ROLE = rf"{IAM}:role/{PATH}"
KEY = r"(mrk-[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})"
ALIAS = r"alias/[A-Za-z0-9/_-]{1,250}"
UUID = "1234abcd-12ab-34cd-56ef-1234567890ab"

# Field -> what it looks like, and an example.
PATTERNS = {
    "permissions_boundary": (
        rf"arn:aws[a-z-]*:iam::(\d{{12}}|aws):policy/{PATH}",
        "arn:aws:iam::123456789012:policy/corral-boundary",
    ),
    "instance_profile": (rf"{NAME}|{IAM}:instance-profile/{PATH}", "llm-box"),
    "scheduler_role": (ROLE, "arn:aws:iam::123456789012:role/llm-end"),
    "security_group_ids": (r"sg-([0-9a-f]{8}|[0-9a-f]{17})", "sg-0123456789abcdef0"),
    "kms_key_id": (
        rf"{KEY}|{ALIAS}|arn:aws[a-z-]*:kms:[a-z0-9-]+:\d{{12}}:(key/{KEY}|{ALIAS})",
        f"alias/llm or {UUID}",
    ),
}


class Own(Protocol):
    """Options that have these fields: of a launch, or of a policy for one."""

    @property
    def permissions_boundary(self) -> str | None: ...
    @property
    def instance_profile(self) -> str | None: ...
    @property
    def scheduler_role(self) -> str | None: ...
    @property
    def security_group_ids(self) -> tuple[str, ...]: ...
    @property
    def kms_key_id(self) -> str | None: ...


def check_own(options: Own) -> None:
    """Raise UsageError for a name that AWS could not know, and for what makes no sense together."""
    for field, (pattern, example) in PATTERNS.items():
        for value in values(options, field):
            if not re.fullmatch(pattern, value):
                raise UsageError(f"{flag(field)} {value!r} cannot be right.", f"It looks like {example}")
    if options.permissions_boundary and options.instance_profile and options.scheduler_role:
        raise UsageError(
            "A permissions boundary is for roles that corral makes; with both of your own it makes none.",
            "Leave out --permissions-boundary.",
        )


def check_own_place(options: Own, regions: tuple[str, ...], cidr: str | None) -> None:
    """Raise UsageError for what is of one region or partition and is to be used in another."""
    if options.security_group_ids and cidr:
        raise UsageError(
            "--cidr opens the port in a security group of corral's; your own stays as it is.",
            "Leave out --cidr: the server is reached through Session Manager. Or leave out --security-group-id.",
        )
    if len(regions) > 1 and (options.security_group_ids or is_of_one_region(options.kms_key_id or "")):
        which = "security_group_ids" if options.security_group_ids else "kms_key_id"
        raise UsageError(
            f"{flag(which)} is of one region, and {len(regions)} are to be tried: {', '.join(regions)}.",
            "Name one --region, or an alias that each region has (--kms-key-id alias/llm).",
        )
    check_partition(options, partition_of(regions[0]))
    found = re.fullmatch(r"arn:[^:]*:kms:([^:]*):.*", options.kms_key_id or "")
    if found and found[1] not in regions:
        raise UsageError(
            f"The key of --kms-key-id is of {found[1]}, and what is rented is in {regions[0]}.",
            f"Name one of there: aws kms list-aliases --region {regions[0]}",
        )


def check_partition(options: Own, partition: str) -> None:
    """Raise UsageError for an ARN of another partition."""
    for field in PATTERNS:
        for value in values(options, field):
            if value.startswith("arn:") and value.split(":")[1] != partition:
                raise UsageError(
                    f"{flag(field)} {value} is not of the partition {partition}.",
                    "Name one of there, or other regions.",
                )


def is_of_one_region(key: str) -> bool:
    """Whether a key is one region's alone: not an alias, and no multi-Region key's id."""
    return bool(key) and (key.startswith("arn:") or not key.startswith(("alias/", "mrk-")))


def values(options: Own, field: str) -> tuple[str, ...]:
    """What was given; an empty text was given, too, and is to be refused."""
    value = getattr(options, field)
    return value if isinstance(value, tuple) else () if value is None else (value,)


def flag(field: str) -> str:
    """The flag of a field."""
    return "--" + field.removesuffix("s" if field.endswith("ids") else "").replace("_", "-")
