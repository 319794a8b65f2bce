"""A folder in S3: whether machines of a region may use it without a bill for that, and what lies in it."""

import re
from typing import Any

from infra.aws.api import Aws
from infra.aws.failures import Refused, plain_words
from infra.aws.order import Order, StoredFolder
from infra.aws.preflight_findings import Finding, failed, ok, warning
from infra.aws.request import Request
from infra.errors import AuthError, UsageError
from infra.fetch.listing import WEIGHTS
from infra.record import Record

ADDRESS = r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])/([\w.=-][\w.=/-]*?)/*"
GIB = 2**30
MOST_OFF = 0.1
"""Of the bytes planned for: what a plan counts are tensors, and files have headers."""
EXAMPLE = "It looks like s3://bucket/scout/"


class Place(Record):
    """A folder in a bucket."""

    bucket: str
    prefix: str
    """It ends in /: nothing that only begins alike is meant."""

    @property
    def address(self) -> str:
        """As the AWS CLI takes it."""
        return f"s3://{self.bucket}/{self.prefix}"


class Contents(Record):
    """How much lies in a folder."""

    files: int
    bytes: int


def place_of(address: str) -> Place:
    """The folder that is meant. Raises UsageError for what is no address, or a whole bucket."""
    parts = re.fullmatch(ADDRESS, address)
    if not parts:
        raise UsageError(f"--to {address!r} is no folder in a bucket.", EXAMPLE)
    return Place(bucket=parts[1], prefix=f"{parts[2]}/")


def check(aws: Aws, place: Place, region: str, account: str, crossing: str) -> None:
    """Raise UsageError for a bucket that is not there or in another region, AuthError for another account's.

    `crossing` says what it would cost to have it in another region.
    """
    try:
        answer = aws.call(s3(region, "GetBucketLocation", Bucket=place.bucket, ExpectedBucketOwner=account))
    except Refused as refused:
        raise unusable(place, region, account, refused) from None
    there = located(answer)
    if there != region:
        raise UsageError(
            f"The bucket {place.bucket} is in {there} and the machine in {region}: {crossing}.",
            f"Use one in {region}, or make it: aws s3 mb s3://{place.bucket}-{region} --region {region}",
        )


def located(answer: dict[str, Any]) -> str:
    """The region GetBucketLocation means: the first of all has no name there, and one an old one."""
    name = answer.get("LocationConstraint") or "us-east-1"
    return "eu-west-1" if name == "EU" else str(name)


def unusable(place: Place, region: str, account: str, refused: Refused) -> Exception:
    """Why the bucket cannot be used, where that can be told."""
    if refused.code == "NoSuchBucket":
        return UsageError(
            f"There is no bucket {place.bucket}.", f"Make it: aws s3 mb s3://{place.bucket} --region {region}"
        )
    if refused.code.startswith("AccessDenied"):
        return AuthError(
            f"The bucket {place.bucket} is not account {account}'s, or you may not look at it: "
            f"{plain_words(refused.message)}.",
            f"Use one of your own; have s3:GetBucketLocation and s3:ListBucket allowed on {place.bucket}.",
        )
    return refused


def found(aws: Aws, order: Order, region: str) -> list[Finding]:
    """Each bucket the machines of an order would read, looked at from one region. One that is not there is a failure.

    Whose it is does not matter: another account's may be shared with the machines' role, which only they can try. What
    is to be weights there is looked at, too.
    """
    places = [looked_at(aws, asked) for asked in location_requests(order, region)]
    if any(finding.outcome == "failed" for finding in places):
        return places
    asked = zip(order.expected_s3, listing_requests(order, region), strict=True)
    return [*places, *(looked_into(aws, folder, listing) for folder, listing in asked)]


def listing_requests(order: Order, region: str) -> list[Request]:
    """Ask what lies in each folder of weights, a draft or an adapter itself; a thousand names are enough."""
    asked = []
    for folder in order.expected_s3:
        name, _, prefix = folder.address.removeprefix("s3://").partition("/")
        asked.append(s3(region, "ListObjectsV2", Bucket=name, Prefix=prefix, Delimiter="/"))
    return asked


def looked_into(aws: Aws, folder: StoredFolder, asked: Request) -> Finding:
    """Whether what a server needs lies there, and how much; another size than was planned for is told."""
    address, region = folder.address, asked.region
    try:
        rows = aws.ask(asked).get("Contents", [])
    except Refused as refused:
        unseen = f"what lies in {address} is not looked at ({refused.code})"
        return warning("bucket", region, unseen, "Its policy must let the machine's role read it.")
    there = {row["Key"].removeprefix(asked.parameters["Prefix"]): row["Size"] for row in rows}
    size = sum(size for name, size in there.items() if name.endswith(WEIGHTS))
    missing = [name for name in folder.files if name not in there] + ([] if size else [f"*{WEIGHTS}"])
    if missing:
        lacks = f"{address} has no {missing[0]}"
        return failed("bucket", region, lacks, f"Put it there: aws s3 sync FOLDER {address}")
    holds = f"{address} holds {size / GIB:.1f} GiB of weights"
    if folder.bytes and abs(size - folder.bytes) > folder.bytes * MOST_OFF:
        planned = f"{holds}, and {folder.bytes / GIB:.1f} GiB are planned for"
        return warning("bucket", region, planned, f"See whether they are the plan's: aws s3 ls {address}")
    return ok("bucket", region, holds)


def location_requests(order: Order, region: str) -> list[Request]:
    """Ask where each of those buckets is."""
    names = dict.fromkeys(place.removeprefix("s3://").split("/")[0] for place in order.read_s3)
    return [s3(region, "GetBucketLocation", Bucket=name) for name in names]


def looked_at(aws: Aws, asked: Request) -> Finding:
    """Whether there is such a bucket, and where."""
    name, region = asked.parameters["Bucket"], asked.region
    try:
        there = located(aws.ask(asked))
    except Refused as refused:
        if refused.code == "NoSuchBucket":
            return failed("bucket", region, f"there is no bucket {name}", "See yours: aws s3 ls")
        unseen = f"{name} is not looked at ({refused.code}): of another account, or not yours to look at"
        return warning("bucket", region, unseen, "Its policy must let the machine's role read it.")
    if there != region:
        crossing = f"{name} is in {there}: each launch pays for what it brings over, and waits longer"
        return warning("bucket", region, crossing, f"Keep the weights in a bucket in {region}.")
    return ok("bucket", region, f"{name} is in {there}")


def contents(aws: Aws, place: Place, region: str) -> Contents:
    """What lies there, counted by S3. Raises Refused."""
    files = size = 0
    more: dict[str, str] = {}
    while True:
        asked = s3(region, "ListObjectsV2", Bucket=place.bucket, Prefix=place.prefix, **more)
        answer = aws.call(asked)
        files += len(answer.get("Contents", []))
        size += sum(row["Size"] for row in answer.get("Contents", []))
        if not answer.get("NextContinuationToken"):
            return Contents(files=files, bytes=size)
        more = {"ContinuationToken": answer["NextContinuationToken"]}


def s3(region: str, operation: str, **parameters: Any) -> Request:
    """A call to S3."""
    return Request(service="s3", operation=operation, region=region, parameters=parameters)
