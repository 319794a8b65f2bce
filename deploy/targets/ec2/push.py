"""The weights of a rented box on their way to S3: counted there, and uploaded by a unit that outlives the session."""

import shlex

from infra import host as hosts
from infra.aws import session
from infra.aws.api import Aws
from infra.aws.bucket import Contents, Place
from infra.aws.rented_machines import Rented
from infra.errors import HostError

POLL_S = 15.0


def sync(source: str, place: Place, region: str) -> list[str]:
    """PURE: the AWS CLI's command that brings what is not there yet."""
    return [
        *("aws", "s3", "sync", "--only-show-errors", "--region", region),
        *("--exclude", ".cache/*", source, place.address),
    ]


def contents(name: str, machine: Rented) -> Contents:
    """The files of its model. Raises HostError where there is none yet, or the box is not reached."""
    there = hosts.model_folder(name)
    words = f"sudo find -L {there} -type f -not -path '*/.cache/*' -printf '%s\\n'"
    answer = session.run(machine.instance_id, machine.region, words)
    sizes = answer.text.split()
    is_ready = session.run(
        machine.instance_id, machine.region, f"sudo test -e {hosts.root(name)}/model.complete"
    )
    if answer.exit_code or is_ready.exit_code or not sizes:
        raise HostError(
            f"{machine.instance_id} has not all of its weights yet.", f"See: corral status {name}"
        )
    return Contents(files=len(sizes), bytes=sum(map(int, sizes)))


def upload(aws: Aws, name: str, machine: Rented, place: Place) -> None:
    """Upload, and return when all is sent. Raises HostError with the box's last words when it fails."""
    unit = f"corral-{name}.push.service"
    command = shlex.join(sync(f"{hosts.model_folder(name)}/", place, machine.region))
    begin = f"systemd-run --quiet --unit={unit} --property=RemainAfterExit=yes {command}"
    again = f"sudo systemctl stop {unit} 2>/dev/null; sudo systemctl reset-failed {unit} 2>/dev/null"
    told(machine, f"{again}; sudo {begin}")
    look = f"systemctl show --value --property=SubState {unit}"
    while (state := told(machine, look)) not in ("exited", "failed"):
        aws.say(f"weights push: {machine.instance_id}: {state}")
        aws.sleep(POLL_S)
    if state == "failed":
        lines = told(machine, f"sudo journalctl --no-pager --output=cat --lines=5 --unit={unit}").splitlines()
        raise HostError(
            f"{machine.instance_id} could not upload its weights: {lines[-1] if lines else 'no reason given'}.",
            f"Its role must be allowed s3:PutObject on {place.address}, by its permissions boundary too, and a role of "
            "your own by its policy; then run the same command again.",
        )
    told(machine, f"sudo systemctl stop {unit}")


def told(machine: Rented, words: str) -> str:
    """What the box says to a command. Raises HostError when it fails."""
    answer = session.run(machine.instance_id, machine.region, words)
    if answer.exit_code:
        raise HostError(f"{machine.instance_id}: {answer.last_line}.", "Run the same command again.")
    return answer.text.strip()
