"""One server over several rented machines: each is told its rank over Session Manager, and starts."""

import shlex

from deploy.targets.deployment import Deployment
from deploy.targets.ec2.reach import next_step
from infra import host as hosts
from infra.aws import session
from infra.aws.api import Aws
from infra.aws.rented_machines import Rented
from infra.errors import ServerError


def join(aws: Aws, deployment: Deployment, machines: tuple[Rented, ...]) -> None:
    """Start every machine's server as one rank of the engine, the first one's leading. Safe to repeat.

    Raises HostError for an address that is none, and where Session Manager does not reach; ServerError for a machine
    that does not take its rank.
    """
    addresses = tuple(machine.private_address for machine in machines)
    commands = [hosts.join_command(deployment.name, rank, addresses) for rank in range(len(machines))]
    for rank, (machine, command) in enumerate(zip(machines, commands, strict=True)):
        answer = session.run(machine.instance_id, machine.region, shlex.join(("sudo", *command)))
        if answer.exit_code:
            raise ServerError(
                f"{machine.instance_id} took no rank: {answer.last_line}.", next_step(deployment)
            )
        aws.say(f"serve: {machine.instance_id} at {machine.private_address}: rank {rank} of {len(machines)}")
