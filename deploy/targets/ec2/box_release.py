"""What a rented box is told of a release, and says of it, over Session Manager (infra/onhost/release.sh)."""

import json
import re
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

Order = Literal["note", "room", "turn", "keep", "back", "look", "which"]


def words(deployment: Deployment, order: Order, mark: str = "", weights: str = "") -> str:
    """The words of a shell that give a box that order about the release of a deployment."""
    script = shipped_text("infra.onhost", "release.sh")
    asked = (deployment.name, order, deployment.release, mark, weights)
    return shlex.join(("sudo", "sh", "-c", script, "release", *asked))


def tell(deployment: Deployment, machine: Rented, order: Order, before: str = "") -> str:
    """Give a box an order, after those words of a shell; what it says.

    Raises HostError, and ServerError where it fails.
    """
    answer = session.run(
        machine.instance_id, machine.region, f"{before}{words(deployment, order)}", ends_within_s(deployment)
    )
    if answer.exit_code:
        raise ServerError(
            f"{machine.instance_id} does not do as it is told of a release: {answer.last_line}.",
            boxes.next_step(deployment),
        )
    return answer.text.strip()


def record(deployment: Deployment, folder: str) -> hosts.HostFile:
    """What tells which release lies in a folder of a box: its id alone, as AWS keeps the words of a command."""
    content = json.dumps({"release": deployment.release}, indent=2) + "\n"
    return hosts.HostFile(path=f"{folder}/record.json", content=content)


def ends_within_s(deployment: Deployment) -> float:
    """How long the end of a box's server may take."""
    return hosts.stop_s(deployment.plan.serve.shutdown_timeout) + STOP_MARGIN_S


def starts(deployment: Deployment, machine: Rented) -> str | None:
    """Which release a box starts, or `ID on trial` for one that it was turned to and does not keep; None for that of
    its first boot. A deployment that never had another is not asked.
    """
    told = asked(deployment, machine) if deployment.release else {}
    return f"{told['trial']} on trial" if "trial" in told else told.get("kept")


def asked(deployment: Deployment, machine: Rented) -> dict[str, str]:
    """The id of the release that a box keeps, and of one that it was turned to and does not keep, if there is one."""
    return dict(
        re.findall(r"^(kept|trial)=([0-9a-f]{12})\s*$", tell(deployment, machine, "which"), re.MULTILINE)
    )


def missing(deployment: Deployment, machine: Rented) -> str:
    """What of a release is not on a box any more; "" when all of it is."""
    said = re.search(r"^its\b.*\S", tell(deployment, machine, "look"), re.MULTILINE)
    return said[0] if said else ""


def end_trial(deployment: Deployment, machine: Rented) -> None:
    """End what a roll that was killed has turned a box to: what it keeps is what starts."""
    trial = asked(deployment, machine).get("trial") if deployment.release else None
    if trial:
        progress(f"{machine.instance_id}: ending release {trial}, whose trial was cut short")
        tell(deployment, machine, "back")
