"""The stored prices: what corral ships, what AWS answered since, and `corral prices`."""

import json
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from fake_prices import item
from renting import door, fresh

from deploy.cli.main import run
from infra import catalog, prices
from infra.aws.show_prices import text
from infra.aws.stored_prices import NoPrice, checked_types, refreshed, table
from infra.errors import AuthError, CloudError, UsageError
from infra.prices import HourlyPrice, keep, on_demand_price, price_of

TODAY = date(2026, 9, 21)
G5 = catalog.machine("g5.12xlarge")


def price(usd: str, on: date = TODAY, instance_type: str = "g5.12xlarge") -> HourlyPrice:
    return HourlyPrice(
        instance_type=instance_type,
        usd_per_hour=Decimal(usd),
        region="us-east-1",
        purchase="on-demand",
        checked_on=on,
        source="AWS Price List API (GetProducts)",
    )


def test_what_aws_answered_is_used_where_it_is_newer() -> None:
    shipped = price_of(G5)
    assert shipped is not None
    keep([price("9.99", date(2026, 1, 1))])
    assert price_of(G5) == shipped
    keep([price("6.1"), price("7.0", instance_type="p5.48xlarge")])
    assert price_of(G5) == price("6.1")
    two = price_of(catalog.machine("2xg5.12xlarge"))
    assert two is not None
    assert two.usd_per_hour == Decimal("12.2")
    keep([price("6.2")])
    assert price_of(G5) == on_demand_price("g5.12xlarge", "us-east-1") == price("6.2")
    abroad = price("7.1").model_copy(update={"region": "eu-west-1"})
    assert price_of(G5, "eu-west-1") is None
    keep([abroad])
    assert (price_of(G5, "eu-west-1"), "eu-west-1" in prices.regions()) == (abroad, True)
    assert [row.instance_type for row in prices.kept()] == ["g5.12xlarge", "g5.12xlarge", "p5.48xlarge"]


def test_of_one_day_aws_itself_counts() -> None:
    shipped = price_of(G5)
    assert shipped is not None
    keep([price("6.1", shipped.checked_on)])
    assert price_of(G5) == on_demand_price("g5.12xlarge", "us-east-1") == price("6.1", shipped.checked_on)


def test_a_price_on_demand_comes_before_a_capacity_block() -> None:
    p5e = catalog.machine("p5e.48xlarge")
    block = price_of(p5e)
    assert block is not None
    assert (block.purchase, on_demand_price("p5e.48xlarge", "us-east-1")) == ("capacity-block", None)
    keep([price("40", date(2025, 7, 1), "p5e.48xlarge")])
    assert price_of(p5e) == price("40", date(2025, 7, 1), "p5e.48xlarge")


BROKEN = {
    "torn": '{"document": "prices", "prices": [{"inst',
    "empty": "",
    "another document": '{"document": "plan", "schema_version": 1}',
    "another version": '{"document": "prices", "schema_version": 2, "prices": []}',
    "a free machine": '{"prices": [{"instance_type": "g5.12xlarge", "usd_per_hour": "0", "region": "us-east-1", '
    '"purchase": "on-demand", "checked_on": "2030-01-01", "source": "me"}]}',
    "not a number": '{"prices": [{"instance_type": "g5.12xlarge", "usd_per_hour": "NaN", "region": "us-east-1", '
    '"purchase": "on-demand", "checked_on": "2030-01-01", "source": "me"}]}',
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_document_breaks_nothing_and_is_said_in_one_sentence(
    case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shipped = price_of(G5)
    prices.path().parent.mkdir(parents=True)
    prices.path().write_text(BROKEN[case])
    assert price_of(G5) == shipped
    assert run(["size", "scout", "--precision", "int4", "--on", "g5.12xlarge", "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["price"]["usd_per_hour"] == 5.672
    assert said.err.startswith(f"warning: {prices.path()} ")
    assert said.err.endswith(" The prices corral ships are used.\n")
    assert said.err.count("\n") == 1
    assert run(["prices", "g5.12xlarge", "--region", "us-east-1", "--json"]) == 0
    said = capsys.readouterr()
    assert said.err == f"warning: {json.loads(said.out)['trouble']}\n"
    keep([price("6.1")])
    assert (price_of(G5), prices.trouble()) == (price("6.1"), "")


def test_what_is_stored_is_shown_with_source_and_age() -> None:
    keep([price("6.1", date(2026, 9, 20))])
    found = table(("g5.12xlarge", "p5e.48xlarge"), "us-east-1", TODAY)
    assert [(one.instance_type, one.age_in_days) for one in found.prices] == [
        ("g5.12xlarge", 1),
        ("p5e.48xlarge", 233),
    ]
    assert text(found) == (
        "us-east-1, on-demand, USD per hour, checked 2026-09-20 (1 day ago)\n"
        "  AWS Price List API (GetProducts)\n"
        "  g5.12xlarge         6.1\n"
        "\n"
        "us-east-1, capacity-block, USD per hour, checked 2026-01-31 (233 days ago)\n"
        "  two independent reports of AWS's January 2026 Capacity Block list (+15 %); not the AWS list itself\n"
        "  p5e.48xlarge       39.80"
    )
    assert {one.region for one in table(("g5.12xlarge",), None, TODAY).prices} == {
        "us-east-1",
        "us-east-2",
        "us-west-2",
    }
    assert text(table(("g5.12xlarge",), "eu-west-1", TODAY)).startswith("No price is stored for that.")


def test_asking_aws_keeps_its_answers_and_says_what_was_refused(tmp_path: Path) -> None:
    aws, clock = fresh()
    aws.prices.usd["g5.12xlarge"] = "6.1000000000"
    aws.prices.items["p5.48xlarge", "us-east-1"] = [
        item("p5.48xlarge", "us-east-1", "41.61", marketoption="CapacityBlock")
    ]
    types = ("g5.12xlarge", "p5.48xlarge", "p5e.48xlarge", "g5.24xlarge")
    found = refreshed(door(aws, clock, tmp_path), types, "us-east-1", TODAY)
    assert [
        (one.instance_type, one.usd_per_hour, one.was_usd_per_hour, one.checked_on) for one in found.prices
    ] == [
        ("g5.12xlarge", Decimal("6.1"), Decimal("5.672"), TODAY),
        ("p5.48xlarge", Decimal("55.04"), None, date(2026, 7, 20)),
        ("p5e.48xlarge", Decimal("39.80"), None, date(2026, 1, 31)),
        ("g5.24xlarge", Decimal("8.144"), None, TODAY),
    ]
    assert found.refused == (
        NoPrice(
            instance_type="p5.48xlarge",
            region="us-east-1",
            reason="the product is another one: marketoption is 'CapacityBlock'",
        ),
        NoPrice(
            instance_type="p5e.48xlarge",
            region="us-east-1",
            reason="AWS's price list has 0 products for it where 1 is expected",
        ),
    )
    assert "\n  g5.12xlarge         6.1  was 5.672\n" in text(found)
    assert text(found).endswith(
        "\n\nAWS named no price that may be used; what is stored stays in use\n"
        "- p5.48xlarge in us-east-1: the product is another one: marketoption is 'CapacityBlock'\n"
        "- p5e.48xlarge in us-east-1: AWS's price list has 0 products for it where 1 is expected"
    )
    assert prices.kept() == (price("6.1"), price("8.144", instance_type="g5.24xlarge"))
    assert aws.live() == []


def test_a_price_list_that_says_nothing_is_an_error_and_leaves_what_is_stored(tmp_path: Path) -> None:
    aws, clock = fresh()
    keep([price("6.1")])
    at = door(aws, clock, tmp_path)
    aws.prices.usd = {}
    types = ("g5.12xlarge", "g5.24xlarge", "g5.48xlarge", "g6.12xlarge", "g6.48xlarge")
    with pytest.raises(CloudError) as error:
        refreshed(at, types, "us-east-1", TODAY)
    none = "AWS's price list has 0 products for it where 1 is expected"
    assert error.value.message == (
        f"AWS named no price that may be used: g5.12xlarge in us-east-1: {none}; "
        f"g5.24xlarge in us-east-1: {none}; g5.48xlarge in us-east-1: {none}; and 2 more."
    )
    assert error.value.hint == (
        "What was stored stays in use: corral prices. Is the type sold on demand in that --region?"
    )
    aws.denied = {"pricing:GetProducts"}
    with pytest.raises(AuthError, match="pricing:GetProducts in us-east-1: AccessDenied"):
        refreshed(at, ("g5.12xlarge",), "us-east-1", TODAY)
    assert prices.kept() == (price("6.1"),)


def test_types_are_ec2s_and_each_is_asked_for_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert checked_types(["g5.12xlarge", "p5.48xlarge", "g5.12xlarge"]) == ("g5.12xlarge", "p5.48xlarge")
    assert checked_types([]) == tuple(catalog.ec2_types())
    for bad in ("8xH100", "g99.huge", "2xg5.12xlarge", ""):
        with pytest.raises(UsageError):
            checked_types([bad])
    assert run(["prices", "--region", "us-moon-1"]) == 2
    assert run(["prices", "--refresh", "--region", "us-moon-1"]) == 2
    assert capsys.readouterr().out == ""
