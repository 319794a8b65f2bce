"""PURE: what provision and down say to a person."""

import json
from typing import Any, get_args

from deploy.targets.deployment import Deployment, Target
from deploy.targets.place import Teardown
from infra.aws.rented_machines import Rented
from infra.errors import LeftoverError, UsageError
from infra.record import Record


class Extended(Record):
    """The new end of a rented deployment."""

    name: str
    expires_at: str


def shown(requests: list[dict[str, Any]]) -> str:
    """The requests of a dry run, as JSON."""
    return json.dumps(requests, indent=2)


def provisioned(deployment: Deployment) -> str:
    """What is ready, and the next step."""
    where = {"ec2": f"EC2 {deployment.region}", "ssh": ", ".join(deployment.hosts), "local": "this machine"}
    return f"{deployment.name} is provisioned on {where[deployment.target]}.\nNext: corral serve {deployment.name}"


def teardown(found: Teardown) -> str:
    """The table of zeros, or what is left."""
    width = max(map(len, found.counts), default=0)
    rows = [f"{kind:{width}}  {count}" for kind, count in found.counts.items()]
    left = [f"left: {line}" for line in found.left]
    where = f" in account {found.account}" if found.account else ""
    kept = [f"Kept, as other deployments may share it: {line}" for line in found.kept]
    return "\n".join([*rows, *(left or [f"Nothing of {found.name} is left{where}."]), *kept])


def leftover(found: Teardown) -> LeftoverError:
    """The error that makes the exit code."""
    return LeftoverError(
        f"{len(found.left)} things of {found.name} are left: {'; '.join(found.left)}.",
        f"Mend what is said there, then again: corral down {found.name}",
    )


class Reaped(Record):
    """What was over its time, and what was taken away of it."""

    expired: tuple[Rented, ...]
    removed: tuple[Teardown, ...]


def reaped(over: list[Rented], gone: list[Teardown]) -> Reaped:
    """Both together, as --json prints them."""
    return Reaped(expired=tuple(over), removed=tuple(gone))


def reaped_text(over: list[Rented], gone: list[Teardown]) -> str:
    """What was over its time, and what came of it."""
    found = [
        f"{one.deployment}: {one.instance_id} in {one.region}, over since {one.expires_at}" for one in over
    ]
    return "\n".join([*found, *map(teardown, gone)]) or "Nothing is over its time."


def checked_target(target: str | None) -> Target | None:
    """The target as typed. Raises UsageError for one there is not."""
    for known in get_args(Target):
        if target == known:
            return known  # type: ignore[no-any-return]
    if target is None:
        return None
    raise UsageError(f"{target!r} is no target.", f"Use one of: {', '.join(get_args(Target))}")
