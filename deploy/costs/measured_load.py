"""What was measured, as it lies on the disk: a probe's report, or of a sweep the step that the machine is taken at."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from deploy.costs.comparison import OperatingPoint, Shown
from deploy.costs.operating_point import Promised, p95
from deploy.costs.request_mix import Mix, mix_of_results
from infra import bounded_json
from infra.argument import pasted
from infra.errors import DocumentError, UsageError
from infra.record import read_text
from serving.probe.report import ProbeReport
from serving.probe.report_text import limits_text
from serving.probe.results import REPORT, RESULTS
from serving.probe.spec import Slo
from serving.probe.sweep_report import SPOILED, SWEEP, Answer, Point, Sweep, Verdict

SHOWN: dict[Answer, Shown] = {
    "saturated_at": "saturation",
    "promise_met_up_to": "latency promise",
    "refused_beyond": "refusal",
}
"""What each answer shows of the best step; the others show no end."""


class Measured(NamedTuple):
    """A probe of the server, and what a sweep around it says."""

    probe: ProbeReport
    point: OperatingPoint | None = None
    """Where it is a step of a sweep."""
    mix: Mix | None = None
    """Its requests one by one, where its results lie beside it."""


def read_measured(path: Path, promised: Promised, allow_invalid: bool) -> Measured:
    """The probe of a probe.json, or the best step of a sweep.json; of a folder the one that lies in it.

    Raises DocumentError for what is neither, UsageError for a sweep of which no step can be taken.
    """
    if path.is_dir():
        path /= SWEEP if os.path.exists(path / SWEEP) else REPORT
    if is_sweep(path):
        return best_step(Sweep.read(path), path.parent, promised, allow_invalid)
    probe = ProbeReport.read(path)
    return Measured(probe, mix=mix_beside(path, probe))


def is_sweep(path: Path) -> bool:
    """Whether a file says of itself that it is a sweep. Raises DocumentError where there is none."""
    try:
        said = bounded_json.load(read_text(path, ProbeReport.kind).encode())
    except ValueError:
        return False
    return isinstance(said, dict) and said.get("document") == Sweep.model_fields["document"].default


def mix_beside(path: Path, probe: ProbeReport) -> Mix | None:
    """The requests of the results that lie beside a report, where they are of that run and can be read."""
    results = path.with_name(RESULTS)
    try:
        return mix_of_results(results, probe) if results.is_file() else None
    except (DocumentError, OSError):
        return None


def best_step(sweep: Sweep, folder: Path, promised: Promised, allow_invalid: bool) -> Measured:
    """The step with the most output tokens a second, of those that keep what is promised."""
    usable: set[Verdict] = {"served"}
    if promised:  # another one than the sweep's
        usable.add("missed")
    if allow_invalid:
        usable.update(SPOILED.values())
    steps = [point for point in sweep.points if point.verdict in usable]
    if sweep.slo and not promised:
        steps = [point for point in steps if point.load == sweep.best]
    kept = [(point, probe) for point, probe in reports(steps, folder) if keeps(promised, probe)]
    if not kept:
        limits = f"keeps {promised}" if promised else "meets its limits" if sweep.slo else "is a valid one"
        raise UsageError(
            f"No step of the sweep {limits}.",
            f"Sweep from a lower load: corral probe sweep {pasted(sweep.url)} --start 1",
        )
    best, probe = max(kept, key=lambda pair: (pair[0].output_tokens_per_s, -pair[0].load))
    shown = shown_by(sweep, promised, is_cut_short=len(kept) < len(steps))
    load = load_text(sweep, best, promised)
    return Measured(probe, said(sweep, best, probe, load, shown), mix_beside(report_of(best, folder), probe))


def reports(steps: list[Point], folder: Path) -> Iterator[tuple[Point, ProbeReport]]:
    """Each step with its own report."""
    for point in steps:
        yield point, ProbeReport.read(report_of(point, folder))


def report_of(point: Point, folder: Path) -> Path:
    """Where a step's report is: in its folder beside the sweep, wherever that was taken since."""
    return folder / Path(point.folder).name / REPORT


def keeps(promised: Promised, probe: ProbeReport) -> bool:
    """Whether 95 of a hundred requests keep each limit."""
    return promised.is_kept_by(p95(probe.ttft_s), p95(probe.tpot_s))


def shown_by(sweep: Sweep, promised: Promised, is_cut_short: bool) -> Shown:
    """What makes a sweep's best step the most that there is.

    `is_cut_short`: whether some step broke the promise; where none did, it is the sweep's own answer that says.
    """
    if promised and is_cut_short:
        return "latency promise"
    return SHOWN.get(sweep.answer, "one load")


def said(sweep: Sweep, best: Point, probe: ProbeReport, load: str, shown: Shown) -> OperatingPoint:
    """The step as the point that the machine is taken at."""
    return OperatingPoint(
        load=load,
        shown=shown,
        requests_at_once=None if sweep.over == "rate" else round(best.load),
        ttft_s=p95(probe.ttft_s),
        tpot_s=p95(probe.tpot_s),
    )


def load_text(sweep: Sweep, best: Point, promised: Promised) -> str:
    """A step's load in words, with what the sweep showed of it."""
    load = f"arriving at {best.load:g}/s" if sweep.over == "rate" else f"{best.load:g} at once"
    if promised:
        return f"{load}, the best step of a sweep of which 95% keep {promised}"
    if sweep.slo:
        limits = {name: limit for name, limit in sweep.slo.items() if name in Slo.model_fields}
        most = "the most of which" if sweep.answer == "promise_met_up_to" else "of which"
        return f"{load}, {most} {sweep.attainment:.0%} meet {limits_text(limits)}"
    return f"{load}, the best step of a sweep"
