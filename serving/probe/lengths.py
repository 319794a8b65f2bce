"""PURE: lengths in tokens, fixed or drawn from a distribution."""

import random
import re
from typing import Annotated, Literal

from pydantic import BeforeValidator, ValidationInfo

from infra import quantity
from infra.errors import UsageError
from infra.record import Record

MOST_TOKENS = 20_000_000  # twice Scout's context: beyond it is a slip of the finger


class Lengths(Record):
    """`fixed` is `low`; `uniform` is low to high, both included; `normal` has mean low and deviation high."""

    form: Literal["fixed", "uniform", "normal"] = "fixed"
    """How lengths are drawn."""
    low: int
    """Tokens."""
    high: int = 0
    """Tokens; 0 where it has no meaning."""

    def __str__(self) -> str:
        """The form a user writes."""
        return {
            "fixed": f"{self.low}",
            "uniform": f"{self.low}-{self.high}",
            "normal": f"{self.low}~{self.high}",
        }[self.form]

    def longer(self, tokens: int) -> "Lengths":
        """The same with so many tokens more in each."""
        more = {"low": self.low + tokens, "high": self.high + tokens * (self.form == "uniform")}
        return self.model_copy(update=more)

    def draw(self, rng: random.Random) -> int:
        """One length; never below 1."""
        match self.form:
            case "fixed":
                return self.low
            case "uniform":
                return rng.randint(self.low, self.high)
            case "normal":
                return max(1, round(rng.gauss(self.low, self.high)))

    @property
    def mean(self) -> float:
        """The mean of many."""
        return (self.low + self.high) / 2 if self.form == "uniform" else self.low

    @property
    def smallest(self) -> int:
        """The smallest length that is likely: three deviations below the mean."""
        return max(1, self.low - 3 * self.high) if self.form == "normal" else self.low

    @property
    def largest(self) -> int:
        """The largest length that is likely: three deviations above the mean."""
        return {"fixed": self.low, "uniform": self.high, "normal": self.low + 3 * self.high}[self.form]


def parse(text: str, option: str) -> Lengths:
    """Read `512`, `2k`, `100-500` (uniform) or `512~64` (normal: mean, standard deviation). Raises UsageError."""
    first, sign, last = (*re.split("([-~])", text, maxsplit=1), "", "0")[:3]
    try:
        low, high = (int(quantity.read(each, "", whole=True)) for each in (first, last))
    except ValueError:
        raise UsageError(
            f"{option} {text!r} is not a length in tokens.",
            f"Say {option} 512, 100-500 (uniform) or 512~64 (normal).",
        ) from None
    form: Literal["fixed", "uniform", "normal"] = "normal" if sign == "~" else "uniform" if sign else "fixed"
    lengths = Lengths(form=form, low=low, high=high)
    if low < 1 or lengths.largest > MOST_TOKENS or (form == "uniform" and high < low):
        raise UsageError(
            f"{option} {text} is out of range.",
            f"Lengths are 1 to {MOST_TOKENS:,} tokens, the smaller first.",
        )
    return lengths


def typed(value: Lengths | str, info: ValidationInfo) -> Lengths:
    """The lengths that were typed for a field."""
    return parse(value, f"--{(info.field_name or '').replace('_', '-')}") if isinstance(value, str) else value


AskedLengths = Annotated[Lengths, BeforeValidator(typed)]
"""Lengths as a user may write them."""
