"""`corral prices`: the EC2 prices corral goes by, and asking AWS for today's."""

from typing import Annotated

import typer

from deploy.cli.flags import All, Json
from infra.aws.stored_prices import PriceQuestion


def prices(
    types: Annotated[
        list[str] | None,
        typer.Argument(metavar="TYPE", help="EC2 types; all corral knows if not given."),
    ] = None,
    *,
    asked: PriceQuestion,
    show_all: All = False,
    as_json: Json = False,
) -> int:
    """Show each price with its source and age. `size`, `capacity`, `compare` and `provision` use the newest.

    Exit code 12 when a TYPE has no price of today after --refresh: AWS names none or several, or it is no hourly price.
    """
    from infra.aws.show_prices import text
    from infra.aws.stored_prices import checked_types, fresh, nothing, table
    from infra.day import today
    from infra.say import Told, emit, fail, warn

    names = checked_types(types or [])
    listed = (fresh if asked.refresh else table)(names, asked.region, today())
    warn(listed.trouble)
    emit(listed, text(listed, show_all or bool(types), asked.region), as_json)
    return Told(fail(nothing(list(listed.refused)), as_json=False)) if types and listed.refused else 0
