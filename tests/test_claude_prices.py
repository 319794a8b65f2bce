"""A model of Claude at a day, and by the length of a prompt: which of its prices holds, and where none is known."""

from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from deploy.costs.claude_prices import claude, price_list
from infra.errors import UsageError

SONNET = claude("claude-sonnet-4-6").model_copy(update={"name": "Sonnet", "earlier": (), "long": None})


def of(**changes: Any) -> Any:
    return SONNET.model_copy(update=changes)


def test_before_and_after_what_is_known_there_is_no_price() -> None:
    day = date(2026, 11, 30)
    for model, message, hint in (
        (of(since=date(2026, 12, 1)), "No price of Sonnet is known before 2026-12-01.", "For example: --at 2026-12-01"),
        (of(price_ends_on=day),
         "The introductory price of Sonnet ends on 2026-11-30, and corral has none after it.",
         f"See {price_list().published_at}"),
    ):  # fmt: skip
        with pytest.raises(UsageError) as error:
            model.as_of(day)
        assert (error.value.message, error.value.hint) == (message, hint)
    for model in (of(since=day), of(since=None, price_ends_on=date(2026, 12, 1))):
        assert model.as_of(day).price == SONNET.price


@pytest.mark.parametrize(
    ("on", "retires", "limited", "status"),
    [
        (date(2026, 1, 1), None, False, "live"),
        (date(2026, 1, 1), None, True, "limited"),
        (date(2026, 1, 1), date(2026, 1, 2), True, "limited"),
        (date(2026, 1, 2), date(2026, 1, 2), False, "retired"),
        (date(2026, 1, 3), date(2026, 1, 2), True, "retired"),
    ],
)
def test_what_a_model_is_on_a_day(on: date, retires: date | None, limited: bool, status: str) -> None:
    assert of(retires_on=retires, limited=limited).status(on) == status


def test_a_long_prompt_has_its_own_rates() -> None:
    long: Any = type("Long", (), {"above_prompt_tokens": 200_000})()
    model = of(long=long)
    assert model.rates(Decimal(200_000)) is SONNET.price
    assert model.rates(Decimal(200_001)) is long
    assert SONNET.rates(Decimal(10**9)) is SONNET.price
