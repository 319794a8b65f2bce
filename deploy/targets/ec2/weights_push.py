"""Weights kept in a bucket of the account's, so that a second launch need not fetch them from the model hub again."""

import shutil
import subprocess
from decimal import Decimal
from glob import escape
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from deploy.targets import licence
from deploy.targets.abilities import Pushed, PushesWeights
from deploy.targets.choose import place_of
from deploy.targets.deployment import Deployment
from infra import bar
from infra.argument import pasted
from infra.asked import Asked, Flag
from infra.aws import bucket, rented_machines
from infra.aws.api import Aws
from infra.aws.boto import Boto, configured_region
from infra.aws.bucket import Contents, Place
from infra.aws.region import Region
from infra.aws.renting import told
from infra.data import shipped_table
from infra.errors import CloudError, HostError, UsageError
from infra.say import progress
from serving.model import checkpoint_files

GB = 10**9
SKIPPED = ".cache"
"""What huggingface_hub keeps beside the files for itself."""


class Destination(Asked):
    """Where weights are kept."""

    to: Annotated[str, Flag(metavar="s3://BUCKET/PREFIX/"), Field(examples=["s3://bucket/scout/"])]
    """A folder of a bucket."""
    region: Region | None = None
    """For a FOLDER: where the machines will be. [as AWS is configured here]"""


def push_from_machine(deployment: Deployment, address: str) -> Pushed:
    """From the machine of a deployment. Raises UsageError where its weights lie in a folder one can name."""
    bucket.place_of(address)
    place = place_of(deployment)
    if isinstance(place, PushesWeights):
        return place.push_weights(deployment, address)
    model = deployment.plan.serve.model
    lies = pasted(model) if model.startswith(("/", ".", "~")) else "checkpoint"
    raise UsageError(
        f"{deployment.name} is not on EC2: its weights lie in a folder.",
        f"Push that: corral weights push {lies} --to {pasted(address)}",
    )


@told
def push_from_here(folder: Path, address: str, region: str | None) -> Pushed:
    """From a folder of this machine, with the user's own credentials. Raises UsageError, HostError, CloudError."""
    place, files = bucket.place_of(address), checkpoint_files.called_so(folder)
    licence.require(licence.in_folder(folder))
    wanted = Contents(files=len(files), bytes=checkpoint_files.size_bytes(files))
    if not wanted.files:
        raise UsageError(
            f"There is no file in {folder}.", f"Name the checkpoint's folder: ls {pasted(folder)}"
        )
    region = region or configured_region()
    aws = reader()
    check(aws, place, region, wanted)
    names = tuple(path.name for path in files)
    progress(
        f"leaves this machine: {len(names)} files, {wanted.bytes:,} bytes, of {folder} ({', '.join(names)})"
    )
    upload(folder, names, place, region)
    return pushed(aws, place, region, wanted, None)


def reader() -> Aws:
    """AWS, which is only asked."""
    return Aws(Boto(), say=progress)


def check(aws: Aws, place: Place, region: str, wanted: Contents) -> None:
    """Whether the bucket can be used by machines of that region. Raises UsageError, AuthError."""
    usd = Decimal(wanted.bytes) / GB * Decimal(figures()["between_regions_usd_per_gb"])
    crossing = f"each launch would pay about {usd:.2f} USD to bring {gib(wanted)} GiB over (unverified)"
    bucket.check(aws, place, region, rented_machines.account(aws, region), crossing)


def upload(folder: Path, names: tuple[str, ...], place: Place, region: str) -> None:
    """Have the AWS CLI upload it, in parts and in parallel. Raises HostError where it is missing or fails."""
    if shutil.which("aws") is None:
        raise HostError(
            "The AWS CLI is needed to upload a folder.",
            "Install it: https://docs.aws.amazon.com/cli/latest/userguide/getting-started-install.html",
        )
    with bar.waiting(f"uploading to {place.address}"):
        done = subprocess.run(
            sync(str(folder.absolute()), place, region, names),
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            check=False,
        )
    if done.returncode:
        said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        raise HostError(
            f"The upload to {place.address} ended with {done.returncode}: {said[-1] if said else 'no reason given'}.",
            "Run the same command again: what is there is not sent twice.",
        )


def sync(source: str, place: Place, region: str, names: tuple[str, ...] = ()) -> list[str]:
    """PURE: the AWS CLI's command that brings what is not there yet; with names, nothing else of the folder."""
    # They are patterns to it: a file called *.safetensors would bring others of that end along.
    chosen = [word for name in names for word in ("--include", escape(name))]
    return [
        *("aws", "s3", "sync", "--only-show-errors", "--region", region),
        *("--exclude", "*" if names else f"{SKIPPED}/*", *chosen, source, place.address),
    ]


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


def gib(contents: Contents) -> str:
    """How much, in words."""
    return f"{contents.bytes / 2**30:.1f}"


def shown(kept: Pushed) -> str:
    """What a person is told."""
    money = (
        f", {kept.saves_usd:.2f} USD at {kept.usd_per_hour:g} USD per hour"
        if kept.saves_usd is not None
        else ""
    )
    size = gib(Contents(files=kept.files, bytes=kept.bytes))
    return (
        f"{kept.address} holds {kept.files} files, {size} GiB, as S3 counts them.\n"
        f"A launch that fetches them from there and not from the model hub saves about {kept.saves_s / 60:.0f} minutes"
        f"{money}; they cost about {kept.costs_usd_per_month:.2f} USD a month there (speeds and S3's price of "
        f"{kept.checked_on}, unverified).\n"
        f"Next: corral up plan.json --target ec2 --weights {kept.address}"
    )


def figures() -> dict[str, Any]:
    """What weights_push.toml holds."""
    return shipped_table("deploy.targets.ec2", "weights_push.toml")
