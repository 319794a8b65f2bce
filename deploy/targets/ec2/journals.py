"""What the servers on rented boxes say, until now or as they say it."""

import shlex
from collections.abc import Iterator

from deploy.targets import host_history
from deploy.targets.deployment import Deployment
from deploy.targets.place import LOOK_S
from infra import deadline
from infra import host as hosts
from infra.aws import session
from infra.aws.api import Aws
from infra.aws.failover import console
from infra.errors import HostError
from infra.rented import Rented
from infra.say import progress
from serving.vllm import events


def followed(deployment: Deployment, machines: tuple[Rented, ...]) -> Iterator[tuple[str, str]]:
    """Each machine's id and its lines as they come, through Session Manager."""
    boxes = [(machine.instance_id, machine.region) for machine in machines]
    return session.follow(boxes, f"{journal(deployment)} --follow")


def written(aws: Aws, deployment: Deployment, machines: tuple[Rented, ...]) -> Iterator[tuple[str, str]]:
    """Each machine's id and its lines until now; where Session Manager does not reach it, its console's."""
    for machine in machines:
        with deadline.within(LOOK_S):
            text = said(aws, deployment, machine)
        yield from ((machine.instance_id, line) for line in text.splitlines())


def said(aws: Aws, deployment: Deployment, machine: Rented) -> str:
    """What one machine has said until now."""
    try:
        answer = session.run(machine.instance_id, machine.region, journal(deployment))
        if answer.exit_code:
            raise HostError(f"{machine.instance_id} shows no log: {answer.last_line}.", "Try again.")
        return answer.text
    except HostError as error:
        progress(f"{error.message} This is the console instead.")
        return console(aws, machine.region, machine.instance_id)


def history(deployment: Deployment, machine: Rented) -> tuple[events.Event, ...]:
    """What happened to the server on one machine, oldest first; nothing where it has no judge yet."""
    words = shlex.join(("sudo", *host_history.command(deployment.name)))
    return events.parsed(session.run(machine.instance_id, machine.region, words).text.encode())


def journal(deployment: Deployment) -> str:
    """The command that prints the log of a box's server and of its spot notice."""
    units = f"--unit={hosts.unit(deployment.name)} --unit={hosts.spot_unit(deployment.name)}"
    return f"sudo journalctl --no-pager --output=cat {units} --lines=2000"
