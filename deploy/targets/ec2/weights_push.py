"""Weights kept in a bucket of the account's, so that a second launch need not fetch them from the model hub again."""

import shutil
import subprocess
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from deploy.targets.deployment import Deployment
from deploy.targets.ec2 import place as ec2
from deploy.targets.ec2 import push
from infra.aws import bucket, rented_machines
from infra.aws.api import Aws
from infra.aws.boto import Boto, checked_regions, configured_region
from infra.aws.bucket import Contents, Place
from infra.aws.push_grant import granted
from infra.aws.renting import told
from infra.data import shipped_table
from infra.errors import CloudError, HostError, UsageError
from infra.record import Record
from infra.say import progress

GB = 10**9
LONGEST = timedelta(hours=6)
SKIPPED = ".cache"
"""What huggingface_hub keeps beside the files for itself."""


class Pushed(Record):
    """What lies in the bucket now, and what that saves. The figures about speed and S3's price are unverified."""

    address: str
    files: int
    bytes: int
    saves_s: float
    """A launch that fetches from there and not from the model hub."""
    saves_usd: float | None
    """At the machine's price, where that is known."""
    usd_per_hour: float | None
    costs_usd_per_month: float
    checked_on: str
    """When those figures were written down."""


@told
def push_from_box(deployment: Deployment, address: str) -> Pushed:
    """From the rented machine, whose role may write that folder meanwhile and nothing else.

    Raises UsageError for a bucket elsewhere, HostError or CloudError when not all has come there.
    """
    place = bucket.place_of(address)
    if deployment.target != "ec2":
        raise UsageError(
            f"{deployment.name} is not on EC2: its weights lie in a folder.",
            "Push that: corral weights push FOLDER --to s3://BUCKET/PREFIX/",
        )
    aws, order = ec2.aws_for(deployment.name), ec2.order_of(deployment)
    machine = ec2.running(aws, deployment, order)[0]
    wanted = push.contents(deployment.name, machine)
    check(aws, place, machine.region, wanted)
    with granted(aws, order, place, LONGEST):
        push.upload(aws, deployment.name, machine, place)
    return pushed(aws, place, machine.region, wanted, rented_machines.price(aws, machine))


@told
def push_from_here(folder: Path, address: str, region: str | None) -> Pushed:
    """From a folder of this machine, with the user's own credentials. Raises UsageError, HostError, CloudError."""
    place, wanted = bucket.place_of(address), contents(folder)
    if not wanted.files:
        raise UsageError(f"There is no file in {folder}.", f"Name the checkpoint's folder: ls {folder}")
    region = checked_regions((region,))[0] if region else configured_region()
    aws = reader()
    check(aws, place, region, wanted)
    upload(folder, place, region)
    return pushed(aws, place, region, wanted, None)


def reader() -> Aws:
    """AWS, which is only asked."""
    return Aws(Boto(), say=progress)


def check(aws: Aws, place: Place, region: str, wanted: Contents) -> None:
    """Whether the bucket can be used by machines of that region. Raises UsageError, AuthError."""
    usd = Decimal(wanted.bytes) / GB * Decimal(figures()["between_regions_usd_per_gb"])
    crossing = f"each launch would pay about {usd:.2f} USD to bring {gib(wanted)} GiB over (unverified)"
    bucket.check(aws, place, region, rented_machines.account(aws, region), crossing)


def contents(folder: Path) -> Contents:
    """The files of a folder that are pushed."""
    found = [
        path for path in folder.rglob("*") if path.is_file() and SKIPPED not in path.relative_to(folder).parts
    ]
    return Contents(files=len(found), bytes=sum(path.stat().st_size for path in found))


def upload(folder: Path, place: Place, region: str) -> None:
    """Have the AWS CLI upload it, in parts and in parallel. Raises HostError where it is missing or fails."""
    if shutil.which("aws") is None:
        raise HostError(
            "The AWS CLI is needed to upload a folder.",
            "Install it: https://docs.aws.amazon.com/cli/latest/userguide/getting-started-install.html",
        )
    done = subprocess.run(
        push.sync(str(folder), place, region), stderr=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        raise HostError(
            f"The upload to {place.address} ended with {done.returncode}: {said[-1] if said else 'no reason given'}.",
            "Run the same command again: what is there is not sent twice.",
        )


def pushed(aws: Aws, place: Place, region: str, wanted: Contents, usd_per_hour: float | None) -> Pushed:
    """What S3 counts, held against what was to come there. Raises CloudError where they differ."""
    there, table = bucket.contents(aws, place, region), figures()
    if there != wanted:
        raise CloudError(
            f"In {place.address} S3 counts {there.files} files of {there.bytes} bytes, not the {wanted.files} of "
            f"{wanted.bytes} that were sent.",
            "Push into an empty folder of the bucket, or run the same command again.",
        )
    saves_s = wanted.bytes / table["hub_bytes_per_s"] - wanted.bytes / table["s3_bytes_per_s"]
    return Pushed(
        address=place.address,
        files=wanted.files,
        bytes=wanted.bytes,
        saves_s=saves_s,
        saves_usd=saves_s * usd_per_hour / 3600 if usd_per_hour is not None else None,
        usd_per_hour=usd_per_hour,
        costs_usd_per_month=float(Decimal(wanted.bytes) / GB * Decimal(table["s3_usd_per_gb_month"])),
        checked_on=str(table["checked_on"]),
    )


def gib(found: Contents) -> str:
    """How much, in words."""
    return f"{found.bytes / 2**30:.1f}"


def shown(found: Pushed) -> str:
    """What a person is told."""
    money = (
        f", {found.saves_usd:.2f} USD at {found.usd_per_hour:g} USD per hour"
        if found.saves_usd is not None
        else ""
    )
    size = gib(Contents(files=found.files, bytes=found.bytes))
    return (
        f"{found.address} holds {found.files} files, {size} GiB, as S3 counts them.\n"
        f"A launch that fetches them from there and not from the model hub saves about {found.saves_s / 60:.0f} minutes"
        f"{money}; they cost about {found.costs_usd_per_month:.2f} USD a month there (speeds and S3's price of "
        f"{found.checked_on}, unverified).\n"
        f"Next: corral up PLAN --target ec2 --weights {found.address}"
    )


def figures() -> dict[str, Any]:
    """What weights_push.toml holds."""
    return shipped_table("deploy.targets.ec2", "weights_push.toml")
