"""PURE: Claude's side of a comparison: the same texts at its prices, and the volume at which both cost the same."""

from datetime import date
from decimal import Decimal

from deploy.costs.claude_cost import request_usd
from deploy.costs.claude_prices import ClaudeModel
from deploy.costs.claude_request import Request, warnings
from deploy.costs.compare_options import Question
from deploy.costs.comparison import BreakEven, ClaudeSide, SelfHosted, Speed
from deploy.costs.self_hosted import OurSide, even_mtok
from deploy.costs.token_ratio import token_ratio
from deploy.costs.verdict import answer_of, verdict_of
from infra.money import MTOK, count, rounded


def claude_side(model: ClaudeModel, ours: OurSide, question: Question, on: date) -> ClaudeSide:
    """One Claude model on the same texts, priced per request so that the tiers by prompt length are right."""
    speed, own = ours.speed, ours.figures
    ratio = token_ratio(model.tokenizer, question.content, question.token_ratio)

    def per_mtok(tokens: Decimal) -> Decimal:
        usd = request_usd(model, claude_request(speed, question, tokens), question.way, on)
        return usd / (speed.input_tokens_per_request + speed.output_tokens_per_request) * MTOK

    base, low, high = per_mtok(ratio.base), per_mtok(ratio.low), per_mtok(ratio.high)
    request = claude_request(speed, question, ratio.base)
    even = break_even(own, model.name, base, low, high)
    return ClaudeSide(
        model=model.id,
        name=model.name,
        status=model.status(on),
        usd_per_mtok_blended=rounded(base),
        usd_per_mtok_low=rounded(low),
        usd_per_mtok_high=rounded(high),
        usd_per_mtok_list_blended=rounded(list_price(model, speed, question, on)),
        usd_per_request=rounded(request_usd(model, request, question.way, on)),
        usd_per_month=rounded(base * own.mtok_per_month),
        token_ratio=ratio,
        break_even=even,
        answer=answer_of(own, even),
        verdict=verdict_of(own, model.name, base, even),
        warnings=(*warnings(model, request, on), *hidden_step(model, request)),
    )


def hidden_step(model: ClaudeModel, request: Request) -> tuple[str, ...]:
    """That an average prompt below the step may hide dearer ones: a probe's report has only the average."""
    step = model.long.above_prompt_tokens if model.long else None
    if step is None or not step / 2 < request.input_tokens <= step:
        return ()
    return (
        f"{model.name} asks more for requests above {step:,} prompt tokens. The average prompt has "
        f"{count(request.input_tokens)}: where some are longer, Claude costs more than is said here.",
    )


def claude_request(speed: Speed, question: Question, ratio: Decimal) -> Request:
    """The probe's average request as Claude would count it."""
    return Request(
        input_tokens=ratio * speed.input_tokens_per_request,
        output_tokens=ratio * speed.output_tokens_per_request * question.claude_output_ratio,
        cache_read_fraction=question.cache_read_fraction,
        cache_write_5m_fraction=question.cache_write_fraction,
    )


def list_price(model: ClaudeModel, speed: Speed, question: Question, on: date) -> Decimal:
    """Per million of Claude's own tokens, at the same mix of input and output."""
    request = claude_request(speed, question, Decimal(1))
    return (
        request_usd(model, request, question.way, on) / (request.input_tokens + request.output_tokens) * MTOK
    )


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
        feasible=needed <= 1,
    )


def cheapest(sides: tuple[ClaudeSide, ...]) -> ClaudeSide:
    """The Claude model the answer is given against: the cheapest one that can still be bought."""
    sold = [side for side in sides if side.status != "retired"] or list(sides)
    return min(sold, key=lambda side: side.usd_per_mtok_blended)
