"""A reservation of the user's own: the launch goes where it is, or what keeps it from there is said beforehand."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fake_aws import FakeAws
from renting import START, an_order, door, fresh, up

from infra.aws import account_preflight
from infra.aws.account_preflight import Survey
from infra.aws.failures import ApiFailure
from infra.aws.order import Order
from infra.aws.request import run_instances
from infra.errors import CapacityError

KEY = "cr-0123456789abcdef0"
BEGINS = datetime(2026, 12, 1, 11, 30, tzinfo=UTC)


def an_order_into_it(**changes: Any) -> Order:
    return an_order(**({"capacity_reservation_id": KEY} | changes))


def look(aws: FakeAws, order: Order, folder: Path) -> Survey:
    return account_preflight.survey(door(aws, aws.clock, folder), order)


def told(survey: Survey) -> list[tuple[str, str, str, str]]:
    return [
        (one.region, one.outcome, one.found, one.fix) for one in survey.findings if one.topic == "reservation"
    ]


def reserved(aws: FakeAws, zone: str = "us-east-1c", **more: Any) -> None:
    aws.regions["us-east-1"].reserve(KEY, "g5.12xlarge", zone, more.pop("count", 1), **more)


def test_the_launch_goes_where_the_reservation_is_and_nowhere_else(tmp_path: Path) -> None:
    aws, clock = fresh()
    reserved(aws)
    order = an_order_into_it(
        regions=("us-west-2", "us-east-1"), instance_types=("g5.12xlarge", "g6.12xlarge")
    )
    done = up(door(aws, clock, tmp_path), order)
    assert (done.spot.zone, done.spot.instance_type, done.attempts) == ("us-east-1c", "g5.12xlarge", ())
    assert told(look(aws, order.model_copy(update={"name": "t2"}), tmp_path / "2"))[0] == (
        "us-west-2",
        "failed",
        f"{KEY} is not here",
        "Name the region it is in, as --region us-east-1",
    )


def test_what_runs_in_it_already_is_no_obstacle_to_it(tmp_path: Path) -> None:
    aws, clock = fresh()
    reserved(aws)
    order = an_order_into_it()
    first = up(door(aws, clock, tmp_path), order)
    clock.sleep(60)
    assert up(door(aws, clock, tmp_path), order).instance_ids == first.instance_ids


@pytest.mark.parametrize(
    ("its", "order", "found", "fix"),
    [
        ({"State": "expired"}, {}, f"{KEY} is expired", "Launch into an active one."),
        (
            {"State": "scheduled", "StartDate": BEGINS},
            {},
            f"{KEY} is scheduled, begins 2026-12-01T11:30:00Z",
            "Launch into an active one.",
        ),
        (
            {},
            {"instance_types": ("g6.12xlarge",)},
            f"{KEY} is of g5.12xlarge, the plan of g6.12xlarge",
            "Plan for it: corral size, with --on g5.12xlarge",
        ),
        (
            {},
            {"zones": ("us-east-1a",)},
            f"{KEY} is in us-east-1c",
            "Name its zone: --zone us-east-1c",
        ),
        (
            {"ReservationType": "capacity-block"},
            {},
            f"{KEY} is a capacity block",
            "Say so: --purchase capacity-block",
        ),
        (
            {},
            {"purchases": ("capacity-block",)},
            f"{KEY} is no capacity block",
            "Say so: --purchase on-demand",
        ),
        (
            {},
            {"nodes": 2},
            f"{KEY} has room for 1 machines; 2 are asked for",
            "End what uses it, or name another.",
        ),
    ],
)
def test_what_cannot_be_launched_into_it_is_refused(
    its: dict[str, Any], order: dict[str, Any], found: str, fix: str, tmp_path: Path
) -> None:
    aws, clock = fresh()
    reserved(aws, **its)
    wanted = an_order_into_it(**order)
    assert told(look(aws, wanted, tmp_path)) == [("us-east-1", "failed", found, fix)]
    with pytest.raises(CapacityError) as error:
        up(door(aws, clock, tmp_path), wanted)
    assert error.value.message == f"This cannot be launched. reservation: us-east-1: {found}."
    assert aws.live() == []


def test_one_that_ends_before_the_order_is_said_to(tmp_path: Path) -> None:
    aws, _ = fresh()
    order = an_order_into_it()
    for ends, said in ((order.expires_at, []), (order.expires_at - timedelta(hours=1), ["warning"])):
        reserved(aws, EndDate=ends)
        outcomes = [one[1] for one in told(look(aws, order, tmp_path))]
        assert outcomes == (said or ["ok"])
    block = an_order_into_it(purchases=("capacity-block",))
    reserved(aws, EndDate=START + timedelta(hours=1), ReservationType="capacity-block")
    assert told(look(aws, block, tmp_path)) == [
        (
            "us-east-1",
            "warning",
            f"{KEY}: 1 free g5.12xlarge in us-east-1c, until 2026-09-21T15:13:20Z, 30 minutes after EC2 ended its "
            "machines: before the order ends (2026-09-21T22:13:20Z)",
            "Shorten --ttl, so that nothing ends unexpectedly.",
        )
    ]


@pytest.mark.parametrize(
    ("its", "code"),
    [
        ({"zone": "us-east-1b"}, "InvalidParameterCombination"),
        ({"State": "expired"}, "InvalidParameterCombination"),
        ({"ReservationType": "capacity-block"}, "InvalidParameterCombination"),
        ({"count": 0}, "ReservationCapacityExceeded"),
    ],
)
def test_the_stand_in_refuses_a_launch_that_misses_it(its: dict[str, Any], code: str, tmp_path: Path) -> None:
    aws, clock = fresh()
    reserved(aws)
    order = an_order_into_it()
    done = up(door(aws, clock, tmp_path), order)
    survey = look(aws, order, tmp_path)
    here = next(site for site in survey.sites if site.region == "us-east-1")
    (group,) = aws.regions["us-east-1"].groups
    reserved(aws, **its)
    again = run_instances(order.model_copy(update={"order_id": "another"}), here, done.spot, group)
    with pytest.raises(ApiFailure) as failure:
        aws.send(again)
    assert failure.value.code == code
