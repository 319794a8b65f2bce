"""Stopping and starting: what stays, what it costs, and that whatever still bills has an end that is scheduled."""

import contextlib
import itertools
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from fake_aws import FAULTS, Clock, FakeAws, Faulty, Killed
from renting import an_order, door, down, fresh, up

from infra.aws import power, rented_machines, stopped_costs
from infra.aws.api import Aws
from infra.aws.ledger import Ledger
from infra.aws.order import Order
from infra.aws.renting import told
from infra.aws.request import ec2
from infra.errors import CapacityError, CloudError, CorralError, HostError, UsageError

REGION = "us-east-1"


@pytest.fixture
def at(tmp_path: Path) -> tuple[Aws, FakeAws, Clock]:
    """An account in which one machine runs."""
    aws, clock = fresh()
    made = door(aws, clock, tmp_path)
    up(made, an_order())
    return made, aws, clock


@told
def stop(aws: Aws, order: Order | None = None) -> None:
    power.stop(aws, order or an_order())


@told
def start(aws: Aws, order: Order | None = None) -> None:
    power.start(aws, order or an_order())


def states(aws: FakeAws) -> list[str]:
    region = aws.regions[REGION]
    return [region.state(row) for row in region.instances.values()]


def operations(aws: FakeAws) -> list[str]:
    """What was changed, in order."""
    return [call.operation for call in aws.calls if call.changes]


def ends(aws: FakeAws, clock: Clock) -> bool:
    """Whether nothing is left of any machine once its time is over, and nobody does anything."""
    clock.sleep(8 * 3600)
    aws.send(ec2(REGION, "DescribeRegions"))
    clock.sleep(60)
    return not any(name.startswith(("instance ", "vol-")) for name in aws.live())


def test_a_machine_stops_and_the_same_one_starts(at: tuple[Aws, FakeAws, Clock]) -> None:
    made, aws, clock = at
    aws.calls.clear()
    stop(made)
    assert states(aws) == ["stopped"]
    assert operations(aws) == ["CreateSchedule", "StopInstances"]
    stop(made)
    clock.sleep(3600)
    aws.calls.clear()
    start(made)
    assert states(aws) == ["running"]
    assert operations(aws) == ["CreateSchedule", "CreateTags", "StartInstances"]
    start(made)
    assert len(aws.regions[REGION].instances) == 1


def test_a_stopped_machine_ends_when_its_time_is_over(at: tuple[Aws, FakeAws, Clock]) -> None:
    made, aws, clock = at
    stop(made)
    assert ends(aws, clock)


def test_a_stopped_machine_whose_end_nobody_had_scheduled_has_one(at: tuple[Aws, FakeAws, Clock]) -> None:
    """`up` may have been killed right after the launch; the box's own timer is gone once it is stopped."""
    made, aws, clock = at
    aws.schedulers[REGION].schedules.clear()
    stop(made)
    assert ends(aws, clock)


def test_a_stopped_machine_gets_more_time_and_keeps_it_when_it_starts(at: tuple[Aws, FakeAws, Clock]) -> None:
    made, aws, clock = at
    stop(made)
    until = rented_machines.extend(made, an_order(), 2 * 24 * 60)
    clock.sleep(24 * 3600)
    start(made)
    up(made, an_order())  # which finds it running
    (schedule,) = aws.schedulers[REGION].schedules.values()
    assert schedule["ScheduleExpression"] == f"at({until:%Y-%m-%dT%H:%M:%S})"
    (machine,) = rented_machines.machines(made, "t1", (REGION,))
    assert (machine.state, machine.expires_at) == ("running", until)


@pytest.mark.parametrize("verb", [stop, start])
def test_what_is_over_its_time_is_neither_stopped_nor_started(
    verb: Callable[[Aws], None], at: tuple[Aws, FakeAws, Clock]
) -> None:
    made, aws, clock = at
    if verb is start:
        stop(made)
    aws.schedulers[REGION].schedules.clear()
    clock.sleep(9 * 3600)
    aws.calls.clear()
    with pytest.raises(UsageError) as error:
        verb(made)
    assert error.value.message == "The time of t1 is over since 2026-09-21T22:13:20Z."
    assert error.value.hint == "Give it more: corral extend t1 8h; or take it away: corral down t1"
    assert operations(aws) == []


def test_down_takes_a_stopped_machine_away(at: tuple[Aws, FakeAws, Clock]) -> None:
    made, aws, _ = at
    stop(made)
    assert (down(made).left, aws.live()) == ((), [])


def test_up_starts_what_is_stopped_and_rents_nothing_more(at: tuple[Aws, FakeAws, Clock]) -> None:
    made, aws, _ = at
    (first,) = aws.regions[REGION].instances
    stop(made)
    aws.calls.clear()
    launched = up(made, an_order())
    assert launched.instance_ids == (first,)
    assert (states(aws), "RunInstances" in operations(aws)) == (["running"], False)


def test_up_does_not_take_away_what_it_cannot_start(at: tuple[Aws, FakeAws, Clock]) -> None:
    made, aws, _ = at
    stop(made)
    aws.regions[REGION].no_capacity = {("on-demand", "g5.12xlarge", "us-east-1a")}
    with pytest.raises(CapacityError):
        up(made, an_order())
    assert states(aws) == ["stopped"]


def test_where_ec2_has_no_room_it_stays_stopped(at: tuple[Aws, FakeAws, Clock]) -> None:
    made, aws, clock = at
    (key,) = aws.regions[REGION].instances
    stop(made)
    aws.regions[REGION].no_capacity = {("on-demand", "g5.12xlarge", "us-east-1a")}
    with pytest.raises(CapacityError) as error:
        start(made)
    assert error.value.message == (
        "EC2 has no room for g5.12xlarge in us-east-1a now (InsufficientInstanceCapacity): "
        f"{key} stays stopped."
    )
    assert error.value.hint == (
        "Try again later: corral serve t1; or rent elsewhere: corral down t1, then corral up plan.json "
        "--target ec2 --name t1, which tries every zone."
    )
    assert states(aws) == ["stopped"]
    assert ends(aws, clock)


def test_a_machine_that_stops_again_as_it_starts_is_told_why(at: tuple[Aws, FakeAws, Clock]) -> None:
    made, aws, _ = at
    stop(made)
    region = aws.regions[REGION]
    (key,) = region.instances
    begin = region.start_instances

    def fail(InstanceIds: list[str]) -> dict[str, Any]:  # noqa: N803
        begin(InstanceIds)
        words = {"code": "Client.InternalError", "reason": "Client.InternalError: Client error on launch"}
        region.instances[key] |= {"stopped": 0.0} | words
        return {}

    region.start_instances = fail  # type: ignore[method-assign]
    with pytest.raises(CloudError) as error:
        start(made)
    assert error.value.message == (
        f"{key} did not start: Client.InternalError: Client error on launch (Client.InternalError)."
    )
    assert error.value.hint.startswith("Most often the KMS key")
    assert "--region us-east-1;" in error.value.hint


@pytest.mark.parametrize(
    ("purchase", "sentence"),
    [
        ("spot", "A one-time spot machine cannot be stopped: EC2 only ends it."),
        ("capacity-block", "A capacity block is paid until it ends: to stop its machine saves nothing."),
    ],
)
def test_what_is_not_stopped_is_refused_before_anything_is_asked_for(
    purchase: str, sentence: str, at: tuple[Aws, FakeAws, Clock]
) -> None:
    made, aws, _ = at
    (row,) = aws.regions[REGION].instances.values()
    row["purchase"] = purchase
    aws.calls.clear()
    with pytest.raises(UsageError) as error:
        stop(made)
    assert error.value.message == sentence
    assert error.value.hint == "Take it away: corral down t1. What stops and starts is rented on demand."
    assert operations(aws) == []


@pytest.mark.parametrize(
    ("changes", "sentence", "hint"),
    [
        (
            {"stop_protected": True},
            "{key} cannot be stopped: stop protection is on.",
            "Take it off: aws ec2 modify-instance-attribute --no-disable-api-stop --region us-east-1 --instance-id ID",
        ),
        (
            {"root_device": "instance-store"},
            "EC2 does not stop {key}: The instance '{key}' does not have an 'ebs' root device type and cannot be "
            "stopped.",
            "It can only be taken away: corral down t1",
        ),
    ],
)
def test_what_ec2_does_not_stop_is_told_with_a_remedy(
    changes: dict[str, Any], sentence: str, hint: str, at: tuple[Aws, FakeAws, Clock]
) -> None:
    made, aws, _ = at
    ((key, row),) = aws.regions[REGION].instances.items()
    row |= changes
    with pytest.raises(CloudError) as error:
        stop(made)
    assert (error.value.message, error.value.hint) == (sentence.format(key=key), hint)


@pytest.mark.parametrize("verb", [stop, start])
def test_what_is_not_there_cannot_be_stopped_or_started(verb: Callable[[Aws], None], tmp_path: Path) -> None:
    aws, clock = fresh()
    with pytest.raises(CloudError, match=r"No machine of t1 is there\."):
        verb(door(aws, clock, tmp_path))


def test_a_full_disk_keeps_nothing_running(
    at: tuple[Aws, FakeAws, Clock], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, aws, _ = at

    def full(*_: object) -> None:
        raise HostError("The ledger cannot be written: No space left on device.", "df -h")

    monkeypatch.setattr(Ledger, "append", full)
    stop(made)
    assert states(aws) == ["stopped"]


# --- money


def test_no_hours_are_billed_while_it_is_stopped_and_none_are_forgotten(
    at: tuple[Aws, FakeAws, Clock],
) -> None:
    made, _, clock = at
    begun = clock()

    def billed_s() -> float | None:
        (machine,) = rented_machines.machines(made, "t1", (REGION,))
        return rented_machines.billed_s(machine, made.now())

    clock.sleep(begun + 3600 - clock())
    stop(made)
    first = billed_s()
    assert first is not None
    assert first == pytest.approx(3600, abs=120)
    clock.sleep(3600)
    assert billed_s() == first
    start(made)
    clock.sleep(1800)
    second = billed_s()
    assert second == pytest.approx(first + 1800, abs=120)
    stop(made)
    clock.sleep(3600)
    start(made)
    third = billed_s()
    assert third is not None
    assert second is not None
    assert third >= second + 60


def test_what_was_billed_is_not_counted_twice_when_a_start_comes_to_nothing(
    at: tuple[Aws, FakeAws, Clock],
) -> None:
    made, aws, clock = at
    clock.sleep(3600)
    stop(made)
    (before,) = rented_machines.machines(made, "t1", (REGION,))
    aws.regions[REGION].no_capacity = {("on-demand", "g5.12xlarge", "us-east-1a")}
    for _ in range(2):
        with pytest.raises(CapacityError):
            start(made)
    (after,) = rented_machines.machines(made, "t1", (REGION,))
    assert rented_machines.billed_s(after, made.now()) == rented_machines.billed_s(before, made.now())
    assert (after.billed_until_start, before.billed_until_start) == (before.launched_at, None)


@pytest.mark.parametrize("tag", ["", "x", "12", "12 yesterday", "-1 2026-11-24T05:00:00Z"])
def test_a_tag_that_is_not_ours_to_read_says_nothing(tag: str) -> None:
    assert rented_machines.billed_before(tag) == {}


def test_a_stopped_machine_costs_its_volume_until_its_end(at: tuple[Aws, FakeAws, Clock]) -> None:
    """150 GiB at 8 cents, and the 375 MiB/s beyond the 125 that come with it at 4 cents."""
    made, aws, _ = at
    stop(made)
    (machine,) = rented_machines.machines(made, "t1", (REGION,))
    unverified = "(AWS EBS and VPC pricing as quoted by others, unverified, 2026-11-28)"
    end = "until 2026-09-21T22:13:20Z, when it ends"
    assert stopped_costs.told(made, machine) == (
        f"its 150 GiB of volumes still cost 27.00 USD a month {unverified} {end}"
    )
    aws.regions[REGION].addresses = [{"InstanceId": machine.instance_id}, {"InstanceId": "i-other"}]
    assert stopped_costs.told(made, machine) == (
        f"its 150 GiB of volumes and 1 addresses of yours still cost 30.65 USD a month {unverified} {end}"
    )
    aws.denied = {"ec2:DescribeVolumes"}
    assert stopped_costs.told(made, machine) == (
        f"its volumes still cost {end} (how much, EC2 does not tell: UnauthorizedOperation)"
    )


def test_a_price_nobody_knows_is_said_to_be_unknown(at: tuple[Aws, FakeAws, Clock]) -> None:
    volumes = [{"VolumeType": "gp3", "Size": 100, "Iops": 4000, "Throughput": 125}]
    assert stopped_costs.usd_per_month(REGION, volumes, 0) == Decimal("13.00")
    assert stopped_costs.usd_per_month("eu-central-1", volumes, 0) is None
    assert stopped_costs.usd_per_month(REGION, [*volumes, volumes[0] | {"VolumeType": "io2"}], 0) is None
    made, aws, _ = at
    for volume in aws.regions[REGION].volumes.values():
        volume["VolumeType"] = "io2"
    (machine,) = rented_machines.machines(made, "t1", (REGION,))
    assert stopped_costs.told(made, machine) == (
        "its 150 GiB of volumes still cost until 2026-09-21T22:13:20Z, when it ends, in us-east-1 at a price corral "
        "does not know"
    )


# --- whatever fails, at whatever call


def broken(at: int, fault: str, verb: Callable[[Aws], None], folder: Path) -> tuple[FakeAws, Clock, bool]:
    """A stop or a start with one fault; whether the fault came."""
    aws, clock = fresh()
    made = door(aws, clock, folder)
    up(made, an_order())
    if verb is start:
        stop(made)
    faulty = Faulty(aws, fault, at)
    with contextlib.suppress(CorralError, Killed):
        verb(door(faulty, clock, folder))
    return aws, clock, faulty.count >= at


@pytest.mark.parametrize("fault", list(FAULTS))
@pytest.mark.parametrize("verb", [stop, start], ids=["stop", "start"])
def test_after_any_fault_what_bills_has_an_end_and_again_works(
    verb: Callable[[Aws], None], fault: str, tmp_path: Path
) -> None:
    wanted = "stopped" if verb is stop else "running"
    for at in itertools.count(1):
        aws, clock, came = broken(at, fault, verb, tmp_path / f"end-{at}")
        assert set(states(aws)) <= {"running", "stopping", "stopped", "pending"}, f"{fault} at {at}"
        assert ends(aws, clock), f"{fault} at {at}"

        folder = tmp_path / f"again-{at}"
        aws, clock, _ = broken(at, fault, verb, folder)
        clock.sleep(60)
        verb(door(aws, clock, folder))
        assert states(aws) == [wanted], f"{fault} at {at}"
        assert (down(door(aws, clock, folder)).left, aws.live()) == ((), []), f"{fault} at {at}"
        if not came:
            break
    assert at > 4


def test_several_machines_stop_and_start_together(tmp_path: Path) -> None:
    aws, clock = fresh()
    aws.quotas["L-417A185B"] = 1000.0
    aws.regions[REGION].vcpu_limit, aws.regions[REGION].public_subnets = 1000, False
    order = an_order(instance_types=("p5.48xlarge",), nodes=2, subnet_ids=("subnet-us-east-1a",))
    made = door(aws, clock, tmp_path)
    up(made, order)
    stop(made, order)
    assert states(aws) == ["stopped", "stopped"]
    # One that somebody else has started is no reason to rent anew.
    (first, _) = aws.regions[REGION].instances
    aws.regions[REGION].start_instances([first])
    clock.sleep(60)
    up(made, order)
    assert states(aws) == ["running", "running"]
    ends_at = {one.expires_at for one in rented_machines.machines(made, "t1", (REGION,))}
    assert ends_at == {order.created_at + timedelta(minutes=480)}
