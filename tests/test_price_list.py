"""AWS's own price: the request, the one answer that is believed, and every other with its reason."""

import json
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from fake_prices import item
from renting import door, fresh

from infra.aws import price_list
from infra.aws.price_list import price_in, products_request
from infra.prices import HourlyPrice

PLACE = ("g5.12xlarge", "us-east-1")
TODAY = date(2026, 9, 21)


def test_what_is_asked_is_the_one_on_demand_product_of_a_type() -> None:
    asked = products_request("g5.12xlarge", "eu-west-1")
    assert (asked.action, asked.region, asked.changes) == ("pricing:GetProducts", "us-east-1", False)
    filters = asked.parameters["Filters"]
    assert {one["Field"]: one["Value"] for one in filters} == {
        "instanceType": "g5.12xlarge",
        "regionCode": "eu-west-1",
        "operatingSystem": "Linux",
        "preInstalledSw": "NA",
        "tenancy": "Shared",
        "capacitystatus": "Used",
        "marketoption": "OnDemand",
        "operation": "RunInstances",
    }
    assert asked.parameters["ServiceCode"] == "AmazonEC2"


def test_the_one_price_that_is_believed() -> None:
    assert price_in([item(*PLACE, "5.6720000000")], *PLACE, TODAY) == HourlyPrice(
        instance_type="g5.12xlarge",
        usd_per_hour=Decimal("5.672"),
        region="us-east-1",
        purchase="on-demand",
        checked_on=TODAY,
        source="AWS Price List API (GetProducts)",
    )
    assert str(price_in([item(*PLACE, "110.0000000000")], *PLACE, TODAY).usd_per_hour) == "110"


def edited(change: str) -> str:
    """A product that was changed in one place."""
    product = json.loads(item(*PLACE, "5.6720000000"))
    (term,) = product["terms"]["OnDemand"].values()
    if change == "two terms":
        product["terms"]["OnDemand"]["SKU1.OTHER"] = term
    elif change == "two rates":
        term["priceDimensions"]["other"] = next(iter(term["priceDimensions"].values()))
    elif change == "no terms":
        product["terms"] = {"Reserved": {}}
    elif change == "yuan":
        next(iter(term["priceDimensions"].values()))["pricePerUnit"] = {"CNY": "40.1"}
    return json.dumps(product)


ONE = item(*PLACE, "5.6720000000")
REFUSED: dict[str, tuple[list[Any], str]] = {
    "none": ([], "AWS's price list has 0 products for it where 1 is expected"),
    "two": ([ONE, ONE], "AWS's price list has 2 products for it where 1 is expected"),
    "zero": ([item(*PLACE, "0.0000000000")], "the price is 0E-10 USD"),
    "negative": ([item(*PLACE, "-5")], "the price is -5 USD"),
    "nan": ([item(*PLACE, "NaN")], "the price is NaN USD"),
    "no number": ([item(*PLACE, "5,672")], "the product cannot be read: InvalidOperation"),
    "another unit": ([item(*PLACE, "5.672", unit="Quantity")], "the price is for 'Quantity', not an hour"),
    "capacity block": (
        [item(*PLACE, "5.672", marketoption="CapacityBlock")],
        "the product is another one: marketoption is 'CapacityBlock'",
    ),
    "reservation": (
        [item(*PLACE, "5.672", capacitystatus="UnusedCapacityReservation")],
        "the product is another one: capacitystatus is 'UnusedCapacityReservation'",
    ),
    "another region": ([item("g5.12xlarge", "us-west-2", "5.672")], "the product is another one: regionCode"),
    "two terms": ([edited("two terms")], "the product has 2 rates where 1 is expected"),
    "two rates": ([edited("two rates")], "the product has 2 rates where 1 is expected"),
    "no terms": ([edited("no terms")], "the product cannot be read: KeyError: 'OnDemand'"),
    "yuan": ([edited("yuan")], "the product cannot be read: KeyError: 'USD'"),
    "no JSON": (["<html>"], "the product cannot be read: JSONDecodeError"),
    "no text": ([7], "the product cannot be read: TypeError"),
    "a list": (["[]"], "the product cannot be read: TypeError"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_any_other_answer_is_refused_with_its_reason(case: str, tmp_path: Path) -> None:
    items, reason = REFUSED[case]
    with pytest.raises(ValueError) as error:  # noqa: PT011
        price_in(items, *PLACE, TODAY)
    assert str(error.value).startswith(reason)
    aws, clock = fresh()
    aws.prices.items[PLACE] = items
    answers = price_list.ask(door(aws, clock, tmp_path), [PLACE, ("p5.48xlarge", "us-east-1")])
    assert {place: price.usd_per_hour for place, price in answers.prices.items()} == {
        ("p5.48xlarge", "us-east-1"): Decimal("55.04")
    }
    assert answers.refused == {PLACE: str(error.value)}


def test_two_pages_are_two_products(tmp_path: Path) -> None:
    aws, clock = fresh()

    class Paged:
        def send(self, request: Any) -> dict[str, Any]:
            second = "NextToken" in request.parameters
            return {"PriceList": [ONE]} | ({} if second else {"NextToken": "more"})

    answers = price_list.ask(door(Paged(), clock, tmp_path), [PLACE])
    assert answers.refused == {PLACE: "AWS's price list has 2 products for it where 1 is expected"}


@pytest.mark.parametrize("code", ["AccessDenied", "ThrottlingException", "500"])
def test_after_aws_itself_refused_nothing_more_is_asked_and_it_takes_seconds(
    code: str, tmp_path: Path
) -> None:
    from infra.aws.failures import ApiFailure

    _, clock = fresh()
    asked = set()

    class Down:
        def send(self, request: Any) -> dict[str, Any]:
            asked.add(json.dumps(request.parameters))
            raise ApiFailure(code, "no")

    begun = clock()
    answers = price_list.ask(door(Down(), clock, tmp_path), [(f"p{n}", "us-east-1") for n in range(30)])
    assert len(asked) == 1
    assert clock() - begun <= 5
    assert set(answers.refused.values()) == {f"AWS's price list does not answer: {code}"}
    assert len(answers.refused) == 30
    assert answers.failure is not None
    assert answers.failure.code == code
