"""The sweep: raise the load step by step until throughput saturates or a limit is missed, then close in on it."""

import math
from collections.abc import Callable
from pathlib import Path

from infra.errors import EndpointError, HostError, UsageError
from infra.record import write_text_atomically
from serving.probe.page import sweep_page
from serving.probe.probe_options import SweepOptions
from serving.probe.report import ProbeReport
from serving.probe.run import Say, run
from serving.probe.spec import Load, Slo, Target, Workload
from serving.probe.sweep_report import SATURATED_GAIN, SWEEP, Point, Sweep, point_text
from serving.probe.workers import Watch

GROWTH = 4.0
"""Of a search for a limit: the first factor that misses is found in few steps, then halved geometrically."""
CLOSE_ENOUGH = 1.05
NEAR_BEST = 0.95
SEEDS = 1000
"""For each seed of a sweep, the seeds its steps may use."""

SATURATION_RULE = "doubled until twice the load brought less than 5 % more output tokens/s"
LIMIT_RULE = (
    f"raised by a factor of {GROWTH:g}, then halved between the last load that met the limits and the first that did"
    " not, down to 5 %"
)

FEWEST_REQUESTS = 10
"""A step at a slow rate lasts until about so many are due: one in which none falls due has no answer."""

Measure = Callable[[float], Point]


def sweep(
    target: Target,
    steps: SweepOptions,
    workload: Workload,
    output: Path,
    slo: Slo,
    say: Say,
    watch: Watch | None = None,
) -> Sweep:
    """Measure step by step; writes each step's results in a folder of its own.

    Each step has prompts of its own, so that a server whose cache cannot be kept apart has none of them from before.
    Raises what a single probe raises; UsageError for a folder that holds a sweep already.
    """
    if (output / SWEEP).exists():
        raise UsageError(
            f"{output} holds an earlier {SWEEP}, which is not overwritten.",
            "Choose another folder, or leave --output out for a new one with the date.",
        )
    model = ""
    points: list[Point] = []

    def measure(load: float) -> Point:
        nonlocal model
        folder = output / f"{steps.over}-{load:g}"
        own = workload.model_copy(update={"seed": workload.seed * SEEDS + len(points)})
        report = run(target, load_of(steps, load), own, folder, slo, watch)
        model = report.model
        points.append(point(load, report, folder))
        say(point_text(points[-1], steps.over))
        if report.interrupted or report.results_lost:
            raise KeyboardInterrupt
        return points[-1]

    best, interrupted, refused = None, False, None
    try:
        best = search(measure, steps, slo)
    except (KeyboardInterrupt, HostError):
        if not points:
            raise
        interrupted = True
    except EndpointError as error:
        if not points:
            raise
        refused = error.message
    return Sweep(
        url=target.base_url,
        model=model,
        over=steps.over,
        slo=slo.model_dump(exclude_none=True),
        attainment=steps.attainment,
        best=best,
        points=tuple(sorted(points, key=lambda each: each.load)),
        rule=SATURATION_RULE if slo == Slo() else LIMIT_RULE,
        interrupted=interrupted,
        refused=refused,
    )


def keep(made: Sweep, output: Path) -> None:
    """Write sweep.json and sweep.html over the steps' folders. Raises HostError when the disk refuses."""
    made.write(output / SWEEP)
    write_text_atomically(output / "sweep.html", sweep_page(made), mode=0o644)


def search(measure: Measure, steps: SweepOptions, slo: Slo) -> float | None:
    """The load that answers the question, by as many measurements as it takes."""
    if slo == Slo():
        points = until_saturated(measure, steps.start, steps.limit)
        top = max(each.output_tokens_per_s for each in points)
        return min(each.load for each in points if each.output_tokens_per_s >= NEAR_BEST * top)

    def meets(load: float) -> bool:
        return (measure(load).attainment or 0.0) >= steps.attainment

    return highest(meets, steps.start, steps.limit, whole=steps.over == "concurrency")


def until_saturated(measure: Measure, start: float, limit: float) -> list[Point]:
    """PURE but for `measure`: double the load while it pays."""
    points = [measure(start)]
    while points[-1].load < limit:
        points.append(measure(min(points[-1].load * 2, limit)))
        before = max(each.output_tokens_per_s for each in points[:-1])
        if points[-1].output_tokens_per_s < before * SATURATED_GAIN or not before:
            break
    return points


def highest(meets: Callable[[float], bool], start: float, limit: float, whole: bool) -> float | None:
    """PURE but for `meets`: the highest load that meets, to 5 %; None when even the lowest tried does not."""
    low: float | None = None
    high: float | None = None
    load = start
    while high is None:
        if not meets(load):
            high = load
        else:
            low = load
            if load >= limit:
                return limit
            load = min(load * GROWTH, limit)
    if low is None:
        return None
    # Of whole numbers the answer is below `high`, which missed.
    while (high - whole) / low > CLOSE_ENOUGH:
        middle = math.sqrt(low * high)
        if whole:
            middle = min(max(round(middle), low + 1), high - 1)
        if meets(middle):
            low = middle
        else:
            high = middle
    return low


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
        duration_s=max(steps.duration_s, FEWEST_REQUESTS / load),
        timeout_s=steps.timeout_s,
        processes=steps.processes,
        seed=steps.seed,
    )


def point(load: float, report: ProbeReport, folder: Path) -> Point:
    """A step's figures; the throughput is the steady one where there is one."""
    share, low = report.goodput.get("attainment"), report.goodput.get("attainment_low")
    return Point(
        load=load,
        output_tokens_per_s=report.steady.output_tokens_per_s
        if report.steady
        else report.output_tokens_per_s,
        request_per_s=report.request_per_s,
        ttft_p50_s=report.ttft_s.p50 if report.ttft_s else None,
        ttft_p99_s=report.ttft_s.p99 if report.ttft_s else None,
        tpot_p50_s=report.tpot_s.p50 if report.tpot_s else None,
        tpot_p99_s=report.tpot_s.p99 if report.tpot_s else None,
        attainment=share if isinstance(share, float) else None,
        attainment_low=low if isinstance(low, float) else None,
        failed=sum(report.errors.values()),
        valid=report.valid,
        folder=str(folder),
    )
