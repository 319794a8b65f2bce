"""`corral report`: make a comparison's page again from its documents."""

from pathlib import Path
from typing import Annotated

import typer

from deploy.cli.flags import All, Json


def report(
    folder: Annotated[Path, typer.Argument(help="A folder that corral compare --output wrote.")],
    show_all: All = False,
    as_json: Json = False,
) -> None:
    """Write report.html again from comparison.json, plan.json and probe.json in a folder, and print the text."""
    from deploy.costs.comparison import COMPARISON, Comparison
    from deploy.report.comparison_text import comparison_text
    from deploy.report.folder import again
    from infra.printable import sentence
    from infra.say import emit, progress

    progress(f"report written to {sentence(str(again(folder)))}")
    comparison = Comparison.read(folder / COMPARISON)
    emit(comparison, comparison_text(comparison, show_all), as_json)
