"""`corral compare`: what a million tokens costs here, next to the Claude API."""

from typing import Annotated

import typer

from deploy.cli.flags import All, Json, deployed
from deploy.costs.compare_options import Compared, Question


def compare(
    files: Compared,
    question: Question,
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help="A deployment: its plan, and the newest probe of it by its name.",
            autocompletion=deployed,
        ),
    ] = None,
    show_all: All = False,
    as_json: Json = False,
) -> None:
    """What a million tokens costs on this machine, kept up all month, next to Claude: break-even, or never.

    --claims shows what is often repeated about these costs and does not hold; it needs no plan.
    """
    from decimal import Decimal

    from deploy.by_name import machines_of
    from deploy.costs.claims import claims, claims_text
    from deploy.costs.compare import compare
    from deploy.costs.measured_load import read_measured
    from deploy.newest import dated_folder, newest, note
    from deploy.next_step import next_line
    from deploy.report import folder
    from deploy.report.comparison_text import comparison_text
    from deploy.targets.deployment import load
    from infra.day import today
    from infra.errors import HostError
    from infra.printable import sentence
    from infra.say import emit, progress, warn
    from serving.sizing.plan import Plan

    files.check(name, question)
    if files.plan:
        planned = Plan.read(files.plan)
    elif name:
        planned = load(name).plan
    else:
        emit(claims(), claims_text(claims()), as_json)
        return
    is_asked = bool(files.plan or planned.carried or question.replicas)
    if name and not is_asked and (machines := machines_of(load(name))) > 1:
        progress(f"machines: {machines}, as {name} has; each as one was measured. For others: --replicas 1")
        question = question.model_copy(update={"replicas": Decimal(machines)})
    measured, probe = None, files.probe
    if name and not probe:
        probe = newest("probes", name)
        none = f"{name} was not probed by its name: this is what its plan predicts. corral probe {name}"
        progress(f"measured: {sentence(str(probe))}" if probe else none)
    if probe:
        measured = read_measured(probe, question.promised, question.allow_invalid)
    comparison = compare(planned, measured, question, today())
    probed = measured.probe if measured else None
    if files.output:
        progress(
            f"report written to {sentence(str(folder.write(files.output, planned, probed, comparison)))}"
        )
    text = comparison_text(comparison, show_all)
    if name:
        try:
            kept = files.output or folder.keep(dated_folder("comparisons"), planned, probed, comparison)
            note("comparisons", name, kept)
        except HostError as error:  # nobody asked for the copy: it is not worth the answer
            warn(f"Not kept for `corral report {name}`: {error.message}")
        text = f"{text}\n\n{next_line(load(name))}"
    emit(comparison, text, as_json)
