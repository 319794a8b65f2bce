"""`corral roll`: the replicas of a deployment restarted or upgraded, one at a time."""

from typing import Annotated

import typer

from deploy.cli.flags import DryRun, Json, Name, Yes, deployed_or_path
from deploy.releases.upgrade_options import RollOptions


def roll(
    name: Name,
    asked: RollOptions,
    plan: Annotated[
        str | None,
        typer.Argument(
            metavar="PLAN|NAME",
            help="A plan.json with the next options, or another deployment, whose plan it is; else the same.",
            autocompletion=deployed_or_path,
        ),
    ] = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Start its replicas anew one at a time, or serve the next release with each, without a lost request.

    Each is taken out of its gateway's rotation, waited for until it has no request, started, asked by the judge and by
    a canary, and put in again; then the next. One that fails ends the roll with exit code 7: it is turned back where
    another release was tried, and the others stay as they are. The same command again goes on where it stopped; without
    a plan or an option `roll` brings all to the accepted release. --dry-run looks, and says what would be done to each.
    """
    from deploy.by_name import plan_of
    from deploy.newest import forget
    from deploy.next_step import next_line
    from deploy.provision_request import approval
    from deploy.releases.foreseen_roll import foreseen
    from deploy.releases.next_release import next_of
    from deploy.releases.roll import roll as run
    from deploy.releases.show_upgrade import foreseen_text, rolled
    from deploy.releases.upgrade import NextOf
    from deploy.targets.deployment import load
    from infra.say import emit

    source = plan_of(plan) if plan else None
    is_next = source is not None or asked.news
    coming: NextOf | None = (
        (lambda present, place: next_of(present, place, source, asked, dry_run)) if is_next else None
    )
    if dry_run:
        seen = foreseen(coming, name)
        emit(seen, foreseen_text(seen), as_json)
        return
    done = run(coming, name, asked.slower_at_most, approval(yes))
    if done.release != done.previous:
        forget(name)  # the newest probe is of another release
    emit(done, f"{rolled(done)}\n{next_line(load(name), 'serving')}", as_json)
