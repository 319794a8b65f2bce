"""PURE: a plan, a probe and a price against the Claude API: $/M tokens, break-even or "never", and what it rests on."""

from datetime import date
from decimal import Decimal

from deploy.costs.assumptions import assumptions_of
from deploy.costs.carried_plan import machines_of, mtok_of, short
from deploy.costs.claude_platforms import sold
from deploy.costs.claude_side import cheapest, claude_side
from deploy.costs.compare_options import Question
from deploy.costs.comparison import ClaudeSide, Comparison, Hybrid, SelfHosted
from deploy.costs.doubts import doubts
from deploy.costs.hosted_side import hosted_sides
from deploy.costs.knobs import knobs
from deploy.costs.machine_price import machine_price
from deploy.costs.machine_speed import speed_of
from deploy.costs.monthly_bill import cascade_share, hybrid_usd
from deploy.costs.self_hosted import our_side
from deploy.costs.sensitivity import swings
from deploy.costs.verdict import hosted_note, what_would_change
from infra.money import rounded
from serving.probe.report import ProbeReport
from serving.sizing.plan import Plan, check_probed

DEFAULT_MODELS = ("claude-haiku-5-5", "claude-sonnet-5-5", "claude-opus-5-5")


def compare(plan: Plan, probe: ProbeReport | None, question: Question, on: date) -> Comparison:
    """Compare, and carry every assumption along.

    Raises ProbeInvalid for a probe that must not be used, and UsageError for a probe of another model, an owned
    machine without a price, an unknown Claude model, or more tokens than the machines can serve.
    """
    if probe:
        check_probed(plan, probe.model)
    speed = speed_of(plan, probe, question.allow_invalid)
    values = knobs(machines_of(plan) | question.knobs)
    price = machine_price(plan, question.price_per_hour, question.capex_usd)
    ours = our_side(speed, values, price, mtok_of(plan, question))
    day = question.at or on
    models = {model.id: model for model in (sold(name, question, day) for name in models_of(question))}
    sides = tuple(claude_side(model, ours, question, day) for model in models.values())
    chosen = cheapest(sides)
    others = hosted_sides(plan, speed, on)
    return Comparison(
        made_on=on,
        model=plan.model,
        precision=plan.precision,
        machine=machine_of(plan),
        speed=speed,
        knobs=values,
        self_hosted=ours.figures,
        claude=sides,
        hosted=others,
        break_even=chosen.break_even,
        answer=chosen.answer,
        verdict=chosen.verdict,
        what_would_change_it=tuple(
            text
            for text in (
                *what_would_change(ours, chosen, sides),
                hosted_note(ours.figures, others),
            )
            if text
        ),
        hybrid=hybrids(ours.figures, sides, question),
        sensitivity=swings(ours, chosen),
        warnings=(
            *filter(None, (short(plan),)),
            *doubts(plan, probe, chosen.token_ratio),
            *price.doubts(on),
            *dict.fromkeys(w for s in sides for w in s.warnings),
        ),
        assumptions=assumptions_of(plan, ours, question, chosen),
    )


def machine_of(plan: Plan) -> str:
    """What is compared: the plan's machine, or all of unequal ones."""
    unequal = plan.carried is not None and len(plan.carried.machines) > 1
    return str(plan.carried) if unequal else plan.machine.name


def models_of(question: Question) -> tuple[str, ...]:
    """The Claude models to compare with, as they were named."""
    return question.claude_models or DEFAULT_MODELS


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
