"""Taking away: everything of ours, nothing of anybody else's, and the proof."""

from pathlib import Path
from typing import Any

import pytest
from fake_aws import Clock, FakeAws
from fake_ec2 import FakeEc2
from renting import an_order, door, down, fresh, up

from infra.aws.api import Aws
from infra.aws.failures import ApiFailure
from infra.aws.request import Request
from infra.aws.resource_kinds import TYPES
from infra.errors import AuthError, CloudError
from infra.wait import Pace


@pytest.fixture
def rented(tmp_path: Path) -> tuple[FakeAws, Clock, Path]:
    """One machine is up."""
    aws, clock = fresh()
    up(door(aws, clock, tmp_path), an_order())
    return aws, clock, tmp_path


def region(aws: FakeAws) -> FakeEc2:
    return aws.regions["us-east-1"]


def test_the_proof_is_a_zero_for_every_type(rented: tuple[FakeAws, Clock, Path]) -> None:
    aws, clock, folder = rented
    remains = down(door(aws, clock, folder))
    assert (remains.counts, remains.left) == (dict.fromkeys(TYPES, 0), ())
    assert set(TYPES) >= {
        "instances",
        "volumes",
        "network_interfaces",
        "elastic_ips",
        "security_groups",
        "key_pairs",
        "launch_templates",
        "placement_groups",
        "schedules",
        "instance_profiles",
        "roles",
        "spot_requests",
    }
    assert aws.live() == []


def test_each_wait_has_its_time_and_its_pace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In seconds: for how long at most, and how often AWS is asked meanwhile."""
    paces, real = set(), Aws.pace

    def noted(aws: Aws, within_s: float, every_s: float) -> Pace:
        paces.add((within_s, every_s))
        return real(aws, within_s, every_s)

    monkeypatch.setattr(Aws, "pace", noted)
    aws, clock = fresh()
    up(door(aws, clock, tmp_path), an_order())
    launch = {(1500, 15)}
    assert paces == launch
    down(door(aws, clock, tmp_path))
    terminated, in_use = (900, 10), (300, 10)
    assert paces == launch | {terminated, in_use}


def test_down_twice_and_down_of_what_never_was(rented: tuple[FakeAws, Clock, Path]) -> None:
    aws, clock, folder = rented
    assert down(door(aws, clock, folder)).left == ()
    assert down(door(aws, clock, folder)).left == ()
    assert down(door(aws, clock, folder / "never"), "never").left == ()


def test_with_a_lost_ledger_the_tags_find_it_in_any_region(tmp_path: Path) -> None:
    aws, clock = fresh()
    up(door(aws, clock, tmp_path), an_order(regions=("us-west-2",)))
    assert down(door(aws, clock, tmp_path / "elsewhere"), regions=()).left == ()
    assert aws.live() == []


def test_with_lost_tags_the_ledger_finds_it(rented: tuple[FakeAws, Clock, Path]) -> None:
    aws, clock, folder = rented
    clock.sleep(3600)
    for thing in (*region(aws).instances.values(), *region(aws).groups.values()):
        thing["Tags"] = []
    assert down(door(aws, clock, folder)).left == ()
    assert aws.live() == []


def test_a_region_that_was_disabled_since_is_reported(rented: tuple[FakeAws, Clock, Path]) -> None:
    aws, clock, folder = rented
    remains = down(door(aws, clock, folder), regions=("us-east-1", "ap-east-1"))
    assert remains.left == ("ap-east-1 could not be looked at (the region is not enabled for this account)",)


@pytest.mark.parametrize("neighbour", ["t", "t10", "t1-b", "t1-box", "t1-end"])
def test_others_are_not_touched(neighbour: str, tmp_path: Path) -> None:
    aws, clock = fresh()
    up(door(aws, clock, tmp_path / neighbour), an_order(name=neighbour, order_id="other"))
    theirs = sorted(aws.live())
    up(door(aws, clock, tmp_path), an_order())
    assert down(door(aws, clock, tmp_path)).left == ()
    assert sorted(aws.live()) == theirs


def test_a_role_that_only_has_our_name_is_not_touched(tmp_path: Path) -> None:
    aws, clock = fresh()
    aws.iam.create_role(RoleName="corral-t2-box", Tags=[], AssumeRolePolicyDocument="{}")
    assert down(door(aws, clock, tmp_path), "t2").left == ()
    assert aws.live() == ["role corral-t2-box"]


def test_a_volume_that_outlives_its_machine_is_removed(rented: tuple[FakeAws, Clock, Path]) -> None:
    aws, clock, folder = rented
    for volume in region(aws).volumes.values():
        volume["stays"] = True
    assert down(door(aws, clock, folder)).left == ()
    assert aws.live() == []


def test_termination_protection_is_told_with_its_fix_and_is_no_success(
    rented: tuple[FakeAws, Clock, Path],
) -> None:
    aws, clock, folder = rented
    (machine,) = region(aws).instances.values()
    machine["protected"] = True
    remains = down(door(aws, clock, folder))
    assert remains.counts["instances"] == 1
    assert remains.left[0] == (
        f"instances: {machine['InstanceId']} in us-east-1 (termination protection is on: "
        "aws ec2 modify-instance-attribute --no-disable-api-termination --region us-east-1 --instance-id ID)"
    )
    kept = "kept, as it ends in time what is left"
    assert [line for line in remains.left if kept in line] == [
        f"schedules: corral-t1 in us-east-1 ({kept})",
        f"instance_profiles: corral-t1-box in every region ({kept})",
        f"roles: corral-t1-box in every region ({kept})",
        f"roles: corral-t1-end in every region ({kept})",
    ]
    machine["protected"] = False
    assert down(door(aws, clock, folder)).left == ()
    assert aws.live() == []


class Stubborn:
    """Some operations fail, for ever or the first times."""

    def __init__(self, aws: FakeAws, operation: str, code: str, times: int = 10**9) -> None:
        self.aws, self.operation, self.code, self.times = aws, operation, code, times

    def send(self, request: Request) -> dict[str, Any]:
        if request.operation == self.operation and self.times > 0:
            self.times -= 1
            raise ApiFailure(self.code, "injected")
        return self.aws.send(request)


def test_a_security_group_in_use_is_tried_again(rented: tuple[FakeAws, Clock, Path]) -> None:
    aws, clock, folder = rented
    stubborn = Stubborn(aws, "DeleteSecurityGroup", "DependencyViolation", times=2)
    assert down(door(stubborn, clock, folder)).left == ()
    assert aws.live() == []


def test_a_security_group_in_use_for_ever_is_reported(rented: tuple[FakeAws, Clock, Path]) -> None:
    aws, clock, folder = rented
    stubborn = Stubborn(aws, "DeleteSecurityGroup", "DependencyViolation")
    (group,) = region(aws).groups
    remains = down(door(stubborn, clock, folder))
    why = "ec2:DeleteSecurityGroup: DependencyViolation"
    assert remains.left == (f"security_groups: {group} in us-east-1 ({why})",)


def test_one_denied_removal_does_not_stop_the_others(rented: tuple[FakeAws, Clock, Path]) -> None:
    aws, clock, folder = rented
    aws.denied = {"iam:DeleteRolePolicy", "ec2:DeleteSecurityGroup"}
    remains = down(door(aws, clock, folder))
    assert remains.counts["instances"] == 0
    assert remains.counts["roles"] == 2
    assert remains.counts["security_groups"] == 1
    assert len(remains.left) == 3
    aws.denied = set()
    assert down(door(aws, clock, folder)).left == ()


def test_what_may_not_be_looked_at_is_no_zero(rented: tuple[FakeAws, Clock, Path]) -> None:
    aws, clock, folder = rented
    aws.denied = {"ec2:DescribeAddresses"}
    assert down(door(aws, clock, folder)).left == (
        "elastic_ips in us-east-1 could not be looked at (UnauthorizedOperation)",
    )


def test_without_credentials_nothing_is_claimed(rented: tuple[FakeAws, Clock, Path]) -> None:
    aws, clock, folder = rented
    with pytest.raises(AuthError):
        down(door(Stubborn(aws, "DescribeRegions", "NoCredentials"), clock, folder))
    with pytest.raises(AuthError):
        down(door(Stubborn(aws, "TerminateInstances", "ExpiredToken"), clock, folder))
    with pytest.raises(CloudError):
        down(door(Stubborn(aws, "TerminateInstances", "RequestLimitExceeded"), clock, folder))
    assert down(door(aws, clock, folder)).left == ()
    assert aws.live() == []


def test_a_torn_ledger_line_is_passed_over(rented: tuple[FakeAws, Clock, Path]) -> None:
    aws, clock, folder = rented
    with (folder / "ledger.jsonl").open("a") as ledger:
        ledger.write('{"at": "2026-')
    assert down(door(aws, clock, folder)).left == ()
    assert aws.live() == []
