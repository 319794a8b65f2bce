"""A comparison's folder: the documents it was made of, itself, and the page; and the page made again from them."""

import os
from pathlib import Path

from deploy.costs.comparison import Comparison
from deploy.report.html import render
from infra import bounded_json
from infra.errors import DocumentError, UsageError
from infra.record import Document, read_text, write_text_atomically
from serving.probe.report import ProbeReport
from serving.sizing.plan import Plan

PAGE, COMPARISON, PLAN, PROBE = "report.html", "comparison.json", "plan.json", "probe.json"


def write(folder: Path, plan: Plan, probe: ProbeReport | None, comparison: Comparison) -> Path:
    """Write comparison.json and report.html, and beside them what they were made of; return the page's path.

    Raises UsageError, before the first, for a folder where something else has one of these names.
    """
    refuse_others(folder)
    page = render(plan, probe, comparison)
    plan.write(folder / PLAN)
    if probe is not None:
        probe.write(folder / PROBE)
    comparison.write(folder / COMPARISON)
    write_text_atomically(folder / PAGE, page)
    return folder / PAGE


def refuse_others(folder: Path) -> None:
    """Raise UsageError where a file would be written over that is no report's: `plan.json` is many programs' name."""
    kinds: dict[str, type[Document]] = {PLAN: Plan, PROBE: ProbeReport, COMPARISON: Comparison}
    kinds[PAGE] = Comparison  # a page is a report's where a comparison lies beside it
    for name, kind in kinds.items():
        document = folder / (COMPARISON if name == PAGE else name)
        if os.path.lexists(folder / name) and not is_document(document, kind):
            raise UsageError(
                f"{folder / name} is there and is no {'report' if name == PAGE else kind.kind} of corral's.",
                "Name another folder: --output",
            )


def is_document(path: Path, kind: type[Document]) -> bool:
    """Whether a file says that it is such a document, of whatever version."""
    try:
        said = bounded_json.load(read_text(path, kind.kind).encode())
    except (DocumentError, ValueError):
        return False
    return isinstance(said, dict) and said.get("document") == kind.model_fields["document"].default


def again(folder: Path) -> Path:
    """Write report.html anew from the folder's documents. Raises DocumentError when one is missing or corrupt."""
    comparison, plan = Comparison.read(folder / COMPARISON), Plan.read(folder / PLAN)
    probe = ProbeReport.read(folder / PROBE) if (folder / PROBE).exists() else None
    write_text_atomically(folder / PAGE, render(plan, probe, comparison))
    return folder / PAGE
