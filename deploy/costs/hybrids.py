"""PURE: the fleet for most of the tokens, Claude for a share; and its rival, a cheap Claude for most of them."""

from contextlib import suppress
from datetime import date
from decimal import Decimal

from deploy.costs.claude_mix import Asked
from deploy.costs.claude_platforms import offered
from deploy.costs.claude_prices import ClaudeModel
from deploy.costs.claude_side import cheapest, claude_side
from deploy.costs.compare_options import Question
from deploy.costs.comparison import ClaudeSide, Hybrid, SelfHosted
from deploy.costs.monthly_bill import cascade_share, hybrid_usd
from deploy.costs.self_hosted import OurSide
from infra.errors import UsageError
from infra.money import rounded

DEFAULT_MODELS = ("claude-haiku-5-5", "claude-sonnet-5-5", "claude-opus-5-5")


def hybrids(
    ours: OurSide,
    sides: tuple[ClaudeSide, ...],
    asked: Asked,
    question: Question,
    mtok: Decimal | None,
    day: date,
) -> tuple[Hybrid, ...]:
    """The fleet for the most, Claude for a share and for what the fleet's answers are not good enough for.

    `mtok` is the whole volume, of which the fleet may serve only a part; None where a utilisation says it.
    """
    if question.claude_share is None:
        return ()
    bulk = bulk_of(ours, sides, asked, question, day)
    whole = ours.figures.mtok_per_month if mtok is None else mtok
    return tuple(hybrid(ours.figures, side, bulk, question, whole) for side in sides)


def bulk_of(
    ours: OurSide, sides: tuple[ClaudeSide, ...], asked: Asked, question: Question, day: date
) -> ClaudeSide:
    """The Claude that would do what the fleet does: the cheapest, of those compared with and of corral's own choice."""
    there = {side.model for side in sides}
    models = (model for model in own_choice(question, day) if model.id not in there)
    others = (claude_side(model, ours, asked, question, day) for model in models)
    return cheapest((*sides, *others))


def own_choice(question: Question, day: date) -> tuple[ClaudeModel, ...]:
    """Of our own choice those that are sold there, in a batch if that is asked: the rest fails no comparison."""
    with suppress(UsageError):
        models = offered(DEFAULT_MODELS, question, day)
        return tuple(model for model in models if model.batch or not question.batch)
    return ()


def hybrid(own: SelfHosted, side: ClaudeSide, bulk: ClaudeSide, question: Question, mtok: Decimal) -> Hybrid:
    """One Claude model beside the fleet, at the whole volume."""
    share_asked = question.claude_share or Decimal(0)
    share = cascade_share(share_asked, question.escalation)
    is_rival = bulk.model != side.model
    all_claude = side.usd_per_mtok_blended * mtok
    bulk_usd = (1 - share_asked) * bulk.usd_per_mtok_blended * mtok + share * all_claude
    tie = own.usd_per_month / ((1 - share) * side.usd_per_mtok_blended) if share < 1 else None
    return Hybrid(
        claude=side.name,
        claude_share=share_asked,
        escalation=question.escalation,
        reaches_claude=rounded(share),
        mtok_per_month=rounded(mtok),
        all_claude_usd=rounded(all_claude),
        hybrid_usd=rounded(hybrid_usd(own.usd_per_month, all_claude, share)),
        bulk_claude=bulk.name if is_rival else None,
        bulk_claude_usd=rounded(bulk_usd) if is_rival else None,
        tie_mtok_per_month=None if tie is None else rounded(tie),
        feasible=tie is not None
        and tie * (1 - share_asked) <= own.capacity_mtok_per_month * own.most_utilisation,
    )
