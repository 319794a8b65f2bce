"""PURE: of the machines that hold a model, the three that are offered to who named none, and why each is."""

from collections.abc import Sequence
from typing import NamedTuple

from infra.prices import ON_DEMAND
from serving.model.models import PRECISIONS
from serving.sizing.plan import Plan
from serving.sizing.size import known_price

OFFERED = 3
CHEAPEST, CHEAPEST_A_TOKEN, FASTEST, NEXT = "cheapest", "cheapest a token", "fastest", "next a token"
DEAREST_TOKEN = 5
"""Times the least price of a token: beyond it a machine is none to begin with, however fast: a judgement."""
TOKENS_PER_MTOK_HOUR = 3600 / 1e6


class Offered(NamedTuple):
    """A machine with the model on it."""

    plan: Plan
    why: str
    """What it is the best by, in a word or two; empty where its price is not known."""


class Worth(NamedTuple):
    """What is shown of a machine, each a number of which more is better."""

    cheapness: float
    tokens_per_s: float
    promptness: float
    faithfulness: int
    is_sure: bool
    context_tokens: int

    @property
    def usd_per_mtok(self) -> float:
        """At that speed."""
        return -self.cheapness / (self.tokens_per_s * TOKENS_PER_MTOK_HOUR)


def offer(plans: Sequence[Plan]) -> list[Offered]:
    """The cheapest, that with the least price a token, and the fastest that is worth it, in the order of the plans.

    None is among them that another is as good as in all that is shown, and better in something. Where one is the best
    in two ways, the next by the price of a token takes its place. By the region's prices, where any is known there.
    Where none is known anywhere: the first three.
    """
    here = [plan for plan in plans if plan.price] or plans
    known = {plan.machine.name: (plan, each) for plan in here if (each := worth(plan))}
    good = {
        name: each
        for name, (_, each) in known.items()
        if not any(is_beaten(each, other) for _, other in known.values())
    }
    why: dict[str, list[str]] = {}
    if good:
        by_token = sorted(good, key=lambda name: good[name].usd_per_mtok)
        most = DEAREST_TOKEN * good[by_token[0]].usd_per_mtok
        worth_it = [name for name in by_token if good[name].usd_per_mtok <= most]
        why.setdefault(max(good, key=lambda name: good[name].cheapness), []).append(CHEAPEST)
        why.setdefault(by_token[0], []).append(CHEAPEST_A_TOKEN)
        why.setdefault(max(worth_it, key=lambda name: good[name].tokens_per_s), []).append(FASTEST)
        for name in by_token:
            if len(why) < OFFERED:
                why.setdefault(name, [NEXT])
    for plan in plans:
        if len(why) < OFFERED and plan.machine.name not in known:
            why[plan.machine.name] = []
    return [Offered(plan, ", ".join(why[plan.machine.name])) for plan in plans if plan.machine.name in why]


def worth(plan: Plan) -> Worth | None:
    """What is shown of it; None where its price by the hour or its speed is not known."""
    price, speed = known_price(plan), plan.throughput
    if price is None or speed is None or price.purchase != ON_DEMAND:
        return None
    return Worth(
        cheapness=-float(price.usd_per_hour),
        tokens_per_s=speed.output_tokens_per_s,
        promptness=-speed.ttft_s,
        faithfulness=-PRECISIONS.index(plan.precision) if plan.precision in PRECISIONS else 0,
        is_sure=plan.verdict == "fits",
        context_tokens=plan.kv.max_context_tokens,
    )


def is_beaten(one: Worth, other: Worth) -> bool:
    """Whether the other is as good in all, and better in something."""
    return one != other and all(theirs >= ours for ours, theirs in zip(one, other, strict=True))
