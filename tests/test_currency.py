"""Another currency at a rate that is named."""

from decimal import Decimal

import pytest

from deploy.costs.compare_options import Question
from deploy.costs.currency import Currency, currency
from infra.errors import UsageError


def test_a_rate_is_what_one_dollar_is() -> None:
    assert currency(" eur = 0.92 ") == Currency(name="EUR", per_usd=Decimal("0.92"))
    assert currency("JPY=155").said(Decimal("4140.56")) == "641,786.80 JPY"
    assert currency("USD=1").per_usd == 1


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("EUR", "--currency EUR has no rate, and corral looks none up."),
        ("EUR=", "--currency EUR has no rate, and corral looks none up."),
        ("0.92", "--currency '0.92' does not begin with a currency's three letters."),
        ("euro=0.92", "--currency 'euro=0.92' does not begin with a currency's three letters."),
        ("EUR=0", "--currency EUR=0: a rate is not between 0.000001 and 10,000,000."),
        ("EUR=-0.92", "--currency EUR=-0.92: a rate is not between 0.000001 and 10,000,000."),
        ("EUR=1e9", "--currency EUR=1e9: a rate is not between 0.000001 and 10,000,000."),
        ("EUR=0,92", "--currency EUR=0,92: 0,92 is no number."),
        ("EUR=nan", "--currency EUR=nan: nan is no number."),
        ("USD=2", "--currency USD=2: a dollar is a dollar."),
    ],
)
def test_what_is_no_rate_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        currency(text)
    assert (caught.value.message, caught.value.hint) == (
        sentence,
        "Say what one dollar is in it: --currency EUR=0.92",
    )


def test_amounts_may_be_typed_in_it() -> None:
    asked = Question.of(
        {
            "currency": "EUR=0.8",
            "capex_usd": "200k EUR",
            "usd_per_kwh": "0.35eur",
            "hosting_usd_per_month": "$900",
            "power_kw": "5",
        }
    )
    assert asked.capex_usd == 250_000
    assert asked.usd_per_kwh == Decimal("0.4375")
    assert asked.hosting_usd_per_month == 900
    assert asked.power_kw == 5


@pytest.mark.parametrize(
    ("given", "sentence", "hint"),
    [
        (
            {"usd_per_kwh": "0.35EUR"},
            "--usd-per-kwh 0.35EUR is in EUR, whose rate nobody named, and corral looks none up.",
            "Say what one dollar is in it, for example: --currency EUR=0.92",
        ),
        (
            {"price_per_hour": "9.5k chf"},
            "--price-per-hour 9.5k chf is in CHF, whose rate nobody named, and corral looks none up.",
            "Say what one dollar is in it, for example: --currency CHF=0.92",
        ),
        (
            {"usd_per_kwh": "0.35GBP", "currency": "EUR=0.9"},
            "--usd-per-kwh 0.35GBP is in GBP, and the rate that was named is of EUR.",
            "Type it in dollars, or in EUR.",
        ),
    ],
)
def test_no_amount_is_in_a_currency_without_a_rate(given: dict[str, str], sentence: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        Question.of(given)
    assert (caught.value.message, caught.value.hint) == (sentence, hint)
