"""`corral doctor`: what a line needs, looked at beforehand, each thing with its remedy."""

from typing import Annotated

import typer

from deploy.cli.flags import Json, deployed_or_path
from deploy.provision_request import Where
from deploy.targets.wishes import Wishes
from deploy.up_request import SizedFirst
from serving.sizing.size_options import WhichMachine


def doctor(
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL|PLAN|NAME",
            help="What is to be run, as for `up`, or a deployment; what any plan needs if not given.",
            autocompletion=deployed_or_path,
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
    Of a deployment: how it is, and all that `serve` needs again where it is.
    """
    from deploy.doctor import diagnosis, told
    from deploy.doctor_deployment import diagnosis_of, is_meant
    from infra.say import Told, emit

    is_deployment = what is not None and is_meant(what, which, where, wishes, sized)
    found = (
        diagnosis_of(what, where) if what and is_deployment else diagnosis(what, which, sized, where, wishes)
    )
    emit(found, told(found), as_json)
    return Told(found.exit_code)
