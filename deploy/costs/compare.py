"""PURE: a plan, a probe and a price against the Claude API: $/M tokens, break-even or "never", and what it rests on."""

from datetime import date
from decimal import Decimal

from deploy.costs.assumptions import assumptions_of
from deploy.costs.carried_plan import machines_of, mtok_of, short
from deploy.costs.claude_platforms import sold
from deploy.costs.claude_side import cheapest, claude_side
from deploy.costs.compare_options import Question
from deploy.costs.comparison import ClaudeSide, Comparison, Hybrid, SelfHosted
from deploy.costs.currency import currency
from deploy.costs.doubts import doubts
from deploy.costs.hosted_side import hosted_doubts, hosted_note, hosted_sides
from deploy.costs.knobs import knobs
from deploy.costs.machine_price import machine_price
from deploy.costs.machine_speed import speed_of
from deploy.costs.month_itemised import month
from deploy.costs.monthly_bill import cascade_share, hybrid_usd
from deploy.costs.purchase import as_bought
from deploy.costs.self_hosted import OurSide, our_side
from deploy.costs.sensitivity import swings
from deploy.costs.verdict import what_would_change
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
    price = machine_price(plan, question)
    values = as_bought(knobs(machines_of(plan, question) | question.knobs), price.purchase, question)
    ours = our_side(speed, values, price, mtok_of(plan, question))
    day = question.at or on
    models = {model.id: model for model in (sold(name, question, day) for name in models_of(question))}
    sides = tuple(claude_side(model, ours, question, day) for model in models.values())
    chosen = cheapest(sides)
    others = hosted_sides(plan, speed, ours.figures, on)
    return Comparison(
        made_on=on,
        model=plan.model,
        precision=plan.precision,
        machine=machine_of(plan),
        speed=speed,
        knobs=values,
        self_hosted=ours.figures,
        month=month(ours, sides, others, currency(question.currency) if question.currency else None),
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
        hybrid=hybrids(ours, sides, question, day),
        sensitivity=swings(ours, chosen),
        warnings=(
            *filter(None, (short(plan),)),
            *doubts(plan, probe, chosen.token_ratio),
            *price.doubts(on),
            *hosted_doubts(others, question.batch),
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


def hybrids(
    ours: OurSide, sides: tuple[ClaudeSide, ...], question: Question, day: date
) -> tuple[Hybrid, ...]:
    """The fleet for the most, Claude for a share and for what the fleet's answers are not good enough for."""
    if question.claude_share is None:
        return ()
    share = cascade_share(question.claude_share, question.escalation)
    bulk = bulk_of(ours, sides, question, day)
    return tuple(
        hybrid(ours.figures, side, bulk, question.claude_share, question.escalation, share) for side in sides
    )


def bulk_of(ours: OurSide, sides: tuple[ClaudeSide, ...], question: Question, day: date) -> ClaudeSide:
    """The Claude that would do what the fleet does: the cheapest, of those compared with and of corral's own choice."""
    there = {side.model for side in sides}
    models = (sold(name, question, day) for name in DEFAULT_MODELS)
    others = (claude_side(model, ours, question, day) for model in models if model.id not in there)
    return cheapest((*sides, *others))


def hybrid(
    own: SelfHosted, side: ClaudeSide, bulk: ClaudeSide, asked: Decimal, escalation: Decimal, share: Decimal
) -> Hybrid:
    """One Claude model beside the fleet, at the volume compared."""
    is_rival = bulk.model != side.model
    bulk_usd = (1 - asked) * bulk.usd_per_month + share * side.usd_per_month
    tie = own.usd_per_month / ((1 - share) * side.usd_per_mtok_blended) if share < 1 else None
    return Hybrid(
        claude=side.name,
        claude_share=asked,
        escalation=escalation,
        reaches_claude=rounded(share),
        mtok_per_month=own.mtok_per_month,
        all_claude_usd=side.usd_per_month,
        hybrid_usd=rounded(hybrid_usd(own.usd_per_month, side.usd_per_month, share)),
        bulk_claude=bulk.name if is_rival else None,
        bulk_claude_usd=rounded(bulk_usd) if is_rival else None,
        tie_mtok_per_month=None if tie is None else rounded(tie),
        feasible=tie is not None and tie * (1 - asked) <= own.capacity_mtok_per_month,
    )
