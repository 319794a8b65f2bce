"""PURE: a plan, a probe and a price against the Claude API: $/M tokens, break-even or "never", and what it rests on."""

import math
from datetime import date
from decimal import Decimal

from deploy import assumptions, hosted, verdict
from deploy.claude import ClaudeModel, claude
from deploy.claude_cost import Request, request_usd, warnings
from deploy.comparison import (
    AtUtilisation,
    BreakEven,
    ClaudeSide,
    Comparison,
    HostedSide,
    Hybrid,
    SelfHosted,
    Speed,
)
from deploy.cost import (
    MTOK,
    Bill,
    bill,
    capacity_mtok,
    cascade_share,
    hybrid_usd,
    usage_usd_per_mtok,
    usd_per_mtok,
)
from deploy.knobs import Knobs, knobs
from deploy.machine_price import MachinePrice, machine_price
from deploy.money import count, rounded
from deploy.plan import Plan
from deploy.question import Question
from deploy.sensitivity import swings
from deploy.speed import doubts, speed_of
from deploy.tokens import token_ratio
from infra.errors import UsageError
from serving.probe.report import ProbeReport

DEFAULT_MODELS = ("claude-haiku-5-5", "claude-sonnet-5-5", "claude-opus-5-5")
UTILISATIONS = (Decimal("0.1"), Decimal("0.3"), Decimal("0.6"), Decimal(1))
LOWER_BOUND = "never idle: a lower bound, no forecast"


def compare(plan: Plan, probe: ProbeReport | None, question: Question, on: date) -> Comparison:
    """Compare, and carry every assumption along.

    Raises ProbeInvalid for a probe that must not be used, and UsageError for an owned machine without a price, an
    unknown Claude model, or more tokens than the machines can serve.
    """
    speed = speed_of(plan, probe, question.allow_invalid)
    values = knobs(question.knobs)
    price = machine_price(plan, question.price_per_hour, question.capex_usd)
    own = self_hosted(speed, values, price, question.mtok_per_month)
    sides = tuple(claude_side(claude(name), speed, own, question, on) for name in models_of(question))
    chosen = cheapest(sides)
    others = hosted_sides(plan, speed, on)
    return Comparison(
        made_on=on,
        model=plan.model,
        precision=plan.precision,
        machine=plan.machine.name,
        speed=speed,
        knobs=values,
        self_hosted=own,
        claude=sides,
        hosted=others,
        break_even=chosen.break_even,
        answer=chosen.answer,
        verdict=chosen.verdict,
        what_would_change_it=tuple(
            text
            for text in (
                *verdict.what_would_change(own, speed, values, chosen, sides),
                verdict.hosted_note(own, others),
            )
            if text
        ),
        hybrid=hybrids(own, sides, question),
        sensitivity=swings(speed, values, price, own, chosen),
        warnings=(
            *doubts(plan, probe),
            *price.doubts(on),
            *dict.fromkeys(w for s in sides for w in s.warnings),
        ),
        assumptions=assumptions.of(plan, speed, values, price, question, chosen, own),
    )


def models_of(question: Question) -> tuple[str, ...]:
    """The Claude models to compare with, each once."""
    named = question.claude_models or DEFAULT_MODELS
    return tuple(dict.fromkeys(claude(name).id for name in named))


def self_hosted(speed: Speed, values: Knobs, price: MachinePrice, mtok: Decimal | None) -> SelfHosted:
    """The machine's side, at the given utilisation or at the one that so many tokens make."""
    month = bill(values, price.usd_per_hour, price.capex_usd)
    total, capacity = month.total_usd, capacity_mtok(speed.total_tokens_per_s, values)
    busy = values.utilisation if mtok is None else utilisation_of(mtok, capacity, values)
    hourly = total / values.hours_per_month
    here = at_utilisation(busy, total, capacity, speed)
    fleet_tokens_per_s = speed.total_tokens_per_s * values.replicas
    blended = usage_usd_per_mtok(hourly, fleet_tokens_per_s)
    return SelfHosted(
        usd_per_hour=rounded(hourly),
        usd_per_month=rounded(total),
        usd_per_mtok_output=here.usd_per_mtok_output,
        usd_per_mtok_blended=here.usd_per_mtok_blended,
        utilisation=rounded(busy),
        mtok_per_month=here.mtok_per_month,
        capacity_mtok_per_month=rounded(capacity),
        usage_usd_per_mtok_output=rounded(blended * speed.tokens_per_output_token),
        usage_usd_per_mtok_blended=rounded(blended),
        at=tuple(
            at_utilisation(each, total, capacity, speed) for each in sorted({*UTILISATIONS, rounded(busy)})
        ),
        bill=rounded_bill(month),
    )


def utilisation_of(mtok: Decimal, capacity: Decimal, values: Knobs) -> Decimal:
    """The share of its capacity that the named volume takes. Raises UsageError when it is more than all of it."""
    if mtok > capacity:
        machines = math.ceil(mtok * values.replicas / capacity)
        raise UsageError(
            f"{count(mtok)} M tokens a month are more than the {count(capacity)} M that "
            f"{values.replicas:f} of these machines can serve.",
            f"It takes {machines} of them: --replicas {machines}",
        )
    return mtok / capacity


def at_utilisation(busy: Decimal, total: Decimal, capacity: Decimal, speed: Speed) -> AtUtilisation:
    """The month's bill over the tokens that are served at that utilisation."""
    each = usd_per_mtok(total, busy * capacity)
    return AtUtilisation(
        utilisation=rounded(busy),
        mtok_per_month=rounded(busy * capacity),
        usd_per_mtok_output=rounded(each * speed.tokens_per_output_token),
        usd_per_mtok_blended=rounded(each),
        note=LOWER_BOUND if busy == 1 else "",
    )


def rounded_bill(month: Bill) -> Bill:
    """The bill's items as they are printed."""
    return month.model_copy(update={name: rounded(getattr(month, name)) for name in Bill.model_fields})


def claude_side(
    model: ClaudeModel, speed: Speed, own: SelfHosted, question: Question, on: date
) -> ClaudeSide:
    """One Claude model on the same texts, priced per request so that the tiers by prompt length are right."""
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
        answer=verdict.answer_of(own, even),
        verdict=verdict.verdict_of(own, model.name, base, even),
        warnings=warnings(model, request, on),
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
    mtok = own.usd_per_month / base
    needed = mtok / own.capacity_mtok_per_month
    return BreakEven(
        against=name,
        mtok_per_month=rounded(mtok),
        required_utilisation=rounded(needed),
        required_utilisation_low=rounded(needed * base / high),
        required_utilisation_high=rounded(needed * base / low),
        feasible=needed <= 1,
    )


def cheapest(sides: tuple[ClaudeSide, ...]) -> ClaudeSide:
    """The Claude model the answer is given against: the cheapest one that can still be bought."""
    sold = [side for side in sides if side.status != "retired"] or list(sides)
    return min(sold, key=lambda side: side.usd_per_mtok_blended)


def hosted_sides(plan: Plan, speed: Speed, on: date) -> tuple[HostedSide, ...]:
    """The same model at other hosts, by price. Its tokens are the same, so no ratio applies."""
    rows = []
    for offer in hosted.offers().offer:
        price = offer.price_of(plan.model)
        if price is not None:
            usd = price.output + price.input * (speed.tokens_per_output_token - 1)
            rows.append(
                HostedSide(
                    host=offer.host,
                    status=offer.status_on(on),
                    ends_on=offer.ends_on,
                    usd_per_mtok_blended=rounded(usd / speed.tokens_per_output_token),
                    note=offer.note,
                )
            )
    return tuple(sorted(rows, key=lambda row: (row.status == "ended", row.usd_per_mtok_blended)))


def hybrids(own: SelfHosted, sides: tuple[ClaudeSide, ...], question: Question) -> tuple[Hybrid, ...]:
    """The fleet for the most, Claude for a share and for what the fleet's answers are not good enough for."""
    if question.claude_share is None:
        return ()
    share = cascade_share(question.claude_share, question.escalation)
    return tuple(hybrid(own, side, question.claude_share, question.escalation, share) for side in sides)


def hybrid(own: SelfHosted, side: ClaudeSide, asked: Decimal, escalation: Decimal, share: Decimal) -> Hybrid:
    """One Claude model beside the fleet, at the volume compared."""
    tie = own.usd_per_month / ((1 - share) * side.usd_per_mtok_blended) if share < 1 else None
    return Hybrid(
        claude=side.name,
        claude_share=asked,
        escalation=escalation,
        reaches_claude=rounded(share),
        mtok_per_month=own.mtok_per_month,
        all_claude_usd=side.usd_per_month,
        hybrid_usd=rounded(hybrid_usd(own.usd_per_month, side.usd_per_month, share)),
        tie_mtok_per_month=None if tie is None else rounded(tie),
        feasible=tie is not None and tie * (1 - asked) <= own.capacity_mtok_per_month,
    )
