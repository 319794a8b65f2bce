"""PURE: what provision and down say to a person."""

import json
from typing import Any

from deploy.targets.deployment import Deployment
from deploy.targets.place import Teardown
from deploy.targets.table import PLACES
from infra.columns import table
from infra.errors import LeftoverError
from infra.record import Record
from infra.rented import Rented

UNJUDGED = "Nothing judges it until the first `corral serve`: one that hangs before that stays so."


class Extended(Record):
    """The new end of a rented deployment."""

    name: str
    """The deployment's."""
    expires_at: str
    """When it ends itself now (UTC)."""


def shown(requests: list[dict[str, Any]]) -> str:
    """The requests of a dry run, as JSON."""
    return json.dumps(requests, indent=2)


def provisioned(deployment: Deployment, where: str) -> str:
    """What is ready."""
    is_unjudged = PLACES[deployment.target].rents and deployment.plan.machine.hosts == 1
    begins = f"\nIts server starts by itself. {UNJUDGED}" if is_unjudged else ""
    end = f"\nend:      corral down {deployment.name}" if PLACES[deployment.target].rents else ""
    return f"{deployment.name} is provisioned on {where}.{begins}{end}"


def teardown(proof: Teardown) -> str:
    """The table of zeros, or what is left."""
    counts = table(((kind, str(count)) for kind, count in proof.counts.items()), indent="")
    left = [f"left: {line}" for line in proof.left]
    where = f" in account {proof.account}" if proof.account else ""
    nothing = f"Nothing of {proof.name} is left{where}."
    if not proof.found:
        there = [f"there is: {line}" for line in proof.others] or ["Nor is anything else of corral's there."]
        nothing = "\n".join(
            [f"Nothing called {proof.name} was found{where}: nothing was taken away.", *there]
        )
    kept = [f"Kept, as other deployments may share it: {line}" for line in proof.kept]
    kept += [f"Kept: the audit of its gateway, {proof.audit}"] if proof.audit else []
    return "\n".join([*counts.splitlines(), *(left or [nothing]), *kept])


def leftover(proof: Teardown) -> LeftoverError:
    """The error that makes the exit code."""
    return LeftoverError(
        f"Left of {proof.name}: {'; '.join(proof.left)}.",
        f"Mend what is said there, then again: corral down {proof.name}",
    )


class Reaped(Record):
    """What was over its time, and what was taken away of it."""

    expired: tuple[Rented, ...]
    """The machines that were over their time."""
    removed: tuple[Teardown, ...]
    """A proof for each deployment that was taken away; empty with --dry-run."""


def reaped(over: list[Rented], gone: list[Teardown]) -> Reaped:
    """Both together, as --json prints them."""
    return Reaped(expired=tuple(over), removed=tuple(gone))


def reaped_text(over: list[Rented], gone: list[Teardown]) -> str:
    """What was over its time, and what came of it."""
    lines = [
        f"{machine.deployment}: {machine.instance_id} in {machine.region}, over since {machine.expires_at}"
        for machine in over
    ]
    return "\n".join([*lines, *map(teardown, gone)]) or "Nothing is over its time."
