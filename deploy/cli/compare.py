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
    from deploy.costs.measured_load import read_measured
    from deploy.report import folder
    from deploy.report.comparison_text import comparison_text
    from infra.day import today
    from infra.printable import sentence
    from infra.say import emit, progress
    from serving.sizing.plan import Plan

    if files.plan is None:
        emit(claims(), claims_text(claims()), as_json)
        return
    planned = Plan.read(files.plan)
    measured = None
    if files.probe:
        measured = read_measured(files.probe, question.promised, question.allow_invalid)
    comparison = compare(planned, measured, question, today())
    probed = measured.probe if measured else None
    if files.output:
        progress(
            f"report written to {sentence(str(folder.write(files.output, planned, probed, comparison)))}"
        )
    emit(comparison, comparison_text(comparison), as_json)
