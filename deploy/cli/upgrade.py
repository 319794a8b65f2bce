"""`corral upgrade`: the next release of a deployment, tried before it is kept; or the way back."""

from typing import Annotated

import typer

from deploy.cli.flags import Json, Name, Yes, deployed_or_path
from deploy.releases.upgrade_options import UpgradeOptions


def upgrade(
    name: Name,
    asked: UpgradeOptions,
    plan: Annotated[
        str | None,
        typer.Argument(
            metavar="PLAN|NAME",
            help="A plan.json with the next options, or another deployment, whose plan it is; else the same.",
            autocompletion=deployed_or_path,
        ),
    ] = None,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Bring the next release (engine version, commit, options), try it, and keep it or go back by itself.

    Engine and weights are brought while the present release serves. Then that is drained and ended, the next one is
    started at the same address, and has to answer under its name, with sense, and nearly as fast. Where it does not,
    the present one is started again: exit code 7. Killed at any moment, `corral serve NAME` starts the accepted one.
    """
    from deploy.by_name import plan_of
    from deploy.newest import forget
    from deploy.next_step import next_line
    from deploy.provision_request import approval
    from deploy.releases.next_release import next_of
    from deploy.releases.show_upgrade import upgraded
    from deploy.releases.upgrade import back
    from deploy.releases.upgrade import upgrade as run
    from deploy.targets.deployment import load
    from infra.errors import UsageError
    from infra.say import emit

    if asked.rollback and plan is not None:
        raise UsageError("--rollback is the way back, and takes no plan.", "Leave one of them out.")
    if asked.rollback:
        done = back(name)
    else:
        source = plan_of(plan) if plan else None
        done = run(
            lambda present, place: next_of(present, place, source, asked),
            name,
            asked.slower_at_most,
            approval(yes),
        )
    if done.changed:
        forget(name)  # the newest probe is of another release
    emit(done, f"{upgraded(done)}\n{next_line(load(name), 'serving')}", as_json)
