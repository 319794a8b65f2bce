"""What EC2 bills beside a machine's hours, a volume and a public address: counted as `corral up` counts them."""

import shlex
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from deploy.costs.beside_hours import uncounted
from deploy.costs.compare import compare
from deploy.costs.compare_options import Question
from deploy.costs.comparison import Comparison
from deploy.costs.machine_price import machine_price
from deploy.targets.ec2.options import Ec2Options
from infra.aws import stopped_costs
from infra.aws.root_volume import gp3_speed
from infra.money import rounded
from serving.probe.lengths import Lengths
from serving.sizing.carried import Carried, Machines
from serving.sizing.plan import Plan
from serving.sizing.traffic import Traffic

PLAN = Plan.read(
    Path(__file__).parent / "data" / "compare" / "plan.json"
)  # g5.12xlarge at $5.672/h in us-east-1
DAY = date(2026, 11, 24)
UNVERIFIED = "AWS EBS and VPC pricing as quoted by others, unverified"


def compared(plan: Plan = PLAN, **typed: Any) -> Comparison:
    return compare(plan, None, Question.of(typed), DAY)


def changed(document: Any, **values: Any) -> Any:
    return document.model_copy(update=values)


def beside(found: Comparison) -> dict[str, tuple[str, str]]:
    """Storage and address of the month."""
    items = {each.name: (f"{each.usd_per_month:.2f}", each.how) for each in found.month.items}
    return {name: items[name] for name in ("storage", "address") if name in items}


def test_a_month_has_the_volume_and_the_address_that_up_gives_the_machine() -> None:
    """150 GiB at $0.08, 375 MiB/s more than comes with it at $0.04, and 730 hours at $0.005."""
    found = compared()
    assert beside(found) == {
        "storage": ("27.00", "150 GB a machine, kept all month"),
        "address": ("3.65", "1 public IPv4, 730 h at $0.005"),
    }
    assert found.self_hosted.usd_per_month == Decimal("4140.56") + Decimal("30.65")
    assert found.self_hosted.bill.per_machine_usd == found.self_hosted.usd_per_month
    told = {each.name: (each.value, each.whose, each.source, each.checked_on) for each in found.assumptions}
    read_on = date(2026, 11, 28)
    assert {name: told[name] for name in ("storage_gb", "usd_per_storage_gb_month", "public_addresses")} == {
        "storage_gb": ("150", "ours", "corral up gives each host a volume of 150 GiB", None),
        "usd_per_storage_gb_month": ("0.18", "list price", f"gp3 of 500 MiB/s: {UNVERIFIED}", read_on),
        "public_addresses": ("1", "ours", f"one of each host, $0.005 an hour: {UNVERIFIED}", read_on),
    }


def test_it_is_what_up_says_of_as_many_hours() -> None:
    """`up` takes the price of an hour of the shortest month, of 672."""
    options, bill = Ec2Options(), compared(hours_per_month="672").self_hosted.bill
    volume = {"Size": options.volume_gib, **gp3_speed(options.volume_mib_per_s)}
    of_up = stopped_costs.usd_beside(["us-east-1"], volume, 1, Decimal(672))
    assert of_up
    assert bill.storage_usd + bill.address_usd == rounded(of_up)


def test_a_stopped_machine_keeps_its_volume_and_not_its_address() -> None:
    found = compared(schedule="mon-fri 8-18", startup_minutes="0", replicas="3")
    assert beside(found) == {
        "storage": ("81.00", "150 GB a machine, kept all month"),
        "address": ("3.26", "3 public IPv4, 217 h at $0.005"),  # 3 x 50 x 730 / 168 h
    }


def test_each_host_of_one_server_has_its_own() -> None:
    two = changed(PLAN, machine=changed(PLAN.machine, name="2xg5.12xlarge", hosts=2))
    assert beside(compared(two)) == {
        "storage": ("54.00", "300 GB a machine, kept all month"),
        "address": ("7.30", "2 public IPv4, 730 h at $0.005"),
    }
    assert beside(compared(two, storage_gb="600"))["storage"][0] == "78.00"  # 48 and twice 15


@pytest.mark.parametrize(
    ("typed", "storage", "address"),
    [
        ({"storage_gb": "300"}, "39.00", "3.65"),  # as up --volume-gib 300: 24 and the same speed
        ({"storage_gb": "0"}, None, "3.65"),
        ({"usd_per_storage_gb_month": "0.1"}, "15.00", "3.65"),
        ({"storage_gb": "500", "usd_per_storage_gb_month": "0.08"}, "40.00", "3.65"),
        ({"public_addresses": "0"}, "27.00", None),
        ({"storage_gb": "0", "public_addresses": "0"}, None, None),
        ({"purchase": "spot", "price_per_hour": "2"}, "27.00", "3.65"),
        ({"purchase": "savings-plan", "price_per_hour": "4", "hours_per_month": "200"}, "27.00", "1.00"),
    ],
)
def test_what_the_user_says_goes_before_it(
    typed: dict[str, Any], storage: str | None, address: str | None
) -> None:
    found = compared(**typed)
    usd = {name: usd for name, (usd, _) in beside(found).items()}
    assert (usd.get("storage"), usd.get("address")) == (storage, address)
    whose = {each.name: each.whose for each in found.assumptions}
    assert {whose[name] for name in typed if whose.get(name)} <= {"yours"}


def test_nothing_is_added_to_a_machine_that_ec2_does_not_rent_out() -> None:
    own = changed(PLAN, machine=changed(PLAN.machine, name="4xA10G", instance_type=None))
    traffic = Traffic(
        requests_per_s=0.01, peak_factor=2.0, input_tokens=Lengths(low=1000), output_tokens=Lengths(low=300)
    )
    machines = (Machines(name="g5.12xlarge", count=2, servers=1, times=1.0, usd_per_hour=Decimal(2)),)
    there = changed(PLAN, carried=Carried(traffic=traffic, machines=machines, are_there=True))
    for found in (
        compared(own, price_per_hour="5.672"),
        compared(capex_usd="60000"),
        compared(there),
        compared(there, purchase="on-demand"),
    ):
        assert beside(found) == {}
        assert found.self_hosted.bill.address_usd == 0
        assert not any("NOT COUNTED" in each for each in found.warnings)


def test_where_no_price_of_it_is_known_that_is_said_with_what_counts_it() -> None:
    assert PLAN.price
    there = changed(PLAN, price=changed(PLAN.price, region="eu-central-1"))
    found = compared(there)
    asked = "--storage-gb 150 --usd-per-storage-gb-month 0.18 --public-addresses 1"
    said = (
        "NOT COUNTED: the volume and the public address that corral up gives each host, whose price in eu-central-1 "
        f"is not known here. As in us-east-1: {asked}"
    )
    assert (beside(found), said in found.warnings) == ({}, True)
    words = shlex.split(asked)
    typed: dict[str, Any] = {
        name.removeprefix("--").replace("-", "_"): value
        for name, value in zip(words[::2], words[1::2], strict=True)
    }
    again = compared(there, **typed)
    assert again.self_hosted == compared().self_hosted
    assert not any("NOT COUNTED" in each for each in again.warnings)
    nowhere, priced = changed(PLAN, price=None, region=None), Question.of({"price_per_hour": "3"})
    assert "whose price in a region that nobody named is" in uncounted(
        nowhere, machine_price(nowhere, priced), priced
    )
