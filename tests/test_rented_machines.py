"""A rented machine as EC2 describes it, and the seconds that are billed of it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fake_aws import Clock
from renting import door

from infra.aws import rented_machines
from infra.aws.failures import ApiFailure
from infra.aws.request import Request
from infra.rented import Rented

BEGUN = datetime(2026, 11, 30, 12, tzinfo=UTC)
ROW: dict[str, Any] = {
    "InstanceId": "i-1",
    "InstanceType": "g5.12xlarge",
    "Placement": {"AvailabilityZone": "us-east-1a"},
    "State": {"Name": "running"},
    "LaunchTime": BEGUN,
}


def test_what_ec2_does_not_say_is_left_out() -> None:
    assert rented_machines.rented(ROW, "us-east-1") == Rented(
        instance_id="i-1", deployment="", region="us-east-1", zone="us-east-1a", instance_type="g5.12xlarge",
        purchase="on-demand", state="running", launched_at=BEGUN, ended_at=None, expires_at=None, end_reason="",
        public_name="", private_address="", launch_index=0,
    )  # fmt: skip


def test_what_ec2_says_is_read_whole() -> None:
    tags = {
        "corral:deployment": "t1",
        "corral:expires-at": "2026-11-30T20:00:00Z",
        "corral:billed": "7200 2026-11-29T05:00:00Z",
    }
    row = ROW | {
        "State": {"Name": "stopped"},
        "StateTransitionReason": "User initiated (2026-11-30 13:00:00 GMT)",
        "StateReason": {"Code": "Client.UserInitiatedShutdown"},
        "InstanceLifecycle": "spot",
        "PublicDnsName": "ec2.example",
        "PrivateIpAddress": "10.0.0.5",
        "AmiLaunchIndex": 3,
        "Tags": [{"Key": key, "Value": value} for key, value in tags.items()],
    }
    assert rented_machines.rented(row, "us-east-1") == Rented(
        instance_id="i-1", deployment="t1", region="us-east-1", zone="us-east-1a", instance_type="g5.12xlarge",
        purchase="spot", state="stopped", launched_at=BEGUN, ended_at=BEGUN + timedelta(hours=1),
        billed_before_s=7200.0, billed_until_start=datetime(2026, 11, 29, 5, tzinfo=UTC),
        expires_at=BEGUN + timedelta(hours=8), end_reason="Client.UserInitiatedShutdown", public_name="ec2.example",
        private_address="10.0.0.5", launch_index=3,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("reason", "at"),
    [
        ("User initiated (2026-11-24 03:00:00 GMT)", datetime(2026, 11, 24, 3, tzinfo=UTC)),
        ("", None),
        ("User initiated", None),
        ("Server.SpotInstanceTermination (soon GMT)", None),
    ],
)
def test_when_it_ended(reason: str, at: datetime | None) -> None:
    assert rented_machines.ended_at(reason) == at


@pytest.mark.parametrize(
    ("changes", "after_s", "billed_s"),
    [
        ({}, 3600, 3600.0),
        ({}, 59, 60.0),
        ({}, 61, 61.0),
        ({"ended_at": BEGUN + timedelta(seconds=1800)}, 3600, 1800.0),
        ({"ended_at": BEGUN + timedelta(seconds=1)}, 3600, 60.0),
        ({"billed_before_s": 7200.0}, 3600, 10800.0),
        ({"state": "stopped"}, 3600, None),
        ({"state": "stopped", "ended_at": BEGUN + timedelta(hours=1)}, 7200, 3600.0),
        # Since then it was not started: what EC2 tells is that start still.
        ({"billed_before_s": 7200.0, "billed_until_start": BEGUN}, 3600, 7200.0),
        ({"billed_before_s": 7200.0, "billed_until_start": BEGUN - timedelta(seconds=1)}, 3600, 10800.0),
    ],
)
def test_the_seconds_that_are_billed(changes: dict[str, Any], after_s: int, billed_s: float | None) -> None:
    machine = rented_machines.rented(ROW, "us-east-1").model_copy(update=changes)
    assert rented_machines.billed_s(machine, BEGUN + timedelta(seconds=after_s)) == billed_s


@pytest.mark.parametrize("tag", ["7200", "x 2026-11-29T05:00:00Z", "7200 soon", " 2026-11-29T05:00:00Z"])
def test_what_was_billed_is_read_of_our_own_tags_alone(tag: str) -> None:
    assert rented_machines.billed_before(tag) == {}


class Prices:
    """EC2, which tells spot prices, the newest first, or refuses."""

    def __init__(self, *prices: str) -> None:
        self.prices = prices

    def send(self, request: Request) -> dict[str, Any]:
        asked = (request.operation, request.parameters["Filters"], request.parameters["InstanceTypes"])
        assert asked == (
            "DescribeSpotPriceHistory",
            [{"Name": "availability-zone", "Values": ["us-east-1a"]}],
            ["g5.12xlarge"],
        )
        if "denied" in self.prices:
            raise ApiFailure("UnauthorizedOperation", "no")
        return {"SpotPriceHistory": [{"SpotPrice": price} for price in self.prices]}


def test_what_it_costs_is_what_it_was_bought_for(tmp_path: Path) -> None:
    machine = rented_machines.rented(ROW, "us-east-1")
    spot = machine.model_copy(update={"purchase": "spot"})
    unknown = machine.model_copy(update={"instance_type": "x9.large"})

    def price(machine: Rented, *prices: str) -> float | None:
        return rented_machines.price(door(Prices(*prices), Clock(), tmp_path), machine)

    assert [price(machine), price(unknown)] == [5.672, None]
    assert [price(spot, "2.5", "9"), price(spot), price(spot, "denied")] == [2.5, None, None]


def test_what_it_cost_so_far_is_of_all_machines_or_not_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = rented_machines.rented(ROW, "us-east-1")
    at = door(Prices(), Clock(), tmp_path)
    monkeypatch.setattr(at, "now", lambda: BEGUN + timedelta(hours=2))
    earlier = machine.model_copy(update={"ended_at": BEGUN + timedelta(minutes=30)})
    assert rented_machines.usd_so_far(at, ()) == 0
    assert rented_machines.usd_so_far(at, (machine, earlier)) == pytest.approx(2.5 * 5.672)
    for changes in ({"instance_type": "x9.large"}, {"state": "stopped"}):
        assert rented_machines.usd_so_far(at, (machine, machine.model_copy(update=changes))) is None
