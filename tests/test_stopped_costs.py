"""What is billed beside a machine's hours, in dollars: volumes by size and speed, and public addresses."""

from decimal import Decimal
from typing import Any

import pytest

from infra.aws import stopped_costs

GP3 = {"VolumeType": "gp3", "Size": 100, "Iops": 3000, "Throughput": 125}


@pytest.mark.parametrize(
    ("changes", "usd"),
    [
        ({}, "8.00"),
        ({"Iops": 3001}, "8.005"),
        ({"Throughput": 126}, "8.04"),
        ({"Iops": 100, "Throughput": 1}, "8.00"),
        ({"Iops": 4000, "Throughput": 625, "Size": 150}, "37.00"),
    ],
)
def test_a_volume_costs_its_size_and_the_speed_beyond_what_comes_with_it(
    changes: dict[str, Any], usd: str
) -> None:
    price = stopped_costs.prices()["gp3"]
    assert stopped_costs.gp3_usd(price, GP3 | changes) == Decimal(usd)
    assert stopped_costs.gp3_usd(price, {"Size": 1}) == Decimal("0.08")


def test_a_month_of_volumes_and_addresses() -> None:
    month = stopped_costs.usd_per_month
    assert month("us-east-1", [], 0) == 0
    assert month("us-west-2", [GP3, GP3 | {"Size": 50}], 2) == Decimal("12.00") + Decimal("7.30")
    assert month("eu-west-1", [], 1) is None
    assert month("us-east-1", [GP3, GP3 | {"VolumeType": "io2"}], 0) is None


def test_what_stands_beside_each_node_costs_at_most() -> None:
    """By the hour: of the shortest month, which has 672."""
    beside = stopped_costs.usd_beside
    each = Decimal("8.00") / 672 + Decimal("0.005")
    assert beside(["us-east-1", "us-west-2"], GP3, 1, Decimal(1)) == each
    assert beside(["us-east-2"], GP3, 3, Decimal(8)) == 3 * 8 * each
    assert beside(["us-east-1", "eu-west-1"], GP3, 1, Decimal(1)) is None
