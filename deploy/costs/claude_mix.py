"""PURE: requests of several lengths at Claude. Those that are billed alike are one average request, to the cent."""

from collections.abc import Iterable, Iterator
from datetime import date
from decimal import Decimal
from typing import NamedTuple

from deploy.costs.claude_cost import request_usd
from deploy.costs.claude_prices import ClaudeModel, Tier
from deploy.costs.claude_request import (
    Request,
    age,
    of_a_day,
    over_context,
    retirement,
    unverified_least,
)
from deploy.costs.compare_options import Question
from deploy.costs.likelihood import Draws
from deploy.costs.request_mix import Kind, Mix, weight
from infra.money import count, percent, rounded


class Asked(NamedTuple):
    """The requests of both sides, and how much of a prompt a prefix cache holds where they do not say it themselves."""

    mix: Mix
    prefix_share: Decimal
    is_average: bool
    """Whether they are one average request, because nothing else is known of them."""
    drawn: Draws
    """What they cost here, over the ranges of what is doubtful."""
    again: Mix = ()
    """Those of them that are asked again at Claude after an answer from here."""


class Alike(NamedTuple):
    """Requests that one rate of a model is of, as their average."""

    requests: Decimal
    request: Request
    uncached_tokens: Decimal
    """What one would have cached, where that is shorter than the model keeps; else 0."""


def mean_usd(model: ClaudeModel, alike: Iterable[Alike], question: Question, on: date) -> Decimal:
    """What one request costs on average."""
    usd, requests = Decimal(0), Decimal(0)
    for each in alike:
        usd += each.requests * request_usd(model, each.request, question.way, on)
        requests += each.requests
    return usd / requests


def mean_claude_tokens(alike: Iterable[Alike]) -> Decimal:
    """Of one request, as Claude counts them."""
    tokens, requests = Decimal(0), Decimal(0)
    for each in alike:
        tokens += each.requests * (each.request.input_tokens + each.request.output_tokens)
        requests += each.requests
    return tokens / requests


def billed_alike(model: ClaudeModel, asked: Asked, ratio: Decimal, question: Question) -> tuple[Alike, ...]:
    """The requests as Claude counts their tokens, by whether they are above its step, would be cached and are."""
    step = model.long.above_prompt_tokens if model.long else None
    sums: dict[tuple[bool, bool, bool], list[Decimal]] = {}
    for kind in prompts_there(asked.mix, question):
        parts = cached_parts(kind, asked.prefix_share, question)
        held = ratio * sum(parts)
        is_cached = held > 0 and held >= (model.min_cache_tokens or 0)
        is_long = step is not None and ratio * kind.input_tokens > step
        found = sums.setdefault((is_long, held > 0, is_cached), [Decimal(0)] * 7)
        cached = (*parts, 0) if is_cached else (0, 0, 0, held)
        amounts = (1, kind.input_tokens, kind.output_tokens, *cached)
        for place, amount in enumerate(amounts):
            found[place] += kind.weight * amount
    return tuple(
        Alike(found[0], average(found, ratio, question), found[6] / found[0])
        for _, found in sorted(sums.items())
    )


def prompts_there(mix: Mix, question: Question) -> Iterator[Kind]:
    """The requests with Claude's prompts, which may be longer than those of a model that was tuned for the work."""
    for kind in mix:
        yield kind._replace(input_tokens=kind.input_tokens * question.claude_input_ratio)


def cached_parts(kind: Kind, share: Decimal, question: Question) -> tuple[Decimal, Decimal, Decimal]:
    """Tokens of a prompt read from the cache, written for five minutes and for an hour; no more than there are."""
    prompt = kind.input_tokens
    read = share * prompt if kind.cached_tokens is None else kind.cached_tokens
    five_minutes = min(question.cache_write_fraction * prompt, prompt - read)
    hour = min(question.cache_write_1h_fraction * prompt, prompt - read - five_minutes)
    return read, five_minutes, hour


def average(sums: list[Decimal], ratio: Decimal, question: Question) -> Request:
    """The average of summed requests, in Claude's tokens."""
    requests, prompts, answers, *cached = sums[:6]
    read, five_minutes, hour = (each / prompts if prompts else Decimal(0) for each in cached)
    return Request(
        input_tokens=ratio * prompts / requests,
        output_tokens=ratio * answers / requests * question.claude_output_ratio + question.thinking_tokens,
        cache_read_fraction=read,
        cache_write_5m_fraction=five_minutes,
        cache_write_1h_fraction=hour,
    )


def lengths_there(asked: Asked, ratio: Decimal, question: Question) -> Iterator[tuple[Decimal, Decimal]]:
    """Of each kind of request how many there are, and the tokens of one, prompt and answer, as Claude counts them."""
    for kind in prompts_there(asked.mix, question):
        answer = kind.output_tokens * question.claude_output_ratio
        yield kind.weight, ratio * (kind.input_tokens + answer) + question.thinking_tokens


def refused_share(model: ClaudeModel, asked: Asked, ratio: Decimal, question: Question) -> Decimal:
    """Of the requests those that are longer than the model's context, 0 to 1: it takes none of them."""
    lengths = lengths_there(asked, ratio, question)
    return sum((many for many, tokens in lengths if tokens > model.context_tokens), Decimal(0)) / weight(
        asked.mix
    )


def tier_of(model: ClaudeModel, alike: tuple[Alike, ...]) -> Tier | None:
    """The price of long requests, where some of these are; None where none is."""
    long = (each.requests for each in alike if model.rates(each.request.input_tokens) is model.long)
    return model.tier(rounded(sum(long, Decimal(0)) / sum((each.requests for each in alike), Decimal(0))))


def in_tier(model: ClaudeModel, alike: tuple[Alike, ...]) -> str:
    """That some requests, or all, cost more for the length of their prompts."""
    tier = tier_of(model, alike)
    if tier is None:
        return ""
    share = tier.share_of_requests
    which = "the requests are" if share == 1 else f"{percent(share)} of the requests are"
    return (
        f"{model.name} has a higher price above {tier.above_prompt_tokens:,} prompt tokens, and {which} above it: "
        f"{tier.rates}."
    )


def mix_warnings(
    model: ClaudeModel, asked: Asked, alike: tuple[Alike, ...], question: Question, ratio: Decimal, on: date
) -> tuple[str, ...]:
    """What a reader must know before using the price of these requests."""
    longest = max(prompts_there(asked.mix, question), key=lambda kind: kind.input_tokens + kind.output_tokens)
    whole = average([Decimal(1), *longest[1:3], *[Decimal(0)] * 3], ratio, question)
    every = (
        retirement(model, on),
        over_context(model, whole, refused_share(model, asked, ratio, question)),
        in_tier(model, alike),
        too_short_to_cache(model, alike) or unverified_cache(model, alike),
        hidden_step(model, alike) if asked.is_average else "",
        of_a_day(model, on) if question.at else age(on),
    )
    return tuple(text for text in every if text)


def too_short_to_cache(model: ClaudeModel, alike: tuple[Alike, ...]) -> str:
    """That some requests are not cached, because the model keeps nothing so short."""
    short = [each for each in alike if each.uncached_tokens]
    if not short:
        return ""
    requests = sum((each.requests for each in short), Decimal(0))
    tokens = count(sum((each.requests * each.uncached_tokens for each in short), Decimal(0)) / requests)
    share = requests / sum((each.requests for each in alike), Decimal(0))
    whose = tokens if share == 1 else f"of {percent(share)} of the requests {tokens} on average"
    return f"{model.name} caches prompts from {model.min_cache_tokens:,} tokens on; {whose} are not cached."


def unverified_cache(model: ClaudeModel, alike: tuple[Alike, ...]) -> str:
    """That nobody verified from how many tokens on the model caches, where that matters to these requests."""
    return next(filter(None, (unverified_least(model, each.request) for each in alike)), "")


def hidden_step(model: ClaudeModel, alike: tuple[Alike, ...]) -> str:
    """That an average prompt below the step may hide dearer ones, where no more than the average is known."""
    step = model.long.above_prompt_tokens if model.long else None
    prompt = alike[0].request.input_tokens
    if step is None or not step / 2 < prompt <= step:
        return ""
    return (
        f"{model.name} asks more for requests above {step:,} prompt tokens. The average prompt has "
        f"{count(prompt)}: where some are longer, Claude costs more than is said here."
    )
