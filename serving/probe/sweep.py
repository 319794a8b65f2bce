"""The sweep: measure step by step until there is an answer, and again where it is not worth its interval yet."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from infra.errors import EndpointError, HostError, UsageError
from infra.record import write_text_atomically
from serving.probe.page import sweep_page
from serving.probe.report import ProbeReport
from serving.probe.run import Say, run
from serving.probe.spec import Load, Slo, Target, Workload
from serving.probe.statistics import wilson
from serving.probe.sweep_options import SweepOptions
from serving.probe.sweep_report import SPOILED, SWEEP, Point, Sweep, Verdict, point_text
from serving.probe.sweep_search import Found, decide, rule_of, to_repeat, with_intervals
from serving.probe.workers import Watch

SEEDS = 1000
"""For each seed of a sweep, the seeds its runs may use."""

FEWEST_REQUESTS = 10
"""A step at a slow rate lasts until about so many are due: one in which none falls due has no answer."""


class StepRun(NamedTuple):
    """One run of a step."""

    report: ProbeReport
    folder: Path


Runs = dict[float, list[StepRun]]
"""All that was measured, by its load."""

Measure = Callable[[float], None]
"""Adds a run at that load."""


def sweep(
    target: Target,
    steps: SweepOptions,
    workload: Workload,
    output: Path,
    slo: Slo,
    say: Say,
    watch: Watch | None = None,
) -> Sweep:
    """Measure step by step; writes each run's results in a folder of its own.

    Each run has prompts of its own, so that a server whose cache cannot be kept apart has none of them from before.
    Raises what a single probe raises; UsageError for a folder that holds a sweep already.
    """
    if (output / SWEEP).exists():
        raise UsageError(
            f"{output} holds an earlier {SWEEP}, which is not overwritten.",
            "Choose another folder, or leave --output out for a new one with the date.",
        )
    runs: Runs = {}

    def measure(load: float) -> None:
        again = len(runs.get(load, ()))
        folder = output / (f"{steps.over}-{load:g}" + (f"-{again + 1}" if again else ""))
        own = workload.model_copy(update={"seed": workload.seed * SEEDS + sum(map(len, runs.values()))})
        # Arrivals of their own, too: the same ones again would hide what lies between runs.
        asked = load_of(steps, load).model_copy(update={"seed": steps.seed ^ again})
        report = run(target, asked, own, folder, slo, watch)
        runs.setdefault(load, []).append(StepRun(report, folder))
        say(point_text(points_of(runs, steps)[load], steps.over))
        if report.interrupted or report.results_lost:
            raise KeyboardInterrupt

    confirmed = False
    try:
        found, confirmed = search(runs, measure, steps, slo)
    except (KeyboardInterrupt, HostError):
        if not runs:
            raise
        found = Found("interrupted", None, "interrupted before there was one", ())
    except EndpointError as error:
        if not runs:
            raise
        found = Found("ended_early", None, error.message, ())
    return Sweep(
        url=target.url,
        model=next(each.report.model for each in runs[min(runs)]),
        over=steps.over,
        slo=slo.model_dump(exclude_none=True),
        attainment=steps.attainment,
        max_failed=steps.max_failed,
        answer=found.answer,
        best=found.best,
        reason=found.reason,
        confirmed=confirmed,
        points=with_intervals(list(points_of(runs, steps).values())),
        rule=rule_of(slo),
    )


def search(runs: Runs, measure: Measure, steps: SweepOptions, slo: Slo) -> tuple[Found, bool]:
    """The answer, by as many measurements as it takes; and whether the steps that it rests on were worth it in time."""
    left_s = steps.most_repeating_s
    while True:
        points = points_of(runs, steps)
        found = decide(points, steps, slo)
        if isinstance(found, float):
            measure(found)
            continue
        load = to_repeat(points, found, steps, slo)
        lasts_s = duration_s(steps, load) if load is not None else math.inf
        if load is None or lasts_s > left_s:
            return found, load is None
        left_s -= lasts_s
        measure(load)


def keep(made: Sweep, output: Path) -> None:
    """Write sweep.json and sweep.html over the steps' folders. Raises HostError when the disk refuses."""
    made.write(output / SWEEP)
    write_text_atomically(output / "sweep.html", sweep_page(made), mode=0o644)


def load_of(steps: SweepOptions, load: float) -> Load:
    """One step's load."""
    if steps.over == "concurrency":
        return Load(
            shape="concurrency",
            concurrency=round(load),
            duration_s=steps.duration_s,
            timeout_s=steps.timeout_s,
            processes=steps.processes,
            seed=steps.seed,
        )
    return Load(
        shape="poisson",
        request_rate=load,
        duration_s=duration_s(steps, load),
        timeout_s=steps.timeout_s,
        processes=steps.processes,
        seed=steps.seed,
    )


def duration_s(steps: SweepOptions, load: float) -> float:
    """How long a step sends."""
    return steps.duration_s if steps.over == "concurrency" else max(steps.duration_s, FEWEST_REQUESTS / load)


def points_of(runs: Mapping[float, list[StepRun]], steps: SweepOptions) -> dict[float, Point]:
    """Each step of what was measured, by its load."""
    is_steady = all(each.report.steady for of_it in runs.values() for each in of_it)
    return {load: point(load, of_it, steps, is_steady) for load, of_it in runs.items()}


def point(load: float, runs: list[StepRun], steps: SweepOptions, is_steady: bool = True) -> Point:
    """A step's figures, of its runs; those that the probe itself spoiled are left out where there are others.

    Throughput is the steady one where every run of the sweep has one: over all it is less, by ramp and drain.
    """

    def throughput(report: ProbeReport) -> float:
        steady = report.steady if is_steady else None
        return steady.output_tokens_per_s if steady else report.output_tokens_per_s

    used = [each for each in runs if each.report.valid] or runs
    middle = sorted(used, key=lambda each: throughput(each.report))[(len(used) - 1) // 2]
    report = middle.report
    sent = sum(each.report.sent - each.report.unfinished for each in used)
    errors: dict[str, int] = {}
    for each in used:
        for name, count in each.report.errors.items():
            errors[name] = errors.get(name, 0) + count
    share, low, high = attainment(used, sent)
    by_run = tuple(throughput(each.report) for each in used)
    return Point(
        load=load,
        verdict=verdict(report, errors, sent, share, steps),
        output_tokens_per_s=sum(by_run) / len(by_run),
        output_tokens_per_s_low=None,
        output_tokens_per_s_high=None,
        output_tokens_per_s_by_run=by_run,
        request_per_s=report.request_per_s,
        latencies_of=report.ttft_s.count if report.ttft_s else None,
        ttft_p50_s=report.ttft_s.p50 if report.ttft_s else None,
        ttft_p99_s=report.ttft_s.p99 if report.ttft_s else None,
        tpot_p50_s=report.tpot_s.p50 if report.tpot_s else None,
        tpot_p99_s=report.tpot_s.p99 if report.tpot_s else None,
        attainment=share,
        attainment_low=low,
        attainment_high=high,
        sent=sent,
        failed=sum(errors.values()),
        errors=errors,
        valid=report.valid,
        invalid_because=report.invalid_because,
        spoiled_by=report.spoiled_by,
        folder=str(middle.folder),
        folders=tuple(str(each.folder) for each in runs),
    )


def attainment(runs: list[StepRun], sent: int) -> tuple[float | None, float | None, float | None]:
    """The share of all their requests that met the limits, with its 95 % interval; None without limits."""
    good = [each.report.goodput.get("good") for each in runs]
    met = sum(each for each in good if isinstance(each, int))
    if not any(isinstance(each, int) for each in good):
        return None, None, None
    return met / sent if sent else 0.0, *wilson(met, sent)


def verdict(
    report: ProbeReport, errors: dict[str, int], sent: int, share: float | None, steps: SweepOptions
) -> Verdict:
    """What a step says of its load. What the server itself refused is so however late the probe's clock was."""
    most = steps.max_failed * sent
    if sum(count for name, count in errors.items() if name.startswith("http_")) > most:
        return "refused"
    if not report.valid:
        return SPOILED[report.spoiled_by[0] if report.spoiled_by else "client"]
    if (failed := sum(errors.values())) > most or failed == sent:
        return "refused"
    return "missed" if share is not None and share < steps.attainment else "served"
