"""`corral status`: what a deployment is doing now."""

from typing import Annotated

import typer

from deploy.cli.flags import Json, deployed
from infra.asked import Asked


class StatusOptions(Asked):
    """What is told."""

    history: bool = False
    """Instead: what happened to it, in order, with times and causes."""


def status(
    asked: StatusOptions,
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME", help="One deployment; all of them if not given.", autocompletion=deployed
        ),
    ] = None,
    as_json: Json = False,
) -> int:
    """Ask the machine itself how a deployment is, with one real completion.

    Exit code 0 where it serves, and where it starts, was stopped or was not started yet; 7 where it should serve and
    does not, or cannot be asked. A watchdog that is to know of a stop too takes `state` of --json.
    """
    from deploy.line import status, statuses
    from deploy.next_step import next_line
    from deploy.targets.deployment import home, load, names
    from deploy.targets.show_server import listed
    from deploy.targets.show_server import status as shown
    from deploy.what_happened import history_of
    from infra.errors import UsageError
    from infra.printable import sentence
    from infra.say import emit, progress, say
    from serving.vllm.events import listed as happened

    if asked.history:
        if name is None:
            raise UsageError("A history is one deployment's.", "Name it; which there are: corral status")
        say(happened(history_of(load(name)), as_json), as_json)
        return 0
    if name is not None:
        deployment = load(name)
        current = status(deployment)
        emit(current, f"{shown(current)}\n{next_line(deployment, current.state)}", as_json)
        return 0 if current.state in ("serving", "starting", "provisioned", "stopped") else 7
    if not home().is_dir():
        progress(f"{sentence(str(home()))} {'is no folder' if home().exists() else 'does not exist (yet)'}.")
    say(listed(statuses(names()), as_json), as_json)
    return 0
