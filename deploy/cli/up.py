"""`corral up`: from a model or a plan to a server that answers."""

from typing import Annotated

import typer

from deploy.cli.flags import DryRun, Json, Yes, deployed_or_path
from deploy.provision_request import Where
from deploy.targets.wishes import Wishes
from deploy.up_request import SizedFirst
from serving.sizing.size_options import WhichMachine


def up(
    what: Annotated[
        str,
        typer.Argument(
            metavar="MODEL|PLAN|NAME",
            help="scout, maverick, a folder, OWNER/NAME; a plan.json; or a deployment, made ready again.",
            autocompletion=deployed_or_path,
        ),
    ],
    which: WhichMachine,
    where: Where,
    wishes: Wishes,
    sized: SizedFirst,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Size, provision and serve in one go; returns when it answers. Safe to repeat.

    A model is sized first, for --on or for a machine that you choose; an EC2 type is rented. What it costs is shown,
    and asked about once. --dry-run asks nobody and says what would be; with --json, each request.
    """
    from deploy.line import dry_run as requests
    from deploy.line import up as run
    from deploy.next_step import next_line
    from deploy.provision_request import approval
    from deploy.targets.show_provision import shown
    from deploy.targets.show_server import endpoint
    from deploy.up_request import asking_up, dry_text, is_plan, summary
    from infra.say import emit, say

    asking = asking_up(what, which, sized, where, wishes, is_dry=dry_run)
    if dry_run:
        asked = requests(asking.deployment, asking.wishes)
        say(shown(asked) if as_json else dry_text(asking, len(asked)), as_it_is=as_json)
        return
    about = "" if is_plan(what) else summary(asking)
    answering = run(asking.deployment, asking.wishes, approval(yes, about))
    text = endpoint(asking.deployment, answering)
    emit(answering, f"{text}\n{next_line(asking.deployment, 'serving')}", as_json)
