"""PURE: a traffic of several classes, each answered here or at the Claude model that is good enough for it."""

from collections.abc import Callable, Iterable
from datetime import date
from decimal import Decimal

from deploy.costs.class_bill import ByClass, ClassBill, Split, TeamBill
from deploy.costs.claude_mix import Asked, billed_alike, mean_usd
from deploy.costs.claude_prices import ClaudeModel
from deploy.costs.compare_options import Question
from deploy.costs.comparison import SelfHosted
from deploy.costs.request_mix import mean_tokens, mix_of_classes
from deploy.costs.served_class import ServedClass, here_share, teams_of
from deploy.costs.token_ratio import token_ratio
from infra.money import MTOK, exact, rounded

SUMMED = tuple(Split.model_fields)
ModelOf = Callable[[str], ClaudeModel]
"""A model by its name, as it is sold where and when it was asked for."""


def by_class(
    classes: tuple[ServedClass, ...],
    own: SelfHosted,
    question: Question,
    good_enough: str,
    model_of: ModelOf,
    requests_asked: Asked,
    on: date,
) -> ByClass | None:
    """The month by class and by team, at the volume that is compared; None without classes.

    `good_enough` is the Claude model of a class that names none. The machines' bill is that of the classes that stay.
    """
    if not classes:
        return None
    mix = mix_of_classes(classes)
    whole = sum((exact(each.share) for each in classes), Decimal(0))
    mtok = own.mtok_per_month / here_share(classes)
    requests = mtok * MTOK / mean_tokens(mix)
    bills = tuple(
        class_bill(
            each,
            requests * exact(each.share) / whole,
            whole,
            own,
            question,
            good_enough,
            model_of,
            requests_asked,
            on,
        )
        for each in classes
    )
    return ByClass(
        classes=bills,
        teams=tuple(
            TeamBill(team=team, **summed(each for each in bills if each.team == team))
            for team in teams_of(classes)
        ),
        total=Split(**summed(bills)),
    )


def class_bill(
    asked: ServedClass,
    requests: Decimal,
    whole: Decimal,
    own: SelfHosted,
    question: Question,
    good_enough: str,
    model_of: ModelOf,
    requests_asked: Asked,
    on: date,
) -> ClassBill:
    """One class of so many requests a month. Escalated ones are answered on both sides, and cost on both."""
    mix = mix_of_classes((asked,))
    mtok = requests * mean_tokens(mix) / MTOK
    model = model_of(asked.claude or good_enough)
    ratio = token_ratio(model.tokenizer, question.content, question.token_ratio).base
    alike = billed_alike(model, requests_asked._replace(mix=mix, is_average=False), ratio, question)
    each_usd = mean_usd(model, alike, question, on) * (1 + question.claude_retries)
    is_here, there = asked.at == "here", requests * exact(asked.reaches_claude)
    here_usd = own.usd_per_month * mtok / own.mtok_per_month if is_here else Decimal(0)
    usd, all_claude_usd = here_usd + there * each_usd, requests * each_usd
    return ClassBill(
        name=asked.name,
        team=asked.team,
        share=rounded(exact(asked.share) / whole),
        at=asked.at,
        claude=model.id,
        escalation=exact(asked.escalation),
        fallback=asked.fallback,
        requests_per_month=rounded(requests),
        mtok_per_month=rounded(mtok),
        requests_here=rounded(requests) if is_here else Decimal(0),
        requests_at_claude=rounded(there),
        here_usd=rounded(here_usd),
        claude_usd=rounded(there * each_usd),
        usd_per_month=rounded(usd),
        all_claude_usd=rounded(all_claude_usd),
        saving_usd_per_month=rounded(all_claude_usd - usd),
    )


def summed(bills: Iterable[Split]) -> dict[str, Decimal]:
    """The figures of several together."""
    each_bill = tuple(bills)
    return {name: rounded(sum((getattr(bill, name) for bill in each_bill), Decimal(0))) for name in SUMMED}
