"""`corral compare`: what a million tokens costs here, next to the Claude API."""

from deploy.cli.flags import Json
from deploy.costs.compare_options import Compared, Question


def compare(
    files: Compared,
    question: Question,
    as_json: Json = False,
) -> None:
    """What a million tokens costs on this machine, kept up all month, next to Claude: break-even, or never.

    --claims shows what is often repeated about these costs and does not hold; it needs no plan.
    """
    from deploy.costs.claims import claims, claims_text
    from deploy.costs.compare import compare
    from deploy.report import folder
    from deploy.report.comparison_text import comparison_text
    from infra.day import today
    from infra.printable import sentence
    from infra.say import emit, progress
    from serving.probe.report import ProbeReport
    from serving.sizing.plan import Plan

    if files.plan is None:
        emit(claims(), claims_text(claims()), as_json)
        return
    planned = Plan.read(files.plan)
    probed = ProbeReport.read(files.probe) if files.probe else None
    comparison = compare(planned, probed, question, today())
    if files.output:
        progress(
            f"report written to {sentence(str(folder.write(files.output, planned, probed, comparison)))}"
        )
    emit(comparison, comparison_text(comparison), as_json)
