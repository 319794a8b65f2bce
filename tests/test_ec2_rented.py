"""What runs, what it has cost, moving its end, and ending what is over."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from renting import START, an_order, door, down, fresh, up

from infra.aws import power, rented_machines
from infra.aws.rented_machines import ended_at
from infra.aws.user_policy import policy
from infra.errors import CloudError
from infra.rented import Rented

REGIONS = ("us-east-1",)


def machine(**changes: Any) -> Rented:
    return Rented.model_validate(
        {
            "instance_id": "i-1",
            "deployment": "t1",
            "region": "us-east-1",
            "zone": "us-east-1a",
            "instance_type": "g5.12xlarge",
            "purchase": "on-demand",
            "state": "running",
            "launched_at": START,
        }
        | changes
    )


ROW = {
    "InstanceId": "i-1",
    "Placement": {"AvailabilityZone": "us-east-1a"},
    "InstanceType": "g5.12xlarge",
    "State": {"Name": "running"},
    "LaunchTime": START,
}


def test_an_instance_as_ec2_describes_it() -> None:
    assert rented_machines.rented(ROW, "us-east-1") == machine(deployment="")
    all_said = ROW | {
        "Tags": [
            {"Key": "corral:deployment", "Value": "t1"},
            {"Key": "corral:expires-at", "Value": "2026-09-22T00:00:00Z"},
        ],
        "InstanceLifecycle": "spot",
        "State": {"Name": "terminated"},
        "StateTransitionReason": "User initiated (2026-09-21 15:00:00 GMT)",
        "StateReason": {"Code": "Server.SpotInstanceTermination", "Message": "m"},
        "PublicDnsName": "ec2-203-0-113-7.compute-1.amazonaws.com",
        "PrivateIpAddress": "10.0.0.7",
        "AmiLaunchIndex": 1,
    }
    assert rented_machines.rented(all_said, "us-east-1") == machine(
        purchase="spot",
        state="terminated",
        ended_at=datetime(2026, 9, 21, 15, tzinfo=UTC),
        expires_at=datetime(2026, 9, 22, tzinfo=UTC),
        end_reason="Server.SpotInstanceTermination",
        public_name="ec2-203-0-113-7.compute-1.amazonaws.com",
        private_address="10.0.0.7",
        launch_index=1,
    )


@pytest.mark.parametrize(
    ("found", "seconds"),
    [
        (machine(), 7200.0),
        (machine(launched_at=START + timedelta(hours=2, seconds=-5)), 60.0),
        (machine(state="terminated", ended_at=START + timedelta(minutes=30)), 1800.0),
        (machine(state="terminated", ended_at=START + timedelta(seconds=7)), 60.0),
        (machine(state="stopping"), 7200.0),
        (machine(state="stopped", ended_at=START + timedelta(minutes=30)), 1800.0),
        (machine(state="stopped"), None),
    ],
)
def test_billed_by_the_second_and_at_least_a_minute(found: Rented, seconds: float | None) -> None:
    assert rented_machines.billed_s(found, START + timedelta(hours=2)) == seconds


def test_what_it_has_cost_so_far_at_the_price_it_was_bought_for(tmp_path: Path) -> None:
    aws, clock = fresh()
    at = door(aws, clock, tmp_path)
    clock.sleep(3600)
    assert rented_machines.usd_so_far(at, (machine(),)) == pytest.approx(5.672)
    assert rented_machines.usd_so_far(at, (machine(), machine(purchase="spot"))) == pytest.approx(
        5.672 + 2.05
    )
    assert rented_machines.usd_so_far(at, (machine(instance_type="x9.huge"),)) is None
    assert rented_machines.usd_so_far(at, (machine(state="stopped"),)) is None
    assert rented_machines.usd_so_far(at, ()) == 0.0


def test_when_a_machine_ended_is_in_its_words() -> None:
    assert ended_at("User initiated (2026-11-24 03:00:00 GMT)") == datetime(2026, 11, 24, 3, tzinfo=UTC)
    assert ended_at("Server.SpotInstanceTermination") is None
    assert ended_at("odd (yesterday)") is None


def test_extending_moves_schedule_and_tags(tmp_path: Path) -> None:
    aws, clock = fresh()
    at = door(aws, clock, tmp_path)
    up(at, an_order())
    until = rented_machines.extend(at, an_order(), 2 * 24 * 60)
    assert until == at.now() + timedelta(days=2)
    (schedule,) = aws.schedulers["us-east-1"].schedules.values()
    assert schedule["ScheduleExpression"] == f"at({until:%Y-%m-%dT%H:%M:%S})"
    (found,) = rented_machines.machines(at, "t1", REGIONS)
    assert found.expires_at == until
    clock.sleep(9 * 3600)
    assert rented_machines.expired(at, REGIONS) == ()
    clock.sleep(2 * 24 * 3600)
    rented_machines.machines(at, "t1", REGIONS)
    clock.sleep(60)
    assert not any(name.startswith("instance") for name in aws.live())


def test_what_does_not_run_cannot_be_extended(tmp_path: Path) -> None:
    aws, clock = fresh()
    with pytest.raises(CloudError, match="Nothing of 't1' runs"):
        rented_machines.extend(door(aws, clock, tmp_path), an_order(), 60)


def test_only_ours_and_only_what_is_over_is_expired(tmp_path: Path) -> None:
    aws, clock = fresh()
    at = door(aws, clock, tmp_path)
    up(at, an_order())
    up(door(aws, clock, tmp_path / "b"), an_order(name="t2", order_id="b", ttl_minutes=6000))
    up(door(aws, clock, tmp_path / "c"), an_order(name="t3", order_id="c"))
    region = aws.regions["us-east-1"]
    stranger = list(region.instances.values())[-1]
    stranger["Tags"] = [{"Key": "corral:expires-at", "Value": "2020-01-01T00:00:00Z"}]
    odd = [tag for tag in next(iter(region.instances.values()))["Tags"] if tag["Key"] == "corral:expires-at"]
    aws.schedulers["us-east-1"].schedules.clear()
    clock.sleep(8 * 3600)
    assert [one.deployment for one in rented_machines.expired(at, REGIONS)] == ["t1"]
    odd[0]["Value"] = "whenever"
    assert rented_machines.expired(at, REGIONS) == ()


# --- the user's policy against the calls that are made

# What is needed without a call of that name: AWS asks for these when the calls above are made,
# or the call happens in Session Manager's plugin, or only when something unusual is left behind.
WITHOUT_A_CALL = {
    "ec2:CancelCapacityReservation",
    "ec2:DeleteKeyPair",
    "ec2:DeleteLaunchTemplate",
    "ec2:DeleteNetworkInterface",
    "ec2:ReleaseAddress",
    "iam:CreateServiceLinkedRole",
    "iam:PassRole",
    "iam:TagInstanceProfile",
    "iam:TagRole",
    "scheduler:DeleteSchedule",
    "scheduler:TagResource",
    "ssm:ResumeSession",
    "ssm:StartSession",
    "ssm:TerminateSession",
    "ssmmessages:OpenDataChannel",
}


def test_the_policy_allows_every_call_and_nothing_more(tmp_path: Path) -> None:
    aws, clock = fresh()
    aws.quotas["L-417A185B"] = 1000.0
    region = aws.regions["us-east-1"]
    region.vcpu_limit = 1000
    region.public_subnets = False
    region.never_healthy = True
    order = an_order(
        instance_types=("p5.48xlarge",),
        nodes=2,
        subnet_ids=("subnet-us-east-1a",),
        purchases=("on-demand", "spot"),
        cidr="203.0.113.7/32",
        permissions_boundary="arn:aws:iam::123456789012:policy/corral-boundary",
    )
    aws.iam.policies[order.permissions_boundary] = {"Statement": []}
    at = door(aws, clock, tmp_path)
    with pytest.raises(CloudError):
        up(at, order, keep=True)
    region.never_healthy = False
    up(at, order)
    rented_machines.extend(at, order, 600)
    power.stop(at, order)
    power.start(at, order)
    rented_machines.usd_so_far(at, (machine(purchase="spot"),))
    rented_machines.expired(at, REGIONS)
    for volume in region.volumes.values():
        volume["stays"] = True
    down(door(aws, clock, tmp_path / "a"))
    up(at, order.model_copy(update={"order_id": "again"}))
    up(door(aws, clock, tmp_path / "b"), order.model_copy(update={"order_id": "again"}))
    down(at)
    region.no_capacity = {("on-demand", "p5.48xlarge", "us-east-1a")}
    aws.quotas["by name"] = 1000.0
    up(at, order.model_copy(update={"order_id": "spot"}))
    down(at)
    from infra.aws import capacity_blocks

    capacity_blocks.offerings(at, "us-east-1", "p5.48xlarge", 1, 24)
    capacity_blocks.purchase(at, capacity_blocks.offerings(at, "us-east-1", "p5.48xlarge", 1, 24)[0])
    called = {call.action for call in aws.calls}
    allowed = {action for statement in policy()["Statement"] for action in statement["Action"]}
    assert called - allowed == set()
    assert allowed - called == WITHOUT_A_CALL
