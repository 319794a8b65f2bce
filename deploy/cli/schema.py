"""`corral schema`: what a verb prints with --json, described for programs."""

from typing import Annotated

import typer


def schema(
    verb: Annotated[
        list[str],
        typer.Argument(metavar="VERB...", help="Such as `size` or `capacity-block list`; or `error`."),
    ],
) -> None:
    """Print the JSON Schema of what a verb prints with --json; `error` is what any verb may print instead."""
    import json

    from deploy.cli.printed import schema
    from infra.say import say

    say(json.dumps(schema(" ".join(verb)), indent=2), as_it_is=True)
