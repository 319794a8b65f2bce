"""`corral demo`: see the whole line work on this machine, in minutes."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer


def demo(
    context: typer.Context,
    endpoint: Annotated[
        str | None,
        typer.Option(
            "--endpoint", metavar="URL", help="Use this OpenAI-compatible endpoint; starts no server."
        ),
    ] = None,
    model: Annotated[
        str, typer.Option(help="With --endpoint: the name it serves; the first it lists if not given.")
    ] = "",
    api_key_file: Annotated[
        Path | None, typer.Option(help="With --endpoint: the file that holds its key.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object.")] = False,
) -> None:
    """Run size, provision, serve, probe, compare, report and stop here, with the real vLLM (CPU) and a toy Llama 4."""
    from deploy.cli import run
    from deploy.demo import play as line
    from deploy.demo.summary import summary
    from infra.say import emit
    from serving.vllm.endpoint import Endpoint

    corral = partial(run.run, context.find_root().command)
    if endpoint is None:
        shown = line.run(corral)
    else:
        shown = line.run_against(
            corral, Endpoint(base_url=endpoint, served_model_name=model, api_key_file=api_key_file)
        )
    emit(shown, summary(shown), as_json)
