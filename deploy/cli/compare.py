"""`corral compare`: what a million tokens costs here, next to the Claude API."""

from pathlib import Path
from typing import Annotated

import typer

from deploy.cli.flags import Json, ServerPlan
from deploy.costs.compare_options import Question


def compare(
    plan: ServerPlan,
    question: Question,
    probe: Annotated[
        Path | None,
        typer.Option(help="probe.json, from corral probe. Without it: the plan's own prediction."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for comparison.json and report.html.")
    ] = None,
    as_json: Json = False,
) -> None:
    """What a million tokens costs on this machine, kept up all month, next to Claude: break-even, or never."""
    from deploy.costs.compare import compare
    from deploy.report import folder
    from deploy.report.comparison_text import comparison_text
    from infra.day import today
    from infra.say import emit, progress
    from serving.probe.report import ProbeReport
    from serving.sizing.plan import Plan

    planned = Plan.read(plan)
    probed = ProbeReport.read(probe) if probe else None
    comparison = compare(planned, probed, question, today())
    if output:
        progress(f"report written to {folder.write(output, planned, probed, comparison)}")
    emit(comparison, comparison_text(comparison), as_json)
