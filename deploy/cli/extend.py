"""`corral extend`: move the end of a rented deployment."""

from typing import Annotated

import typer

from deploy.cli.flags import Json, Name
from infra.asked import Asked


class ExtendOptions(Asked):
    """How the end may move."""

    shorten: bool = False
    """Also to an earlier moment than the end that it has."""


def extend(
    name: Name,
    ttl: Annotated[str, typer.Argument(metavar="TIME", help="How long from now: 90m, 8h, 2d.")],
    asked: ExtendOptions,
    as_json: Json = False,
) -> None:
    """Let it live that long from now, wherever its end is kept: in the machine itself and at its place.

    An end that is later already stays, and that is said, unless it is to be shortened.
    """
    from deploy.line import extend as run
    from deploy.next_step import next_line
    from deploy.targets.deployment import load
    from deploy.targets.show_provision import Extended
    from infra.aws.order import utc
    from infra.lifetime import minutes
    from infra.say import emit

    until = utc(run(name, minutes(ttl, "TIME"), asked.shorten))
    told = f"{name} now ends itself at {until}.\n{next_line(load(name))}"
    emit(Extended(name=name, expires_at=until), told, as_json)
