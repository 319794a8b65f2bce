"""A replica that is put back: never without its end, more than once in a zone, and what else may be amiss with it."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from fake_aws import Clock, FakeAws, Faulty, Killed
from renting import door, down, fresh, up
from test_ec2_replicas import ends, lose, machines, some, three

from deploy.targets.deployment import Deployment
from deploy.targets.ec2 import place
from infra.aws.failures import ApiFailure
from infra.aws.request import Request
from infra.errors import AuthError, CapacityError


@pytest.mark.parametrize("by", ["up", "serve"])
def test_what_a_cut_off_try_has_rented_has_its_end_once_it_is_shown(by: str, tmp_path: Path) -> None:
    """The next try comes when EC2 shows what the first has launched, so it is not launched again."""
    for at in range(1, 40):
        aws, clock = fresh()
        some(aws, a=2)
        folder = tmp_path / str(at)
        with suppress(Killed):
            up(door(Faulty(aws, "killed after", at), clock, folder), three())
        clock.sleep(60)
        if not machines(aws):
            continue
        if by == "up":
            up(door(aws, clock, folder), three())
        else:
            place.put_back(door(aws, clock, folder), Deployment.model_construct(name="t1"), three())
        clock.sleep(60)
        assert (len(machines(aws)), ends(aws)) == (3, set(machines(aws))), at


def test_a_replica_is_put_back_in_one_zone_as_often_as_it_is_lost(tmp_path: Path) -> None:
    aws, clock = fresh()
    order = three()
    *_, lost = up(door(aws, clock, tmp_path), order).instance_ids
    for _ in range(4):
        lose(aws, lost)
        before = set(machines(aws))
        up(door(aws, clock, tmp_path), order)
        (lost,) = set(machines(aws)) - before
        assert machines(aws)[lost] == "a"
    assert down(door(aws, clock, tmp_path)).left == ()


def test_a_launch_of_which_one_is_there_and_one_forgotten_is_not_taken_for_what_lacks(tmp_path: Path) -> None:
    aws, clock = fresh()
    order = three()
    first, second, third = up(door(aws, clock, tmp_path), order).instance_ids
    for lost in (first, second):
        lose(aws, lost)
    up(door(aws, clock, tmp_path), order)
    fourth, fifth = set(machines(aws)) - {third}
    for lost in (third, fourth):
        lose(aws, lost)
    up(door(aws, clock, tmp_path), order)
    assert (len(machines(aws)), fifth in machines(aws)) == (3, True)


class NoEnds(FakeAws):
    """Nothing may be scheduled in the first region."""

    def send(self, request: Request) -> dict[str, Any]:
        """Every other call is the account's."""
        if request.operation == "CreateSchedule" and request.region == "us-east-1":
            raise ApiFailure("AccessDeniedException", "with an explicit deny")
        return super().send(request)


def test_what_was_launched_where_no_end_may_be_made_is_ended_and_not_launched_anew_elsewhere(
    tmp_path: Path,
) -> None:
    clock = Clock()
    aws = NoEnds(clock)
    with pytest.raises(AuthError, match="CreateSchedule"):
        up(door(aws, clock, tmp_path), three(regions=("us-east-1", "us-west-2")))
    assert {key: region.live() for key, region in aws.regions.items()} == dict.fromkeys(aws.regions, [])


def test_as_few_as_will_do_are_found_again_where_there_is_room_for_no_more(tmp_path: Path) -> None:
    aws, clock = fresh()
    order = three(min_replicas=2)
    some(aws, a=2, b=0, c=0)
    first = up(door(aws, clock, tmp_path), order)
    clock.sleep(60)
    assert up(door(aws, clock, tmp_path), order).instance_ids == first.instance_ids
    lose(aws, first.instance_ids[0])
    with pytest.raises(CapacityError, match="Only 1 of 3 machines") as failure:
        up(door(aws, clock, tmp_path), order)
    assert failure.value.hint.startswith("All that runs of t1 still costs: corral down t1. ")
