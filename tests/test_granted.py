"""What an account must have granted for an order: how many vCPUs of which quotas, wherever it is launched."""

from typing import Any

import pytest
from renting import an_order

from deploy.targets.ec2 import granted

ON_DEMAND_G = "'Running On-Demand G and VT instances' (L-DB2E81BA)"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, f"48 vCPUs of {ON_DEMAND_G} in us-east-1; a new account has 0"),
        (
            {"replicas": 3, "regions": ("us-east-1", "eu-west-1")},
            f"144 vCPUs of {ON_DEMAND_G} in us-east-1 or eu-west-1; a new account has 0",
        ),
        # one of the two is launched, so the larger is enough; each way to buy has a quota of its own
        (
            {"instance_types": ("g5.12xlarge", "g5.24xlarge"), "purchases": ("spot", "on-demand")},
            "96 vCPUs of 'All G and VT Spot Instance Requests' (L-3819A6DF) or 96 vCPUs of "
            f"{ON_DEMAND_G} in us-east-1; a new account has 0",
        ),
        (
            {"instance_types": ("p5.48xlarge",), "purchases": ("spot",), "nodes": 2},
            "384 vCPUs of 'All P5 Spot Instance Requests' in us-east-1; a new account has 0",
        ),
        ({"instance_types": ("p5.48xlarge",), "purchases": ("capacity-block",)}, ""),
    ],
)
def test_the_vcpus_of_an_order(changes: dict[str, Any], said: str) -> None:
    assert granted.quota_sentence(an_order(**changes)) == said


def test_each_region_and_quota_has_a_page_to_ask_on() -> None:
    page = "console.aws.amazon.com/servicequotas/home/services/ec2/quotas/L-DB2E81BA"
    order = an_order(regions=("us-east-1", "eu-west-1"))
    assert granted.ask_for_more(order) == (
        f"Ask AWS for them, which may take days: https://us-east-1.{page} https://eu-west-1.{page}"
    )
