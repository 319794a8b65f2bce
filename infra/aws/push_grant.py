"""Leave for a box to write one folder of S3, for as long as it takes; afterwards, and after a crash, there is none."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from infra.aws.api import Aws
from infra.aws.bucket import Place
from infra.aws.order import Order, utc
from infra.aws.partitions import partition_of
from infra.aws.policy import PolicyDocument, allow, bucket_arn, document, stored_arn, when
from infra.aws.request import iam

NAME = "corral-push"
WRITES = ["s3:PutObject", "s3:AbortMultipartUpload"]
# IAM tells the other services within seconds.
SPREADS_IN_S = 15.0


@contextmanager
def granted(aws: Aws, order: Order, place: Place, longest: timedelta) -> Iterator[None]:
    """Give the box's role that leave; a role of the user's own is left as it is, and must have it. Raises Refused."""
    if order.instance_profile:
        yield
        return
    role = {"RoleName": f"{order.resource_name}-box", "PolicyName": NAME}
    policy = leave(place, partition_of(order.regions[0]), aws.now() + longest)
    aws.call(iam("PutRolePolicy", **role, PolicyDocument=json.dumps(policy)))
    try:
        aws.sleep(SPREADS_IN_S)
        yield
    finally:
        aws.call(iam("DeleteRolePolicy", **role))


def leave(place: Place, partition: str, until: datetime) -> PolicyDocument:
    """PURE: write objects below that folder and see which are there, until then; whoever forgets to take it back."""
    before = ("DateLessThan", "aws:CurrentTime", utc(until))
    below = ("StringLike", "s3:prefix", f"{place.prefix}*")
    return document(
        allow(WRITES, stored_arn(place.address, partition)) | when(before),
        allow(["s3:ListBucket"], bucket_arn(place.address, partition)) | when(below, before),
    )
