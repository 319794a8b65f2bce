"""One request to Claude, in Claude's tokens, and what a reader must know before using its price."""

from datetime import date
from decimal import Decimal

from deploy.costs.claude_platforms import platforms, sold_elsewhere
from deploy.costs.claude_prices import OLD_AFTER_DAYS, ClaudeModel, price_list
from infra.money import count, percent
from infra.record import Record

RETIRING_SOON_DAYS = 60
MOST_MIN_CACHE_TOKENS = 4096
"""No model asks for a longer prefix."""


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

    def times(self, ratio: Decimal) -> "Request":
        """The same text where each of these tokens is so many of Claude's."""
        return self.model_copy(
            update={"input_tokens": self.input_tokens * ratio, "output_tokens": self.output_tokens * ratio}
        )

    @property
    def tokens(self) -> Decimal:
        """Prompt and answer."""
        return self.input_tokens + self.output_tokens

    @property
    def cached_tokens(self) -> Decimal:
        """The prefix that is read from the cache or written to it."""
        return self.input_tokens * (1 - self.fresh_fraction)


def billed(model: ClaudeModel, request: Request) -> Request:
    """The request as it is billed: without the cache where its cached prefix is too short to be kept."""
    if not too_short(model, request):
        return request
    return Request(input_tokens=request.input_tokens, output_tokens=request.output_tokens)


def too_short(model: ClaudeModel, request: Request) -> bool:
    """Whether the cached prefix is shorter than the model keeps."""
    least = model.min_cache_tokens
    return least is not None and 0 < request.cached_tokens < least


def warnings(model: ClaudeModel, request: Request, on: date, asked_for: bool = False) -> tuple[str, ...]:
    """What a reader must know before using the figure; `asked_for`: the day is not today but was named."""
    every = (
        retirement(model, on),
        over_context(model, request),
        cache_too_small(model, request),
        of_a_day(model, on) if asked_for else age(on),
    )
    return tuple(text for text in every if text)


def retirement(model: ClaudeModel, on: date) -> str:
    """What becomes of the model, and what the platform says of it."""
    return " ".join(filter(None, (gone(model, on), extended(model, on), model.note)))


def gone(model: ClaudeModel, on: date) -> str:
    """That the model is gone, or will be soon."""
    if model.status(on) == "retired":
        when = f" on {model.retires_on}" if model.retires_on else ""
        seller = platforms()[model.platform].name
        successor = f" Its successor is {model.successor}." if model.successor else ""
        text = f"RETIRED: {model.name} was retired{when}; requests for it to {seller} fail."
        return text + still_sold(model, on) + successor
    if model.retires_on is not None and (model.retires_on - on).days <= RETIRING_SOON_DAYS:
        return f"{model.name} retires on {model.retires_on}."
    return f"{model.name} is only for admitted customers." if model.limited else ""


def still_sold(model: ClaudeModel, on: date) -> str:
    """Which platforms are known to sell a model that the API has retired."""
    if model.platform != "api":
        return ""
    places = [name + (f" until {end}" if end else "") for name, end in sold_elsewhere(model, on)]
    return f" Still sold: {', '.join(places)}." if places else ""


def extended(model: ClaudeModel, on: date) -> str:
    """That the platform sells it to those alone who had it."""
    if model.extended_on is None or on < model.extended_on or model.status(on) == "retired":
        return ""
    return (
        f"{model.name} is on extended access since {model.extended_on}: for those who used it before, at a price "
        "that may be higher than this one."
    )


def over_context(model: ClaudeModel, request: Request, share: Decimal = Decimal(1)) -> str:
    """That no such request exists; `share`: of all requests, of which it is the longest, those that do not."""
    if request.tokens <= model.context_tokens:
        return ""
    if share < 1:
        return (
            f"{percent(share)} of the requests, the longest of {count(request.tokens)} tokens, are more than the "
            f"{model.context_tokens:,} of {model.name}: the figure is the price of so many tokens, not of requests it "
            "would accept."
        )
    return (
        f"One request of {count(request.tokens)} tokens is more than the {model.context_tokens:,} of {model.name}: "
        "the figure is the price of so many tokens, not of a request it would accept."
    )


def cache_too_small(model: ClaudeModel, request: Request) -> str:
    """That a cache this small is not kept, or that nobody verified whether it is."""
    least, cached = model.min_cache_tokens, request.cached_tokens
    if least is not None and too_short(model, request):
        return f"{model.name} caches prompts from {least:,} tokens on; {count(cached)} are not cached."
    return unverified_least(model, request)


def unverified_least(model: ClaudeModel, request: Request) -> str:
    """That nobody verified whether a cache this small is kept, which the price takes it to be."""
    least, cached = model.min_cache_tokens, request.cached_tokens
    if not model.min_cache_verified and 0 < cached < MOST_MIN_CACHE_TOKENS:
        return f"From how many tokens on {model.name} caches a prompt is not verified; {least:,} is taken."
    return ""


def of_a_day(model: ClaudeModel, on: date) -> str:
    """Of which day the prices are that somebody named: that one, or the last one on which they were read before."""
    read = platforms()[model.platform].checked_on
    if on > read:
        return f"No prices of {on} were read: these are those of {read}."
    return f"Claude's prices are those of {on}, as --at says."


def age(on: date) -> str:
    """That the table is old."""
    days = (on - price_list().checked_on).days
    if days <= OLD_AFTER_DAYS:
        return ""
    return f"The price table is {days} days old: check it at {price_list().published_at}."
