"""What each place costs: asked of AWS before the question, held to the limit, stored where AWS does not say."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from fake_aws import ACCOUNT, FakeAws
from fake_prices import item
from renting import an_order, door, fresh, up

from deploy.targets.ec2.cost import cost_sentence, priced
from infra import prices
from infra.aws import account_preflight
from infra.aws.account_preflight import Survey
from infra.aws.order import Order
from infra.errors import UsageError

BESIDE = (
    "for a volume of 150 GiB and a public address (AWS EBS and VPC pricing as quoted by others, unverified, "
    "2026-11-28); traffic comes on top"
)
TODAY = "(AWS Price List API (GetProducts), 2026-09-21)"
STORED = (
    "(AWS Pricing API, as generated into aws/karpenter-provider-aws (zz_generated.pricing_aws.go), 2026-07-20, "
    "63 days old)"
)
DENIED = "AWS's price list does not answer: AccessDenied"
PLACE = ("g5.12xlarge", "us-east-1")


pytestmark = pytest.mark.usefixtures("fixes")


def look(aws: FakeAws, order: Order, folder: Path) -> Survey:
    return account_preflight.survey(door(aws, aws.clock, folder), order)


def found(survey: Survey) -> list[tuple[str, str, str]]:
    return [(one.outcome, one.region, one.found) for one in survey.findings if one.topic == "price"]


def test_todays_price_is_asked_for_once_a_type_and_region_and_carried_on(tmp_path: Path) -> None:
    aws, _ = fresh()
    aws.prices.usd["g5.12xlarge"] = "6.1000000000"
    survey = look(aws, an_order(regions=("us-east-1", "us-west-2")), tmp_path)
    said = f"on-demand g5.12xlarge: 6.1 USD per hour {TODAY}"
    assert found(survey) == [("ok", "us-east-1", said), ("ok", "us-west-2", said)]
    assert [call.operation for call in aws.calls].count("GetProducts") == 2
    assert [(one.region, one.usd_per_hour) for one in survey.prices] == [
        ("us-east-1", Decimal("6.1")),
        ("us-west-2", Decimal("6.1")),
    ]
    assert priced(an_order(), survey).usd_per_hour == 6.1
    assert cost_sentence(an_order(), survey) == (
        "g5.12xlarge in us-east-1: 6.100 USD per hour (AWS Price List API (GetProducts), 2026-09-21), at most 49.17 "
        f"USD in the 8 hours until it ends itself; 0.37 USD of it {BESIDE}"
    )


def test_without_the_price_list_the_stored_price_is_used_with_its_age(tmp_path: Path) -> None:
    aws, clock = fresh()
    aws.denied = {"pricing:GetProducts"}
    survey = look(aws, an_order(), tmp_path)
    assert found(survey) == [
        ("warning", "us-east-1", f"on-demand g5.12xlarge: 5.672 USD per hour {STORED}; {DENIED}")
    ]
    assert survey.prices == ()
    assert "5.672 USD per hour (AWS Pricing API" in cost_sentence(an_order(), survey)
    assert up(door(aws, clock, tmp_path), an_order()).spot.zone == "us-east-1a"


Answer = Callable[[str, str], list[str]]
NOT_ONE: dict[str, tuple[Answer, str]] = {
    "none": (lambda name, region: [], "AWS's price list has 0 products for it where 1 is expected"),
    "two": (
        lambda name, region: [item(name, region, "5.672"), item(name, region, "1.0")],
        "AWS's price list has 2 products for it where 1 is expected",
    ),
    "zero": (lambda name, region: [item(name, region, "0.0")], "the price is 0.0 USD"),
    "capacity block": (
        lambda name, region: [item(name, region, "1.0", marketoption="CapacityBlock")],
        "the product is another one: marketoption is 'CapacityBlock'",
    ),
}


@pytest.mark.parametrize("case", NOT_ONE)
def test_an_answer_that_is_not_one_price_is_said_and_not_used(case: str, tmp_path: Path) -> None:
    answer, reason = NOT_ONE[case]
    aws, _ = fresh()
    aws.prices.items = {place: answer(*place) for place in (PLACE, (PLACE[0], "eu-west-1"))}
    assert found(look(aws, an_order(), tmp_path)) == [
        ("warning", "us-east-1", f"on-demand g5.12xlarge: 5.672 USD per hour {STORED}; {reason}")
    ]
    order = an_order(regions=("eu-west-1",))
    survey = look(aws, order, tmp_path)
    assert found(survey) == [("failed", "eu-west-1", f"on-demand g5.12xlarge: no price is known; {reason}")]
    with pytest.raises(
        UsageError, match=r"price: eu-west-1: on-demand g5.12xlarge: no price is known"
    ) as error:
        account_preflight.checked(survey, order)
    assert "--allow-unknown-price" in error.value.hint


def test_with_no_price_at_all_it_goes_on_only_when_that_is_said(tmp_path: Path) -> None:
    aws, clock = fresh()
    aws.denied = {"pricing:GetProducts"}
    order = an_order(regions=("eu-west-1",), usd_per_hour=None)
    with pytest.raises(UsageError, match=f"no price is known; {DENIED}"):
        up(door(aws, clock, tmp_path), order)
    assert aws.live() == []
    allowed = order.model_copy(update={"allow_unknown_price": True})
    survey = look(aws, allowed, tmp_path)
    assert found(survey) == [("warning", "eu-west-1", f"on-demand g5.12xlarge: no price is known; {DENIED}")]
    assert (
        cost_sentence(allowed, survey)
        == "g5.12xlarge in eu-west-1 at a price nobody knows, for at most 8 hours; plus a volume of 150 GiB and a "
        "public address, at a price corral does not know; traffic comes on top"
    )
    assert priced(allowed, survey).usd_per_hour is None
    assert up(door(aws, clock, tmp_path), allowed).spot.region == "eu-west-1"


def test_a_place_above_the_limit_is_left_out_and_the_dearest_left_is_asked_about(tmp_path: Path) -> None:
    aws, clock = fresh()
    aws.quotas["L-DB2E81BA"] = 1000.0
    order = an_order(instance_types=("g5.24xlarge", "g5.12xlarge"), max_usd_per_hour=8.0)
    survey = look(aws, order, tmp_path)
    assert found(survey) == [
        (
            "failed",
            "us-east-1",
            f"on-demand g5.24xlarge: 8.144 USD per hour {TODAY}: more than --max-usd-per-hour 8",
        ),
        ("ok", "us-east-1", f"on-demand g5.12xlarge: 5.672 USD per hour {TODAY}"),
    ]
    assert {spot.instance_type for spot in survey.spots} == {"g5.12xlarge"}
    assert cost_sentence(order, survey).startswith("g5.12xlarge in us-east-1: 5.672 USD per hour ")
    assert up(door(aws, clock, tmp_path), order).spot.instance_type == "g5.12xlarge"
    both = an_order(instance_types=order.instance_types, name="t2")
    assert cost_sentence(both, look(aws, both, tmp_path)).startswith(
        "g5.24xlarge in us-east-1: at most 8.144 USD per hour "
    )


def test_a_price_that_rose_above_the_limit_refuses_with_nothing_made(tmp_path: Path) -> None:
    aws, clock = fresh()
    aws.prices.usd["g5.12xlarge"] = "6.1"
    with pytest.raises(UsageError, match=r"6.1 USD per hour .*: more than --max-usd-per-hour 6\.") as error:
        up(door(aws, clock, tmp_path), an_order(max_usd_per_hour=6.0))
    assert error.value.hint.startswith("Raise the limit")
    assert aws.live() == []


def test_what_runs_already_is_kept_when_its_price_rose(tmp_path: Path) -> None:
    aws, clock = fresh()
    order, at = an_order(max_usd_per_hour=6.0), door(aws, clock, tmp_path)
    first = up(at, order)
    aws.prices.usd["g5.12xlarge"] = "6.1"
    survey = look(aws, order, tmp_path)
    assert (
        cost_sentence(order, survey)
        == "g5.12xlarge in us-east-1: nothing new is rented, what runs already is kept"
    )
    assert priced(order, survey) == order.model_copy(update={"account": ACCOUNT})
    assert up(at, order).instance_ids == first.instance_ids


def test_the_limit_is_for_all_nodes_together(tmp_path: Path) -> None:
    aws, _ = fresh()
    aws.quotas["L-417A185B"] = 1000.0
    aws.regions["us-east-1"].public_subnets = False
    order = an_order(
        instance_types=("p5.48xlarge",), nodes=2, subnet_ids=("subnet-us-east-1a",), max_usd_per_hour=110.0
    )
    assert found(look(aws, order, tmp_path)) == [
        (
            "failed",
            "us-east-1",
            f"on-demand p5.48xlarge: 55.04 USD per hour, 2 of them {TODAY}: more than --max-usd-per-hour 110",
        )
    ]
    enough = order.model_copy(update={"max_usd_per_hour": 110.08})
    survey = look(aws, enough, tmp_path)
    assert cost_sentence(enough, survey).startswith("2x p5.48xlarge in us-east-1: 110.080 USD per hour (")


def spot_order(**changes: Any) -> Order:
    return an_order(purchases=("spot",), **changes)


def test_a_spot_machine_costs_its_price_now_and_at_most_the_one_on_demand(tmp_path: Path) -> None:
    aws, _ = fresh()
    aws.regions["us-east-1"].spot_usd |= {"us-east-1b": "2.790000"}
    survey = look(aws, spot_order(), tmp_path)
    spot = "spot g5.12xlarge: 2.05 to 2.79 USD per hour now (EC2 DescribeSpotPriceHistory)"
    assert found(survey) == [("ok", "us-east-1", f"{spot}; on demand 5.672 USD per hour {TODAY}")]
    assert cost_sentence(spot_order(), survey).startswith(
        "g5.12xlarge in us-east-1: at most 5.672 USD per hour (AWS Price List"
    )


def test_a_limit_below_on_demand_picks_the_zones_below_it_and_goes_to_ec2_as_the_maximum(
    tmp_path: Path,
) -> None:
    aws, clock = fresh()
    here = aws.regions["us-east-1"]
    here.spot_usd = {"us-east-1a": "3.1", "us-east-1b": "2.9", "us-east-1c": "2.05"}
    order = spot_order(max_usd_per_hour=3.0)
    survey = look(aws, order, tmp_path)
    assert [spot.zone for spot in survey.spots] == ["us-east-1b", "us-east-1c"]
    assert cost_sentence(order, survey).startswith(
        "g5.12xlarge in us-east-1: at most 3.000 USD per hour (--max-usd-per-hour), at most 24.37 USD in the 8 hours"
    )
    here.spot_usd["us-east-1b"] = "3.2"
    at = door(aws, clock, tmp_path)
    from infra.aws import renting

    launched = renting.rent(at, order, account_preflight.checked(survey, order))
    assert [(one.spot.zone, one.code) for one in launched.attempts] == [("us-east-1b", "SpotMaxPriceTooLow")]
    assert launched.spot.zone == "us-east-1c"


def test_a_spot_price_that_is_not_shown_is_bounded_all_the_same(tmp_path: Path) -> None:
    aws, _ = fresh()
    aws.denied = {"ec2:DescribeSpotPriceHistory"}
    survey = look(aws, spot_order(), tmp_path)
    assert found(survey) == [
        (
            "warning",
            "us-east-1",
            f"spot g5.12xlarge: its price now is not shown; on demand 5.672 USD per hour {TODAY}",
        )
    ]
    aws.denied |= {"pricing:GetProducts"}
    nowhere = spot_order(regions=("eu-west-1",))
    assert [one[0] for one in found(look(aws, nowhere, tmp_path))] == ["failed"]
    limited = nowhere.model_copy(update={"max_usd_per_hour": 3.0})
    assert "at most 3.000 USD per hour (--max-usd-per-hour)" in cost_sentence(
        limited, look(aws, limited, tmp_path)
    )


def test_a_spot_machine_without_a_ceiling_says_that_its_price_may_rise(tmp_path: Path) -> None:
    aws, _ = fresh()
    aws.quotas["by name"] = 1000.0
    order = spot_order(instance_types=("p5e.48xlarge",))
    assert cost_sentence(order, look(aws, order, tmp_path)) == (
        "p5e.48xlarge in us-east-1: 2.050 USD per hour (EC2 DescribeSpotPriceHistory, 2026-09-21), a spot price that "
        f"may rise; 16.40 USD in 8 hours at that price; plus 0.37 USD {BESIDE}"
    )


def test_a_capacity_block_is_not_paid_by_the_hour(tmp_path: Path) -> None:
    aws, _ = fresh()
    reserved = "cr-0123456789abcdef0"
    aws.regions["us-east-1"].reserve(
        reserved, "p5.48xlarge", "us-east-1a", 1, ReservationType="capacity-block"
    )
    order = an_order(
        instance_types=("p5.48xlarge",),
        purchases=("capacity-block",),
        capacity_reservation_id=reserved,
        max_usd_per_hour=1.0,
    )
    survey = look(aws, order, tmp_path)
    assert found(survey) == [("ok", "us-east-1", "capacity-block p5.48xlarge: paid when it was bought")]
    assert not any(call.operation == "GetProducts" for call in aws.calls)
    assert (
        cost_sentence(order, survey)
        == f"p5.48xlarge in us-east-1, in a capacity block that is paid already; plus 0.37 USD {BESIDE}"
    )


def test_kept_prices_that_cannot_be_read_are_said_where_they_would_be_used(tmp_path: Path) -> None:
    prices.path().parent.mkdir(parents=True)
    prices.path().write_text("{")
    aws, _ = fresh()
    assert [one[0] for one in found(look(aws, an_order(), tmp_path))] == ["ok"]
    aws.denied = {"pricing:GetProducts"}
    said = found(look(aws, an_order(), tmp_path))
    assert [one[0] for one in said] == ["warning", "warning"]
    assert said[1][2].endswith("The prices corral ships are used.")
