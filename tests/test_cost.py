"""The most that a launch can cost: its machines' hours, and what is billed beside them."""

from typing import Any

import pytest
from renting import an_order

from deploy.targets.ec2.cost import cost_sentence
from infra.aws.rates import by_stored


@pytest.mark.parametrize(
    ("changes", "most", "part"),
    [
        # By hand: 150 GiB x 0.08 + (500 - 125) MiB/s x 0.04 = 27 USD a month of 672 hours; an address 0.005 an hour.
        ({}, "45.74", "0.37 USD of it for a volume of 150 GiB and a public address ("),
        ({"volume_gib": 2000, "volume_mib_per_s": 125}, "47.33", "1.95 USD of it for a volume of 2000 GiB"),
        ({"volume_mib_per_s": 1000}, "46.04", "0.66 USD of it for a volume of 150 GiB and a"),  # 4,000 IOPS go with it
        ({"nodes": 2}, "91.48", "0.73 USD of it for 2 volumes of 150 GiB and a public address each ("),
        ({"ttl_minutes": 90}, "8.58", "0.07 USD of it for a volume of 150 GiB and a public address ("),
    ],
)  # fmt: skip
def test_at_most_has_the_volume_and_the_address_in_it(changes: dict[str, Any], most: str, part: str) -> None:
    order = an_order(**changes)
    said = cost_sentence(order, by_stored(order))
    assert f", at most {most} USD in the " in said
    assert part in said


def test_each_region_whose_price_is_unknown_is_named_and_no_other() -> None:
    order = an_order(regions=("us-east-1", "eu-west-3", "eu-west-1"))
    assert (
        "; or g5.12xlarge in eu-west-3 or eu-west-1 at a price nobody knows, for at most 8 hours; plus a volume"
        in (cost_sentence(order, by_stored(order)))
    )
