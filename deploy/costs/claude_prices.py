"""The Claude API's price list: which models there are, what becomes of them, and what a token costs. Dated data."""

import re
from datetime import date
from decimal import Decimal
from difflib import get_close_matches
from functools import cache
from typing import Literal

from infra.data import shipped_table
from infra.errors import UsageError
from infra.record import Record

Status = Literal["live", "limited", "retired"]
Tokenizer = Literal["older", "newer"]
OLD_AFTER_DAYS = 60


class Rates(Record):
    """USD per million tokens. A cache write is of the prompt, kept for five minutes or an hour."""

    input: Decimal
    output: Decimal
    cache_read: Decimal
    cache_write_5m: Decimal
    cache_write_1h: Decimal


class LongRates(Rates):
    """What every token of a request costs whose prompt is longer than the step."""

    above_prompt_tokens: int


class ClaudeModel(Record):
    """One model of the Claude API, as the price list and the deprecations page have it."""

    id: str
    name: str
    aliases: tuple[str, ...] = ()
    limited: bool = False
    retired: bool = False
    """Retired on a day nobody verified; otherwise `retires_on` decides."""
    retires_on: date | None = None
    successor: str | None = None
    context_tokens: int
    tokenizer: Tokenizer
    batch: bool = True
    us_only: bool = False
    fast: bool = False
    fast_ends_on: date | None = None
    min_cache_tokens: int | None = None
    price: Rates
    long: LongRates | None = None

    def status(self, on: date) -> Status:
        """What the model is on that day. Requests to a retired one fail."""
        if self.retired or (self.retires_on is not None and self.retires_on <= on):
            return "retired"
        return "limited" if self.limited else "live"

    def rates(self, prompt_tokens: Decimal) -> Rates:
        """The rates of one request, by the length of its whole prompt, cached part included."""
        if self.long is not None and prompt_tokens > self.long.above_prompt_tokens:
            return self.long
        return self.price


class Rules(Record):
    """Multipliers of whole requests."""

    batch: Decimal
    us_only: Decimal
    fast: Decimal


class PriceList(Record):
    """Every model, the rules, and where and when they were read."""

    checked_on: date
    source: str
    published_at: str
    retirements_at: str
    rules: Rules
    models: dict[str, ClaudeModel]


def claude(name: str) -> ClaudeModel:
    """The model of that name: an id, an alias, or a name as people write it. Raises UsageError with near names."""
    model_id = names().get(plain(name))
    if model_id is None:
        raise UsageError(f"corral has no price for a Claude model called {name!r}.", near(name))
    return price_list().models[model_id]


def plain(name: str) -> str:
    """The form in which names are compared: `anthropic/Claude-Sonnet-4.5-20250929` is claude-sonnet-4-5."""
    text = re.sub(r"[ ._]+", "-", name.strip().lower().removeprefix("anthropic/"))
    text = re.sub(r"-(latest|20[0-9]{6})$", "", text)
    return text if text.startswith("claude-") else f"claude-{text}"


def near(name: str) -> str:
    """Which names the user may have meant, the models that are alive first."""
    listed = price_list()
    close = get_close_matches(plain(name), names(), n=len(names()), cutoff=0.6)
    ids = dict.fromkeys(names()[each] for each in close)
    first = sorted(ids, key=lambda each: listed.models[each].status(listed.checked_on) != "live")[:4]
    return f"Near it: {', '.join(first)}." if first else f"Known: {', '.join(price_list().models)}."


@cache
def names() -> dict[str, str]:
    """Every comparable name, and the id it stands for."""
    return {
        plain(word): model.id
        for model in price_list().models.values()
        for word in (model.id, model.name, *model.aliases)
    }


@cache
def price_list() -> PriceList:
    """Parse claude_prices.toml once."""
    table = shipped_table("deploy.costs", "claude_prices.toml")
    models = {name: ClaudeModel.model_validate({"id": name, **row}) for name, row in table["model"].items()}
    return PriceList(**{key: value for key, value in table.items() if key != "model"}, models=models)
