"""PURE: what the side of Claude rests on: its prices, what is cached and asked again, and what nobody corrected."""

from decimal import Decimal

from deploy.costs.claude_names import named
from deploy.costs.claude_platforms import platforms
from deploy.costs.compare_options import Question
from deploy.costs.comparison import Speed
from deploy.costs.knobs import PLACEHOLDER, Assumption, Whose
from deploy.costs.same_traffic import MOST_PLANNED
from infra.money import count, percent

NOT_CORRECTED = "quality, verbosity beyond --claude-output-ratio, rate limits"


def claude_lines(question: Question, speed: Speed, is_silent: bool) -> tuple[Assumption, ...]:
    """How the requests are sent to Claude, and what nobody corrected; `is_silent`: a probe that tells of no cache."""
    return (
        *price_lines(question),
        *cache_lines(question, speed, is_silent),
        *asked_again(question),
        *longer_prompts(question),
        chosen_number(
            "claude_output_ratio",
            "length of Claude's answer over Llama's, in text",
            f"{question.claude_output_ratio:f}",
            question.claude_output_ratio - 1,
        ),
        Assumption(
            name="not_corrected",
            means="left out of both sides",
            value=NOT_CORRECTED,
            whose="ours",
            source="of quality: corral quality A B --texts texts.txt",
        ),
    )


def price_lines(question: Question) -> tuple[Assumption, ...]:
    """Where Claude's prices are from, by each platform that is asked."""
    way = ", ".join(name for name, on in question.way.model_dump().items() if on) or "standard"
    asked = question.claude_platform or "api"
    staying, classes = (
        [each.claude for each in some if each.claude] for some in (question.staying, question.classes)
    )
    compared = (*question.claude_models, *staying)
    names = dict.fromkeys(named(model).platform or asked for model in compared) or {asked: None}
    names |= dict.fromkeys(named(model).platform or asked for model in classes)
    return tuple(
        Assumption(
            name="claude_prices" if seller.id == "api" else f"claude_prices_{seller.id}",
            means=f"{seller.name.removeprefix('the ')} list prices, no discount; a price list is no bill",
            value=way,
            whose="list price",
            source=seller.source,
            checked_on=seller.checked_on,
        )
        for seller in (platforms()[name] for name in names)
    )


def cache_lines(question: Question, speed: Speed, is_silent: bool) -> tuple[Assumption, ...]:
    """How much of a prompt a prefix cache holds: of both sides; and what is written for it at Claude."""
    share = speed.prefix_share
    written = (question.cache_write_fraction, question.cache_write_1h_fraction)
    less = "; here the planner reckons with 99%" if share > MOST_PLANNED and speed.basis == "modelled" else ""
    sides = "at Claude alone: the probe tells nothing of one here" if share and is_silent else "on both sides"
    read = chosen_number(
        "cache_read",
        f"share of the prompt read from a prefix cache, {sides}{less}",
        percent(share),
        share,
    )
    if share and question.cache_read_fraction is None:
        whose: Whose = "measured" if speed.basis == "measured" else "modelled"
        told = "the probe: its server's own counters" if whose == "measured" else "the plan"
        read = read.model_copy(update={"whose": whose, "source": told})
    said = f"{percent(written[0])} for five minutes, {percent(written[1])} for an hour"
    return (
        read,
        chosen_number(
            "claude_cache_write", "share of the prompt written to Claude's cache", said, sum(written)
        ),
    )


def asked_again(question: Question) -> tuple[Assumption, ...]:
    """What is asked again, and what Claude thinks, where either was said."""
    here, there = question.retries, question.claude_retries
    retried = f"{percent(here)} here, {percent(there)} there"
    thought = f"{count(question.thinking_tokens)} a request"
    every = (
        chosen_number("retries", "share of answers that are asked for again", retried, here + there),
        chosen_number("thinking_tokens", "of Claude, billed as output", thought, question.thinking_tokens),
    )
    return tuple(
        each for each, said in zip(every, (here + there, question.thinking_tokens), strict=True) if said
    )


def longer_prompts(question: Question) -> tuple[Assumption, ...]:
    """How much longer Claude's prompts are, where that was said."""
    ratio = question.claude_input_ratio
    means = "length of Claude's prompt over Llama's, in text"
    return (chosen_number("claude_input_ratio", means, f"{ratio:f}", ratio - 1),) if ratio != 1 else ()


def chosen_number(name: str, means: str, value: str, differs: Decimal | int) -> Assumption:
    """A figure that is the user's once it differs from the neutral one."""
    yours = bool(differs)
    return Assumption(
        name=name,
        means=means,
        value=value,
        whose="yours" if yours else PLACEHOLDER,
        source="command line" if yours else "nobody said",
    )
