"""Dollars: Decimals inside, numbers in JSON, and never more or fewer digits than a reader can use."""

from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Annotated, TypeVar

from pydantic import PlainSerializer

# A JSON number is read as a double; twelve digits survive that, and are exact to the cent up to ten billion dollars.
ROUNDED = Context(prec=12, rounding=ROUND_HALF_UP)
THREE_DIGITS = Context(prec=3, rounding=ROUND_HALF_UP)


MTOK = Decimal(1_000_000)
"""The tokens that prices are of."""


def as_number(value: Decimal) -> int | float:
    """The shortest JSON number that is read back as the same Decimal."""
    return int(value) if value == value.to_integral_value() else float(value)


Number = Annotated[Decimal, PlainSerializer(as_number, when_used="json")]
"""A Decimal that is a number in JSON and is read back equal once it is `rounded`."""
Usd = Number


T = TypeVar("T", float, Decimal)
SMALLEST, LARGEST = 1e-9, 1e12


def reckonable(value: T) -> T:
    """The number, when it is nothing, or dollars and seconds can be made of it. Raises ValueError for any other."""
    if value and not SMALLEST <= value <= LARGEST:
        raise ValueError(f"it is not between {SMALLEST:g} and {LARGEST:g}")
    return value


def rounded(value: Decimal) -> Decimal:
    """A figure as it is stored and printed in a document."""
    return ROUNDED.plus(value)


def dollars(value: Decimal) -> str:
    """Dollars for a person: cents, and below a dollar up to four digits, so that two prices can be told apart."""
    text = f"{value:,.{2 if abs(value) >= 1 or value == 0 else 3 - value.adjusted()}f}"
    whole, _, places = text.partition(".")
    return f"${whole}.{places.rstrip('0').ljust(2, '0')}"


def exact(value: float) -> Decimal:
    """A measured figure as a Decimal."""
    return rounded(Decimal(repr(float(value))))


LEAST_PERCENT = Decimal("0.001")
"""Below a tenth of a percent one place says nothing."""


def percent(value: Decimal) -> str:
    """A share for a person."""
    if 0 < abs(value) < LEAST_PERCENT:
        return f"{count(100 * value)}%"
    whole = abs(value) >= 1 or value * 100 == (value * 100).to_integral_value()
    return f"{100 * value:,.{0 if whole else 1}f}%"


def count(value: Decimal) -> str:
    """A quantity for a person: whole above a hundred, three digits below."""
    if value == 0:
        return "0"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{THREE_DIGITS.plus(value).normalize():f}"
