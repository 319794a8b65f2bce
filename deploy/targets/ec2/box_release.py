"""What a rented box is told of a release, and says of it, over Session Manager (infra/onhost/release.sh)."""

import shlex
from typing import Literal

from deploy.targets.deployment import Deployment
from deploy.targets.ec2 import boxes
from infra import host as hosts
from infra.aws import session
from infra.data import shipped_text
from infra.errors import ServerError
from infra.rented import Rented
from infra.say import progress

STOP_MARGIN_S = 60
"""Beyond what systemd gives a server to end, for the session and a slow machine."""
ON_TRIAL = " on trial"

Order = Literal["note", "room", "turn", "keep", "back", "look", "which"]


def words(deployment: Deployment, order: Order, mark: str = "", weights: str = "") -> str:
    """The words of a shell that give a box that order about the release of a deployment."""
    script = shipped_text("infra.onhost", "release.sh")
    asked = (deployment.name, order, deployment.release, mark, weights)
    return shlex.join(("sudo", "sh", "-c", script, "release", *asked))


def tell(deployment: Deployment, machine: Rented, order: Order, before: str = "") -> str:
    """Give a box an order, after those words of a shell; what it says. Raises HostError, and ServerError where it fails."""
    answer = session.run(
        machine.instance_id, machine.region, f"{before}{words(deployment, order)}", ends_within_s(deployment)
    )
    if answer.exit_code:
        raise ServerError(
            f"{machine.instance_id} does not do as it is told of a release: {answer.last_line}.",
            boxes.next_step(deployment),
        )
    return answer.text.strip()


def ends_within_s(deployment: Deployment) -> float:
    """How long the end of a box's server may take."""
    return hosts.stop_s(deployment.plan.serve.shutdown_timeout) + STOP_MARGIN_S


def starts(deployment: Deployment, machine: Rented) -> str | None:
    """Which release a box starts, or `ID on trial` for one that it was turned to and does not keep; None for that of
    its first boot. A deployment that never had another is not asked.
    """
    said = tell(deployment, machine, "which").split("\n") if deployment.release else []
    return said[-1].strip() or None if said else None


def end_trial(deployment: Deployment, machine: Rented) -> None:
    """End what a roll that was killed has turned a box to: what it keeps is what starts."""
    found = starts(deployment, machine) or ""
    if found.endswith(ON_TRIAL):
        progress(
            f"{machine.instance_id}: ending release {found.removesuffix(ON_TRIAL)}, whose trial was cut short"
        )
        tell(deployment, machine, "back")
