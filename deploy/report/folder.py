"""A comparison's folder: the documents it was made of, itself, and the page; and the page made again from them."""

from pathlib import Path

from deploy.costs.comparison import Comparison
from deploy.report.html import render
from infra.record import write_text_atomically
from serving.probe.report import ProbeReport
from serving.sizing.plan import Plan

PAGE, COMPARISON, PLAN, PROBE = "report.html", "comparison.json", "plan.json", "probe.json"


def write(folder: Path, plan: Plan, probe: ProbeReport | None, comparison: Comparison) -> Path:
    """Write comparison.json and report.html, and beside them what they were made of; return the page's path."""
    page = render(plan, probe, comparison)
    plan.write(folder / PLAN)
    if probe is not None:
        probe.write(folder / PROBE)
    comparison.write(folder / COMPARISON)
    write_text_atomically(folder / PAGE, page)
    return folder / PAGE


def again(folder: Path) -> Path:
    """Write report.html anew from the folder's documents. Raises DocumentError when one is missing or corrupt."""
    comparison, plan = Comparison.read(folder / COMPARISON), Plan.read(folder / PLAN)
    probe = ProbeReport.read(folder / PROBE) if (folder / PROBE).exists() else None
    write_text_atomically(folder / PAGE, render(plan, probe, comparison))
    return folder / PAGE
