"""What a number of machines carries, from the speed of one server: each figure of a choice, and each refusal."""

from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from infra.catalog import machine
from serving.sizing import capacity_load
from serving.sizing.capacity import AtWorst, Choice

WHOLE = machine("g5.12xlarge")
BEFORE = Choice(
    machine="g5.12xlarge",
    gpu="A10G",
    gpus_per_machine=4,
    precision="int4",
    tensor=2,
    pipeline=1,
    replicas_per_machine=2,
    verdict="fits",
    feasible=False,
)


def question(peak: float, spare: int = 0, **changes: Any) -> Any:
    """So many requests a second at the planned peak, of 1,000 tokens in and 100 out."""
    traffic = SimpleNamespace(peak_requests_per_s=peak, mean_input=1000, mean_output=100, classes=())
    promise = SimpleNamespace(spare_machines=spare, fill=0.5)
    given = {"traffic": traffic, "promise": promise, "have": (), "usd_per_hour": None, "region": None}
    return SimpleNamespace(**(given | changes))


def server(**changes: Any) -> Any:
    """One that makes 10 output tokens a second for each request at once, at 20 ms a token."""

    def at(concurrency: int) -> SimpleNamespace:
        return SimpleNamespace(
            output_tokens_per_s=10.0 * concurrency, tpot_s=0.02, ttft_s=0.5, band=2.0, basis="measured"
        )

    predictor = SimpleNamespace(at=at, first_token_s=lambda tokens, tpot_s: tokens * tpot_s)
    given = {"broken_alone": None, "most": 20, "most_at_worst": 10, "predictor": predictor}
    return SimpleNamespace(**(given | changes))


@pytest.fixture(autouse=True)
def running(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The output tokens a second that one server has to carry."""
    asked: list[float] = []

    def carrying(_: object, tokens_per_s: float, most: int) -> int:
        asked.append(tokens_per_s)
        return min(most, 5)

    monkeypatch.setattr(capacity_load, "concurrency_carrying", carrying)
    return asked


def test_a_choice_that_carries_it_is_told_whole(running: list[float]) -> None:
    asked = question(7.0, spare=1, usd_per_hour=Decimal("2.5"))
    assert capacity_load.loaded(asked, WHOLE, BEFORE, server()) == BEFORE.model_copy(
        update={
            "feasible": True,
            "concurrency": 20,
            "requests_per_s": 2.0,
            "requests_per_s_each": 4.0,
            "ttft_s": 0.5,
            "tpot_s": 0.02,
            "e2e_s": 2.5,
            "machines": 5,  # 7 / (4 x 0.5), and one to spare
            "at_worst": AtWorst(machines=15, requests_per_s_each=1.0, usd_per_month=Decimal("27375.00")),
            "usd_per_hour": Decimal("2.5"),
            "usd_per_month": Decimal("9125.00"),
            "basis": "measured",
        }
    )
    assert running == [pytest.approx(7.0 / (4 * 2) * 100)]


def test_of_classes_the_first_token_is_that_of_the_mean_prompt() -> None:
    asked = question(7.0)
    asked.traffic.classes = ("chat", "rag")
    found = capacity_load.loaded(asked, WHOLE, BEFORE, server())
    assert (found.ttft_s, found.e2e_s) == (20.0, 22.0)


def test_one_that_cannot_keep_the_promise_says_why() -> None:
    broken = server(broken_alone="TPOT 20.0 ms, promised 10")
    assert capacity_load.loaded(question(7.0), WHOLE, BEFORE, broken) == BEFORE.model_copy(
        update={"why": "even one request alone: TPOT 20.0 ms, promised 10"}
    )


@pytest.mark.parametrize(("peak", "machines"), [(20_000.0, 10_000), (20_002.0, 0)])
def test_more_than_ten_thousand_machines_are_none_unless_they_are_there(peak: float, machines: int) -> None:
    found = capacity_load.loaded(question(peak), WHOLE, BEFORE, server())
    if machines:
        assert (found.feasible, found.machines, found.why) == (True, machines, "")
    else:
        assert found == BEFORE.model_copy(update={"why": "more than 10,000 machines"})
        owned = capacity_load.loaded(question(peak, have=("8xH100",)), WHOLE, BEFORE, server())
        assert (owned.feasible, owned.machines) == (True, 10_001)


def test_at_worst_none_where_the_promise_breaks_or_too_many_would_be_needed() -> None:
    assert capacity_load.at_worst(question(7.0), server(most_at_worst=None), 2, None) is None
    assert capacity_load.at_worst(question(5_000.0), server(), 2, None) == AtWorst(
        machines=10_000, requests_per_s_each=1.0, usd_per_month=None
    )
    assert capacity_load.at_worst(question(5_000.6), server(), 2, None) is None
    there = capacity_load.at_worst(question(5_000.6, have=("8xH100",)), server(), 2, None)
    assert there == AtWorst(machines=10_002, requests_per_s_each=1.0, usd_per_month=None)


@pytest.mark.parametrize(
    ("rate", "told"),
    [(0.0, 0.0), (12.34567, 12.346), (0.0005, 0.0005), (0.000456789, 0.000457), (0.0000123456, 0.0000123)],
)
def test_what_carries_some_is_not_nothing(rate: float, told: float) -> None:
    assert capacity_load.per_s(rate) == told


@pytest.mark.parametrize(
    ("peak", "each", "spare", "machines"),
    [(0.1, 100.0, 0, 1), (10.0, 10.0, 0, 2), (10.0, 10.0, 1, 3), (10.1, 10.0, 0, 3), (0.3, 0.2, 0, 3)],
)
def test_how_many_carry_the_peak(peak: float, each: float, spare: int, machines: int) -> None:
    """Half of each is used at peak; a rounding error of floats takes no machine more."""
    assert capacity_load.machines_for(question(peak, spare), each) == machines


def test_what_a_machine_costs() -> None:
    own = machine("8xH100")
    assert capacity_load.costs(question(1.0, usd_per_hour=Decimal(3)), WHOLE) == (Decimal(3), None, False)
    assert capacity_load.costs(question(1.0), own) == (None, None, False)
    here = capacity_load.costs(question(1.0), WHOLE)
    assert here == (Decimal("5.672"), Decimal("5.672"), False)
    nowhere = capacity_load.costs(question(1.0, region="xx-none-1"), WHOLE)
    assert nowhere == (None, Decimal("5.672"), False)
    assert capacity_load.costs(question(1.0, region="xx-none-1"), machine("p5.48xlarge")).paid_ahead is (
        capacity_load.costs(question(1.0), machine("p5.48xlarge")).paid_ahead
    )


def test_what_never_stops_costs_730_hours_a_month() -> None:
    assert capacity_load.monthly(None, 3) is None
    assert capacity_load.monthly(Decimal("0.0001"), 3) == Decimal("0.22")
