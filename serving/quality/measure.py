"""Two endpoints on the same texts: what each thinks of them, how far they are apart, and A from itself."""

import math
from collections.abc import Callable, Sequence

from infra.errors import UsageError
from serving.quality import divergence
from serving.quality.answers import common_share
from serving.quality.harness import run_tasks
from serving.quality.quality_options import QualityOptions
from serving.quality.quality_report import Quality
from serving.quality.reckoning import Answers, Figures, of_nothing, of_texts
from serving.quality.respondent import Respondent
from serving.quality.scored import Scored
from serving.quality.tasks import Task, unsure

Say = Callable[[str], None]


def compare(
    a: Respondent,
    b: Respondent,
    texts: Sequence[str],
    tasks: tuple[Task, ...],
    asked: QualityOptions,
    say: Say,
) -> Quality:
    """Compare two endpoints that are met, on texts, on known tasks, or on both.

    Raises UsageError where they cannot be compared by log-probabilities, before the first text where that can be known;
    EndpointError or AuthError where one does not answer; HostError where the tasks cannot be done here.
    """
    found = measure(a, b, texts, asked, say) if texts else of_nothing(a, b, asked)
    notes = dict.fromkeys(filter(None, (unsure(each, task) for task in tasks for each in (a, b))))
    return found.model_copy(
        update={"tasks": run_tasks(a, b, tasks, asked, say), "notes": (*found.notes, *notes)}
    )


def measure(a: Respondent, b: Respondent, texts: Sequence[str], asked: QualityOptions, say: Say) -> Quality:
    """Compare them on texts."""
    check(a, b, texts, asked)
    figures, answers = [], []
    for number, text in enumerate(texts, 1):
        figures.append(figures_of(a, b, number, text, asked.logprobs))
        if asked.most_answered:
            answers.append(answers_of(a, b, text, asked.most_answered))
        say(f"text {number} of {len(texts)}")
    if not sum(each.tokens for each in figures):
        raise UsageError(
            "No text has a second token, so none is foretold by what is before it.", "Give longer texts."
        )
    return of_texts(a, b, figures, answers, asked)


def check(a: Respondent, b: Respondent, texts: Sequence[str], asked: QualityOptions) -> None:
    """Raise UsageError for what cannot be asked of either."""
    for each in (a, b):
        each.check_scores(asked.logprobs)
    for number, text in enumerate(texts, 1):
        for each in (a, b):
            each.check_length(number, text, asked.logprobs, asked.most_answered)


def figures_of(a: Respondent, b: Respondent, number: int, text: str, count: int) -> Figures:
    """What both think of a text, and A a second time. Raises UsageError where their tokens are not the same."""
    of_a, of_b = a.scored(text, count), b.scored(text, count)
    check_tokens(number, of_a, of_b)
    again = a.scored(text, count)
    at_ids = b.at_ids(of_a, count)
    kl, covered = divergence.of_text(of_a.likely, at_ids or of_b.likely)
    kl_again, _ = divergence.of_text(of_a.likely, again.likely)
    return Figures(
        tokens=len(of_a.logprobs),
        surprise_a=surprise(of_a),
        surprise_b=surprise(of_b),
        surprise_again=surprise(again),
        kl=kl,
        covered=covered,
        kl_again=kl_again,
        at_a_ids=at_ids is not None,
    )


def surprise(of: Scored) -> float:
    """What a text's coming was to a model, in nats."""
    return -math.fsum(of.logprobs)


def check_tokens(number: int, a: Scored, b: Scored) -> None:
    """Raise UsageError for two tokenizers: a log-probability of another token is of something else."""
    if a.token_ids == b.token_ids:
        return
    place = next(
        (at for at, (one, other) in enumerate(zip(a.token_ids, b.token_ids, strict=False)) if one != other),
        min(len(a.token_ids), len(b.token_ids)),
    )
    raise UsageError(
        f"A and B cut text {number} into different tokens, from the {place + 1}. on ({len(a.token_ids):,} and "
        f"{len(b.token_ids):,} of them): their log-probabilities cannot be compared.",
        "Let a person compare the answers of both: add --blind.",
    )


def answers_of(a: Respondent, b: Respondent, text: str, tokens: int) -> Answers:
    """What both answer to a text, and A a second time."""
    first, other, again = (each.answer(text, tokens) for each in (a, b, a))
    return Answers(first == other, common_share(first, other), first == again, common_share(first, again))
