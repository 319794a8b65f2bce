"""`corral reap`: take away every rented deployment whose time is over."""

from typing import Annotated

from deploy.cli.flags import DryRun, Json
from infra.asked import Asked, Flag
from infra.aws.region import Region


class ReapOptions(Asked):
    """Where it looks."""

    regions: Annotated[tuple[Region, ...], Flag("--region")] = ()
    """Only these regions; repeatable. [all enabled]"""


def reap(where: ReapOptions, dry_run: DryRun = False, as_json: Json = False) -> int:
    """Find what corral rented for anybody in this account and what should have ended; end it and prove it."""
    from deploy.line import reap as run
    from deploy.targets.show_provision import leftover, reaped, reaped_text
    from infra.say import Told, emit, fail

    over, gone = run(where.regions, dry_run)
    emit(reaped(over, gone), reaped_text(over, gone), as_json)
    left = [teardown for teardown in gone if teardown.left]
    return Told(fail(leftover(left[0]), as_json=False)) if left else 0
