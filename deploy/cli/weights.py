"""`corral weights`: where the weights of a rented machine come from."""

from typing import Annotated

import typer

from deploy.cli.flags import Group, Json, deployed_or_path
from deploy.targets.ec2.weights_push import Destination

app = typer.Typer(cls=Group, help="Weights in a bucket of your own, for the next launch.")


@app.callback()
def group() -> None:
    """Exists so that `push` stays a verb of its own."""


@app.command("push")
def push(
    what: Annotated[
        str,
        typer.Argument(
            metavar="NAME|FOLDER",
            help="A deployment on EC2, or a checkpoint's folder here.",
            autocompletion=deployed_or_path,
        ),
    ],
    kept: Destination,
    as_json: Json = False,
) -> None:
    """Keep the weights in a bucket: from the rented machine that has them, or from a folder of this one.

    The machine's role may write that folder while it uploads, and no longer. What is there is not sent twice.
    """
    from pathlib import Path

    from deploy.targets.deployment import load
    from deploy.targets.ec2.weights_push import push_from_here, push_from_machine, shown
    from infra.errors import UsageError
    from infra.say import emit

    if Path(what).is_dir() or "/" in what:
        pushed = push_from_here(Path(what), kept.to, kept.region)
    elif kept.region is not None:
        raise UsageError("A deployment has its region.", "Leave out --region.")
    else:
        pushed = push_from_machine(load(what), kept.to)
    emit(pushed, shown(pushed), as_json)
