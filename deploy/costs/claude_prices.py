"""The Claude API's price list: which models there are, what becomes of them, and what a token costs. Dated data."""

import re
from datetime import date
from decimal import Decimal
from difflib import get_close_matches
from functools import cache
from typing import Literal, Self

from infra.data import shipped_table
from infra.day import today
from infra.errors import UsageError
from infra.money import Number, Usd, dollars
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


class Tier(Record):
    """That requests with a long prompt cost more, each token of theirs, and how many of the requests are such."""

    above_prompt_tokens: int
    """Of the whole prompt, cached part included, as Claude counts them."""
    share_of_requests: Number
    """Of those that are priced, 0 to 1."""
    usd_per_mtok_input: Usd
    """Of such a request, before any multiplier."""
    usd_per_mtok_output: Usd
    """Of its answer."""
    usual_usd_per_mtok_input: Usd
    """Of a shorter one."""
    usual_usd_per_mtok_output: Usd
    """Of its answer."""

    @property
    def rates(self) -> str:
        """Those of a long request, and of another."""
        long, usual = (
            f"{dollars(prompt)} in and {dollars(answer)} out"
            for prompt, answer in (
                (self.usd_per_mtok_input, self.usd_per_mtok_output),
                (self.usual_usd_per_mtok_input, self.usual_usd_per_mtok_output),
            )
        )
        return f"{long} a million tokens in place of {usual}"


class EarlierPrice(Record):
    """What a model cost until it was changed."""

    until: date
    """The first day on which it no longer held."""
    price: Rates
    long: LongRates | None = None
    context_tokens: int | None = None
    """What it accepted then, where that was changed too."""


class ClaudeModel(Record):
    """One model of Claude, as the price list and the deprecations page have it, or as a platform sells it."""

    id: str
    name: str
    platform: str = "api"
    region: str = "global"
    aliases: tuple[str, ...] = ()
    limited: bool = False
    retires_on: date | None = None
    successor: str | None = None
    context_tokens: int
    tokenizer: Tokenizer
    batch: bool = True
    us_only: bool = False
    fast: bool = False
    fast_ends_on: date | None = None
    regional: bool = True
    """Whether platforms ask more for it in a region than anywhere: from the 4.5 generation on."""
    cache_1h: bool = True
    """Whether a cache of an hour has a published price."""
    min_cache_tokens: int | None = None
    """A shorter prefix is not cached, and no error says so."""
    min_cache_verified: bool = True
    since: date | None = None
    """The first day on which the price, or the first of the earlier ones, is known to have held; None: always."""
    price: Rates
    long: LongRates | None = None
    earlier: tuple[EarlierPrice, ...] = ()
    """The oldest first."""
    price_ends_on: date | None = None
    """The first day on which an introductory price no longer holds. What follows is not known until it holds."""
    extended_on: date | None = None
    """Since when a platform sells it to those alone who had it, at a price that may be higher."""
    note: str = ""
    """What a reader must know beside the price."""

    def status(self, on: date) -> Status:
        """What the model is on that day. Requests to a retired one fail."""
        if self.retires_on is not None and self.retires_on <= on:
            return "retired"
        return "limited" if self.limited else "live"

    def rates(self, prompt_tokens: Decimal) -> Rates:
        """The rates of one request, by the length of its whole prompt, cached part included."""
        if self.long is not None and prompt_tokens > self.long.above_prompt_tokens:
            return self.long
        return self.price

    def tier(self, share_of_requests: Decimal) -> Tier | None:
        """The price of long requests, where so many of them are; None where none is, or all cost the same."""
        if self.long is None or not share_of_requests:
            return None
        return Tier(
            above_prompt_tokens=self.long.above_prompt_tokens,
            share_of_requests=share_of_requests,
            usd_per_mtok_input=self.long.input,
            usd_per_mtok_output=self.long.output,
            usual_usd_per_mtok_input=self.price.input,
            usual_usd_per_mtok_output=self.price.output,
        )

    def as_of(self, day: date) -> Self:
        """The model at the prices of that day. Raises UsageError where none is known."""
        if self.since is not None and day < self.since:
            raise UsageError(
                f"No price of {self.name} is known before {self.since}.", f"For example: --at {self.since}"
            )
        if self.price_ends_on is not None and self.price_ends_on <= day:
            raise UsageError(
                f"The introductory price of {self.name} ends on {self.price_ends_on}, and corral has none after it.",
                f"See {price_list().published_at}",
            )
        for then in self.earlier:
            if day < then.until:
                context = then.context_tokens or self.context_tokens
                changed = {"price": then.price, "long": then.long, "context_tokens": context}
                return self.model_copy(update=changed)
        return self


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


def claude(name: str, typed: str = "") -> ClaudeModel:
    """The model of that name: an id, an alias, or a name as people write it; of a family's the newest that is live.

    `typed` is the whole of what the name was taken from, for the refusal. Raises UsageError with near names.
    """
    model_id = names().get(plain(name)) or newest(name)
    if model_id is None:
        raise UsageError(f"corral has no price for a Claude model called {typed or name!r}.", near(name))
    return price_list().models[model_id]


def plain(name: str) -> str:
    """The form in which names are compared: `anthropic/Claude-4.5-Sonnet-20250929` is claude-sonnet-4-5."""
    text = re.sub(r"[ ._]+", "-", name.strip().lower().removeprefix("anthropic/"))
    text = re.sub(r"-(latest|20[0-9]{6})$", "", text).removeprefix("claude-")
    return "claude-" + re.sub(r"^([0-9]+(?:-[0-9]+)?)-([a-z]+)$", r"\2-\1", text)


def newest(family: str) -> str | None:
    """The id of the newest live model of a name without a version (haiku, sonnet, opus); None for any other name."""
    on, versions = today(), {}
    for model in price_list().models.values():
        found = re.fullmatch(r"(claude-[a-z]+)-([0-9]+(?:-[0-9]+)*)", plain(model.id))
        if found and found[1] == plain(family) and model.status(on) == "live":
            versions[tuple(map(int, found[2].split("-")))] = model.id
    return versions[max(versions)] if versions else None


def near(name: str) -> str:
    """Which names the user may have meant, those of retired models last."""
    listed = price_list()
    close = get_close_matches(plain(name), names(), n=len(names()), cutoff=0.6)
    ids = dict.fromkeys(names()[each] for each in close)
    first = sorted(ids, key=lambda each: listed.models[each].status(listed.checked_on) == "retired")[:4]
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
