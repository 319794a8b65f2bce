"""`corral demo`: see the whole line work on this machine, in minutes."""

from functools import partial

import typer

from deploy.cli.flags import Json
from deploy.demo.demo_options import DemoOptions


def demo(
    context: typer.Context,
    asked: DemoOptions,
    as_json: Json = False,
) -> None:
    """Run size, provision, serve, probe, compare, report and stop here, with the real vLLM (CPU) and a toy Llama 4."""
    from deploy.cli import run
    from deploy.demo import play as line
    from deploy.demo.summary import summary
    from infra.say import emit

    corral = partial(run.run, context.find_root().command)
    shown = line.run_against(corral, asked.server) if asked.server else line.run(corral)
    emit(shown, summary(shown), as_json)
