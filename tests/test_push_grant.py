"""The leave for a box to write one folder: given, waited for, and taken back whatever comes of it."""

import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from renting import an_order

from infra.aws import push_grant
from infra.aws.bucket import Place
from infra.aws.request import Request

PLACE = Place(bucket="models", prefix="scout/")
NOW = datetime(2026, 11, 30, 11, 0, tzinfo=UTC)
LEAVE = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Action": ["s3:PutObject", "s3:AbortMultipartUpload"],
            "Resource": "arn:aws:s3:::models/scout/*",
            "Condition": {"DateLessThan": {"aws:CurrentTime": "2026-11-30T13:00:00Z"}},
        },
        {
            "Effect": "Allow",
            "Action": ["s3:ListBucket"],
            "Resource": "arn:aws:s3:::models",
            "Condition": {
                "StringLike": {"s3:prefix": "scout/*"},
                "DateLessThan": {"aws:CurrentTime": "2026-11-30T13:00:00Z"},
            },
        },
    ],
}


@pytest.mark.parametrize("fails", [False, True])
def test_it_is_taken_back_whatever_comes_of_it(fails: bool) -> None:
    happened: list[Any] = []

    def call(asked: Request) -> None:
        happened.append((asked.operation, asked.parameters))

    aws: Any = SimpleNamespace(call=call, sleep=happened.append, now=lambda: NOW)

    def push() -> None:
        with push_grant.granted(aws, an_order(), PLACE, timedelta(hours=2)):
            happened.append("push")
            if fails:
                raise KeyboardInterrupt

    if fails:
        with pytest.raises(KeyboardInterrupt):
            push()
    else:
        push()
    role = {"RoleName": "corral-t1-box", "PolicyName": "corral-push"}
    given: dict[str, Any] = happened[0][1]
    assert json.loads(given.pop("PolicyDocument")) == LEAVE
    assert happened == [("PutRolePolicy", role), 15.0, "push", ("DeleteRolePolicy", role)]


def test_a_role_of_the_users_own_is_left_as_it_is() -> None:
    aws: Any = SimpleNamespace()
    with push_grant.granted(aws, an_order(instance_profile="mine"), PLACE, timedelta(hours=2)):
        pass
