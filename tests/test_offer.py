"""Which three of the machines that hold a model are offered, and why: none that another beats in all that is shown."""

from decimal import Decimal
from typing import Any

import pytest

from serving.sizing.offer import CHEAPEST, CHEAPEST_A_TOKEN, FASTEST, NEXT, is_beaten, offer, worth
from serving.sizing.plan import Plan
from serving.sizing.ranking_text import best_of_each
from serving.sizing.size import answer_for, order, ranking_for
from serving.sizing.size_options import Options

ONE = answer_for("scout", "int4", "g5.12xlarge", Options())


def of(name: str, usd: str | None, tokens_per_s: float, **other: Any) -> Plan:
    """A plan that differs from the others in these figures."""
    assert ONE.price
    assert ONE.throughput
    price = ONE.price.model_copy(
        update={"usd_per_hour": Decimal(usd or 0), "purchase": other.pop("purchase", "on-demand")}
    )
    speed = ONE.throughput.model_copy(
        update={"output_tokens_per_s": tokens_per_s, "ttft_s": other.pop("ttft_s", 0.5)}
    )
    machine = ONE.machine.model_copy(update={"name": name, "instance_type": None})
    changed = {"machine": machine, "price": price if usd else None, "throughput": speed}
    return ONE.model_copy(update=changed | other)


def offered(*plans: Plan) -> list[tuple[str, str]]:
    return [(each.plan.machine.name, each.why) for each in offer(plans)]


def test_one_of_each_kind_in_the_order_of_the_plans() -> None:
    assert offered(of("a", "1", 100), of("b", "2", 90), of("c", "3", 400), of("d", "20", 800)) == [
        ("a", CHEAPEST),
        ("c", CHEAPEST_A_TOKEN),
        ("d", FASTEST),
    ]


@pytest.mark.parametrize(
    ("better", "is_offered"),
    [({}, False), ({"ttft_s": 0.4}, True), ({"precision": "bf16"}, True), ({"verdict": "fits"}, True)],
    ids=["nothing", "ttft", "precision", "sure"],
)
def test_what_is_only_dearer_is_not_offered(better: dict[str, Any], is_offered: bool) -> None:
    names = [name for name, _ in offered(of("a", "1", 100), of("b", "2", 100, **better))]
    assert names == (["a", "b"] if is_offered else ["a"])


def test_no_speed_is_bought_at_any_price_nor_ahead() -> None:
    """At more than five times the least price of a token, or for weeks at once."""
    plans = (
        of("a", "1", 100),
        of("b", "10", 200),
        of("c", "11", 201),
        of("d", "1.5", 900, purchase="capacity-block"),
    )
    assert offered(*plans) == [("a", f"{CHEAPEST}, {CHEAPEST_A_TOKEN}"), ("b", FASTEST), ("c", NEXT)]


def test_without_any_price_the_first_three_are() -> None:
    assert offered(*(of(name, None, 100) for name in "abcd")) == [("a", ""), ("b", ""), ("c", "")]


@pytest.mark.parametrize("model", ["scout", "maverick"])
@pytest.mark.parametrize("concurrency", [1, 16, 256])
def test_of_those_that_are_sold_none_that_is_offered_is_beaten(model: str, concurrency: int) -> None:
    best = best_of_each(ranking_for(model, None, Options(concurrency=concurrency)).machines)
    plans = sorted((plan for plan in best if plan.machine.instance_type), key=order)
    values = [each for plan in plans if (each := worth(plan))]
    ours = [each for one in offer(plans) if (each := worth(one.plan))]
    assert len(ours) == 3
    assert [one for one in ours if any(is_beaten(one, other) for other in values)] == []
    reasons = {reason for one in offer(plans) for reason in one.why.split(", ")}
    assert {CHEAPEST, CHEAPEST_A_TOKEN, FASTEST} <= reasons
