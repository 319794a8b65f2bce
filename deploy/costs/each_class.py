"""PURE: the classes that stay against the Claude models that are good enough for each, as one side of a comparison."""

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import NamedTuple

from deploy.costs.claude_mix import Asked
from deploy.costs.claude_prices import Status
from deploy.costs.claude_side import break_even
from deploy.costs.compare_options import Question
from deploy.costs.comparison import Answer, ClaudeSide
from deploy.costs.likelihood import chances
from deploy.costs.request_mix import mix_of_classes
from deploy.costs.self_hosted import OurSide
from deploy.costs.served_class import ServedClass, class_tokens
from deploy.costs.verdict import answer_of, cannot_be_asked, verdict_of
from infra.money import exact, rounded

NAME = "each class's own Claude"
STATUSES: tuple[Status, ...] = ("retired", "limited", "live")
AtClaude = Callable[[str, Asked], ClaudeSide]
"""One model, by its name, on some requests."""


class Part(NamedTuple):
    """A class that stays, and what it would cost at its own Claude."""

    asked: ServedClass
    share: Decimal
    """Of the tokens of all that stay."""
    side: ClaudeSide

    @property
    def spared_share(self) -> Decimal:
        """Of those tokens, what is not asked again there."""
        return self.share * (1 - exact(self.asked.escalation))


def parts_of(
    classes: Sequence[ServedClass], good_enough: str, asked: Asked, at_claude: AtClaude
) -> tuple[Part, ...]:
    """Each class at its own Claude, where one names any; `good_enough` is that of one that names none."""
    if not any(each.claude for each in classes):
        return ()
    whole = sum((class_tokens(each) for each in classes), Decimal(0))
    return tuple(
        Part(
            each,
            class_tokens(each) / whole,
            at_claude(
                each.claude or good_enough,
                asked._replace(mix=mix_of_classes((each,)), is_average=False, again=()),
            ),
        )
        for each in classes
    )


def against(
    parts: tuple[Part, ...], each_model: Sequence[ClaudeSide], ours: OurSide, question: Question, asked: Asked
) -> ClaudeSide | None:
    """What the answer is given against: the one Claude of all classes, else each at its own; None if none is said."""
    own = {part.side.model for part in parts}
    if len(own) > 1:
        return each_class(parts, ours, question, asked)
    return next((side for side in each_model if side.model in own), None)


def each_class(parts: tuple[Part, ...], ours: OurSide, question: Question, asked: Asked) -> ClaudeSide:
    """All of them as one side; how far the token ratio may be off is that of the model with the largest bill."""
    own = ours.figures
    largest = max(parts, key=lambda part: part.share * part.side.usd_per_mtok_blended).side
    base, low, high, listed = (
        sum((part.share * getattr(part.side, f"usd_per_mtok_{end}") for part in parts), Decimal(0))
        for end in ("blended", "low", "high", "list_blended")
    )
    spared, at_low, at_high = (
        sum((part.spared_share * getattr(part.side, f"usd_per_mtok_{end}") for part in parts), Decimal(0))
        for end in ("blended", "low", "high")
    )
    even = break_even(own, NAME, spared, at_low, at_high)
    chance, fully_busy = chances(asked.drawn, largest.token_ratio, (at_low, spared, at_high))
    answer: Answer = answer_of(even, chance, fully_busy, ours.speed.point.is_most)
    verdict = verdict_of(ours, question, NAME, base, base - spared, even, answer, chance)
    refused = [part for part in parts if part.side.answer == "cannot be asked"]
    if refused:
        answer = "cannot be asked"
        whose = "; ".join(
            f"a request of {part.asked.name} is longer than {part.side.name} takes" for part in refused
        )
        verdict = cannot_be_asked(ours, NAME, whose, base)
    requests = sum((exact(part.asked.share) for part in parts), Decimal(0))
    return ClaudeSide(
        model=NAME,
        models=tuple(dict.fromkeys(part.side.model for part in parts)),
        name=NAME,
        status=next(each for each in STATUSES if any(part.side.status == each for part in parts)),
        usd_per_mtok_blended=rounded(base),
        usd_per_mtok_low=rounded(low),
        usd_per_mtok_high=rounded(high),
        usd_per_mtok_asked_again=rounded(base - spared),
        usd_per_mtok_list_blended=rounded(listed),
        usd_per_request=rounded(
            sum((exact(part.asked.share) * part.side.usd_per_request for part in parts), Decimal(0))
            / requests
        ),
        usd_per_month=rounded(base * own.mtok_per_month),
        token_ratio=largest.token_ratio,
        break_even=even,
        probability=chance,
        probability_fully_busy=fully_busy,
        answer=answer,
        verdict=verdict,
        warnings=tuple(dict.fromkeys(text for part in parts for text in part.side.warnings)),
    )
