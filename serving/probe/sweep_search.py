"""PURE: which load a sweep tries next, what its steps say together, and which of them must be run again.

The answer rests on two steps: the last that was served and the first that was not, or those between which throughput
stood still. These are repeated until each is worth its interval, or until the time for repeats is up; where a repeat
turns a step's verdict, the search goes on from there.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from serving.probe.report_text import limits_text
from serving.probe.significance import t_within
from serving.probe.spec import Slo
from serving.probe.sweep_options import SweepOptions
from serving.probe.sweep_report import SPOILED, Answer, Point

SATURATED_GAIN = 1.05
"""Twice the load must bring this much more throughput, else it is saturated."""
NEAR_BEST = 0.95
GROWTH = 4.0
"""Of a search for a limit: the first factor that misses is found in few steps, then halved geometrically."""
CLOSE_ENOUGH = 1.05
FEWEST_RUNS = 2
"""Of a step that the answer rests on: one run says nothing of what lies between runs."""
THROUGHPUT_WITHIN = 0.05
SHARE_WITHIN = 0.02

REPEAT_RULE = (
    f"the steps that the answer rests on are run {FEWEST_RUNS} times or more, until the 95 % interval of their output"
    f" tokens/s is within {THROUGHPUT_WITHIN:.0%} of it"
)
SATURATION_RULE = f"doubled until twice the load brought less than 5 % more output tokens/s; {REPEAT_RULE}"
LIMIT_RULE = (
    f"raised by a factor of {GROWTH:g}, then halved between the last load that met the limits and the first that"
    f" did not, down to 5 %; the steps that the answer rests on are run {FEWEST_RUNS} times or more, until the 95 %"
    f" interval of the share that met them lies on one side of the share wanted or is {SHARE_WITHIN:.0%} wide"
)


class Found(NamedTuple):
    """What the steps so far answer."""

    answer: Answer
    best: float | None
    reason: str
    rests_on: tuple[float, ...]
    """The loads of the steps that a repeat could turn it by."""


def rule_of(slo: Slo) -> str:
    """How loads are chosen, in words."""
    return SATURATION_RULE if slo == Slo() else LIMIT_RULE


def decide(points: Mapping[float, Point], steps: SweepOptions, slo: Slo) -> float | Found:
    """The next load to try, or the answer."""
    return until_saturated(points, steps) if slo == Slo() else highest(points, steps, slo)


def until_saturated(points: Mapping[float, Point], steps: SweepOptions) -> float | Found:
    """Double the load while it pays; where a step is not served, the highest load that is."""
    top, before = 0.0, 0.0
    for load in doubled(steps.start, steps.limit):
        if load not in points:
            return load
        step = points[load]
        if step.verdict != "served":
            return highest(points, steps, Slo())
        if before and not step.output_tokens_per_s >= top * SATURATED_GAIN ** math.log2(load / before) > 0:
            return saturated(points, before, load)
        top, before = max(top, step.output_tokens_per_s), load
    lower = max((each for each in points if each < before), default=None)
    return Found(
        "not_saturated_up_to", before, still_more(points, lower, before, steps), rests(lower, before)
    )


def doubled(start: float, limit: float) -> list[float]:
    """The loads from the first to the highest allowed, each twice the one before but for the last."""
    loads = [start]
    while loads[-1] < limit:
        loads.append(min(loads[-1] * 2, limit))
    return loads


def saturated(points: Mapping[float, Point], before: float, load: float) -> Found:
    """The lowest load with 95 % of the best throughput, where `load` brought too little more."""
    served = [each for each in points.values() if each.load <= load]
    top = max(served, key=lambda each: (each.output_tokens_per_s, -each.load))
    best = min(
        each.load for each in served if each.output_tokens_per_s >= NEAR_BEST * top.output_tokens_per_s
    )
    reason = f"{load:g} brought {gain(points[before], points[load])} output tokens/s than {before:g}"
    return Found("saturated_at", best, reason, rests(best, before, load))


def gain(less: Point, more: Point) -> str:
    """By how much the throughput of one is above the other's."""
    if not less.output_tokens_per_s:
        return "no more"
    share = more.output_tokens_per_s / less.output_tokens_per_s - 1
    return f"{abs(share):.1%} {'more' if share >= 0 else 'fewer'}"


def still_more(points: Mapping[float, Point], lower: float | None, load: float, steps: SweepOptions) -> str:
    """Why a load is no end."""
    told = f"{load:g} is the highest load allowed (--limit {steps.limit:g})"
    if lower is None:
        return f"{told}, and the only one"
    return f"{told}, and brought {gain(points[lower], points[load])} output tokens/s than {lower:g}"


def highest(points: Mapping[float, Point], steps: SweepOptions, slo: Slo) -> float | Found:
    """Between the last load that was served and the first that was not, down to 5 %."""
    whole = steps.over == "concurrency"
    high = min((each.load for each in points.values() if each.verdict != "served"), default=None)
    low = max(
        (each for each in points if high is None or each < high),
        default=None,
    )
    if high is None:
        if low is None:
            return steps.start
        if low < steps.limit:
            return min(low * GROWTH, steps.limit)
        met = f"{low:g} is the highest load allowed (--limit {steps.limit:g}), and {share_text(points[low], slo)}"
        return Found("promise_not_missed_up_to", low, met, (low,))
    first = points[high]
    if low is not None and first.verdict not in SPOILED.values() and not is_close(low, high, whole):
        return between(low, high, whole)
    answers: dict[str, Answer] = {
        "missed": "no_promise_met" if low is None else "promise_met_up_to",
        "refused": "refused_beyond",
        "buffered_on_the_way": "buffered_on_the_way",
        "tokens_do_not_add_up": "tokens_do_not_add_up",
    }
    answer = answers.get(first.verdict, "limited_by_client")
    return Found(answer, low, why_not(first, steps, slo), rests(low, high))


def is_close(low: float, high: float, whole: bool) -> bool:
    """Whether a load between the two is not worth a step. Of whole numbers the answer is below `high`, which missed."""
    return (high - whole) / low <= CLOSE_ENOUGH


def between(low: float, high: float, whole: bool) -> float:
    """The geometric middle; of whole numbers one that is neither."""
    middle = math.sqrt(low * high)
    return float(min(max(round(middle), low + 1), high - 1)) if whole else middle


def why_not(step: Point, steps: SweepOptions, slo: Slo) -> str:
    """Why a step was not served."""
    if step.verdict in SPOILED.values():
        return f"at {step.load:g}, {'; '.join(step.invalid_because)}"
    if step.verdict == "missed":
        return f"at {step.load:g}, {share_text(step, slo)}"
    if not step.sent:
        return f"at {step.load:g}, no request came to an end"
    kinds = ", ".join(f"{count} {name}" for name, count in step.errors.items())
    return (
        f"at {step.load:g}, {step.failed} of {step.sent} requests failed ({kinds}), more than the"
        f" {steps.max_failed:.3g} of --max-failed"
    )


def share_text(step: Point, slo: Slo) -> str:
    """Which share of a step's requests met the limits."""
    return f"{step.attainment or 0.0:.1%} met {limits_text(slo.model_dump(exclude_none=True))}"


def rests(*loads: float | None) -> tuple[float, ...]:
    """Those that there are, each once."""
    return tuple(dict.fromkeys(load for load in loads if load is not None))


# How sure the steps are


def relative_spread(points: Sequence[Point]) -> tuple[float, int]:
    """How far runs of one step lie apart, as a share of their mean, and by how many degrees of freedom that is known.

    Taken as one for all loads: the pooled estimate of the relative standard deviation, sqrt(sum of squares / degrees).
    """
    squares, degrees = 0.0, 0
    for each in points:
        runs = each.output_tokens_per_s_by_run
        mean = sum(runs) / len(runs)
        if len(runs) > 1 and mean:
            squares += sum((run / mean - 1) ** 2 for run in runs)
            degrees += len(runs) - 1
    return (math.sqrt(squares / degrees), degrees) if degrees else (math.inf, 0)


def half_width(point: Point, spread: tuple[float, int]) -> float:
    """Half of the 95 % interval of a step's throughput, as a share of it; endless for a step run once."""
    runs = len(point.output_tokens_per_s_by_run)
    share, degrees = spread
    return t_within(degrees) * share / math.sqrt(runs) if runs > 1 and degrees else math.inf


def with_intervals(points: Sequence[Point]) -> tuple[Point, ...]:
    """The steps in the order of their load, with the interval of their throughput where they were run again."""
    spread = relative_spread(points)
    told = []
    for each in sorted(points, key=lambda point: point.load):
        half = half_width(each, spread) * each.output_tokens_per_s
        bounds = {
            "output_tokens_per_s_low": max(0.0, each.output_tokens_per_s - half),
            "output_tokens_per_s_high": each.output_tokens_per_s + half,
        }
        told.append(each.model_copy(update=bounds) if math.isfinite(half) else each)
    return tuple(told)


def to_repeat(points: Mapping[float, Point], found: Found, steps: SweepOptions, slo: Slo) -> float | None:
    """Of the steps that the answer rests on, the one to run again; None where each is worth its interval."""
    spread = relative_spread(list(points.values()))
    unsure = [
        points[load]
        for load in found.rests_on
        if not is_worth_it(points[load], spread, steps.attainment, slo)
    ]
    return min(unsure, key=lambda each: (len(each.folders), each.load)).load if unsure else None


def is_worth_it(point: Point, spread: tuple[float, int], wanted: float, slo: Slo) -> bool:
    """Whether a step was run often enough for what is said of it."""
    if len(point.folders) < FEWEST_RUNS or len(point.output_tokens_per_s_by_run) < FEWEST_RUNS:
        return False
    if point.verdict in ("refused", *SPOILED.values()):
        return True
    if slo == Slo():
        return half_width(point, spread) <= THROUGHPUT_WITHIN
    low, high = point.attainment_low or 0.0, 1.0 if point.attainment_high is None else point.attainment_high
    return low >= wanted or high < wanted or high - low <= SHARE_WITHIN
