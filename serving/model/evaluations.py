"""What others measured of a checkpoint's answers, and what so many items can show."""

import math
from datetime import date
from functools import cache
from typing import Any

from infra.columns import wrapped
from infra.data import shipped_table
from infra.record import Record

SMALL = ("int4", "nvfp4")
"""Those of 4 bits, of which somebody should have looked at the answers."""
TOLD = ("mmlu", "mmlu_llama", "mmlu_pro", "math_500", "math_lvl5", "humaneval_64")


SURE = 2
"""A difference of so many standard errors of a score is hardly its noise."""


class Score(Record):
    """One task: percent right."""

    title: str
    items: int
    percent: float
    original: float | None = None
    """Of the 16-bit model, by the same people; None where they did not compare."""

    @property
    def error_points(self) -> float:
        """One standard error of the score, in points: of a yes or no of each item."""
        return 100 * math.sqrt(self.percent / 100 * (1 - self.percent / 100) / self.items)

    @property
    def change(self) -> float:
        """Points against the original; nan where there is none."""
        return math.nan if self.original is None else self.percent - self.original

    @property
    def is_lower(self) -> bool:
        """Whether it is lower than the original by more than its noise; both are of the same items."""
        return self.change < -SURE * self.error_points


class Evaluation(Record):
    """What one publisher says of a checkpoint."""

    repo: str
    who: str
    source: str
    read_on: date
    scores: dict[str, Score]

    @property
    def changes(self) -> tuple[float, ...]:
        """Points against the original, of the tasks that have both."""
        return tuple(each.change for each in self.scores.values() if each.original is not None)


@cache
def evaluations() -> dict[str, tuple[Evaluation, ...]]:
    """The published ones, by repository, each by other people."""
    table = shipped_table("serving.model", "evaluations.toml")
    found: dict[str, tuple[Evaluation, ...]] = {}
    for row in table["evaluation"]:
        found[row["repo"]] = (*found.get(row["repo"], ()), evaluation(row, table))
    return found


def evaluation(row: dict[str, Any], table: dict[str, Any]) -> Evaluation:
    """One table of evaluations.toml."""
    scores = {
        task: Score(percent=percent, original=row.get("original", {}).get(task), **table["task"][task])
        for task, percent in row["score"].items()
    }
    return Evaluation(repo=row["repo"], scores=scores, **table["source"][row["source"]])


def note(repo: str, precision: str) -> str:
    """What is known of the answers of a checkpoint of 4 bits, and how to know more; "" for any other."""
    if precision not in SMALL:
        return ""
    look = "corral quality A B --texts FILE compares its answers with another's on your own texts"
    published = evaluations().get(repo, ())
    if not published:
        return f"No published evaluation of these weights is known to corral; {look}."
    return f"{'; '.join(map(in_short, published))}, not repeated here; {look}."


def beside(repo: str, other_repo: str, other: str) -> str:
    """The published change of a checkpoint's answers beside another's, in a sentence; "" where none is known."""
    each = [mean_change(checkpoint) for checkpoint in (repo, other_repo)]
    if each[0] is None:
        return ""
    than = "" if each[1] is None else f" ({other} {each[1]:+.2f})"
    return f"; published of its answers: {each[0]:+.2f} points on average against bf16{than}"


def mean_change(repo: str) -> float | None:
    """Points against the original, on average over the tasks of the first publisher that has both; None for none."""
    changes = next((each.changes for each in evaluations().get(repo, ()) if each.changes), ())
    return math.fsum(changes) / len(changes) if changes else None


def sources(repo: str) -> tuple[str, ...]:
    """Where each published evaluation of a checkpoint stands, and when it was read there; empty where none is."""
    return tuple(
        f"{each.who} of {repo}: {each.source}; read {each.read_on}" for each in evaluations().get(repo, ())
    )


def in_short(found: Evaluation) -> str:
    """What one publisher says, without an end."""
    told = (found.scores[task] for task in TOLD if task in found.scores)
    figures = ", ".join(
        f"{each.title} {each.percent:.2f}" + (f" (bf16 {each.original:.2f})" if each.original else "")
        for each in told
    )
    changes = found.changes
    against = (
        f"{math.fsum(changes) / len(changes):+.2f} points on average over {among(len(changes), len(found.scores))}, "
        f"{fallen(found)}"
        if changes
        else "of bf16 nothing by the same people"
    )
    return f"{found.who} published of these weights: {figures}; {against}"


def fallen(found: Evaluation) -> str:
    """The tasks whose score is lower by more than its noise."""
    told = [f"{each.title} {each.change:+.2f}" for each in found.scores.values() if each.is_lower]
    if not told:
        return f"none lower by more than {SURE} standard errors of its score"
    return f"lower by more than {SURE} standard errors of a score: {', '.join(told)}"


def among(count: int, of: int) -> str:
    """So many tasks, of more where bf16 was not asked all of them."""
    return f"{count} tasks" if count == of else f"the {count} of {of} tasks that bf16 was asked, too"


def lines(repo: str) -> tuple[str, ...]:
    """Everything published of a checkpoint, a line a task, with what its items can show; empty where nothing is."""
    published = evaluations().get(repo, ())
    told = [
        line
        for found in published
        for line in (
            wrapped(
                f"Published evaluations of {repo}: {found.who}, read {found.read_on} ({found.source})", ""
            ),
            *map(score_line, found.scores.values()),
        )
    ]
    return (*told, *judged_by()) if told else ()


def score_line(score: Score) -> str:
    """One task."""
    against = "" if score.original is None else f", bf16 {score.original:.2f} ({score.change:+.2f})"
    return (
        f"  {score.title}: {score.percent:.2f}{against}; {score.items:,} items, "
        f"one standard error is {score.error_points:.2f} points"
    )


def judged_by() -> tuple[str, str]:
    """What a standard error is of; and what articles judge by, and how little it shows: at 80 % right."""
    table = shipped_table("serving.model", "evaluations.toml")
    tasks = [Score(percent=80.0, **table["task"][task]) for task in table["judged_by"]["tasks"]]
    errors = ", ".join(f"{each.title} {each.error_points:.1f}" for each in tasks)
    of_difference = wrapped(
        "Each is the standard error of one score; of a difference on the same items it is 1.4 times that at most, and "
        "less where the two mostly agree.",
    )
    at_80 = wrapped(
        f"One standard error at 80 % right, in points: {errors}. A loss of one point cannot be seen in the last two. "
        f"{table['judged_by']['text']}.",
    )
    return of_difference, at_80
