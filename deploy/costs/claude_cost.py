"""PURE: what requests cost on the Claude API, by its published rules."""

import math
from datetime import date
from decimal import Decimal
from typing import Annotated

from pydantic import Field

from deploy.costs.claude_cost_options import Way
from deploy.costs.claude_platforms import platforms
from deploy.costs.claude_prices import ClaudeModel, Rates, Status, Tier, price_list
from deploy.costs.claude_request import Request, billed, warnings
from deploy.costs.currency import Currency
from deploy.costs.token_ratio import TokenRatio, token_ratio
from infra.errors import UsageError
from infra.money import MTOK, Number, Usd, dollars, rounded
from infra.quantity import counted
from infra.record import Record


class Breakdown(Record):
    """Of all requests together, after the multiplier."""

    input_usd: Usd
    """Prompt tokens that come from no cache and go into none."""
    cache_read_usd: Usd
    """Prompt tokens that were read from a cache."""
    cache_write_5m_usd: Usd
    """Prompt tokens that were kept for five minutes."""
    cache_write_1h_usd: Usd
    """Prompt tokens that were kept for an hour."""
    output_usd: Usd
    """Tokens of answers, thinking among them."""
    usd_per_request: Usd
    """All of it for one request."""
    multiplier: Number
    """Batch, US-only and fast together."""
    rates_usd_per_mtok: dict[str, Number]
    """Before the multiplier, of the tier this request's prompt falls into."""
    tier: Annotated[Tier | None, Field(exclude_if=lambda tier: tier is None)] = None
    """The one of long prompts; absent where this one falls into none."""


class CachePays(Record):
    """How often a cached prefix must be read until writing it has cost less than sending it every time."""

    write_5m: int
    """Reads within the five minutes; from so many on it is cheaper."""
    write_1h: int
    """Reads within the hour; from so many on it is cheaper."""


class ClaudeCost(Record):
    """What a number of equal requests cost."""

    usd: Usd
    """What all of them cost, by list prices."""
    model: str
    """By Claude's own id, with the platform before it where it is not Claude's API."""
    status: Status
    """Whether it can be asked at the day of the prices."""
    retires_on: date | None
    """The day from which requests fail; null where none is announced."""
    requests: int
    """How many, all alike."""
    input_tokens: Number
    """Of one request; cached tokens included."""
    output_tokens: Number
    """Of one request, as Claude counts them."""
    breakdown: Breakdown
    """The same sum, by what it is for."""
    cache_pays_after_reads: CachePays
    """From how many reads of a prefix on a cache costs less than none."""
    warnings: tuple[str, ...]
    """What makes the sum doubtful: a retired model, say."""
    prices_checked_on: date
    """When the list prices were read."""
    prices_source: str
    """Where they were read."""
    token_ratio: TokenRatio
    """Of these tokens, which are Claude's own, as many are a Llama 4 token of the same text."""
    usd_of_llama_tokens: Usd
    """What all of them cost were the lengths counted in Llama 4's tokens."""
    currency: Annotated[Currency | None, Field(exclude_if=lambda named: named is None)] = None
    """What amounts are shown in too; absent for dollars."""


def claude_cost(
    model: ClaudeModel,
    request: Request,
    requests: int,
    way: Way,
    on: date,
    other: Currency | None = None,
) -> ClaudeCost:
    """Price one request by the length of its own prompt, then multiply.

    Raises UsageError for a way the model has no published price for.
    """
    refuse_unpriced(model, request, way, on)
    factor, rates = multiplier(way), model.rates(request.input_tokens)
    parts = {name: usd * factor for name, usd in parts_usd(billed(model, request), rates).items()}
    each = sum(parts.values(), Decimal(0))
    listed = platforms()[model.platform]
    ratio = token_ratio(model.tokenizer, None, None)
    of_llama = billed(model, request.times(ratio.base))
    return ClaudeCost(
        usd=rounded(each * requests),
        model=model.id,
        status=model.status(on),
        retires_on=model.retires_on,
        requests=requests,
        input_tokens=rounded(request.input_tokens),
        output_tokens=rounded(request.output_tokens),
        breakdown=Breakdown(
            **{name: rounded(usd * requests) for name, usd in parts.items()},
            usd_per_request=rounded(each),
            multiplier=factor,
            rates_usd_per_mtok={name: getattr(rates, name) for name in Rates.model_fields},
            tier=model.tier(Decimal(rates is model.long)),
        ),
        cache_pays_after_reads=cache_pays(rates),
        warnings=warnings(model, request, on, way.at is not None),
        prices_checked_on=listed.checked_on,
        prices_source=listed.source,
        token_ratio=ratio,
        usd_of_llama_tokens=rounded(request_usd(model, of_llama, way, on) * requests),
        currency=other,
    )


def cache_pays(rates: Rates) -> CachePays:
    """The first whole number of reads n with write + n x read <= (n + 1) x input."""
    saved = rates.input - rates.cache_read
    return CachePays(
        write_5m=math.ceil((rates.cache_write_5m - rates.input) / saved),
        write_1h=math.ceil((rates.cache_write_1h - rates.input) / saved),
    )


def request_usd(model: ClaudeModel, request: Request, way: Way, on: date) -> Decimal:
    """What one request costs, exactly, with its cache as it stands. Raises UsageError for a way without a price."""
    refuse_unpriced(model, request, way, on)
    parts = parts_usd(request, model.rates(request.input_tokens))
    return sum(parts.values(), Decimal(0)) * multiplier(way)


def parts_usd(request: Request, rates: Rates) -> dict[str, Decimal]:
    """The five kinds of token of one request, in USD."""
    prompt = request.input_tokens
    return {
        "input_usd": prompt * request.fresh_fraction * rates.input / MTOK,
        "cache_read_usd": prompt * request.cache_read_fraction * rates.cache_read / MTOK,
        "cache_write_5m_usd": prompt * request.cache_write_5m_fraction * rates.cache_write_5m / MTOK,
        "cache_write_1h_usd": prompt * request.cache_write_1h_fraction * rates.cache_write_1h / MTOK,
        "output_usd": request.output_tokens * rates.output / MTOK,
    }


def multiplier(way: Way) -> Decimal:
    """Batch, US-only inference and fast mode multiply everything, cache included."""
    rules = price_list().rules
    chosen = [
        factor
        for on, factor in ((way.batch, rules.batch), (way.us_only, rules.us_only), (way.fast, rules.fast))
        if on
    ]
    product = Decimal(1)
    for factor in chosen:
        product *= factor
    return product


def refuse_unpriced(model: ClaudeModel, request: Request, way: Way, on: date) -> None:
    """Refuse a way of sending for which no price is published: never fall back to the standard price unasked."""
    fast_over = model.fast_ends_on is not None and model.fast_ends_on <= on
    hour = request.cache_write_1h_fraction > 0
    refusals = (
        (way.batch and not model.batch, "no batch price", "--batch"),
        (way.us_only and not model.us_only, "no US-only inference", "--us-only"),
        (way.fast and not model.fast, "no fast mode", "--fast"),
        (way.fast and fast_over, f"no fast mode since {model.fast_ends_on}", "--fast"),
        (hour and not model.cache_1h, "no price of an hour's cache", "--cache-write-1h-fraction"),
    )
    for refused, what, flag in refusals:
        if refused:
            other = "name another model"
            if flag == "--us-only" and model.platform != "api" and model.region == "global":
                other = "say where it answers: --claude-region us"
            raise UsageError(f"{model.name} has {what}.", f"Leave out {flag}, or {other}.")
    if way.batch and way.fast:
        raise UsageError(
            "No price is published for fast mode in a batch.", "Use --batch or --fast, not both."
        )


def cost_text(cost: ClaudeCost, is_whole: bool = True) -> str:
    """The cost for a person; the whole of it has the rates that it was made of."""
    parts = cost.breakdown
    named = (
        ("input", parts.input_usd),
        ("cache reads", parts.cache_read_usd),
        ("cache writes, 5 minutes", parts.cache_write_5m_usd),
        ("cache writes, 1 hour", parts.cache_write_1h_usd),
        ("output", parts.output_usd),
    )
    requests = counted(cost.requests, "request")
    lines = [f"{amount(cost, cost.usd)} for {requests} to {cost.model} ({cost.status})"]
    lines += [f"  {name:24} {amount(cost, usd):>14}" for name, usd in named if usd]
    if cost.requests > 1:
        lines += [f"  {'one request':24} {amount(cost, parts.usd_per_request):>14}"]
    if tier := parts.tier:
        lines += [f"  Its prompt is above {tier.above_prompt_tokens:,} tokens: {tier.rates}."]
    ratio = cost.token_ratio
    lines += [
        f"  The tokens are Claude's own, {ratio.base} ({ratio.low} to {ratio.high}) of which are one of Llama 4's.",
        f"  Were they Llama 4's, it would be {amount(cost, cost.usd_of_llama_tokens)}.",
    ]
    if parts.cache_write_5m_usd or parts.cache_write_1h_usd:
        pays = cost.cache_pays_after_reads
        lines += [
            f"  A cached prefix pays from its read number {pays.write_5m} (5 minutes), {pays.write_1h} (1 hour)."
        ]
    lines += rates_text(cost) if is_whole else []
    more = "" if is_whole else " With --all: the rates."
    lines += [f"warning: {text}" for text in cost.warnings]
    lines += [f"List prices checked {cost.prices_checked_on}: {cost.prices_source}. No bill.{more}"]
    return "\n".join(lines)


def amount(cost: ClaudeCost, usd: Decimal) -> str:
    """In dollars, and in the other currency where one is named."""
    return dollars(usd) if cost.currency is None else f"{dollars(usd)} ({cost.currency.said(usd)})"


def rates_text(cost: ClaudeCost) -> list[str]:
    """What a million tokens of each kind costs in this request's tier, and by what all of it is multiplied."""
    parts = cost.breakdown
    rates = parts.rates_usd_per_mtok.items()
    times = [] if parts.multiplier == 1 else [f"  {'all of it times':24} {parts.multiplier:>14f}"]
    of = f", of a request above {parts.tier.above_prompt_tokens:,} prompt tokens" if parts.tier else ""
    return [
        f"  A million tokens{of}:",
        *(f"    {name.replace('_', ' '):22} {dollars(usd):>14}" for name, usd in rates),
        *times,
    ]
