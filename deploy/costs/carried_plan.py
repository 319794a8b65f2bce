"""PURE: what a plan from `corral capacity` brings to a comparison: its machines' number, and its tokens a month."""

from decimal import Decimal

from deploy.costs.compare_options import LEAST_MTOK, MOST_MTOK, Question
from deploy.costs.served_class import ServedClass, here_share
from infra.errors import UsageError
from infra.money import rounded
from serving.sizing.plan import Plan


def machines_of(plan: Plan, asked: Question) -> dict[str, Decimal]:
    """The knobs that the plan sets, where the user named no number of machines of their own."""
    if plan.carried is None or asked.replicas is not None:
        return {}
    return {"replicas": Decimal(plan.carried.count), "spares": Decimal(plan.carried.spare_machines)}


def mtok_of(plan: Plan, question: Question, tokens_per_request: Decimal) -> Decimal | None:
    """Millions of tokens a month: the user's, else the plan's; None where a utilisation says it.

    Of classes those that are answered here; the user's and the plan's are of all.

    Raises UsageError for a traffic that nobody has.
    """
    if question.requests_per_month is not None:
        return question.requests_per_month * tokens_per_request / 1_000_000 * here_share(question.classes)
    if question.mtok_per_month is not None or question.utilisation is not None or plan.carried is None:
        asked = question.mtok_per_month
        return None if asked is None else asked * here_share(question.classes)
    mtok = rounded(Decimal(repr(plan.carried.traffic.tokens_per_month)) / 1_000_000)
    if not LEAST_MTOK <= mtok <= MOST_MTOK:
        raise UsageError(
            f"The plan's traffic is {mtok:.3g} million tokens a month, which is not between {LEAST_MTOK} "
            f"and {MOST_MTOK:,}.",
            "Say how much there is: --mtok-per-month 500",
        )
    return mtok * here_share(question.classes)


def classes_of(plan: Plan, question: Question) -> tuple[ServedClass, ...]:
    """The user's classes, else those that the plan was made for, which are all answered here."""
    planned = plan.carried.traffic.classes if plan.carried else ()
    return question.classes or tuple(ServedClass(**each.model_dump()) for each in planned)


def short(plan: Plan) -> str:
    """That the plan's machines do not carry its peak; empty where they do."""
    if plan.carried is None or not plan.carried.missing_requests_per_s:
        return ""
    traffic = plan.carried.traffic
    return (
        f"NOT ENOUGH: of {traffic.peak_requests_per_s:.3g} requests/s at peak the plan's machines, {plan.carried}, "
        f"do not carry {plan.carried.missing_requests_per_s:.3g}."
    )
