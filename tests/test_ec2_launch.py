"""Launching on EC2: what is sent, where it goes when there is no room, and what is left when it comes to nothing."""

import contextlib
import itertools
from pathlib import Path
from typing import Any

import pytest
from fake_aws import Clock, FakeAws, Faulty, Killed
from renting import an_order, door, down, fresh, up

from infra.aws import failover
from infra.aws.failures import ApiFailure
from infra.aws.order import Order
from infra.aws.request import Request, Spot, network_interfaces
from infra.errors import AuthError, CapacityError, CloudError, Interrupted, UsageError

RESERVED = "cr-0123456789abcdef0"


def sent(aws: FakeAws, operation: str) -> list[dict[str, Any]]:
    """The parameters of every call of an operation that was not a dry run."""
    calls = [call for call in aws.calls if call.operation == operation]
    return [call.parameters for call in calls if "DryRun" not in call.parameters]


def full(
    aws: FakeAws, region: str, letters: str, purchase: str = "on-demand", type_: str = "g5.12xlarge"
) -> None:
    """Take the room out of some zones."""
    aws.regions[region].no_capacity |= {(purchase, type_, f"{region}{letter}") for letter in letters}


def test_the_launch_asks_for_exactly_this(tmp_path: Path) -> None:
    aws, clock = fresh()
    done = up(door(aws, clock, tmp_path), an_order(cidr="203.0.113.7/32"))
    launch = sent(aws, "RunInstances")[-1]
    tags = [
        {"Key": "Name", "Value": "corral-t1"},
        {"Key": "corral:deployment", "Value": "t1"},
        {"Key": "corral:order", "Value": "0123456789abcdef"},
        {"Key": "corral:expires-at", "Value": "2026-09-21T22:13:20Z"},
        {"Key": "corral:created-by", "Value": "ann@desk"},
        {"Key": "corral:version", "Value": "0.1.0"},
    ]
    (group,) = aws.regions["us-east-1"].groups
    assert {key: value for key, value in launch.items() if key != "ClientToken"} == {
        "ImageId": "ami-0123456789abcdef0",
        "InstanceType": "g5.12xlarge",
        "MinCount": 1,
        "MaxCount": 1,
        "UserData": "#cloud-config\n",
        "IamInstanceProfile": {"Name": "corral-t1-box"},
        "InstanceInitiatedShutdownBehavior": "terminate",
        "MetadataOptions": {
            "HttpTokens": "required",
            "HttpPutResponseHopLimit": 1,
            "HttpEndpoint": "enabled",
        },
        "BlockDeviceMappings": [
            {
                "DeviceName": "/dev/sda1",
                "Ebs": {
                    "VolumeType": "gp3",
                    "VolumeSize": 150,
                    "Iops": 3000,
                    "Throughput": 500,
                    "Encrypted": True,
                    "DeleteOnTermination": True,
                },
            }
        ],
        "NetworkInterfaces": [
            {
                "DeviceIndex": 0,
                "SubnetId": "subnet-us-east-1a",
                "Groups": [group],
                "DeleteOnTermination": True,
            }
        ],
        "TagSpecifications": [
            {"ResourceType": kind, "Tags": tags} for kind in ("instance", "volume", "network-interface")
        ],
    }
    assert len(launch["ClientToken"]) == 64
    assert done.spot.zone == "us-east-1a"
    port = {"IpProtocol": "tcp", "FromPort": 8000, "ToPort": 8000}
    ranges = [{"CidrIp": "203.0.113.7/32", "Description": "corral-t1"}]
    assert aws.regions["us-east-1"].groups[group]["inbound"] == [port | {"IpRanges": ranges}]


def test_without_a_network_nothing_may_come_in(tmp_path: Path) -> None:
    aws, clock = fresh()
    up(door(aws, clock, tmp_path), an_order())
    assert [group["inbound"] for group in aws.regions["us-east-1"].groups.values()] == [[]]


def test_the_schedule_ends_the_machines_when_the_laptop_is_closed(tmp_path: Path) -> None:
    aws, clock = fresh()
    up(door(aws, clock, tmp_path), an_order())
    (schedule,) = sent(aws, "CreateSchedule")
    assert schedule["ScheduleExpression"] == "at(2026-09-21T22:13:20)"
    assert schedule["ActionAfterCompletion"] == "DELETE"
    clock.sleep(8 * 3600 + 60)
    aws.send(Request(service="sts", operation="GetCallerIdentity", region="us-east-1", parameters={}))
    clock.sleep(60)
    assert aws.live() == [
        "profile corral-t1-box",
        "role corral-t1-box",
        "role corral-t1-end",
        "schedule group corral-t1",
        *aws.regions["us-east-1"].groups,
    ]


def test_zones_are_tried_in_turn_with_one_call_each(tmp_path: Path) -> None:
    aws, clock = fresh()
    aws.iam.clock = lambda: clock() + 0  # the profile spreads while the roles are made
    full(aws, "us-east-1", "ab")
    done = up(door(aws, clock, tmp_path), an_order())
    assert [(item.spot.zone, item.code) for item in done.attempts] == [
        ("us-east-1a", "InsufficientInstanceCapacity"),
        ("us-east-1b", "InsufficientInstanceCapacity"),
    ]
    assert done.spot.zone == "us-east-1c"
    tokens = [call["ClientToken"] for call in sent(aws, "RunInstances")]
    # A call is repeated only while IAM spreads the new profile: three places, three tokens.
    assert len(list(itertools.groupby(tokens))) == 3


def test_the_order_is_zone_type_region_purchase(tmp_path: Path) -> None:
    aws, clock = fresh()
    for type_ in ("g5.12xlarge", "g5.24xlarge"):
        full(aws, "us-east-1", "abc", type_=type_)
        full(aws, "us-west-2", "abc", type_=type_)
    order = an_order(
        regions=("us-east-1", "us-west-2"),
        instance_types=("g5.12xlarge", "g5.24xlarge"),
        zones=("us-east-1a", "us-east-1c", "us-west-2b"),
        purchases=("on-demand", "spot"),
    )
    done = up(door(aws, clock, tmp_path), order)
    assert [(a.spot.purchase, a.spot.instance_type, a.spot.zone) for a in done.attempts] == [
        ("on-demand", "g5.12xlarge", "us-east-1a"),
        ("on-demand", "g5.12xlarge", "us-east-1c"),
        ("on-demand", "g5.24xlarge", "us-east-1a"),
        ("on-demand", "g5.24xlarge", "us-east-1c"),
        ("on-demand", "g5.12xlarge", "us-west-2b"),
        ("on-demand", "g5.24xlarge", "us-west-2b"),
    ]
    assert (done.spot.purchase, done.spot.zone) == ("spot", "us-east-1a")
    once = {"SpotInstanceType": "one-time", "InstanceInterruptionBehavior": "terminate"}
    assert sent(aws, "RunInstances")[-1]["InstanceMarketOptions"] == {
        "MarketType": "spot",
        "SpotOptions": once,
    }
    assert down(door(aws, clock, tmp_path), regions=order.regions).left == ()
    assert aws.live() == []


def test_no_room_anywhere_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    aws, clock = fresh()
    full(aws, "us-east-1", "abc")
    with pytest.raises(CapacityError) as error:
        up(door(aws, clock, tmp_path), an_order())
    assert error.value.message == (
        "No machine after 3 attempts: on-demand g5.12xlarge in us-east-1a: InsufficientInstanceCapacity; "
        "on-demand g5.12xlarge in us-east-1b: InsufficientInstanceCapacity; "
        "on-demand g5.12xlarge in us-east-1c: InsufficientInstanceCapacity."
    )
    assert aws.live() == []


def test_a_quota_ends_the_tries_of_that_region_and_way_of_buying(tmp_path: Path) -> None:
    aws, clock = fresh()
    aws.regions["us-east-1"].vcpu_limit = 40
    done = up(door(aws, clock, tmp_path), an_order(regions=("us-east-1", "us-east-2")))
    assert [(item.spot.zone, item.code) for item in done.attempts] == [("us-east-1a", "VcpuLimitExceeded")]
    assert done.spot.zone == "us-east-2a"


class NoSpot:
    """An account whose spot quota is used up."""

    def __init__(self, aws: FakeAws) -> None:
        self.aws = aws

    def send(self, request: Request) -> dict[str, Any]:
        if "InstanceMarketOptions" in request.parameters and "DryRun" not in request.parameters:
            raise ApiFailure("MaxSpotInstanceCountExceeded", "Max spot instance count exceeded")
        return self.aws.send(request)


def test_without_spot_quota_on_demand_is_tried_only_when_allowed(tmp_path: Path) -> None:
    aws, clock = fresh()
    with pytest.raises(CapacityError) as error:
        up(door(NoSpot(aws), clock, tmp_path), an_order(purchases=("spot",)))
    assert error.value.message == (
        "No machine after 1 attempt: spot g5.12xlarge in us-east-1a: MaxSpotInstanceCountExceeded."
    )
    assert error.value.hint.endswith("servicequotas/home/services/ec2/quotas/L-3819A6DF")
    assert aws.live() == []
    done = up(door(NoSpot(aws), clock, tmp_path / "b"), an_order(purchases=("spot", "on-demand")))
    assert [item.code for item in done.attempts] == ["MaxSpotInstanceCountExceeded"]
    assert done.spot.purchase == "on-demand"


def test_a_denied_launch_is_not_called_a_lack_of_capacity(tmp_path: Path) -> None:
    aws, clock = fresh()

    class Denying:
        def send(self, request: Request) -> dict[str, Any]:
            if request.operation == "RunInstances" and "DryRun" not in request.parameters:
                aws.calls.append(request)
                raise ApiFailure("UnauthorizedOperation", "You are not authorized")
            return aws.send(request)

    with pytest.raises(AuthError, match="ec2:RunInstances"):
        up(door(Denying(), clock, tmp_path), an_order())
    assert len(sent(aws, "RunInstances")) == 1
    assert aws.live() == []


def test_a_throttled_launch_keeps_its_token(tmp_path: Path) -> None:
    aws, clock = fresh()
    tokens: list[str] = []

    class Busy:
        def send(self, request: Request) -> dict[str, Any]:
            if request.operation == "RunInstances" and "DryRun" not in request.parameters:
                tokens.append(request.parameters["ClientToken"])
                if len(tokens) <= 2:
                    raise ApiFailure("RequestLimitExceeded", "slow down")
            return aws.send(request)

    up(door(Busy(), clock, tmp_path), an_order())
    assert len(set(tokens)) == 1
    assert len(aws.regions["us-east-1"].instances) == 1


def test_a_machine_that_dies_at_start_is_told_and_the_next_zone_tried(tmp_path: Path) -> None:
    reason = "Server.InsufficientInstanceCapacity: no room after all"
    aws, clock = fresh()
    aws.regions["us-east-1"].die_at_start = [reason]
    done = up(door(aws, clock, tmp_path), an_order())
    assert [(item.spot.zone, item.reason) for item in done.attempts] == [("us-east-1a", reason)]
    assert done.spot.zone == "us-east-1b"
    assert sum(name.startswith("instance") for name in aws.live()) == 1


def test_volumes_that_no_more_may_be_of_are_no_more_in_another_zone(tmp_path: Path) -> None:
    aws, clock = fresh()
    aws.regions["us-east-1"].die_at_start = ["Client.VolumeLimitExceeded: Volume limit exceeded"]
    with pytest.raises(CapacityError) as caught:
        up(door(aws, clock, tmp_path), an_order())
    assert caught.value.message == (
        "No machine after 1 attempt: on-demand g5.12xlarge in us-east-1a: VolumeLimitExceeded."
    )
    page = "https://us-east-1.console.aws.amazon.com/servicequotas/home/services/ebs/quotas"
    assert caught.value.hint == f"Ask for more: {page}"
    assert aws.live() == []


def test_a_machine_that_dies_of_the_accounts_own_key_ends_the_launch_with_the_reason(tmp_path: Path) -> None:
    """As karpenter's users met it (#1407): every zone would fail alike."""
    aws, clock = fresh()
    aws.regions["us-east-1"].die_at_start = ["Client.InternalError: Client error on launch"] * 3
    with pytest.raises(CloudError) as caught:
        up(door(aws, clock, tmp_path), an_order())
    assert caught.value.message == (
        "on-demand g5.12xlarge in us-east-1a ended as it was launched: Client.InternalError: Client error on launch."
    )
    assert "aws ec2 get-ebs-default-kms-key-id --region us-east-1" in caught.value.hint
    assert len(aws.regions["us-east-1"].die_at_start) == 2  # no second machine was asked for
    assert aws.live() == []


@pytest.mark.parametrize("code", [*failover.OWN_FAULTS, "Client.SomethingNew"])
def test_what_ec2_lays_to_the_account_is_not_tried_elsewhere(code: str, tmp_path: Path) -> None:
    aws, clock = fresh()
    aws.regions["us-east-1"].die_at_start = [f"{code}: why"] * 3
    with pytest.raises(CloudError) as caught:
        up(door(aws, clock, tmp_path), an_order())
    assert caught.value.message == (
        f"on-demand g5.12xlarge in us-east-1a ended as it was launched: {code}: why."
    )
    assert caught.value.hint == failover.OWN_FAULTS.get(code, failover.UNKNOWN_FAULT).format(
        region="us-east-1"
    )
    assert len(aws.regions["us-east-1"].die_at_start) == 2
    assert aws.live() == []


def test_machines_of_an_earlier_run_that_somebody_ended_are_launched_anew(tmp_path: Path) -> None:
    """The same order has the same token, which brings them back as they are."""
    aws, clock = fresh()
    at = door(aws, clock, tmp_path)
    first = up(at, an_order())
    aws.regions["us-east-1"].terminate_instances(list(first.instance_ids))
    clock.sleep(600)
    again = up(at, an_order())
    assert set(again.instance_ids).isdisjoint(first.instance_ids)
    assert (again.spot, again.attempts) == (first.spot, ())


def test_a_subnet_without_a_free_address_is_not_tried_and_one_that_fills_up_is_left(tmp_path: Path) -> None:
    aws, clock = fresh()
    aws.regions["us-east-1"].full_zones = {"us-east-1a"}
    done = up(door(aws, clock, tmp_path), an_order())
    assert (done.spot.zone, done.attempts) == ("us-east-1b", ())

    class FillsUp:
        def send(self, request: Request) -> dict[str, Any]:
            if request.operation == "RunInstances" and not request.parameters.get("DryRun"):
                aws.regions["us-west-2"].full_zones = {"us-west-2a"}
            return aws.send(request)

    done = up(door(FillsUp(), clock, tmp_path), an_order(name="t2", order_id="2", regions=("us-west-2",)))
    assert [(item.spot.zone, item.code) for item in done.attempts] == [
        ("us-west-2a", "InsufficientFreeAddressesInSubnet")
    ]
    assert done.spot.zone == "us-west-2b"


def test_the_nodes_of_a_capacity_block_get_no_placement_group(tmp_path: Path) -> None:
    aws, clock = fresh()
    region = aws.regions["us-east-1"]
    region.vcpu_limit, region.public_subnets = 1000, False
    region.reserve(RESERVED, "p5.48xlarge", "us-east-1b", 2, ReservationType="capacity-block")
    order = an_order(
        instance_types=("p5.48xlarge",),
        purchases=("capacity-block",),
        capacity_reservation_id=RESERVED,
        nodes=2,
    )
    up(door(aws, clock, tmp_path), order)
    assert "Placement" not in sent(aws, "RunInstances")[-1]
    assert sent(aws, "CreatePlacementGroup") == []


def test_a_machine_that_stops_while_waited_for_is_ended_and_the_next_zone_tried(tmp_path: Path) -> None:
    aws, clock = fresh()
    aws.regions["us-east-1"].stop_at_start = True
    done = up(door(aws, clock, tmp_path), an_order())
    assert [item.code for item in done.attempts] == ["died"]
    assert done.spot.zone == "us-east-1b"
    assert sum(name.startswith("instance") for name in aws.live()) == 1


def test_a_machine_that_was_ended_by_hand_is_replaced_by_a_new_one(tmp_path: Path) -> None:
    """The client token alone would bring the dead machine back for ever."""
    aws, clock = fresh()
    first = up(door(aws, clock, tmp_path), an_order())
    aws.regions["us-east-1"].terminate_instances(list(first.instance_ids))
    clock.sleep(120)
    second = up(door(aws, clock, tmp_path), an_order())
    assert second.instance_ids != first.instance_ids
    assert sum(name.startswith("instance") for name in aws.live()) == 1


def test_a_machine_that_never_passes_the_checks_is_ended_and_its_console_kept(tmp_path: Path) -> None:
    aws, clock = fresh()
    aws.regions["us-east-1"].never_healthy = True
    with pytest.raises(CloudError, match="did not pass EC2's checks within 25 minutes"):
        up(door(aws, clock, tmp_path), an_order())
    assert [path.read_text() for path in tmp_path.glob("console-*.txt")] == ["corral: t1: prepared\n"]
    assert aws.live() == []


def test_keep_leaves_a_failed_launch_for_looking_at(tmp_path: Path) -> None:
    aws, clock = fresh()
    aws.regions["us-east-1"].never_healthy = True
    with pytest.raises(CloudError):
        up(door(aws, clock, tmp_path), an_order(), keep=True)
    assert sum(name.startswith("instance") for name in aws.live()) == 1


def test_several_nodes_are_all_or_none_close_together_and_joined_by_efa(tmp_path: Path) -> None:
    aws, clock = fresh()
    order = an_order(
        instance_types=("p5.48xlarge",), nodes=2, subnet_ids=("subnet-us-east-1a", "subnet-us-east-1b")
    )
    aws.regions["us-east-1"].vcpu_limit = 1000
    aws.regions["us-east-1"].public_subnets = False
    full(aws, "us-east-1", "a", type_="p5.48xlarge")
    done = up(door(aws, clock, tmp_path), order)
    launch = sent(aws, "RunInstances")[-1]
    assert (launch["MinCount"], launch["MaxCount"], len(done.instance_ids)) == (2, 2, 2)
    assert launch["Placement"] == {"GroupName": "corral-t1", "AvailabilityZone": "us-east-1b"}
    kinds = [card["InterfaceType"] for card in launch["NetworkInterfaces"]]
    assert kinds == ["efa", *["efa-only"] * 31]
    (group,) = aws.regions["us-east-1"].groups.values()
    itself = {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group["GroupId"]}]}
    assert (group["inbound"], group["outbound"]) == ([itself], [itself])
    assert down(door(aws, clock, tmp_path)).left == ()
    assert aws.live() == []


def test_one_node_of_two_dying_takes_the_other_with_it(tmp_path: Path) -> None:
    aws, clock = fresh()
    aws.regions["us-east-1"].die_at_start = ["Server.InternalError"]
    done = up(door(aws, clock, tmp_path), an_order(nodes=2))
    assert done.spot.zone == "us-east-1b"
    assert sum(name.startswith("instance") for name in aws.live()) == 2


def test_the_first_card_of_a_p6_b300_carries_no_efa() -> None:
    spot = Spot(region="r", zone="z", subnet_id="s", instance_type="p6-b300.48xlarge", purchase="on-demand")
    cards = network_interfaces(an_order(nodes=2), spot, "sg-1")
    assert [(card["NetworkCardIndex"], card["InterfaceType"]) for card in cards][:2] == [
        (0, "interface"),
        (1, "efa-only"),
    ]
    assert len(cards) == 17


def test_a_reservation_and_a_capacity_block_are_launched_into(tmp_path: Path) -> None:
    aws, clock = fresh()
    aws.regions["us-east-1"].vcpu_limit = 1000
    aws.regions["us-east-1"].reserve(
        RESERVED, "p5.48xlarge", "us-east-1c", 1, ReservationType="capacity-block"
    )
    order = an_order(
        instance_types=("p5.48xlarge",), purchases=("capacity-block",), capacity_reservation_id=RESERVED
    )
    up(door(aws, clock, tmp_path), order)
    launch = sent(aws, "RunInstances")[-1]
    assert launch["InstanceMarketOptions"] == {"MarketType": "capacity-block"}
    target = {"CapacityReservationId": RESERVED}
    assert launch["CapacityReservationSpecification"] == {"CapacityReservationTarget": target}


class Interrupting:
    """Ctrl-C at the k-th call."""

    def __init__(self, aws: FakeAws, at: int) -> None:
        self.aws, self.at, self.count = aws, at, 0

    def send(self, request: Request) -> dict[str, Any]:
        self.count += 1
        if self.count != self.at:
            return self.aws.send(request)
        with contextlib.suppress(ApiFailure):
            self.aws.send(request)
        raise KeyboardInterrupt


def test_ctrl_c_at_any_call_leaves_nothing(tmp_path: Path) -> None:
    for at in range(12, 24):
        aws, clock = fresh()
        with pytest.raises((Interrupted, KeyboardInterrupt)):
            up(door(Interrupting(aws, at), clock, tmp_path / str(at)), an_order())
        assert aws.live() == [], at


def test_a_machine_of_somebody_elses_order_is_not_adopted(tmp_path: Path) -> None:
    aws, clock = fresh()
    up(door(aws, clock, tmp_path / "a"), an_order())
    with pytest.raises(UsageError) as error:
        up(door(aws, clock, tmp_path / "b"), an_order(order_id="another"))
    assert error.value.message == "'t1' is already up: i-00000000000000002, made by ann@desk."
    assert sum(name.startswith("instance") for name in aws.live()) == 1


def test_a_second_corral_elsewhere_takes_nothing_of_the_first_with_it(tmp_path: Path) -> None:
    """The first is so young that EC2 does not show its machine yet; the second must fail and touch nothing of it."""
    aws, clock = fresh()
    launch = first_launch(tmp_path)
    with pytest.raises(Killed):
        up(door(Faulty(aws, "killed after", launch), clock, tmp_path / "a"), an_order())
    before = aws.live()
    with pytest.raises(UsageError, match="is not of this deployment"):
        up(door(aws, clock, tmp_path / "b"), an_order(order_id="another"))
    assert aws.live() == before


def first_launch(folder: Path) -> int:
    """Which call of `up` launches, once IAM has spread."""
    other, clock = fresh()
    up(door(other, clock, folder / "count"), an_order())
    launches = [
        number
        for number, call in enumerate(other.calls, 1)
        if call.operation == "RunInstances" and "DryRun" not in call.parameters
    ]
    return launches[-1]


def test_a_role_of_that_name_that_is_not_ours_is_not_touched(tmp_path: Path) -> None:
    aws, clock = fresh()
    aws.iam.create_role(RoleName="corral-t1-box", Tags=[], AssumeRolePolicyDocument="{}")
    with pytest.raises(UsageError, match="is not of this deployment"):
        up(door(aws, clock, tmp_path), an_order())
    assert aws.live() == ["role corral-t1-box"]


def test_without_the_token_a_lost_answer_would_be_a_second_machine(tmp_path: Path) -> None:
    """Guards the guard: the fake makes two machines of two tokens, and one of one."""
    aws, clock = fresh()
    up(door(Losing(aws), clock, tmp_path), an_order())
    assert len(aws.regions["us-east-1"].instances) == 1
    aws, clock = fresh()
    up(door(Losing(aws, forget_token=True), clock, tmp_path / "b"), an_order())
    assert len(aws.regions["us-east-1"].instances) == 2


class Losing:
    """The answer of the first launch is lost; perhaps the token too."""

    def __init__(self, aws: FakeAws, forget_token: bool = False) -> None:
        self.faulty = Faulty(aws, "lost", 0)
        self.aws = aws
        self.forget_token = forget_token
        self.lost = False
        self.numbers = itertools.count()

    def send(self, request: Request) -> dict[str, Any]:
        launch = request.operation == "RunInstances" and "DryRun" not in request.parameters
        if launch and self.forget_token:
            token = {"ClientToken": str(next(self.numbers))}
            request = request.model_copy(update={"parameters": request.parameters | token})
        answer = self.aws.send(request)
        if launch and not self.lost:
            from infra.aws.failures import LostResponse

            self.lost = True
            raise LostResponse("read timeout")
        return answer


def test_orders_are_documents(tmp_path: Path) -> None:
    order = an_order()
    order.write(tmp_path / "order.json")
    assert Order.read(tmp_path / "order.json") == order


def test_the_simulated_clock_is_the_only_clock(tmp_path: Path) -> None:
    clock = Clock()
    before = clock()
    up(door(FakeAws(clock), clock, tmp_path), an_order())
    assert 40 < clock() - before < 120


def test_the_users_tags_are_on_every_resource_in_the_call_that_makes_it(tmp_path: Path) -> None:
    aws, clock = fresh()
    aws.quotas["by name"] = 1000.0
    here = aws.regions["us-east-1"]
    here.vcpu_limit = 1000
    here.public_subnets = False
    order = an_order(
        instance_types=("p5.48xlarge",),
        nodes=2,
        purchases=("spot",),
        subnet_ids=("subnet-us-east-1a",),
        user_tags={"team": "ml"},
    )
    up(door(aws, clock, tmp_path), order)
    region_things = (here.instances, here.volumes, here.interfaces, here.groups, here.placement_groups)
    account_things = (aws.iam.roles, aws.iam.profiles, aws.schedulers["us-east-1"].groups)
    made = [
        thing for things in (*region_things, here.spot_requests, *account_things) for thing in things.values()
    ]
    assert {len(things) > 0 for things in (*region_things, here.spot_requests, *account_things)} == {True}
    for thing in made:
        tags = {tag["Key"]: tag["Value"] for tag in thing["Tags"]}
        assert tags == {"team": "ml"} | order.tags, thing
        assert (tags["team"], tags["corral:deployment"]) == ("ml", "t1")
    assert not any(call.operation == "CreateTags" for call in aws.calls)
