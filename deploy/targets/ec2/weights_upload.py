"""The weights of a rented box on their way to S3: counted there, and uploaded by a unit that outlives the session."""

import shlex
from datetime import timedelta

from deploy.targets.abilities import Pushed
from deploy.targets.deployment import Deployment
from deploy.targets.ec2 import boxes, documents
from deploy.targets.ec2.weights_push import check, pushed, sync
from infra import host as hosts
from infra import wait
from infra.aws import bucket, rented_machines, session
from infra.aws.api import Aws
from infra.aws.bucket import Contents, Place
from infra.aws.push_grant import granted
from infra.aws.renting import told
from infra.errors import HostError
from infra.rented import Rented

POLL_S = 15.0
LONGEST = timedelta(hours=6)
# systemd's words for a unit that is done, failed, or not there any more, as after a reboot.
ENDED = ("exited", "failed", "dead")


@told
def push(deployment: Deployment, address: str) -> Pushed:
    """From the rented machine, whose role may write that folder meanwhile and nothing else.

    Raises UsageError for a bucket elsewhere, HostError or CloudError when not all has come there.
    """
    place = bucket.place_of(address)
    aws, order = documents.aws_for(deployment.name), documents.order_of(deployment)
    machine = boxes.running(aws, deployment, order)[0]
    wanted = contents(deployment.name, machine)
    check(aws, place, machine.region, wanted)
    with granted(aws, order, place, LONGEST):
        upload(aws, deployment.name, machine, place)
    return pushed(aws, place, machine.region, wanted, rented_machines.price(aws, machine))


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
    answered(machine, f"{again}; sudo {begin}")
    look = f"systemctl show --value --property=SubState {unit}"
    state = wait.until(
        lambda: answered(machine, look),
        lambda state: state in ENDED,
        aws.pace(LONGEST.total_seconds(), POLL_S),
        lambda state: aws.say(f"weights push: {machine.instance_id}: {state}"),
    )
    if state != "exited":
        lines = answered(
            machine, f"sudo journalctl --no-pager --output=cat --lines=5 --unit={unit}"
        ).splitlines()
        raise HostError(
            f"{machine.instance_id} could not upload its weights: {lines[-1] if lines else 'no reason given'}.",
            f"Its role must be allowed s3:PutObject on {place.address}, by its permissions boundary too, and a role of "
            "your own by its policy; then run the same command again.",
        )
    answered(machine, f"sudo systemctl stop {unit}")


def answered(machine: Rented, words: str) -> str:
    """What the box says to a command. Raises HostError when it fails."""
    answer = session.run(machine.instance_id, machine.region, words)
    if answer.exit_code:
        raise HostError(f"{machine.instance_id}: {answer.last_line}.", "Run the same command again.")
    return answer.text.strip()
