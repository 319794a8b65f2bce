"""`corral extend`: move the end of a rented deployment."""

from typing import Annotated

import typer

from deploy.cli.flags import Json, Name


def extend(
    name: Name,
    ttl: Annotated[str, typer.Argument(metavar="TIME", help="How long from now: 90m, 8h, 2d.")],
    as_json: Json = False,
) -> None:
    """Let it live that long from now, wherever its end is kept: in the machine itself and at its place."""
    from deploy.line import extend as run
    from deploy.next_step import next_line
    from deploy.targets.deployment import load
    from deploy.targets.show_provision import Extended
    from infra.aws.order import utc
    from infra.lifetime import minutes
    from infra.say import emit

    until = utc(run(name, minutes(ttl, "TIME")))
    told = f"{name} now ends itself at {until}.\n{next_line(load(name))}"
    emit(Extended(name=name, expires_at=until), told, as_json)
