"""S3 as one account sees it: buckets, each of an account and in a region, and what lies in them."""

import itertools
from typing import Any

from infra.aws.failures import ApiFailure

# S3 lists a thousand at once; fewer here, so that the next page is asked for.
PAGE = 2


class FakeS3:
    """The buckets of the world."""

    def __init__(self, account: str) -> None:
        self.account = account
        self.buckets: dict[str, dict[str, Any]] = {}

    def have(self, name: str, region: str = "us-east-1", owner: str = "") -> dict[str, int]:
        """Make a bucket; what lies in it, key by key with the size."""
        objects: dict[str, int] = {}
        self.buckets[name] = {"region": region, "owner": owner or self.account, "objects": objects}
        return objects

    def get_bucket_location(self, Bucket: str, ExpectedBucketOwner: str = "") -> dict[str, Any]:  # noqa: N803
        bucket = self.found(Bucket)
        if ExpectedBucketOwner not in ("", bucket["owner"]):
            raise ApiFailure("AccessDenied", "Access Denied")
        # The oldest region of all has no name here.
        return {"LocationConstraint": None if bucket["region"] == "us-east-1" else bucket["region"]}

    def list_objects_v2(
        self,
        Bucket: str,  # noqa: N803
        Prefix: str,  # noqa: N803
        ContinuationToken: str = "",  # noqa: N803
        Delimiter: str = "",  # noqa: N803
    ) -> dict[str, Any]:
        objects = self.found(Bucket)["objects"]
        rows = [{"Key": key, "Size": size} for key, size in sorted(objects.items()) if key.startswith(Prefix)]
        if Delimiter:
            rows = [row for row in rows if Delimiter not in str(row["Key"]).removeprefix(Prefix)]
        left = list(itertools.dropwhile(lambda row: row["Key"] <= ContinuationToken, rows))
        if not left:
            return {"KeyCount": 0, "IsTruncated": False}
        more = {"NextContinuationToken": left[PAGE - 1]["Key"]} if len(left) > PAGE else {}
        return {"Contents": left[:PAGE], "IsTruncated": bool(more), **more}

    def found(self, name: str) -> dict[str, Any]:
        """The bucket of that name; S3 tells of another account's only that it is not for us."""
        if name not in self.buckets:
            raise ApiFailure("NoSuchBucket", "The specified bucket does not exist")
        if self.buckets[name]["owner"] != self.account:
            raise ApiFailure("AccessDenied", "Access Denied")
        return self.buckets[name]
