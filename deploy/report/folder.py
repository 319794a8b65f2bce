"""A comparison's folder: the documents it was made of, itself, and the page and its Markdown, made again of them."""

import os
from pathlib import Path

from deploy.costs.comparison import COMPARISON, Comparison
from deploy.report.html import render
from deploy.report.markdown import markdown
from infra.errors import UsageError
from infra.output import is_document
from infra.record import Document, write_text_atomically
from serving.probe.report import ProbeReport
from serving.sizing.plan import Plan

PLAN, PROBE = "plan.json", "probe.json"
PAGE, MARKDOWN = "report.html", "report.md"


def write(folder: Path, plan: Plan, probe: ProbeReport | None, comparison: Comparison) -> Path:
    """Write comparison.json, report.html and report.md, and beside them what they were made of; return the page's path.

    Raises UsageError, before the first, for a folder where something else has one of these names.
    """
    refuse_others(folder)
    pages = pages_of(plan, probe, comparison)
    keep(folder, plan, probe, comparison)
    for name, text in pages.items():
        write_text_atomically(folder / name, text)
    return folder / PAGE


def keep(folder: Path, plan: Plan, probe: ProbeReport | None, comparison: Comparison) -> Path:
    """Write the documents alone, of which the pages are made; return the folder."""
    plan.write(folder / PLAN)
    if probe is not None:
        probe.write(folder / PROBE)
    comparison.write(folder / COMPARISON)
    return folder


def pages_of(plan: Plan, probe: ProbeReport | None, comparison: Comparison) -> dict[str, str]:
    """What people read, by its name."""
    return {PAGE: render(plan, probe, comparison), MARKDOWN: markdown(plan, probe, comparison)}


def refuse_others(folder: Path) -> None:
    """Raise UsageError where a file would be written over that is no report's: `plan.json` is many programs' name."""
    kinds: dict[str, type[Document]] = {PLAN: Plan, PROBE: ProbeReport, COMPARISON: Comparison}
    pages = (PAGE, MARKDOWN)  # one is a report's where a comparison lies beside it
    for name, kind in (kinds | dict.fromkeys(pages, Comparison)).items():
        document = folder / (COMPARISON if name in pages else name)
        if os.path.lexists(folder / name) and not is_document(document, kind):
            raise UsageError(
                f"{folder / name} is there and is no {'report' if name in pages else kind.kind} of corral's.",
                "Name another folder: --output",
            )


def again(folder: Path) -> Path:
    """Write report.html and report.md anew from the folder's documents. Raises DocumentError where one is missing."""
    comparison, plan = Comparison.read(folder / COMPARISON), Plan.read(folder / PLAN)
    probe = ProbeReport.read(folder / PROBE) if (folder / PROBE).exists() else None
    for name, text in pages_of(plan, probe, comparison).items():
        write_text_atomically(folder / name, text)
    return folder / PAGE
