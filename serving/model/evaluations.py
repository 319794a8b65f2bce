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
TOLD = ("mmlu", "mmlu_pro", "math_lvl5")


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


class Evaluation(Record):
    """What one publisher says of a checkpoint."""

    repo: str
    who: str
    source: str
    read_on: date
    scores: dict[str, Score]

    @property
    def mean_change(self) -> float | None:
        """Points against the original, over the tasks that have both; None where none has."""
        changes = [each.percent - each.original for each in self.scores.values() if each.original is not None]
        return math.fsum(changes) / len(changes) if changes else None


@cache
def evaluations() -> dict[str, Evaluation]:
    """The published ones, by repository."""
    table = shipped_table("serving.model", "evaluations.toml")
    return {row["repo"]: evaluation(row, table) for row in table["evaluation"]}


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
    found = evaluations().get(repo)
    if found is None or found.mean_change is None:
        return f"No published evaluation of these weights is known to corral; {look}."
    told = (found.scores[task] for task in TOLD if task in found.scores)
    figures = ", ".join(f"{each.title} {each.percent:.2f} (bf16 {each.original:.2f})" for each in told)
    return (
        f"{found.who} published of these weights: {figures}; {found.mean_change:+.2f} points on average over "
        f"{len(found.scores)} tasks, not repeated here; {look}."
    )


def lines(repo: str) -> tuple[str, ...]:
    """Everything published of a checkpoint, a line a task, with what its items can show; empty where nothing is."""
    found = evaluations().get(repo)
    if found is None:
        return ()
    head = f"Published evaluations of {repo}: {found.who}, read {found.read_on} ({found.source})"
    return (wrapped(head, ""), *(line(each) for each in found.scores.values()), judged_by())


def line(score: Score) -> str:
    """One task."""
    against = (
        ""
        if score.original is None
        else f", bf16 {score.original:.2f} ({score.percent - score.original:+.2f})"
    )
    return (
        f"  {score.title}: {score.percent:.2f}{against}; {score.items:,} items, "
        f"one standard error is {score.error_points:.2f} points"
    )


def judged_by() -> str:
    """What articles judge by, and how little it shows: at 80 % right."""
    table = shipped_table("serving.model", "evaluations.toml")
    tasks = [Score(percent=80.0, **table["task"][task]) for task in table["judged_by"]["tasks"]]
    errors = ", ".join(f"{each.title} {each.error_points:.1f}" for each in tasks)
    return wrapped(
        f"One standard error at 80 % right, in points: {errors}. A loss of one point cannot be seen in the last two. "
        f"{table['judged_by']['text']}."
    )
