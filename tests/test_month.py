"""The month and how a machine is bought: each item by hand arithmetic, what it saves, and what does not go together."""

import json
from datetime import date
from decimal import Decimal
from math import ceil
from pathlib import Path
from typing import Any

import pytest
import refusals

from deploy.cli.main import run
from deploy.costs.compare import compare
from deploy.costs.compare_options import Question
from deploy.costs.comparison import Comparison
from deploy.costs.egress_steps import egress_usd
from deploy.costs.knobs import table as knob_table
from deploy.costs.likelihood import between, draws, places, speed_factor
from deploy.costs.machine_price import machine_price
from deploy.costs.measured_load import Measured
from deploy.costs.month import Elsewhere
from deploy.costs.self_hosted import OurSide, bill_at
from deploy.report.comparison_text import comparison_text
from deploy.report.tables import elsewhere_table
from infra.aws import stopped_costs
from infra.data import shipped_table
from infra.errors import UsageError
from serving.probe.report import ProbeReport
from serving.sizing.plan import Plan

DATA = Path(__file__).parent / "data" / "compare"
DAY = date(2026, 11, 24)
PLAN = Plan.read(DATA / "plan.json")  # Scout INT4 on g5.12xlarge at $5.672/h
PROBE = ProbeReport.read(DATA / "probe.json")  # 1,500 output tokens/s, 750 in and 250 out a request
SONNET, HAIKU = "claude-sonnet-5-5", "claude-haiku-5-5"
CENT = Decimal("0.01")
ALONE = {"storage_gb": "0", "public_addresses": "0"}
"""The machine alone: what EC2 bills beside it is test_beside_hours's."""


def compared(plan: Plan = PLAN, on: date = DAY, **typed: Any) -> Comparison:
    asked = {"claude_models": (SONNET,), "token_ratio": "1"} | ALONE | typed
    return compare(plan, Measured(PROBE), Question.of(asked), on)


def items(found: Comparison) -> dict[str, tuple[Decimal, str]]:
    return {item.name: (item.usd_per_month.quantize(CENT), item.how) for item in found.month.items}


def at(found: Comparison, who: str) -> Elsewhere:
    return next(each for each in found.month.elsewhere if each.who == who)


def these(*found: Any) -> tuple[Any, ...]:
    return found


def usd(text: str) -> Decimal:
    return Decimal(text)


def test_data_out_is_billed_in_aws_steps() -> None:
    ten_tb, fifty, hundred_fifty = 10_240, 51_200, 153_600
    assert {gb: egress_usd(Decimal(gb)) for gb in (0, 100, 101, 500, ten_tb, 20_480, 200_000)} == {
        0: 0,
        100: 0,
        101: usd("0.09"),
        500: usd("36.00"),  # 400 x 0.09
        ten_tb: usd("912.60"),  # 10,140 x 0.09
        20_480: usd("1783.00"),  # + 10,240 x 0.085
        200_000: usd("13882.20"),  # 912.60 + 40,960 x 0.085 + 102,400 x 0.07 + 46,400 x 0.05
    }
    assert egress_usd(Decimal(hundred_fifty)) - egress_usd(Decimal(fifty)) == usd("7168.00")


def test_what_the_user_pays_a_gb_goes_before_the_steps() -> None:
    steps = compared(egress_gb="500")
    assert items(steps)["data out"] == (usd("36.00"), "500 GB in AWS's steps")
    assert items(compared(egress_gb="500", usd_per_egress_gb="0.09"))["data out"] == (
        usd("45.00"),
        "500 GB at $0.09",
    )
    (said,) = [each for each in steps.assumptions if each.name == "usd_per_egress_gb"]
    assert (said.value, said.whose) == ("AWS's steps", "ours")


def test_a_savings_plan_bills_the_hours_that_nobody_uses() -> None:
    half = compared(purchase="savings-plan", price_per_hour="34", hours_per_month="220", utilisation="0.6")
    assert items(half) == {"rent": (usd("24820.00"), "730 h at $34, savings-plan, up for 220 of them")}
    by_the_hour = compared(price_per_hour="34", hours_per_month="220", utilisation="0.6")
    assert items(by_the_hour) == {"rent": (usd("7480.00"), "220 h at $34, on-demand")}
    # what it can serve is what it can serve in 220 hours
    assert half.self_hosted.capacity_mtok_per_month == by_the_hour.self_hosted.capacity_mtok_per_month == 4752
    assert round(
        half.self_hosted.usd_per_mtok_blended / by_the_hour.self_hosted.usd_per_mtok_blended, 9
    ) == round(usd("730") / 220, 9)


def test_what_is_upfront_is_spread_over_the_term_with_its_interest() -> None:
    given: dict[str, Any] = {
        "purchase": "savings-plan",
        "price_per_hour": "2",
        "upfront_usd": "12000",
        "replicas": "2",
    }
    assert items(compared(**given)) == {
        "rent": (usd("2920.00"), "2 machines: 730 h at $2, savings-plan"),
        "upfront part": (usd("2000.00"), "$12,000.00 over 12 months"),
    }
    # 12,000 at 10% for a year: one payment of 13,200
    assert items(compared(**given, interest_rate="10%"))["interest"] == (
        usd("200.00"),
        "10% a year, in equal payments",
    )
    assert compared(**given).month.bought_usd == 24_000


def test_a_capacity_block_bills_all_its_hours() -> None:
    block: dict[str, Any] = {"purchase": "capacity-block", "price_per_hour": "39.80"}
    assert items(compared(**block, committed_hours="336")) == {
        "rent": (usd("13372.80"), "336 h at $39.8, capacity-block")
    }
    assert compared(**block, committed_hours="336").month.hours.serving == 336
    assert items(compared(**block, committed_hours="336", hours_per_month="200"))["rent"][0] == usd(
        "13372.80"
    )
    assert items(compared(**block, hours_per_month="200"))["rent"][0] == usd("29054.00")  # bought all month


def test_a_plan_whose_machine_is_only_sold_as_a_block_is_billed_as_one() -> None:
    assert PLAN.price is not None
    block = PLAN.model_copy(update={"price": PLAN.price.model_copy(update={"purchase": "capacity-block"})})
    found = compared(block, hours_per_month="220")
    assert these(found.month.purchase, found.month.hours.billed) == ("capacity-block", 730)


def test_interruptions_of_spot_take_capacity_and_no_money() -> None:
    given: dict[str, Any] = {"purchase": "spot", "price_per_hour": "2", "startup_minutes": "30"}
    often = compared(**given, interruptions_per_month="20")
    assert items(often) == {"rent": (usd("1460.00"), "730 h at $2, spot")}
    assert often.month.hours.serving == 720
    assert often.self_hosted.capacity_mtok_per_month == 15_552  # 6,000 tokens/s x 720 h
    once = {each.name: each.whose for each in compared(**given).assumptions}
    assert once["interruptions_per_month"] == "our placeholder, not your value"


def test_a_schedule_pays_for_each_start_and_serves_its_hours() -> None:
    found = compared(schedule="mon-fri 8-19", startup_minutes="30")
    hours = found.month.hours
    assert (round(hours.asked, 3), round(hours.serving, 3)) == (usd("238.988"), usd("238.988"))
    assert hours.billed == usd("249.851190476")  # 238.988 + 21.726 starts x 0.5
    assert items(found) == {
        "rent": (usd("1417.16"), "250 h at $5.672, on-demand, 10.9 of them starting")  # 249.851 x 5.672
    }
    (said,) = [each for each in found.assumptions if each.name == "hours_per_month"]
    assert (said.value, said.whose, said.source) == ("238.988095238", "yours", '--schedule "mon-fri 8-19"')


def test_a_disk_costs_what_it_costs_where_a_machine_is_stopped() -> None:
    """The figure stands in one file, beside where it is from."""
    told = knob_table()["usd_per_storage_gb_month"].value
    assert told == Decimal(stopped_costs.prices()["gp3"]["usd_per_gib_month"])
    assert "value" not in shipped_table("deploy.costs", "knobs.toml")["usd_per_storage_gb_month"]


PART: dict[str, Any] = {
    "purchase": "savings-plan",
    "price_per_hour": "4",
    "replicas": "5",
    "committed_machines": "3",
    "hours_per_month": "200",
}


def test_a_savings_plan_over_a_part_of_the_machines() -> None:
    """Three all month at the plan's 4, two for 200 hours at the list's 5.672: 8,760 + 2,268.80."""
    found = compared(**PART, upfront_usd="1200")
    assert items(found) == {
        "rent": (
            usd("11028.80"),
            "5 machines: 3 for 730 h at $4, savings-plan, up for 200 of them; 2 for 200 h at $5.672, on-demand",
        ),
        "upfront part": (usd("300.00"), "$1,200.00 over 12 months"),
    }
    assert found.month.bought_usd == 3600
    assert [(each.value, each.whose) for each in found.assumptions if each.name == "on_demand_per_hour"] == [
        ("$5.672", "list price")
    ]
    assert items(compared(**PART, on_demand_per_hour="6"))["rent"][0] == usd("11160.00")
    with pytest.raises(UsageError, match="^Nobody said what a machine costs on demand"):
        compared(PLAN.model_copy(update={"price": None}), **PART)
    of_all: dict[str, Any] = {"purchase": "savings-plan", "price_per_hour": "4", "replicas": "2"}
    assert compared(**of_all).self_hosted == compared(**of_all, committed_machines="2").self_hosted
    assert (
        compared(**PART).self_hosted.capacity_mtok_per_month
        == compared(replicas="5", hours_per_month="200").self_hosted.capacity_mtok_per_month
    )


def test_always_on_by_schedule_is_always_on() -> None:
    assert compared(schedule="24/7").self_hosted == compared().self_hosted


def test_spares_are_paid_and_no_capacity() -> None:
    two = compared(replicas="2", spares="1")
    alone = compared()
    assert two.self_hosted.capacity_mtok_per_month == alone.self_hosted.capacity_mtok_per_month
    assert two.self_hosted.usd_per_month == 2 * alone.self_hosted.usd_per_month
    assert items(two)["rent"][1] == "2 machines, 1 spare: 730 h at $5.672, on-demand"


OWNED: dict[str, Any] = {
    "capex_usd": "300000",
    "life_years": "5",
    "residual_fraction": "10%",
    "interest_rate": "6%",
    "insurance_fraction": "1.5%",
    "power_kw": "10",
    "idle_power_kw": "4",
    "pue": "1.5",
    "usd_per_kwh": "0.2",
    "utilisation": "0.5",
}


def test_an_owned_machine_item_by_item() -> None:
    assert items(compared(**OWNED, one_off_usd="6000", one_off_months="24")) == {
        "machines, written off": (usd("4500.00"), "$300,000.00 over 5 years, 10% left then"),
        # 0.06 x (1.06^5 - 0.1) / (1.06^5 - 1) x 300,000 = 65,897.03 a year, of which 54,000 are the write-off
        "interest": (usd("991.42"), "6% a year, in equal payments"),
        "insurance": (usd("375.00"), "1.5% of the price a year"),
        "power": (usd("1533.00"), "7 kW x PUE 1.5 x 730 h at $0.2/kWh"),
        "paid once": (usd("250.00"), "$6,000.00 over 24 months"),
    }


def test_a_spare_machine_idles() -> None:
    """Two at half load draw 7 kW each, the third 4: 6 on average. Fully busy they draw 6 more."""
    found = compared(**OWNED, replicas="3", spares="1")
    assert items(found)["power"] == (
        usd("3942.00"),
        "3 machines, 1 spare: 6 kW x PUE 1.5 x 730 h at $0.2/kWh",
    )
    assert found.self_hosted.usd_of_full_load == 2 * compared(**OWNED).self_hosted.usd_of_full_load == 2628


OF_ONE: dict[str, Any] = {
    "purchase": "savings-plan",
    "price_per_hour": "4",
    "committed_machines": "1",
    "hours_per_month": "720",
    "upfront_usd": "1200",
}


@pytest.mark.parametrize(
    "bought", [OWNED, OF_ONE, OF_ONE | {"committed_machines": "2"}], ids=["owned", "a-part", "all"]
)
def test_each_draw_is_the_bill_of_the_machines_that_its_speed_takes(bought: dict[str, Any]) -> None:
    """With a spare, at a volume: of each draw reckoned anew from the bill, power and all.

    Those that a slower speed takes beside a savings plan are paid for on demand.
    """
    volume: dict[str, Any] = {name: value for name, value in bought.items() if name != "utilisation"}
    asked = {
        "claude_models": (SONNET,),
        "token_ratio": "1",
        "mtok_per_month": "2500",
        "replicas": "2",
        "spares": "1",
    }
    question = Question.of(asked | volume)
    found, price = compare(PLAN, None, question, DAY), machine_price(PLAN, question)
    ours = OurSide(found.speed, found.knobs, price, found.self_hosted)
    drawn, needs = draws(ours, is_volume=True), set[int]()
    for at_place, (of_speed, of_price, _, _) in enumerate(places()[:60]):
        capacity = float(found.self_hosted.capacity_mtok_per_month) * speed_factor(found.speed, of_speed)
        needed = max(1, ceil(2500 / capacity))
        needs.add(needed)
        values = {"replicas": Decimal(needed + 1), "spares": Decimal(1)}
        busy = Decimal(repr(2500 / (needed * capacity)))
        total = bill_at(busy, found.knobs.model_copy(update=values), price).total_usd
        dearer = between(of_price, 0.8, 1.0, 1.2)
        assert drawn.as_compared[at_place] == pytest.approx(float(total) * dearer / 2500, rel=1e-9)
    assert len(needs) > 2


def test_power_of_load_is_a_price_of_each_token() -> None:
    """At break-even the power of exactly that load is on our side of the scale."""
    even = compared(**OWNED).break_even
    volume: dict[str, Any] = {name: value for name, value in OWNED.items() if name != "utilisation"}
    there = compared(**volume, mtok_per_month=f"{even.mtok_per_month:f}")
    assert round(there.self_hosted.usd_per_month, 5) == round(there.claude[0].usd_per_month, 5)
    assert even.mtok_per_month < compared(**OWNED | {"utilisation": "1"}).self_hosted.usd_per_month / 4
    at = {str(each.utilisation): each for each in compared(**OWNED).self_hosted.at}
    spread = at["1"].usd_per_mtok_blended * at["1"].mtok_per_month
    assert round(spread - at["0.5"].usd_per_mtok_blended * at["0.5"].mtok_per_month, 5) == 657  # 3 kW


def test_power_as_dear_as_claude_never_breaks_even() -> None:
    found = compared(
        **OWNED | {"power_kw": "1000", "idle_power_kw": "1", "usd_per_kwh": "5"}, claude_models=(HAIKU,)
    )
    assert (found.break_even.feasible, found.break_even.required_utilisation > 1) == (False, True)


def test_what_is_saved_and_when_what_is_bought_has_paid_itself_back() -> None:
    found = compared(capex_usd="240000", life_years="4", mtok_per_month="3000")
    there = at(found, "Claude Sonnet 5.5")
    assert found.month.usd_per_month == 5000
    assert these(there.via, there.usd_per_month) == ("the Claude API", 12_000)
    assert these(there.saving_usd_per_month, there.saving_usd_per_year) == (7000, 84_000)
    assert there.payback_months == 20  # 240,000 over 12,000 a month: nothing else is paid here
    assert (
        at(
            compared(capex_usd="240000", hosting_usd_per_month="12000", mtok_per_month="3000"),
            "Claude Sonnet 5.5",
        ).payback_months
        is None
    )
    rented = compared(mtok_per_month="3000")
    assert these(rented.month.bought_usd, at(rented, "Claude Sonnet 5.5").payback_months) == (0, None)
    assert at(rented, "Claude Sonnet 5.5").saving_usd_per_month == usd("7859.44")


def test_the_volume_is_said_a_day_and_in_requests() -> None:
    volume = compared(mtok_per_month="3650").month.volume
    assert these(volume.mtok_per_day, volume.requests_per_month, volume.requests_per_day) == (
        120,
        3_650_000,
        120_000,
    )


def test_hosts_are_of_the_month_with_their_date_and_the_ended_left_out() -> None:
    found = compared(mtok_per_month="1000")
    bedrock = at(found, "AWS Bedrock")
    assert (bedrock.kind, bedrock.status, bedrock.usd_per_month) == ("hosted", "live", usd("292.5"))
    assert (bedrock.checked_on, "genai-prices" in bedrock.source) == (date(2026, 11, 23), True)
    assert not {"Together", "Groq (Scout)"} & {each.who for each in found.month.elsewhere}


def test_old_prices_of_hosts_say_so() -> None:
    hosts = {each.host: (each.days_old, each.called_on) for each in compared().hosted}
    assert (hosts["AWS Bedrock"], hosts["Fireworks"]) == ((1, None), (481, None))
    assert "price 481 days old" in comparison_text(compared())
    old = [text for text in compared(on=date(2027, 3, 1)).warnings if "hosts" in text]
    assert old == ["The hosts' prices are 98 days old or more: check them."]


def test_a_batch_is_said_to_be_claudes_alone() -> None:
    batched = compare(PLAN, Measured(PROBE), Question(claude_models=(SONNET,), batch=True), DAY)
    assert "no batch price of theirs is known here" in "".join(batched.warnings)


def test_cheap_claude_for_the_bulk_is_the_hybrids_rival() -> None:
    found = compared(mtok_per_month="3000", claude_share="0.2")
    (mixed,) = found.hybrid
    assert these(mixed.all_claude_usd, mixed.hybrid_usd) == (12_000, usd("6540.56"))
    assert these(mixed.bulk_claude, mixed.bulk_claude_usd) == (
        "Claude Haiku 5.5",
        2880,
    )  # 2,400 M x 0.20 + 600 M x 4
    asked_again = compared(mtok_per_month="3000", claude_share="0.2", escalation="0.15").hybrid[0]
    assert asked_again.bulk_claude_usd == 4320  # 480 + 0.32 x 12,000
    both = compare(
        PLAN,
        Measured(PROBE),
        Question(claude_models=(HAIKU,), claude_share=Decimal("0.2"), token_ratio=Decimal(1)),
        DAY,
    )
    assert (both.hybrid[0].bulk_claude, both.hybrid[0].bulk_claude_usd) == (None, None)


def command(*more: str) -> list[str]:
    return ["compare", "--plan", str(DATA / "plan.json"), "--probe", str(DATA / "probe.json"), *more]


def test_the_month_in_another_currency(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(command("--currency", "EUR=0.5", "--price-per-hour", "2 EUR", "--claude-model", SONNET)) == 0
    text = capsys.readouterr().out
    assert "USD        EUR at 0.5" in text
    assert "$2,920.00  1,460.00 EUR  730 h at $4 (2.00 EUR), on-demand" in text
    assert run(command("--currency", "EUR=0.5", "--json")) == 0
    assert json.loads(capsys.readouterr().out)["month"]["currency"] == {"name": "EUR", "per_usd": 0.5}


def test_amounts_that_were_typed_in_it_come_back_in_it() -> None:
    asked = Question.of(
        {
            "currency": "EUR=0.92",
            "capex_usd": "60000EUR",
            "power_kw": "5",
            "usd_per_kwh": "0.35EUR",
            "hosting_usd_per_month": "1k EUR",
            "ops_fte": "0.25",
            "usd_per_fte_year": "110kEUR",
            "claude_models": (SONNET,),
        }
    )
    made = compare(PLAN, Measured(PROBE), asked, DAY)
    how = {name: how for name, (_, how) in items(made).items()}
    assert how == {
        "machines, written off": "$65,217.39 (60,000.00 EUR) over 4 years",
        "power": "5 kW x PUE 1.54 x 730 h at $0.380435/kWh (0.3500 EUR)",
        "hosting": "$1,086.96 (1,000.00 EUR) a machine",
        "people": "0.25 jobs at $119,565.22 (110,000.00 EUR) a year",
    }
    typed = ("capex_usd", "usd_per_kwh", "hosting_usd_per_month", "usd_per_fte_year", "ops_fte")
    said = {each.name: each.value for each in made.assumptions}
    assert {name: said[name] for name in typed} == {
        "capex_usd": "$65,217.39 (60,000.00 EUR)",
        "usd_per_kwh": "0.380434782609 (0.3500 EUR)",
        "hosting_usd_per_month": "1086.95652174 (1,000.00 EUR)",
        "usd_per_fte_year": "119565.217391 (110,000.00 EUR)",
        "ops_fte": "0.25",
    }


@pytest.mark.parametrize(
    "more",
    [
        pytest.param(line.split(), id=line)
        for line in (
            "--purchase spot --capex-usd 250000",
            "--purchase owned --price-per-hour 3 --capex-usd 250000",
            "--purchase owned",
            "--purchase spot",
            "--purchase savings-plan",
            "--purchase rented",
            "--schedule weekdays",
            "--schedule 24/7 --hours-per-month 220",
            "--schedule 24/7 --starts-per-month 0",
            "--interruptions-per-month 3",
            "--purchase spot --price-per-hour 3 --interruptions-per-month 2920",
            "--committed-hours 336 --purchase savings-plan --price-per-hour 3",
            "--committed-hours 336 --hours-per-month 400 --purchase capacity-block --price-per-hour 3",
            "--committed-hours 0 --purchase capacity-block --price-per-hour 3",
            "--committed-hours 9 --hours-per-month 9 --starts-per-month 1 --purchase capacity-block --price-per-hour 3",
            "--upfront-usd 1000",
            "--insurance-fraction 0.01",
            "--life-years 3",
            "--interest-rate 0.05",
            "--idle-power-kw 3 --capex-usd 250000",
            "--committed-machines 1",
            "--purchase savings-plan --price-per-hour 4 --replicas 2 --committed-machines 3",
            "--price-per-hour 4 --on-demand-per-hour 5",
            "--spares 1",
            "--currency EUR",
            "--currency EUR=-1",
            "--upfront-usd -1",
            "--one-off-usd 1e12",
        )
    ],
)
def test_what_does_not_go_together_is_one_sentence_and_writes_nothing(
    more: list[str], tmp_path: Path, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    words = command("--output", str(tmp_path / "out"), *more)
    assert run(words) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("error: ")) == ("", 1)
    assert not (tmp_path / "out").exists()
    refusals.hold(err, request, tmp_path, kept_as={str(DATA): "DATA"})


def test_each_claude_is_of_the_month_on_bedrock_and_vertex_too() -> None:
    def there(found: Comparison) -> list[Any]:
        return [
            (each.who, each.via, each.usd_per_month)
            for each in found.month.elsewhere
            if each.kind == "claude"
        ]

    assert there(compared(mtok_per_month="1000")) == [
        ("Claude Sonnet 5.5", "the Claude API", 4000),
        ("Claude Sonnet 5.5 (Amazon Bedrock, global)", "Amazon Bedrock", 4000),
        ("Claude Sonnet 5.5 (Amazon Bedrock, us)", "Amazon Bedrock", 4400),
        ("Claude Sonnet 5.5 (Google Vertex AI, global)", "Google Vertex AI", 4000),
        ("Claude Sonnet 5.5 (Google Vertex AI, us)", "Google Vertex AI", 4400),
    ]
    named = compared(mtok_per_month="1000", claude_models=("eu.anthropic.claude-sonnet-5-5",))
    assert there(named) == [("Claude Sonnet 5.5 (Amazon Bedrock, eu)", "Amazon Bedrock", 4400)]
    in_eu = compared(PLAN.model_copy(update={"region": "eu-west-1"}), claude_models=("claude-3-haiku",))
    assert {who for who, _, _ in there(in_eu)} >= {"Claude 3 Haiku", "Claude 3 Haiku (Amazon Bedrock, eu)"}


@pytest.mark.parametrize(("typed", "said"), [("1", "1 job"), ("0.5", "0.5 jobs"), ("2", "2 jobs")])
def test_people_are_said_in_jobs(typed: str, said: str) -> None:
    assert items(compared(ops_fte=typed))["people"][1] == f"{said} at $200,000.00 a year"


def test_of_places_that_ask_the_same_one_is_a_row_and_the_others_are_named_below() -> None:
    usual = elsewhere_table(compared(mtok_per_month="1000", claude_models=(SONNET, "claude-opus-5-5")))
    assert usual.note.splitlines()[0] == (
        "As much as the Claude API: Amazon Bedrock (global), Google Vertex AI (global). "
        "As much as Amazon Bedrock (us): Google Vertex AI (us)."
    )


def test_where_the_api_sells_a_model_no_more_the_place_that_does_has_a_row() -> None:
    """Opus 4.1: 750 M x 15 and 250 M x 75, wherever it is; the API retired it, Bedrock did not."""
    found = elsewhere_table(
        compared(mtok_per_month="1000", claude_models=("claude-opus-4-1", "claude-mythos-5-2", SONNET))
    )
    assert [row[:3] for row in found.rows if "Opus" in row[0]] == [
        ("Claude Opus 4.1, the Claude API", "retired", "$30,000.00"),
        ("Claude Opus 4.1 (Amazon Bedrock, global)", "live", "$30,000.00"),
    ]
    assert found.note.splitlines()[0] == (
        "Of Claude Mythos 5.2 as much as the Claude API: Amazon Bedrock (global). Of Claude Sonnet 5.5 as much as the "
        "Claude API: Amazon Bedrock (global), Google Vertex AI (global). As much as Amazon Bedrock (global): Amazon "
        "Bedrock (us), Google Vertex AI (global), Google Vertex AI (us). Of Claude Sonnet 5.5 as much as Amazon "
        "Bedrock (us): Google Vertex AI (us)."
    )


def test_a_tuned_model_needs_less_of_a_prompt_than_claude() -> None:
    """Three times the prompt: 1,000 requests of 2,250 in and 250 out where here 750 and 250 are served."""
    longer = compared(mtok_per_month="1", claude_input_ratio="3")
    assert longer.claude[0].usd_per_month == usd("7")  # 2.25 x 2 + 0.25 x 10
    assert longer.self_hosted == compared(mtok_per_month="1").self_hosted
    (said,) = [each for each in longer.assumptions if each.name == "claude_input_ratio"]
    assert (said.value, said.whose) == ("3", "yours")
    stepped = compared(claude_models=(HAIKU,), claude_input_ratio="100", mtok_per_month="1")
    assert stepped.claude[0].usd_per_month == usd("7.625")  # 75,000 in: not yet above the step of 100,000
