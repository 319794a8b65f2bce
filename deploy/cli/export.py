"""`corral export`: a plan in the words of Compose, Kubernetes, SkyPilot and others."""

from typing import Annotated

import typer

from deploy.cli.flags import Json, deployed_or_path
from deploy.export.export_options import ExportOptions


def export(
    what: Annotated[
        str,
        typer.Argument(
            metavar="PLAN|NAME",
            help="A plan.json, or the name of a deployment.",
            autocompletion=deployed_or_path,
        ),
    ],
    options: ExportOptions,
    as_json: Json = False,
) -> None:
    """Render a plan for another tool; nothing is run or asked. Secrets are named in the output, never contained."""
    from deploy.by_name import plan_of
    from deploy.export.export_options import ask_for
    from deploy.export.formats import export as render
    from deploy.export.write import shown, write
    from deploy.targets.deployment import load
    from infra.say import emit, progress

    plan, beside = plan_of(what)
    deployed = load(what) if beside is None else None
    rendered = render(options.to, ask_for(plan, beside, options, deployed))
    if options.output:
        for path in write(rendered, options.output, options.force):
            progress(f"wrote {path}")
    for note in rendered.notes:
        progress(note)
    if as_json or not options.output:
        emit(rendered, shown(rendered), as_json, as_it_is=True)
