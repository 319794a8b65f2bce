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
    from infra.printable import printable

    deployment = load(name)
    for line in place_of(deployment).logs(deployment, follow):
        # Without its colours, in a pipe too: most end at a terminal. The server's own file has them.
        print(printable(line), flush=follow)
