"""`corral logs`: what vLLM says."""

from typing import Annotated

import typer

from deploy.cli.flags import Name


def logs(
    name: Name,
    follow: Annotated[
        bool, typer.Option("-f", "--follow", help="Go on until the server ends, or Ctrl-C.")
    ] = False,
) -> None:
    """Print the server's log."""
    from deploy.targets.choose import place_of
    from deploy.targets.deployment import load

    deployment = load(name)
    for line in place_of(deployment).logs(deployment, follow):
        print(line, flush=follow)
