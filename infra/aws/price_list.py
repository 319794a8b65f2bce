"""AWS's own on-demand price of a type: what is asked of its Price List API, and the one answer that is believed."""

from collections.abc import Iterable
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

from infra import bounded_json
from infra.aws.api import ASK_FOR_S, Aws
from infra.aws.failures import Refused
from infra.aws.request import Request
from infra.prices import ON_DEMAND, HourlyPrice

SOURCE = "AWS Price List API (GetProducts)"
# It is in three regions (botocore 1.44.8), each with the prices of all.
ENDPOINT = "us-east-1"

# What tells the on-demand price of a plain Linux machine from reservations, capacity blocks and paid software.
PLAIN = {
    "operatingSystem": "Linux",
    "preInstalledSw": "NA",
    "tenancy": "Shared",
    "capacitystatus": "Used",
    "marketoption": "OnDemand",
    "operation": "RunInstances",
}

Place = tuple[str, str]
"""An instance type and a region."""
MOST_USD = 1_000_000
"""An hour: no machine costs it, and no price is reckoned with that nobody can write out."""


class Answers(NamedTuple):
    """What AWS said of the places asked about."""

    prices: dict[Place, HourlyPrice]
    refused: dict[Place, str]
    """Why there is no price that may be used."""
    failure: Refused | None
    """What ended the asking: without it AWS answered all of them."""


def ask(aws: Aws, places: Iterable[Place]) -> Answers:
    """Ask for each place; after AWS itself refused or was not there once, nothing more is asked."""
    answers = Answers({}, {}, None)
    for place in places:
        if answers.failure:
            answers.refused[place] = unanswered(answers.failure)
            continue
        try:
            items = list(aws.pages(products_request(*place), "PriceList", ASK_FOR_S))
            answers.prices[place] = price_in(items, *place, aws.now().date())
        except Refused as refused:
            answers.refused[place] = unanswered(refused)
            answers = answers._replace(failure=refused)
        except ValueError as error:
            answers.refused[place] = str(error)
    return answers


def unanswered(refused: Refused) -> str:
    """That AWS named no price, and its code."""
    return f"AWS's price list does not answer: {refused.code}"


def products_request(instance_type: str, region: str) -> Request:
    """Ask for the one product that is this type, on demand, in this region."""
    return Request(
        service="pricing",
        operation="GetProducts",
        region=ENDPOINT,
        parameters={
            "ServiceCode": "AmazonEC2",
            "FormatVersion": "aws_v1",
            "Filters": [
                {"Type": "TERM_MATCH", "Field": field, "Value": value}
                for field, value in attributes(instance_type, region).items()
            ],
        },
    )


def attributes(instance_type: str, region: str) -> dict[str, str]:
    """What is asked for, and what the product must then say of itself."""
    return {"instanceType": instance_type, "regionCode": region, **PLAIN}


def price_in(items: list[Any], instance_type: str, region: str, on: date) -> HourlyPrice:
    """The price in an answer: of one product, one term, one rate. Raises ValueError with the reason for any other.

    Taking the first of several is how a capacity block's price becomes an on-demand one.
    """
    if len(items) != 1:
        raise ValueError(f"AWS's price list has {len(items)} products for it where 1 is expected")
    try:
        product = bounded_json.load(str(items[0]).encode())
    except ValueError as error:
        raise ValueError(f"the product cannot be read: {type(error).__name__}: {error}") from None
    try:
        said = product["product"]["attributes"]
        rates = [
            rate
            for term in product["terms"]["OnDemand"].values()
            for rate in term["priceDimensions"].values()
        ]
        odd = [
            field for field, value in attributes(instance_type, region).items() if said.get(field) != value
        ]
        if odd:
            raise ValueError(f"the product is another one: {odd[0]} is {said.get(odd[0])!r}")
        if len(rates) != 1:
            raise ValueError(f"the product has {len(rates)} rates where 1 is expected")
        unit, usd = rates[0]["unit"], Decimal(rates[0]["pricePerUnit"]["USD"])
    except (KeyError, TypeError, AttributeError, InvalidOperation) as error:
        raise ValueError(f"the product cannot be read: {type(error).__name__}: {error}") from None
    if unit != "Hrs":
        raise ValueError(f"the price is for {unit!r}, not an hour")
    if not (usd.is_finite() and 0 < usd < MOST_USD):
        raise ValueError(f"the price is {usd} USD")
    return HourlyPrice(
        instance_type=instance_type,
        # AWS writes 5.6720000000
        usd_per_hour=usd.normalize() if usd % 1 else usd.quantize(Decimal(1)),
        region=region,
        purchase=ON_DEMAND,
        checked_on=on,
        source=SOURCE,
    )
