"""Prices as a person reads them: a group for each source and day, the first few or all of each."""

from datetime import date
from decimal import Decimal
from typing import Any

from infra.aws.show_prices import text
from infra.aws.stored_prices import NoPrice, PriceTable, StoredPrice


def price(name: str, usd: str = "5.672", **changes: Any) -> StoredPrice:
    fields: dict[str, Any] = {
        "instance_type": name,
        "usd_per_hour": Decimal(usd),
        "region": "us-east-1",
        "purchase": "on-demand",
        "checked_on": date(2026, 11, 30),
        "source": "AWS",
        "age_in_days": 0,
    }
    return StoredPrice(**fields | changes)


def test_each_source_and_day_is_a_group_by_region_purchase_and_age() -> None:
    rows = (
        price("g6.xlarge", region="us-west-2", age_in_days=2),
        price("p5.48xlarge", "31.464", purchase="capacity-block", age_in_days=1),
        price("g7e.2xlarge", age_in_days=10),
        price("g5.12xlarge"),
        price("p5.48xlarge", "55.04", was_usd_per_hour=Decimal("60.10")),
        price("g6.xlarge", source="somebody"),
    )
    refused = (NoPrice(instance_type="p6-b200.48xlarge", region="us-east-1", reason="denied"),)
    assert text(PriceTable(prices=rows, refused=refused)).splitlines() == [
        "us-east-1, on-demand, USD per hour, checked 2026-11-30 (today)",
        "  AWS",
        "  g5.12xlarge       5.672",
        "  p5.48xlarge       55.04  was 60.10",
        "",
        "us-east-1, on-demand, USD per hour, checked 2026-11-30 (today)",
        "  somebody",
        "  g6.xlarge       5.672",
        "",
        "us-east-1, on-demand, USD per hour, checked 2026-11-30 (10 days ago)",
        "  AWS",
        "  g7e.2xlarge       5.672",
        "",
        "us-east-1, capacity-block, USD per hour, checked 2026-11-30 (1 day ago)",
        "  AWS",
        "  p5.48xlarge      31.464",
        "",
        "us-west-2, on-demand, USD per hour, checked 2026-11-30 (2 days ago)",
        "  AWS",
        "  g6.xlarge       5.672",
        "",
        "AWS named no price that may be used; what is stored stays in use",
        "- p6-b200.48xlarge in us-east-1: denied",
    ]


def test_of_a_long_group_the_first_eight_are_shown_or_all() -> None:
    listed = PriceTable(prices=tuple(price(f"t{number}") for number in range(10)))
    rows = [f"  t{number}       5.672" for number in range(10)]
    assert text(listed).splitlines()[2:] == rows
    assert text(listed, is_whole=False).splitlines()[2:] == [*rows[:8], "  and 2 more, with --all"]


def test_where_nothing_is_stored_aws_can_be_asked() -> None:
    said = "No price is stored for that. Ask AWS: corral prices --refresh"
    assert text(PriceTable(prices=())) == said
    assert text(PriceTable(prices=()), region="eu-west-3") == f"{said} --region eu-west-3"
