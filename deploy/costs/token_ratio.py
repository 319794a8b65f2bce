"""How many Claude tokens one Llama 4 token's text is: prices per token are of different texts without it."""

from datetime import date
from decimal import Decimal
from functools import cache

from deploy.costs.claude_prices import Tokenizer
from deploy.costs.knobs import Whose
from infra.data import shipped_table
from infra.errors import UsageError
from infra.money import Number
from infra.record import Record

RANGE = ("low", "base", "high")


class TokenRatio(Record):
    """Claude tokens per Llama 4 token of the same text: the value used, and how far it may be off."""

    low: Number
    """The least that it may be."""
    base: Number
    """As it was taken."""
    high: Number
    """The most that it may be."""
    whose: Whose
    """Who says so."""
    source: str
    """Where it is from."""
    checked_on: date | None = None
    """When it was measured or looked up; null for the user's own."""


class Table(Record):
    """token_ratio.toml."""

    checked_on: date
    source: str
    family: str
    newer: dict[str, Decimal]
    older: dict[str, Decimal]


def token_ratio(tokenizer: Tokenizer, content: str | None, given: Decimal | None) -> TokenRatio:
    """The given ratio, else the one measured for that kind of text, within the range of all kinds."""
    if given is not None:
        why = "--token-ratio" if given != 1 else "--token-ratio 1: taken as equal, which they are not"
        return TokenRatio(low=given, base=given, high=given, whose="yours", source=why)
    row = {"newer": table().newer, "older": table().older}[tokenizer]
    text = (
        f"one text of {content}" if content else f"the mean of one text each of {', '.join(kinds_of_text())}"
    )
    base = row[content or "base"]
    return TokenRatio(
        low=min(row["low"], base),
        base=base,
        high=max(row["high"], base),
        whose="ours",
        source=f"{text}, {tokenizer} Claude tokenizer: {table().source}",
        checked_on=table().checked_on,
    )


def kinds_of_text() -> tuple[str, ...]:
    """Those that were measured."""
    return tuple(name for name in table().newer if name not in RANGE)


def measured(content: str) -> str:
    """Return the kind of text. Raises UsageError for one that was not measured."""
    if content not in kinds_of_text():
        raise UsageError(f"--content cannot be {content!r}.", f"Use one of {', '.join(kinds_of_text())}.")
    return content


@cache
def table() -> Table:
    """Parse token_ratio.toml once."""
    return Table.model_validate(shipped_table("deploy.costs", "token_ratio.toml"))
