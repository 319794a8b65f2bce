"""Several servers as one rented deployment: launched, given one key, counted, and put back when one is lost."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from doors import Door
from fake_aws import FakeAws, Faulty, Killed
from fake_rented_box import own_key
from ports import free_port
from renting import an_order, door, down, fresh, up
from stubbed import until as ended
from test_ec2_launch import Interrupting
from test_ec2_several import Corral, aws, commands, corral, log, plan_on

from deploy.gateway import gateway, haproxy
from deploy.gateway.gateway_options import GatewayOptions
from deploy.gateway.haproxy_config import Server
from deploy.targets.deployment import folder, load
from deploy.targets.ec2 import common_key
from deploy.targets.place import Status
from infra.aws import account_preflight, rented_machines, renting, session
from infra.aws.order import Order, utc
from infra.aws.request import Request
from infra.errors import CapacityError, CorralError, HostError, Interrupted, UsageError
from serving.probe.lengths import Lengths
from serving.sizing.carried import Carried, Machines
from serving.sizing.plan import Plan
from serving.sizing.traffic import Traffic
from serving.vllm.endpoint import Endpoint

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


@pytest.mark.parametrize("fault", ["expired", "lost", "server error after", "killed after"])
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


def test_an_end_that_was_moved_is_that_of_what_is_rented_later(tmp_path: Path) -> None:
    aws, clock = fresh()
    order, at = three(ttl_minutes=480), door(aws, clock, tmp_path)
    lost, *_ = up(at, order).instance_ids
    end = rented_machines.extend(at, order, 100)  # sooner than ordered
    aws.regions["us-east-1"].terminate_instances(InstanceIds=[lost])
    clock.sleep(60)
    before = set(machines(aws))
    up(at, order)
    (new,) = set(machines(aws)) - before
    tags = {tag["Key"]: tag["Value"] for tag in aws.regions["us-east-1"].instances[new]["Tags"]}
    until = rented_machines.moment(tags["corral:expires-at"])
    assert until is not None
    assert 0 <= (end - until).total_seconds() < 60
    schedule = aws.schedulers["us-east-1"].schedules["corral-t1", f"end-{new}"]
    assert schedule["ScheduleExpression"] == f"at({utc(end).removesuffix('Z')})"


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
    assert failure.value.hint.startswith("All that runs of t1 still costs: corral down t1.")
    assert set(machines(aws)) == set(rest)


def test_where_there_is_no_room_those_that_run_go_on(tmp_path: Path) -> None:
    aws, clock = fresh()
    lost, *rest = up(door(aws, clock, tmp_path), three()).instance_ids
    lose(aws, lost)
    some(aws, a=0, b=0, c=0)
    with pytest.raises(CapacityError, match="Only 2 of 3 machines after 3 attempts"):
        up(door(aws, clock, tmp_path), three())
    assert set(machines(aws)) == set(rest)


def test_ctrl_c_while_one_is_put_back_ends_nothing_and_says_what_costs(tmp_path: Path) -> None:
    aws, clock = fresh()
    lost, *rest = up(door(aws, clock, tmp_path), three()).instance_ids
    lose(aws, lost)
    seen = account_preflight.survey(door(aws, clock, tmp_path), three())
    calls = len(aws.calls)
    renting.rent(door(Interrupting(aws, 10_000), clock, tmp_path), three(), seen)
    calls = len(aws.calls) - calls
    for at in range(2, calls):
        aws, clock = fresh()
        place = tmp_path / str(at)
        lost, *rest = up(door(aws, clock, place), three()).instance_ids
        lose(aws, lost)
        seen = account_preflight.survey(door(aws, clock, place), three())
        with pytest.raises(Interrupted) as failure:
            renting.rent(door(Interrupting(aws, at), clock, place), three(), seen)
        assert failure.value.hint == "Go on: corral serve t1; take it away: corral down t1"
        assert (set(rest) <= set(machines(aws)), len(machines(aws)) <= 3) == (True, True), at


def test_two_corrals_that_put_back_the_same_one_leave_no_more_than_were_ordered(tmp_path: Path) -> None:
    aws, clock = fresh()
    first, *_ = up(door(aws, clock, tmp_path), three()).instance_ids
    lose(aws, first)
    order, at = three(), door(aws, clock, tmp_path)
    seen = account_preflight.survey(at, order)
    # The other one has extended it meanwhile, so what it asks for is not the same call.
    rented_machines.extend(at, order, 600)
    renting.rent(at, order, account_preflight.survey(at, order))
    before = set(machines(aws))
    renting.rent(at, order, seen)
    assert set(machines(aws)) == before
    assert (len(aws.regions["us-east-1"].instances), len(before)) == (4, 3)  # the lost one is forgotten


@pytest.mark.parametrize("fault", ["expired", "lost", "killed after"])
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


# --- the command line


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, aws: FakeAws) -> list[str]:
    """The arguments that rent for a plan, with boxes that each have a key of their own."""
    monkeypatch.setenv("FAKE_OWN_KEYS", "1")
    aws.regions["us-east-1"].public_subnets = True
    return plan_on(TYPE, "scout", "int4", tmp_path, monkeypatch)


def key_there(log: Path, box: str) -> str:
    """What a box's server takes."""
    return (log.parent / box / "opt/corral/t1/secrets.env").read_text().strip().removeprefix("VLLM_API_KEY=")


@contextmanager
def front_of(name: str) -> Iterator[Door]:
    """The real HAProxy before all servers of a deployment, once it has seen that they are there."""
    deployment, asked = load(name), GatewayOptions(port=free_port())
    door = Door(folder(name).parent, asked, deployment, name=name)
    try:
        gateway.start(deployment, asked)
        ended(lambda: {each.state for each in gateway.status(name).servers} == {"UP"})
        yield door
    finally:
        haproxy.stop(gateway.folder(name), 0)


def test_several_servers_are_one_deployment_from_up_to_down(
    aws: FakeAws, log: Path, plan: list[str], corral: Corral
) -> None:
    code, out, err = corral("up", *plan, "--replicas", "2", "--ttl", "8h", "--json")
    assert code == 0, err
    first, second = machines(aws)
    own = own_key(first)
    # One key for all: the first one's, which nobody sees on its way.
    assert (folder("t1") / "api-key").read_text() == f"{own}\n"
    assert key_there(log, second) == own
    assert own not in log.read_text()
    assert err.count("takes the key of the others") == 1
    told = commands(log)
    assert [box for box, words in told if "try-restart corral-t1" in words] == [second]
    assert [box for box, words in told if "--no-block start" in words] == [first, second]
    assert not any("bin/join" in words for _, words in told)

    status = Status.model_validate_json(corral("status", "t1", "--json")[1])
    assert (status.state, status.detail.count(": serving at http")) == ("serving", 2)
    addresses = re.findall(r"serving at (http://127.0.0.1:[0-9]+), i-", status.detail)
    assert (len(set(addresses)), status.endpoint) == (2, Endpoint.model_validate_json(out))
    assert status.endpoint is not None
    assert addresses[0] == status.endpoint.base_url
    assert log.read_text().count("localPortNumber") == 2

    # One address for all: the gateway's servers, and the key that it sends them.
    assert [(each.name, each.state, each.endpoint) for each in status.endpoints] == [
        (
            box,
            "serving",
            Endpoint(base_url=url, served_model_name="llama-4-scout", api_key_file=folder("t1") / "api-key"),
        )
        for box, url in zip((first, second), addresses, strict=True)
    ]
    ports = [int(url.rpartition(":")[2]) for url in addresses]
    known = gateway.servers_of(load("t1"), opens=False)
    assert sorted(known) == [
        Server(box, "127.0.0.1", port, True) for box, port in zip((first, second), ports, strict=True)
    ]
    assert (gateway.servers_of(load("t1")), gateway.engine_key(load("t1"))) == (tuple(sorted(known)), own)

    with front_of("t1") as door:
        assert [door.ask("/v1/completions", {"prompt": "x"})[0] for _ in range(4)] == [200] * 4
        assert {line["server"] for line in door.audit()} == {first, second}

    # Cost, end, stop and start are of all.
    code, out, err = corral("compare", "t1", "--json")
    assert (code, json.loads(out)["knobs"]["replicas"]) == (0, 2), err
    assert "machines: 2, as t1 has; each as one was measured. For others: --replicas 1" in err
    aws.clock.sleep(1800)
    dollars = Status.model_validate_json(corral("status", "t1", "--json")[1]).usd_so_far
    assert dollars is not None
    hours = (aws.clock() - aws.regions["us-east-1"].instances[first]["started"]) / 3600
    assert dollars == pytest.approx(2 * 5.672 * hours, rel=0.001)
    assert corral("extend", "t1", "10h")[0] == 0
    assert [box for box, words in commands(log) if "bin/extend" in words] == [first, second]
    assert corral("stop", "t1")[0] == 0
    assert {aws.regions["us-east-1"].state(row) for row in aws.regions["us-east-1"].instances.values()} == {
        "stopped"
    }
    assert [path.name for path in folder("t1").glob("tunnel*")] == []
    with pytest.raises(UsageError, match="No way to t1 is open here"):
        gateway.servers_of(load("t1"), opens=False)
    assert Status.model_validate_json(corral("status", "t1", "--json")[1]).state == "stopped"
    assert corral("serve", "t1")[0] == 0
    assert Status.model_validate_json(corral("status", "t1", "--json")[1]).state == "serving"
    code, out, _ = corral("down", "t1", "--json")
    assert (code, json.loads(out)["left"], aws.live()) == (0, [], [])
    assert [path.name for path in folder("t1").glob("api-key*")] == []


def test_one_that_is_lost_is_told_and_serve_puts_it_back(
    aws: FakeAws, log: Path, plan: list[str], corral: Corral, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert corral("up", *plan, "--replicas", "2", "--purchase", "spot")[0] == 0
    region = aws.regions["us-east-1"]
    kept, lost = machines(aws)
    key = (folder("t1") / "api-key").read_text()
    region.take_back(lost)
    aws.clock.sleep(2 * 3600)
    status = Status.model_validate_json(corral("status", "t1", "--json")[1])
    assert (status.state, status.endpoint is None) == ("dead", False)
    assert status.detail.endswith(
        "missing: dead, 1 of 2 machines are not there; rented anew by: corral serve t1"
    )

    code, _, err = corral("serve", "t1")
    assert code == 0, err
    assert "1 of 2 replicas of t1 lack: rented anew until" in err
    new = next(box for box in machines(aws) if box != kept)
    assert (len(machines(aws)), new != lost, key_there(log, new)) == (2, True, key.strip())
    assert (folder("t1") / "api-key").read_text() == key
    # It was made to live as long as the first were, and is told that less is left.
    (minutes,) = [words.split()[-1] for box, words in commands(log) if "bin/extend" in words and box == new]
    assert 9.9 * 60 < int(minutes) < 10 * 60
    assert Status.model_validate_json(corral("status", "t1", "--json")[1]).state == "serving"

    # Where there is no room the other serves on, and that is said with an exit code.
    region.take_back(new)
    aws.clock.sleep(7200)
    region.no_capacity = {("spot", TYPE, zone) for zone in region.zones}
    code, _, err = corral("serve", "t1")
    assert (code, "Only 1 of 2 machines after 3 attempts" in err) == (6, True)
    assert err.splitlines()[-1] == "hint: Those that are there go on. Try again later: corral serve t1"
    assert list(machines(aws)) == [kept]
    assert corral("down", "t1")[0] == 0
    assert aws.live() == []


def test_what_all_cost_is_asked_and_as_few_as_will_do_is_said(
    aws: FakeAws, log: Path, plan: list[str], corral: Corral
) -> None:
    plan.remove("--yes")
    code, _, err = corral("provision", *plan, "--replicas", "3", "--min-replicas", "2", "--ttl", "8h")
    assert (code, launches(aws)) == (2, [])
    (line,) = [line for line in err.splitlines() if line.startswith("3x g5.12xlarge")]
    assert line.startswith("3x g5.12xlarge in us-east-1: 17.016 USD per hour for all 3 (")
    assert "USD in the 8 hours until they end themselves" in line
    assert line.endswith("traffic comes on top; no fewer than 2 are kept")


@pytest.mark.parametrize(
    ("machine", "more", "said"),
    [
        (TYPE, ("--min-replicas", "2"), "--min-replicas 2 is more than the 1 that is asked for."),
        (
            TYPE,
            ("--replicas", "2", "--min-replicas", "3"),
            "--min-replicas 3 is more than the 2 that are asked for.",
        ),
        (
            "2xp5.48xlarge",
            ("--replicas", "2"),
            "One server of this plan spans 2 machines; replicas are of a plan",
        ),
        (TYPE, ("--replicas", "0"), "--replicas"),
        (TYPE, ("--replicas", "65"), "--replicas"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_aws_is_asked(
    machine: str,
    more: tuple[str, ...],
    said: str,
    aws: FakeAws,
    tmp_path: Path,
    corral: Corral,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, precision = ("scout", "int4") if machine == TYPE else ("maverick", "bf16")
    words = plan_on(machine, model, precision, tmp_path, monkeypatch)
    code, _, err = corral("provision", *words, *more)
    assert (code, said in err, aws.calls) == (2, True, []), err


def test_a_plan_of_a_traffic_rents_as_many_as_it_counts_on(
    aws: FakeAws, log: Path, plan: list[str], corral: Corral
) -> None:
    file, told = Path(plan[0]), "replicas: 3, as the plan counts on; for another number: --replicas 1"
    traffic = Traffic(
        requests_per_s=3.0, peak_factor=1.0, input_tokens=Lengths(low=1000), output_tokens=Lengths(low=100)
    )
    made = Plan.read(file)
    for name, servers, more, rented in (
        (TYPE, 1, (), 3),
        (TYPE, 1, ("--replicas", "2"), 2),
        (TYPE, 2, (), 1),
        ("g6e.12xlarge", 1, (), 1),
    ):
        each = Machines(name=name, count=3, servers=servers, times=1.0)
        made.model_copy(update={"carried": Carried(traffic=traffic, machines=(each,))}).write(file)
        code, out, err = corral("provision", *plan, "--dry-run", "--json", *more)
        assert code == 0, err
        asked = [row["parameters"] for row in json.loads(out) if row["operation"] == "RunInstances"]
        assert [row["MaxCount"] for row in asked] == [rented] * 2  # the second is asked in earnest
        assert (told in err) == (rented == 3)


def test_a_key_that_was_taken_and_not_loaded_is_loaded_the_next_time(
    aws: FakeAws, log: Path, plan: list[str], corral: Corral, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The session ends just after the box has taken it, so its server still has its own."""
    assert corral("provision", *plan, "--replicas", "2")[0] == 0
    run, cut = session.run, iter([True])

    def ends(instance_id: str, region: str, words: str, timeout_s: float = 60) -> session.Answer:
        take, both, _ = words.partition(" && sudo systemctl --no-block try-restart")
        if both and next(cut, False):
            run(instance_id, region, take, timeout_s)
            raise HostError(f"Session Manager does not reach {instance_id}.", "")
        return run(instance_id, region, words, timeout_s)

    monkeypatch.setattr(session, "run", ends)
    assert corral("serve", "t1")[0] == HostError.exit_code

    def restarted() -> list[str]:
        return [box for box, words in commands(log) if "try-restart corral-t1" in words]

    first, second = machines(aws)
    assert (key_there(log, second), restarted()) == (own_key(first), [])
    for _ in range(2):
        assert corral("serve", "t1")[0] == 0
        assert restarted() == [second]


def test_a_key_is_taken_as_it_was_sent(tmp_path: Path) -> None:
    file = tmp_path / "secrets.env"
    file.write_text(f"VLLM_API_KEY={'ab' * 32}\n")
    differing = common_key.pad("01" * 32, "ab" * 32)
    assert differing == "aa" * 32
    mark = tmp_path / common_key.UNLOADED
    subprocess.run([sys.executable, "-ISBc", common_key.TAKE, file, mark, differing], check=True)
    assert (file.read_text(), file.stat().st_mode & 0o777) == (f"VLLM_API_KEY={'01' * 32}\n", 0o600)
    assert sorted(path.name for path in tmp_path.iterdir()) == [mark.name, "secrets.env"]
    for one, other in (("01" * 32, "01" * 31), ("sk-of-another-place", "01" * 32)):
        with pytest.raises(HostError, match="none that a rented box makes"):
            common_key.pad(one, other)
