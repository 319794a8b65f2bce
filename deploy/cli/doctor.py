"""`corral doctor`: what a line needs, looked at beforehand, each thing with its remedy."""

from typing import Annotated

import typer

from deploy.cli.flags import Json
from deploy.provision_request import Where
from deploy.targets.wishes import Wishes
from deploy.up_request import SizedFirst
from serving.sizing.size_options import WhichMachine


def doctor(
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL|PLAN", help="What is to be run, as for `up`; what any plan needs if not given."
        ),
    ] = None,
    *,
    which: WhichMachine,
    where: Where,
    wishes: Wishes,
    sized: SizedFirst,
    as_json: Json = False,
) -> int:
    """Look at all that can be known before anything is made: programs, GPUs, engine, disk, token, account, quota.

    Takes the words of `up`. Exit code 0 only when nothing known is in the way; else the one that `up` would end with.
    """
    from deploy.doctor import diagnosis, told
    from infra.say import Told, emit

    found = diagnosis(what, which, sized, where, wishes)
    emit(found, told(found), as_json)
    return Told(found.exit_code)
