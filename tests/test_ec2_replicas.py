"""Several servers on machines of their own as one rented deployment: launched, keyed, counted, and put back when lost."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from fake_aws import FakeAws, Faulty, Killed
from renting import an_order, door, down, fresh, up
from test_ec2_several import Corral, aws, commands, corral, log, plan_on

from deploy.targets.deployment import folder
from deploy.targets.ec2 import one_key
from deploy.targets.place import Status
from infra.aws import account_preflight, renting
from infra.aws.order import Order, utc
from infra.aws.request import Request
from infra.errors import CapacityError, CorralError, UsageError
from serving.sizing.plan import Plan

__all__ = ["aws", "corral", "log"]

TYPE, ON_DEMAND = "g5.12xlarge", "on-demand"


def three(**changes: Any) -> Order:
    """An order for three servers."""
    return an_order(**{"replicas": 3, "usd_per_hour": 17.016, **changes})


def call(service: str, operation: str) -> Request:
    """One that only looks."""
    return Request(service=service, operation=operation, region="us-east-1", parameters={})


def launches(aws: FakeAws) -> list[tuple[str, int, int]]:
    """Each launch that was asked for: its zone, least and most."""
    asked = [call.parameters for call in aws.calls if call.operation == "RunInstances" and call.changes]
    by_token = {row["ClientToken"]: row for row in asked}
    return [
        (row["NetworkInterfaces"][0]["SubnetId"][-1], row["MinCount"], row["MaxCount"])
        for row in by_token.values()
    ]


def machines(aws: FakeAws) -> dict[str, str]:
    """The instances that are up, and their zones' last letters."""
    region = aws.regions["us-east-1"]
    return {key: row["zone"][-1] for key, row in region.instances.items() if row["ended"] is None}


def ends(aws: FakeAws) -> set[str]:
    """What the schedules end, each one machine."""
    found = set()
    for (_, name), schedule in aws.schedulers["us-east-1"].schedules.items():
        (machine,) = json.loads(schedule["Target"]["Input"])["InstanceIds"]
        assert name == f"end-{machine}"
        found.add(machine)
    return found


def some(aws: FakeAws, **zones: int) -> None:
    """So many machines are left in these zones of us-east-1, by their letters."""
    region = aws.regions["us-east-1"]
    region.few = {(ON_DEMAND, TYPE, f"us-east-1{letter}"): count for letter, count in zones.items()}


# --- the launch


def test_three_are_launched_in_one_call_without_a_placement_group_or_efa(tmp_path: Path) -> None:
    aws, clock = fresh()
    done = up(door(aws, clock, tmp_path), three())
    assert (launches(aws), len(done.instance_ids)) == ([("a", 1, 3)], 3)
    assert (set(machines(aws)), ends(aws)) == (set(done.instance_ids), set(done.instance_ids))
    region = aws.regions["us-east-1"]
    assert (region.placement_groups, [row["placement"] for row in region.instances.values()]) == (
        {},
        [None] * 3,
    )
    assert {row["inbound"] == [] for row in region.groups.values()} == {True}
    assert down(door(aws, clock, tmp_path)).counts["instances"] == 0
    assert aws.live() == []


def test_a_zone_that_has_fewer_gives_those_and_the_next_gives_the_rest(tmp_path: Path) -> None:
    aws, clock = fresh()
    some(aws, a=2)
    done = up(door(aws, clock, tmp_path), three())
    assert launches(aws) == [("a", 1, 3), ("b", 1, 1)]
    assert sorted(machines(aws).values()) == ["a", "a", "b"]
    assert ends(aws) == set(machines(aws)) == set(done.instance_ids)
    (tried,) = done.attempts
    assert (tried.spot.zone, tried.reason) == ("us-east-1a", "EC2 has launched 2 of 3")


def test_fewer_than_were_ordered_are_no_deployment_and_none_is_left(tmp_path: Path) -> None:
    aws, clock = fresh()
    some(aws, a=1, b=1, c=0)
    with pytest.raises(CapacityError) as failure:
        up(door(aws, clock, tmp_path), three())
    assert str(failure.value.message) == (
        "Only 2 of 3 machines after 3 attempts: on-demand g5.12xlarge in us-east-1a: InsufficientInstanceCapacity; "
        "on-demand g5.12xlarge in us-east-1b: InsufficientInstanceCapacity; on-demand g5.12xlarge in us-east-1c: "
        "InsufficientInstanceCapacity."
    )
    assert failure.value.hint.endswith("To keep as few as there are: --min-replicas 2")
    assert aws.live() == []


def test_fewer_are_kept_where_that_was_asked_for(tmp_path: Path) -> None:
    aws, clock = fresh()
    some(aws, a=1, b=1, c=0)
    done = up(door(aws, clock, tmp_path), three(min_replicas=2))
    assert (len(done.instance_ids), ends(aws)) == (2, set(machines(aws)))
    aws, clock = fresh()
    some(aws, a=1, b=0, c=0)
    with pytest.raises(CapacityError, match="Only 1 of 3 machines"):
        up(door(aws, clock, tmp_path / "2"), three(min_replicas=2))
    assert aws.live() == []


def test_all_stand_in_one_region_and_what_another_had_too_few_of_is_ended(tmp_path: Path) -> None:
    aws, clock = fresh()
    some(aws, a=2, b=0, c=0)
    done = up(door(aws, clock, tmp_path), three(regions=("us-east-1", "us-west-2")))
    clock.sleep(60)
    assert (machines(aws), len(aws.regions["us-west-2"].instances)) == ({}, 3)
    assert set(done.instance_ids) == set(aws.regions["us-west-2"].instances)


def test_a_machine_that_dies_at_its_start_leaves_the_others(tmp_path: Path) -> None:
    aws, clock = fresh()
    aws.regions["us-east-1"].die_at_start = ["Server.InternalError"]
    done = up(door(aws, clock, tmp_path), three())
    assert launches(aws) == [("a", 1, 3), ("b", 1, 1)]
    assert sorted(machines(aws).values()) == ["a", "a", "b"]
    assert set(done.instance_ids) == set(machines(aws))
    assert set(done.instance_ids) < ends(aws)


def test_the_quota_is_asked_for_all_of_them(tmp_path: Path) -> None:
    aws, clock = fresh()
    aws.quotas["L-DB2E81BA"] = 100.0
    with pytest.raises(CapacityError) as failure:
        up(door(aws, clock, tmp_path), three())
    assert "144 vCPUs needed, 0 in use, 100 allowed" in failure.value.message
    assert failure.value.hint.startswith(
        "Ask for 144: https://us-east-1.console.aws.amazon.com/servicequotas"
    )
    assert failure.value.hint.endswith("; or for fewer: --replicas 2")
    assert launches(aws) == []


def test_spot_is_bid_for_each_by_its_share_of_the_limit_and_a_block_has_room_for_all(tmp_path: Path) -> None:
    aws, clock = fresh()
    up(door(aws, clock, tmp_path), three(purchases=("spot",), max_usd_per_hour=9.0))
    asked = [call.parameters for call in aws.calls if call.operation == "RunInstances" and call.changes][-1]
    assert asked["InstanceMarketOptions"]["SpotOptions"]["MaxPrice"] == "3.0000"
    assert [row["State"] for row in aws.regions["us-east-1"].spot_requests.values()] == ["active"] * 3
    assert down(door(aws, clock, tmp_path)).left == ()
    assert aws.live() == []

    aws, clock = fresh()
    region, block = aws.regions["us-east-1"], "cr-0123456789abcdef0"
    region.vcpu_limit = 1000
    region.reserve(block, "p5.48xlarge", "us-east-1c", 2, ReservationType="capacity-block")
    order = an_order(
        instance_types=("p5.48xlarge",),
        purchases=("capacity-block",),
        capacity_reservation_id=block,
        replicas=3,
    )
    with pytest.raises(CapacityError, match="has room for 2 machines; 3 are asked for"):
        up(door(aws, clock, tmp_path / "2"), order)
    region.reservations[block]["AvailableInstanceCount"] = 3
    assert len(up(door(aws, clock, tmp_path / "2"), order).instance_ids) == 3
    assert region.reservations[block]["AvailableInstanceCount"] == 0


@pytest.mark.parametrize("fault", ["expired", "lost", "server error after", "killed before", "killed after"])
def test_cut_off_anywhere_the_same_order_again_makes_as_many_as_ordered(fault: str, tmp_path: Path) -> None:
    at, ended = 0, False
    while not ended:
        at += 1
        aws, clock = fresh()
        some(aws, a=2)
        faulty = Faulty(aws, fault, at)
        with suppress(CorralError, Killed):
            up(door(faulty, clock, tmp_path / str(at)), three())
        ended = faulty.count < at
        if at % 2:
            up(door(aws, clock, tmp_path / str(at)), three())
            clock.sleep(60)
            assert len(machines(aws)) == 3, f"{fault} at {at}"
            assert ends(aws) == set(machines(aws)), f"{fault} at {at}"
        remains = down(door(aws, clock, tmp_path / str(at)))
        assert (remains.left, aws.live()) == ((), []), f"{fault} at {at}"


# --- what is lost is put back


def lose(aws: FakeAws, key: str) -> None:
    """End a machine as AWS does, and let EC2 forget it."""
    aws.regions["us-east-1"].terminate_instances(InstanceIds=[key])
    aws.clock.sleep(4000)


def test_each_that_is_lost_is_put_back_until_the_end_of_all(tmp_path: Path) -> None:
    aws, clock = fresh()
    order = three(ttl_minutes=480)
    first, second, third = up(door(aws, clock, tmp_path), order).instance_ids
    for lost in (first, second):
        lose(aws, lost)
        before = set(machines(aws))
        up(door(aws, clock, tmp_path), order)
        assert (len(machines(aws)), before < set(machines(aws))) == (3, True)
        # The rest of the eight hours, not eight more.
        tags = [
            {tag["Key"]: tag["Value"] for tag in aws.regions["us-east-1"].instances[key]["Tags"]}
            for key in machines(aws)
        ]
        assert {each["corral:expires-at"] for each in tags} == {utc(order.expires_at)}
    assert third in machines(aws)
    assert ends(aws) == {first, second, *machines(aws)}
    # One that is forgotten by then does not keep the schedule of the others from ending them.
    clock.sleep(480 * 60)
    aws.send(call("sts", "GetCallerIdentity"))
    clock.sleep(60)
    assert (machines(aws), aws.schedulers["us-east-1"].schedules) == ({}, {})
    assert down(door(aws, clock, tmp_path)).left == ()


def test_with_less_than_a_quarter_of_an_hour_left_none_is_rented(tmp_path: Path) -> None:
    aws, clock = fresh()
    order = three(ttl_minutes=480)
    lost, *rest = up(door(aws, clock, tmp_path), order).instance_ids
    lose(aws, lost)
    clock.now_s = order.expires_at.timestamp() - 899
    with pytest.raises(UsageError, match="nothing is rented anew for so short a time"):
        up(door(aws, clock, tmp_path), order)
    assert set(machines(aws)) == set(rest)
    clock.now_s -= 1
    up(door(aws, clock, tmp_path), order)
    assert len(machines(aws)) == 3


def test_none_is_rented_for_more_than_was_agreed_to_and_those_that_run_go_on(tmp_path: Path) -> None:
    aws, clock = fresh()
    lost, *rest = up(door(aws, clock, tmp_path), three()).instance_ids
    lose(aws, lost)
    with pytest.raises(CapacityError) as failure:
        up(door(aws, clock, tmp_path), three(usd_per_hour=17.0))
    assert failure.value.message == (
        "No place in us-east-1 costs as little as was agreed to: 17.000 USD per hour for all."
    )
    assert failure.value.hint.startswith(f"{', '.join(rest)} still cost: corral down t1.")
    assert set(machines(aws)) == set(rest)


def test_where_there_is_no_room_those_that_run_go_on(tmp_path: Path) -> None:
    aws, clock = fresh()
    lost, *rest = up(door(aws, clock, tmp_path), three()).instance_ids
    lose(aws, lost)
    some(aws, a=0, b=0, c=0)
    with pytest.raises(CapacityError, match="Only 2 of 3 machines after 3 attempts"):
        up(door(aws, clock, tmp_path), three())
    assert set(machines(aws)) == set(rest)


def test_two_corrals_that_put_back_the_same_one_leave_no_more_than_were_ordered(tmp_path: Path) -> None:
    aws, clock = fresh()
    first, *_ = up(door(aws, clock, tmp_path), three()).instance_ids
    lose(aws, first)
    order, at = three(), door(aws, clock, tmp_path)
    seen = account_preflight.survey(at, order)
    renting.rent(at, order, seen)
    before = set(machines(aws))
    # The other one looked before, and has a room that the first had not: another launch, not the same again.
    some(aws, a=0)
    renting.rent(at, order, seen)
    assert set(machines(aws)) == before


@pytest.mark.parametrize("fault", ["expired", "lost", "server error after", "killed before", "killed after"])
def test_cut_off_while_putting_back_there_are_never_more(fault: str, tmp_path: Path) -> None:
    at, ended = 0, False
    while not ended:
        at += 1
        aws, clock = fresh()
        lost, *rest = up(door(aws, clock, tmp_path / str(at)), three()).instance_ids
        lose(aws, lost)
        faulty = Faulty(aws, fault, at)
        with suppress(CorralError, Killed):
            up(door(faulty, clock, tmp_path / str(at)), three())
        ended = faulty.count < at
        assert set(rest) <= set(machines(aws))
        up(door(aws, clock, tmp_path / str(at)), three())
        clock.sleep(60)
        assert len(machines(aws)) == 3, f"{fault} at {at}"
        assert set(machines(aws)) < ends(aws), f"{fault} at {at}"
        remains = down(door(aws, clock, tmp_path / str(at)))
        assert (remains.left, aws.live()) == ((), []), f"{fault} at {at}"
