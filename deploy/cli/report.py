"""`corral report`: make a comparison's page again from its documents."""

from pathlib import Path
from typing import Annotated

import typer

from deploy.cli.flags import All, Json, deployed_or_path


def report(
    what: Annotated[
        str,
        typer.Argument(
            metavar="FOLDER|NAME",
            help="A folder that corral compare --output wrote, or a deployment: of its newest comparison.",
            autocompletion=deployed_or_path,
        ),
    ],
    show_all: All = False,
    as_json: Json = False,
) -> None:
    """Write report.html again from comparison.json, plan.json and probe.json in a folder, and print the text."""
    from deploy.by_name import is_named, newest_comparison
    from deploy.costs.comparison import COMPARISON, Comparison
    from deploy.next_step import next_line
    from deploy.report.comparison_text import comparison_text
    from deploy.report.folder import again
    from deploy.targets.deployment import load
    from infra.printable import sentence
    from infra.say import emit, progress

    is_deployment = is_named(what)
    folder = newest_comparison(what) if is_deployment else Path(what)
    progress(f"report written to {sentence(str(again(folder)))}")
    comparison = Comparison.read(folder / COMPARISON)
    text = comparison_text(comparison, show_all)
    emit(comparison, f"{text}\n\n{next_line(load(what))}" if is_deployment else text, as_json)
