"""One request to Claude, in Claude's tokens, and what a reader must know before using its price."""

from datetime import date
from decimal import Decimal

from deploy.costs.claude_prices import OLD_AFTER_DAYS, ClaudeModel, price_list
from infra.money import count
from infra.record import Record

RETIRING_SOON_DAYS = 60


class Request(Record):
    """The tokens of one request, as Claude counts them. `input_tokens` is the whole prompt; the cached are of it."""

    input_tokens: Decimal
    output_tokens: Decimal
    cache_read_fraction: Decimal = Decimal(0)
    cache_write_5m_fraction: Decimal = Decimal(0)
    cache_write_1h_fraction: Decimal = Decimal(0)

    @property
    def fresh_fraction(self) -> Decimal:
        """The share of the prompt that is neither read from the cache nor written to it."""
        cached = self.cache_read_fraction + self.cache_write_5m_fraction + self.cache_write_1h_fraction
        return 1 - cached


def warnings(model: ClaudeModel, request: Request, on: date) -> tuple[str, ...]:
    """What a reader must know before using the figure."""
    every = (retirement(model, on), over_context(model, request), cache_too_small(model, request), age(on))
    return tuple(text for text in every if text)


def retirement(model: ClaudeModel, on: date) -> str:
    """That the model is gone, or will be soon."""
    if model.status(on) == "retired":
        when = f" on {model.retires_on}" if model.retires_on else ""
        successor = f" Its successor is {model.successor}." if model.successor else ""
        return f"RETIRED: {model.name} was retired{when}; requests to it fail.{successor}"
    if model.retires_on is not None and (model.retires_on - on).days <= RETIRING_SOON_DAYS:
        return f"{model.name} retires on {model.retires_on}."
    return f"{model.name} is only for admitted customers." if model.limited else ""


def over_context(model: ClaudeModel, request: Request) -> str:
    """That no such request exists."""
    total = request.input_tokens + request.output_tokens
    if total <= model.context_tokens:
        return ""
    return (
        f"One request of {count(total)} tokens is more than the {model.context_tokens:,} of {model.name}: "
        "the figure is the price of so many tokens, not of a request it would accept."
    )


def cache_too_small(model: ClaudeModel, request: Request) -> str:
    """That a cache this small is not kept."""
    cached = request.input_tokens * (1 - request.fresh_fraction)
    least = model.min_cache_tokens
    if least is None or cached == 0 or cached >= least:
        return ""
    return f"{model.name} caches prompts from {least} tokens on; {count(cached)} are not cached."


def age(on: date) -> str:
    """That the table is old."""
    days = (on - price_list().checked_on).days
    if days <= OLD_AFTER_DAYS:
        return ""
    return f"The price table is {days} days old: check it at {price_list().published_at}."
