"""What a user asked `corral compare`, checked, as a Question; and the documents it names."""

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from deploy.costs import knobs
from deploy.costs.ask_cost import number
from deploy.costs.claude_cost import Way
from deploy.costs.compare_question import Question
from infra.errors import UsageError
from serving.probe.report import ProbeReport
from serving.sizing.plan import Plan

# Least and most of what is not a knob. A ratio outside would be a typing error, not a text.
RANGES: dict[str, tuple[Decimal, Decimal]] = {
    "price_per_hour": (Decimal("0.0001"), Decimal(100_000)),
    "capex_usd": (Decimal(1), Decimal(1_000_000_000)),
    "mtok_per_month": (Decimal("0.000001"), Decimal(1_000_000_000)),
    "token_ratio": (Decimal("0.2"), Decimal(5)),
    "claude_output_ratio": (Decimal("0.01"), Decimal(100)),
    "cache_read_fraction": (Decimal(0), Decimal(1)),
    "cache_write_fraction": (Decimal(0), Decimal(1)),
    "claude_share": (Decimal(0), Decimal(1)),
    "escalation": (Decimal(0), Decimal(1)),
}


def read(plan: Path, probe: Path | None) -> tuple[Plan, ProbeReport | None]:
    """The documents. Raises DocumentError for one that is missing, corrupt or something else."""
    return Plan.read(plan), ProbeReport.read(probe) if probe else None


def question_of(given: Mapping[str, Any]) -> Question:
    """The options of the command line. Raises UsageError for a number outside its range, or two that contradict."""
    numbers = {
        name: number(knobs.option(name), given[name], least, most)
        for name, (least, most) in RANGES.items()
        if given[name] is not None
    }
    own = {
        name: number(knobs.option(name), given[name], knob.least, knob.most)
        for name, knob in knobs.table().items()
        if given[name] is not None
    }
    question = Question(
        claude_models=tuple(given["claude_model"] or ()),
        content=given["content"],
        way=Way(batch=given["batch"], us_only=given["us_only"]),
        knobs=own,
        allow_invalid=given["allow_invalid"],
        **numbers,
    )
    refuse_contradictions(question)
    return question


def refuse_contradictions(question: Question) -> None:
    """Raise UsageError for two options that cannot both hold."""
    if question.mtok_per_month is not None and "utilisation" in question.knobs:
        raise UsageError(
            "A volume already says how busy the machine is.",
            "Use --utilisation or --mtok-per-month, not both.",
        )
    if question.token_ratio is not None and question.content is not None:
        raise UsageError(
            "A kind of text already sets the ratio.", "Use --token-ratio or --content, not both."
        )
    if question.cache_read_fraction + question.cache_write_fraction > 1:
        raise UsageError("The cached shares of the prompt add up to more than 1.", "Make them at most 1.")
    if question.escalation and question.claude_share is None:
        raise UsageError(
            "--escalation is a part of a hybrid.", "Say how much goes to Claude at once: --claude-share 0"
        )
