"""Before a machine is rented: whether the bucket it would read is there, and in its region."""

from pathlib import Path

import pytest
from fake_aws import FakeAws
from renting import an_order, door, fresh

from infra.aws import account_preflight
from infra.aws.preflight_findings import Finding
from infra.errors import UsageError


@pytest.fixture
def aws() -> FakeAws:
    """An account with two buckets, beside one of somebody else's."""
    aws, _ = fresh()
    aws.s3.have("models")
    aws.s3.have("frankfurt", "eu-central-1")
    aws.s3.have("theirs", owner="210987654321")
    return aws


def bucket_findings(aws: FakeAws, tmp_path: Path, *places: str) -> list[Finding]:
    """What is found of the buckets of an order."""
    at = door(aws, aws.clock, tmp_path)
    survey = account_preflight.survey(at, an_order(read_s3=places))
    return [finding for finding in survey.findings if finding.topic == "bucket"]


def test_a_bucket_of_the_region_is_well_and_each_is_looked_at_once(aws: FakeAws, tmp_path: Path) -> None:
    assert bucket_findings(aws, tmp_path, "s3://models/scout/", "s3://models/engine.tar") == [
        Finding(topic="bucket", region="us-east-1", outcome="ok", found="models is in us-east-1")
    ]
    assert bucket_findings(aws, tmp_path) == []


def test_a_bucket_elsewhere_is_told_with_what_it_costs(aws: FakeAws, tmp_path: Path) -> None:
    assert bucket_findings(aws, tmp_path, "s3://frankfurt/scout/") == [
        Finding(
            topic="bucket",
            region="us-east-1",
            outcome="warning",
            found="frankfurt is in eu-central-1: each launch pays for what it brings over, and waits longer",
            fix="Keep the weights in a bucket in us-east-1.",
        )
    ]


def test_a_bucket_that_may_not_be_looked_at_may_still_be_the_machines_to_read(
    aws: FakeAws, tmp_path: Path
) -> None:
    expected = Finding(
        topic="bucket",
        region="us-east-1",
        outcome="warning",
        found="theirs is not looked at (AccessDenied): of another account, or not yours to look at",
        fix="Its policy must let the machine's role read it.",
    )
    assert bucket_findings(aws, tmp_path, "s3://theirs/scout/") == [expected]


def test_without_the_bucket_nothing_is_rented(aws: FakeAws, tmp_path: Path) -> None:
    at, order = door(aws, aws.clock, tmp_path), an_order(read_s3=("s3://gone/scout/",))
    with pytest.raises(UsageError) as error:
        account_preflight.checked(account_preflight.survey(at, order), order)
    assert (error.value.message, error.value.hint) == (
        "This cannot be launched. bucket: us-east-1: there is no bucket gone.",
        "See yours: aws s3 ls",
    )
    assert [call.action for call in aws.calls if call.changes] == []
