"""Dollars, shares and counts, as documents keep them and people read them."""

from decimal import Decimal

import pytest

from infra import money


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("0", "$0.00"), ("1", "$1.00"), ("0.999", "$0.999"), ("0.12345", "$0.1234"), ("0.1", "$0.10"),
        ("0.00012345", "$0.0001234"), ("1.005", "$1.00"), ("1234567.891", "$1,234,567.89"), ("-0.5", "$-0.50"),
        ("-12.345", "$-12.34"), ("0.05", "$0.05"), ("0.0125", "$0.0125"),
    ],
)  # fmt: skip
def test_dollars_have_cents_and_below_one_up_to_four_digits(value: str, said: str) -> None:
    assert money.dollars(Decimal(value)) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("0", "0%"), ("1", "100%"), ("0.5", "50%"), ("0.125", "12.5%"), ("0.1255", "12.6%"), ("0.01", "1%"),
        ("0.001", "0.1%"), ("0.00099", "0.099%"), ("-0.0001", "-0.01%"), ("0.0000123456", "0.00123%"),
        ("1.005", "100%"), ("12.345", "1,234%"), ("-0.333", "-33.3%"),
    ],
)  # fmt: skip
def test_a_share_has_a_place_where_it_says_something(value: str, said: str) -> None:
    assert money.percent(Decimal(value)) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("0", "0"), ("100", "100"), ("99.95", "100"), ("99.94", "99.9"), ("1234567.6", "1,234,568"),
        ("-250", "-250"), ("0.0012345", "0.00123"), ("1.50", "1.5"), ("10", "10"),
    ],
)  # fmt: skip
def test_a_count_has_three_digits_and_is_whole_above_a_hundred(value: str, said: str) -> None:
    assert money.count(Decimal(value)) == said


@pytest.mark.parametrize(
    ("value", "number"), [("2.00", 2), ("0", 0), ("-3", -3), ("2.5", 2.5), ("0.1", 0.1), ("1e3", 1000)]
)
def test_a_number_in_json_is_the_shortest(value: str, number: float) -> None:
    found = money.as_number(Decimal(value))
    assert (found, type(found)) == (number, type(number))


def test_a_figure_keeps_twelve_digits() -> None:
    assert money.rounded(Decimal("1.2345678901250")) == Decimal("1.23456789013")
    assert money.rounded(Decimal("1234567890125.5")) == Decimal("1234567890130")
    assert money.exact(0.1) == Decimal("0.1")
    assert money.exact(7) == Decimal("7.0")
    assert money.MTOK == 1_000_000


@pytest.mark.parametrize("value", [0.0, 1e-9, 1.0, 1e12])
def test_what_can_be_reckoned_with(value: float) -> None:
    assert money.reckonable(value) == value


@pytest.mark.parametrize("value", [0.9e-9, 1.1e12, -1.0, float("nan"), float("inf")])
def test_what_cannot_be_reckoned_with(value: float) -> None:
    with pytest.raises(ValueError, match="^it is not between 1e-09 and 1e\\+12$"):
        money.reckonable(value)
