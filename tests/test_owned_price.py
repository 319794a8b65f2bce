"""What machines of one's own cost: by the hour in every hour, written off at 0, and no one price of unequal ones."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from deploy.costs.compare import compare
from deploy.costs.compare_options import Question
from deploy.costs.comparison import Comparison
from infra.day import today
from infra.errors import UsageError
from serving.probe.lengths import Lengths
from serving.sizing.carried import Carried, Machines
from serving.sizing.plan import Plan
from serving.sizing.traffic import Traffic

PLAN = Plan.read(Path(__file__).parent / "data" / "compare" / "plan.json")
LITTLE = Traffic(
    requests_per_s=0.01, peak_factor=2.0, input_tokens=Lengths(low=1000), output_tokens=Lengths(low=300)
)
LARGE = Machines(name="8xA100-40GB", count=1, servers=1, times=1.0, usd_per_hour=Decimal("8.06"))
SMALL = Machines(name="2xA100-80GB", count=3, servers=1, times=0.5, usd_per_hour=Decimal(2))


def compared(*machines: Machines, spares: int = 0, **asked: Any) -> Comparison:
    """Machines that are there, compared."""
    carried = Carried(traffic=LITTLE, machines=machines, are_there=True, spare_machines=spares)
    plan = PLAN.model_copy(update={"carried": carried})
    return compare(plan, None, Question.of(asked), today())


def test_an_hourly_price_of_ones_own_is_paid_while_they_are_off() -> None:
    month = compared(LARGE, SMALL, schedule="mon-fri 8-18").month
    (item,) = month.items
    assert (month.purchase, month.usd_per_month) == ("owned", Decimal("10263.8"))
    assert (item.name, item.how) == (
        "your machines",
        "4 machines: 730 h at $3.515, your own, on or off, up for 223 of them, 5.43 of them starting",
    )


def test_whoever_says_that_they_are_rented_pays_while_they_are_on() -> None:
    month = compared(LARGE, SMALL, schedule="mon-fri 8-18", purchase="on-demand").month
    (item,) = month.items
    assert (item.name, item.how) == ("rent", "4 machines: 223 h at $3.515, on-demand, 5.43 of them starting")
    assert month.usd_per_month == pytest.approx(Decimal("3131.07"), rel=Decimal("1e-5"))


@pytest.mark.parametrize(
    ("asked", "spares", "sentence", "hint"),
    [
        ({"capex_usd": "60000"}, 0, "--capex-usd 60000", "--replicas 4 --capex-usd 60000"),
        ({"price_per_hour": "3"}, 1, "--price-per-hour 3", "--replicas 4 --spares 1 --price-per-hour 3"),
        ({"power_kw": "5"}, 0, "--power-kw 5", "--replicas 4 --power-kw 5"),
    ],
)
def test_one_figure_of_unequal_machines_is_refused_unless_it_is_said_to_be_their_mean(
    asked: dict[str, Any], spares: int, sentence: str, hint: str
) -> None:
    with pytest.raises(UsageError) as caught:
        compared(LARGE, SMALL, spares=spares, **asked)
    assert (caught.value.message, caught.value.hint) == (
        f"1x 8xA100-40GB + 3x 2xA100-80GB are not alike, and {sentence} would be taken of each.",
        f"Say the mean of the 4, and of how many it is: {hint}",
    )
    assert compared(LARGE, SMALL, **asked, replicas="4").self_hosted.usd_per_month > 0
    assert compared(LARGE, **asked).self_hosted.usd_per_month > 0


def test_a_machine_that_is_written_off_costs_its_power() -> None:
    month = compared(LARGE, capex_usd="0", power_kw="5", pue="1", usd_per_kwh="0.1").month
    assert [(item.name, item.usd_per_month) for item in month.items] == [("power", Decimal(365))]
    assert (month.purchase, month.bought_usd) == ("owned", Decimal(0))
    with pytest.raises(UsageError, match="^Nothing here costs anything in that month"):
        compared(LARGE, capex_usd="0")


def test_what_is_of_a_purchase_is_refused_beside_a_price_an_hour() -> None:
    with pytest.raises(UsageError) as caught:
        compared(LARGE, life_years="3")
    assert caught.value.message == "--life-years is of a machine of your own; this one has a price an hour."
