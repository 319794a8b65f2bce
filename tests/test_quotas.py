"""The vCPU quotas: which one a launch counts against, and what already counts against it."""

from typing import Any

import pytest

from infra.aws import quotas
from infra.aws.quotas import Quota
from infra.rented import Purchase

G, P = (
    Quota(code="L-DB2E81BA", name="Running On-Demand G and VT instances"),
    Quota(code="L-417A185B", name="Running On-Demand P instances"),
)
SPOT_G = Quota(code="L-3819A6DF", name="All G and VT Spot Instance Requests")
SPOT_P4 = Quota(code="L-7212CCBC", name="All P4, P3 and P2 Spot Instance Requests")


@pytest.mark.parametrize(
    ("instance_type", "purchase", "quota"),
    [
        ("g5.12xlarge", "on-demand", G),
        ("g7e.2xlarge", "on-demand", G),
        ("p5.48xlarge", "on-demand", P),
        ("g6.xlarge", "spot", SPOT_G),
        ("p4de.24xlarge", "spot", SPOT_P4),
        ("p5en.48xlarge", "spot", Quota(code="", name="All P5 Spot Instance Requests")),
        ("p6-b200.48xlarge", "spot", Quota(code="", name="All P6 Spot Instance Requests")),
        ("p5.48xlarge", "capacity-block", None),
        ("m5.large", "on-demand", None),
    ],
)
def test_which_quota_a_launch_counts_against(
    instance_type: str, purchase: Purchase, quota: Quota | None
) -> None:
    assert quotas.quota_of(instance_type, purchase) == quota


def test_where_more_is_asked_for() -> None:
    page = "https://r1.console.aws.amazon.com/servicequotas/home/services/ec2/quotas"
    assert quotas.page("r1", G) == f"{page}/L-DB2E81BA"
    assert [quotas.page("r1", quota) for quota in (None, Quota(code="", name="x"))] == [page] * 2


def row(instance_type: str, state: str, cores: int, lifecycle: str = "") -> dict[str, Any]:
    bought = {"InstanceLifecycle": lifecycle} if lifecycle else {}
    options = {"CpuOptions": {"CoreCount": cores, "ThreadsPerCore": 2}} if cores else {}
    return {"InstanceType": instance_type, "State": {"Name": state}} | options | bought


def test_what_runs_counts_against_the_quota_it_was_bought_by() -> None:
    rows = [
        row("g5.xlarge", "running", 1),
        row("g6.xlarge", "pending", 10),
        row("g5.xlarge", "stopped", 100),
        row("p5.48xlarge", "running", 1000),
        row("g5.xlarge", "running", 10_000, "spot"),
        row("p5.48xlarge", "running", 100_000, "capacity-block"),
        row("g5.xlarge", "running", 0),
    ]
    used: dict[Any, int] = {
        (name, purchase): quotas.vcpus_used(rows, name, purchase)
        for name in ("g5.12xlarge", "p5.48xlarge")
        for purchase in ("on-demand", "spot")
    }
    assert used == {
        ("g5.12xlarge", "on-demand"): 22,
        ("g5.12xlarge", "spot"): 20_000,
        ("p5.48xlarge", "on-demand"): 2_000,
        ("p5.48xlarge", "spot"): 0,
    }
    assert quotas.vcpus({"CpuOptions": {"CoreCount": 4}}) == 4
