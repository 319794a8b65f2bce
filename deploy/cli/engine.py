"""`corral engine`: the vLLM that corral starts on this machine."""

from typing import Annotated

import typer

engine = typer.Typer(no_args_is_help=True, help="The vLLM that corral starts on this machine.")

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@engine.command("install")
def install(as_json: AsJson = False) -> None:
    """Install vLLM's CPU build into $CORRAL_HOME/engine: enough to try the whole line without a GPU."""
    from deploy.cli.output import emit, progress
    from deploy.deployment import home
    from serving import engine as engines

    found = engines.install(home(), progress)
    emit(found, f"vLLM {found.version} is at {found.vllm}", as_json)


@engine.command("show")
def show(as_json: AsJson = False) -> None:
    """Say which vLLM corral would start here, and where it was found."""
    import os

    from deploy.cli.output import emit
    from deploy.deployment import home
    from serving import engine as engines

    found = engines.find(home(), os.environ)
    emit(found, f"vLLM {found.version} at {found.vllm} ({found.origin})", as_json)
