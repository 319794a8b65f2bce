"""Which prices corral goes by, and what is told where AWS names none."""

from datetime import date
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from infra import catalog, prices
from infra.aws import price_list, stored_prices
from infra.aws.failures import Refused
from infra.aws.request import Request
from infra.aws.stored_prices import NoPrice
from infra.errors import AuthError, CloudError, UsageError

TODAY = date(2026, 11, 30)
G5 = "g5.12xlarge"


def test_types_as_they_are_named_each_once_or_all() -> None:
    assert stored_prices.checked_types([G5, "p5.48xlarge", G5]) == (G5, "p5.48xlarge")
    assert stored_prices.checked_types([]) == tuple(catalog.ec2_types())


def test_what_ec2_does_not_sell_is_refused() -> None:
    with pytest.raises(UsageError) as error:
        stored_prices.checked_types([G5, "8xH100"])
    assert (error.value.message, error.value.hint) == (
        "8xH100 is not an EC2 type.",
        "For example: corral prices g5.12xlarge",
    )
    with pytest.raises(UsageError, match="'toaster' is not a machine corral knows"):
        stored_prices.checked_types(["toaster"])


def test_what_is_stored_is_shown_with_its_age_and_what_it_was() -> None:
    (now,) = stored_prices.table((G5,), "us-east-1", TODAY).prices
    assert (now.instance_type, now.region, now.was_usd_per_hour) == (G5, "us-east-1", None)
    assert now.age_in_days == (TODAY - now.checked_on).days
    places = [(G5, "us-east-1"), (G5, "xx-none-1")]
    for was, shown in ((Decimal(7), Decimal(7)), (now.usd_per_hour, None)):
        (found,) = stored_prices.stored(places, TODAY, {G5: was})
        assert found == now.model_copy(update={"was_usd_per_hour": shown})
    regions = [row.region for row in stored_prices.table((G5,), None, TODAY).prices]
    assert regions == [region for region in prices.regions() if region in regions]
    assert len(regions) > 1


def no_price(number: int) -> NoPrice:
    return NoPrice(instance_type=f"t{number}", region="us-east-1", reason="none")


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (1, "t0 in us-east-1: none"),
        (3, "t0 in us-east-1: none; t1 in us-east-1: none; t2 in us-east-1: none"),
        (4, "t0 in us-east-1: none; t1 in us-east-1: none; t2 in us-east-1: none; and 1 more"),
    ],
)
def test_prices_that_did_not_come_are_told_three_of_them_whole(count: int, said: str) -> None:
    error = stored_prices.nothing([no_price(number) for number in range(count)])
    assert (type(error), error.message, error.hint) == (
        CloudError,
        f"AWS named no price that may be used: {said}.",
        "What was stored stays in use: corral prices. Is the type sold on demand in that --region?",
    )


def answers(monkeypatch: pytest.MonkeyPatch, **said: Any) -> list[Any]:
    """AWS answers so; what is kept of it."""
    kept: list[Any] = []
    given = {"failure": None, "prices": {}, "refused": {}} | said
    monkeypatch.setattr(price_list, "ask", lambda *_: SimpleNamespace(**given))
    monkeypatch.setattr(prices, "keep", lambda rows: kept.extend(rows))
    monkeypatch.setattr(stored_prices, "Boto", lambda: None)
    return kept


def test_what_aws_names_is_kept_and_what_it_does_not_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = {("p5.48xlarge", "us-east-1"): "none"}
    kept = answers(monkeypatch, prices={(G5, "us-east-1"): "a price"}, refused=refused)
    told: list[str] = []
    monkeypatch.setattr(stored_prices, "progress", told.append)
    monkeypatch.setattr(prices, "trouble", lambda: "it is damaged")
    found = stored_prices.fresh((G5, "p5.48xlarge"), None, TODAY)
    assert (kept, told) == (["a price"], ["prices: asking AWS for 2 types in us-east-1"])
    assert found.refused == (NoPrice(instance_type="p5.48xlarge", region="us-east-1", reason="none"),)
    assert found.trouble == "it is damaged"
    assert [row.instance_type for row in found.prices] == [G5, "p5.48xlarge"]


def test_an_aws_that_answers_nothing_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Request(service="pricing", operation="GetProducts", region="us-east-1", parameters={})
    failure = Refused(asked, "NoCredentials", "none")
    answers(monkeypatch, failure=failure)
    anything: Any = None
    with pytest.raises(AuthError):
        stored_prices.refreshed(anything, (G5,), "us-east-1", TODAY)
    answers(monkeypatch, refused={(G5, "us-east-1"): "none"})
    with pytest.raises(CloudError, match="AWS named no price"):
        stored_prices.refreshed(anything, (G5,), "us-east-1", TODAY)
    kept = answers(monkeypatch, failure=failure, prices={(G5, "us-east-1"): "a price"})
    stored_prices.refreshed(anything, (G5,), "us-east-1", TODAY)
    assert kept == ["a price"]
