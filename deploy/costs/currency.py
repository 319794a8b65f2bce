"""PURE: another currency than dollars, at a rate that the user names: corral looks none up."""

import re
from decimal import Decimal
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field

from infra import quantity
from infra.asked import Asked
from infra.errors import UsageError
from infra.money import Number, rounded
from infra.record import Record

LEAST, MOST = Decimal("0.000001"), Decimal(10_000_000)
EXAMPLE = "--currency EUR=0.92"
NAME = re.compile("[A-Z]{3}")
IN_ANOTHER = re.compile(r"[0-9.,_]+ *[kKmM]? *([A-Za-z]{3})")
"""An amount with three letters behind it."""


class Currency(Record):
    """What a dollar is in it. Every amount of a document stays in dollars."""

    name: str
    """By its three letters: EUR."""
    per_usd: Number
    """So many of it are one dollar."""

    def said(self, usd: Decimal) -> str:
        """An amount for a person: to the cent, of less than a whole one to four digits."""
        there = usd * self.per_usd
        figures = f"{there:,.2f}" if abs(there) >= 1 or not there else f"{there:.4g}"
        return f"{figures} {self.name}"


def currency(text: str) -> Currency:
    """Read `EUR=0.92`. Raises UsageError for a name without a rate, and a rate that is none."""
    name, equals, typed = (part.strip() for part in text.partition("="))
    if not NAME.fullmatch(name.upper()):
        raise refused(f"--currency {text!r} does not begin with a currency's three letters.")
    if not equals or not typed:
        raise refused(f"--currency {name.upper()} has no rate, and corral looks none up.")
    try:
        per_usd = Decimal(quantity.read(typed, "", whole=False))
    except ValueError as error:
        raise refused(f"--currency {text}: {typed} {error}.") from None
    if not LEAST <= per_usd <= MOST:
        raise refused(f"--currency {text}: a rate is not between {LEAST} and {MOST:,}.")
    if name.upper() == "USD" and per_usd != 1:
        raise refused(f"--currency {text}: a dollar is a dollar.")
    return Currency(name=name.upper(), per_usd=per_usd)


def beside(said: str, usd: Decimal, other: Currency | None) -> str:
    """An amount in dollars as it is said, and in the other currency where one is named."""
    return said if other is None else f"{said} ({other.said(usd)})"


def in_usd(typed: object, other: Currency) -> object:
    """The dollars that an amount typed in the other currency is; anything else as it was typed."""
    if not isinstance(typed, str) or not typed.strip().upper().endswith(other.name):
        return typed
    try:
        amount = quantity.read(typed.strip()[: -len(other.name)].strip(), "usd", whole=False)
    except ValueError:
        return typed
    return rounded(Decimal(amount) / other.per_usd)


def refuse_without_rate(flag: str, typed: object, other: Currency | None) -> None:
    """Raise UsageError for an amount in a currency of which nobody said what a dollar is in it."""
    found = IN_ANOTHER.fullmatch(typed.strip()) if isinstance(typed, str) else None
    name = found[1].upper() if found else "USD"
    if name == "USD":
        return
    if other is None:
        raise UsageError(
            f"{flag} {typed} is in {name}, whose rate nobody named, and corral looks none up.",
            f"Say what one dollar is in it, for example: --currency {name}=0.92",
        )
    raise UsageError(
        f"{flag} {typed} is in {name}, and the rate that was named is of {other.name}.",
        f"Type it in dollars, or in {other.name}.",
    )


def refused(sentence: str) -> UsageError:
    """What a currency that cannot be read is answered."""
    return UsageError(sentence, f"Say what one dollar is in it: {EXAMPLE}")


def checked_currency(text: str) -> str:
    """The text, where it is a currency with its rate. Raises UsageError."""
    currency(text)
    return text


class InCurrency(Asked):
    """The currency that a verb shows amounts in beside dollars."""

    heading: ClassVar[str] = "The currency"

    currency: Annotated[
        Annotated[str, AfterValidator(checked_currency)] | None, Field(examples=["EUR=0.92"])
    ] = None
    """At the rate that you name for a dollar: amounts are shown in it too, and may be typed in it, 0.35EUR."""
