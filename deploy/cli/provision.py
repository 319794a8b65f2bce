"""`corral provision`: make the machine of a plan ready: this one, a rented one, or one of yours."""

from deploy.cli.flags import DryRun, Json, Planned, Yes
from deploy.provision_request import Where
from deploy.targets.wishes import Wishes


def provision(
    what: Planned,
    where: Where,
    wishes: Wishes,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Check everything first, show the price, ask, then make the machine ready. Safe to repeat.

    --dry-run asks nobody and says what would be; with --json, each request.
    """
    from deploy.line import dry_run as requests
    from deploy.line import provision as run
    from deploy.next_step import next_line
    from deploy.provision_request import approval, asking_for
    from deploy.targets.choose import place_of
    from deploy.targets.show_provision import provisioned, shown
    from deploy.up_request import dry_text
    from infra.say import emit, say

    asking = asking_for(what, where, wishes, is_dry=dry_run)
    if dry_run:
        asked = requests(asking.deployment, asking.wishes)
        say(shown(asked) if as_json else dry_text(asking, len(asked)), as_it_is=as_json)
        return
    made = run(asking.deployment, asking.wishes, approval(yes))
    ready = provisioned(made, place_of(made).where(made))
    emit(made, f"{ready}\n{next_line(made, 'provisioned')}", as_json)
