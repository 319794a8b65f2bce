"""PURE: Claude's side of a comparison: the same texts at its prices, and the volume at which both cost the same."""

from datetime import date
from decimal import Decimal

from deploy.costs.claude_mix import (
    Asked,
    billed_alike,
    lengths_there,
    mean_claude_tokens,
    mean_usd,
    mix_warnings,
    refused_share,
    tier_of,
)
from deploy.costs.claude_prices import ClaudeModel
from deploy.costs.compare_options import Question
from deploy.costs.comparison import Answer, BreakEven, ClaudeSide, SelfHosted
from deploy.costs.likelihood import chances
from deploy.costs.request_mix import mean_tokens, weight
from deploy.costs.self_hosted import OurSide, even_mtok
from deploy.costs.token_ratio import TokenRatio, token_ratio
from deploy.costs.verdict import answer_of, cannot_be_asked, verdict_of
from infra.money import MTOK, count, rounded


def claude_side(model: ClaudeModel, ours: OurSide, asked: Asked, question: Question, on: date) -> ClaudeSide:
    """One Claude model on the same texts, each request priced by its own length so that the tiers are right."""
    own = ours.figures
    ratio = token_ratio(model.tokenizer, question.content, question.token_ratio)

    def per_mtok(requests: Asked, tokens: Decimal) -> Decimal:
        usd = mean_usd(model, billed_alike(model, requests, tokens, question), question, on)
        return usd * (1 + question.claude_retries) * weight(requests.mix) / all_tokens * MTOK

    all_tokens = mean_tokens(asked.mix) * weight(asked.mix)
    ends = (ratio.base, ratio.low, ratio.high)
    base, low, high = (per_mtok(asked, each) for each in ends)
    again = [per_mtok(asked._replace(mix=asked.again), each) if asked.again else Decimal(0) for each in ends]
    alike, listed = (billed_alike(model, asked, tokens, question) for tokens in (ratio.base, Decimal(1)))
    spared, at_low, at_high = base - again[0], low - again[1], high - again[2]
    even = break_even(own, model.name, spared, at_low, at_high)
    chance, fully_busy = chances(asked.drawn, ratio, (at_low, spared, at_high))
    answer: Answer = answer_of(even, chance, fully_busy, ours.speed.point.is_most)
    verdict = verdict_of(ours, question, model.name, base, again[0], even, answer, chance)
    if refused_share(model, asked, ratio.base, question) == 1:
        answer = "cannot be asked"
        verdict = cannot_be_asked(ours, model.name, too_long(model, asked, question, ratio), base)
    return ClaudeSide(
        model=model.id,
        name=model.name,
        status=model.status(on),
        usd_per_mtok_blended=rounded(base),
        usd_per_mtok_low=rounded(low),
        usd_per_mtok_high=rounded(high),
        usd_per_mtok_asked_again=rounded(again[0]),
        usd_per_mtok_list_blended=rounded(
            mean_usd(model, listed, question, on) / mean_claude_tokens(listed) * MTOK
        ),
        usd_per_request=rounded(mean_usd(model, alike, question, on)),
        usd_per_month=rounded(base * own.mtok_per_month),
        tier=tier_of(model, alike),
        token_ratio=ratio,
        break_even=even,
        probability=chance,
        probability_fully_busy=fully_busy,
        answer=answer,
        verdict=verdict,
        warnings=mix_warnings(model, asked, alike, question, ratio.base, on),
    )


def too_long(model: ClaudeModel, asked: Asked, question: Question, ratio: TokenRatio) -> str:
    """Why the model takes none of the requests, and whether it might after all, as far as tokens are doubtful."""
    shortest, least = (
        min(length for _, length in lengths_there(asked, tokens, question))
        for tokens in (ratio.base, ratio.low)
    )
    low = f" (at {ratio.low} to one of Llama 4's it would take it)" if least <= model.context_tokens else ""
    more = " or more" if len(asked.mix) > 1 else ""
    return f"a request is {count(shortest)} of its tokens{more}, and it takes {model.context_tokens:,}{low}"


def break_even(own: SelfHosted, name: str, base: Decimal, low: Decimal, high: Decimal) -> BreakEven:
    """The volume at which Claude's bill is the month's bill here, as a share of what the machine can serve."""
    mtok = even_mtok(own, base)
    capacity = own.capacity_mtok_per_month
    needed = mtok / capacity
    return BreakEven(
        against=name,
        mtok_per_month=rounded(mtok),
        required_utilisation=rounded(needed),
        required_utilisation_low=rounded(even_mtok(own, high) / capacity),
        required_utilisation_high=rounded(even_mtok(own, low) / capacity),
        feasible=needed <= own.most_utilisation,
    )


def cheapest(sides: tuple[ClaudeSide, ...]) -> ClaudeSide:
    """The Claude model the answer is given against: the cheapest one that can be bought, and takes such requests."""
    there = [side for side in sides if side.is_to_be_had]
    sold = there or [side for side in sides if side.status != "retired"] or list(sides)
    return min(sold, key=lambda side: side.usd_per_mtok_blended)
