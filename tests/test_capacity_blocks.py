"""Capacity Blocks: what is on offer, and that money is spent only when its exact amount was typed."""

import io
import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from fake_aws import FakeAws, Faulty
from renting import door, fresh

from deploy.cli.main import run
from deploy.targets.ec2 import blocks
from infra.aws import capacity_blocks
from infra.aws.capacity_blocks import Offering, checked_hours
from infra.aws.failures import Refused
from infra.errors import CapacityError, UsageError


def offers(aws: FakeAws, folder: Path) -> tuple[Offering, ...]:
    return capacity_blocks.offerings(door(aws, aws.clock, folder), "us-east-1", "p5.48xlarge", 1, 24)


def test_the_cheapest_comes_first(tmp_path: Path) -> None:
    aws, _ = fresh()
    assert [(one.offering_id, one.usd) for one in offers(aws, tmp_path)] == [
        ("cb-0000000000000000b", Decimal("998.40")),
        ("cb-0000000000000000a", Decimal("1200.00")),
    ]
    assert blocks.words(offers(aws, tmp_path)[0]) == (
        "1x p5.48xlarge in us-east-1b, 2026-11-25 11:30 to 2026-11-26 11:30 UTC: 998.40 USD (41.60 an hour)"
    )


def test_only_the_exact_price_buys(tmp_path: Path) -> None:
    aws, _ = fresh()
    block = offers(aws, tmp_path)[0]
    blocks.confirm(block, "998.40")
    blocks.confirm(block, "998.4")
    blocks.confirm(block, "$998.40")
    blocks.confirm(offers(aws, tmp_path)[1], "1,200.00")
    for typed in ("y", "yes", "", "998", "998.41", "nan", "1200.00", "998,40"):
        with pytest.raises(UsageError, match="nothing was bought"):
            blocks.confirm(block, typed)
    with pytest.raises(CapacityError):
        blocks.chosen(offers(aws, tmp_path), "cb-gone", "p5.48xlarge")


def test_without_a_terminal_nothing_is_bought(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    aws, _ = fresh()
    monkeypatch.setattr("sys.stdin", io.StringIO("998.40"))
    for closed in (False, True):
        if closed:
            monkeypatch.setattr("sys.stdin", None)
        with pytest.raises(UsageError, match="Nobody is there to type the price"):
            blocks.confirm(offers(aws, tmp_path)[0], None)


def test_a_purchase_whose_answer_is_lost_is_not_repeated(tmp_path: Path) -> None:
    aws, clock = fresh()
    block = offers(aws, tmp_path)[0]
    with pytest.raises(Refused, match="LostResponse"):
        capacity_blocks.purchase(door(Faulty(aws, "lost", 1), clock, tmp_path), block)
    (asked,) = (call for call in aws.calls if call.operation == "PurchaseCapacityBlock")
    assert (asked.region, asked.parameters) == (
        "us-east-1",
        {
            "CapacityBlockOfferingId": "cb-0000000000000000b",
            "InstancePlatform": "Linux/UNIX",
            "TagSpecifications": [
                {
                    "ResourceType": "capacity-reservation",
                    "Tags": [{"Key": "corral:capacity-block", "Value": "cb-0000000000000000b"}],
                }
            ],
        },
    )
    assert capacity_blocks.purchase(door(aws, clock, tmp_path), block) == "cr-00000000000000001"


@pytest.mark.parametrize("days", [0, -1, 15, 20, 183, 189])
def test_a_length_that_is_not_sold(days: int) -> None:
    with pytest.raises(UsageError) as error:
        checked_hours(days)
    assert (error.value.message, error.value.hint) == (
        f"No capacity block of {days} days is sold.",
        "1 to 14 days, or whole weeks up to 182 days: --days 21",
    )


def test_lengths_that_are_sold() -> None:
    assert [checked_hours(days) for days in (1, 14, 21, 182)] == [24, 336, 504, 4368]


def test_what_was_bought_says_how_to_use_it() -> None:
    block = Offering(
        offering_id="cb-1",
        region="us-east-1",
        zone="us-east-1b",
        instance_type="p5.48xlarge",
        instance_count=1,
        starts_at=datetime(2026, 11, 25, 11, 30, tzinfo=UTC),
        ends_at=datetime(2026, 11, 26, 11, 30, tzinfo=UTC),
        hours=24,
        usd=Decimal("998.40"),
    )
    assert "--zone us-east-1b --capacity-reservation-id cr-1" in blocks.bought(block, "cr-1", as_json=False)


# --- the verb


@pytest.fixture
def aws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeAws:
    """The account that corral talks to."""
    found, clock = fresh()
    monkeypatch.setattr(blocks, "Boto", lambda: found)
    monkeypatch.setattr(blocks, "Aws", lambda *_, **__: door(found, clock, tmp_path))
    return found


def purchases(aws: FakeAws) -> int:
    return [call.operation for call in aws.calls].count("PurchaseCapacityBlock")


CHEAPEST = "cb-0000000000000000b"
WORDS = "1x p5.48xlarge in us-east-1b, 2026-11-25 11:30 to 2026-11-26 11:30 UTC: 998.40 USD (41.60 an hour)"


def test_what_is_on_offer_is_listed(aws: FakeAws, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["capacity-block", "list", "p5.48xlarge"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert (first, second[:20]) == (f"{CHEAPEST}  {WORDS}", "cb-0000000000000000a")
    assert run(["capacity-block", "list", "p5.48xlarge", "--json"]) == 0
    assert [one["usd"] for one in json.loads(capsys.readouterr().out)] == ["998.40", "1200.00"]
    assert purchases(aws) == 0


def test_one_is_bought_for_its_exact_price(aws: FakeAws, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["capacity-block", "buy", "p5.48xlarge", CHEAPEST, "--yes-i-pay"]
    assert run([*command, "998.41"]) == 2
    assert run(["capacity-block", "buy", "p5.48xlarge", "cb-0123456789abcdef0", "--yes-i-pay", "998.40"]) == 6
    assert purchases(aws) == 0
    capsys.readouterr()
    assert run([*command, "998.40"]) == 0
    said = capsys.readouterr()
    assert said.err.endswith(f"{WORDS}\nIt is paid whole, now, and cannot be given back.\n")
    assert said.out == (
        "Bought: cr-00000000000000000, paid until 2026-11-26 11:30 UTC.\nFrom 2026-11-25 11:30 on: corral up plan.json "
        "--target ec2 --purchase capacity-block --zone us-east-1b --capacity-reservation-id cr-00000000000000000\n"
    )
    assert purchases(aws) == 1


@pytest.mark.parametrize(("typed", "code"), [("998.40\n", 0), ("y\n", 2), ("", 2)])
def test_the_price_may_be_typed_at_the_terminal(
    typed: str, code: int, aws: FakeAws, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(blocks, "is_somebody_there", lambda: True)
    monkeypatch.setattr("sys.stdin", io.StringIO(typed))
    assert run(["capacity-block", "buy", "p5.48xlarge", CHEAPEST, "--json"]) == code
    said = capsys.readouterr()
    assert "\nType the price in USD to buy it: " in said.err
    assert purchases(aws) == (code == 0)
    assert code or json.loads(said.out)["capacity_reservation_id"] == "cr-00000000000000000"
