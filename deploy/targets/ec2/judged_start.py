"""The servers on rented boxes, started as somebody asks for it, and what stands beside them from then on.

The judge comes over Session Manager: a box's user data has no room for it. Until somebody serves from here, and on a
box that does not take it, a server that hangs goes on with it.
"""

import base64
import gzip
import shlex

from deploy.targets.deployment import Deployment
from deploy.targets.ec2 import boxes
from infra import host as hosts
from infra.aws import session
from infra.aws.api import Aws
from infra.aws.order import Order
from infra.errors import ServerError
from infra.host_archive import CHECK, UNPACK, archive, sums
from infra.host_files import brought_later
from infra.rented import Rented
from infra.say import warn
from serving.vllm.startup_log import load_budget_s

NOT_BROUGHT = 77
"""The exit code for a box that did not take what it was brought."""


def start(aws: Aws, deployment: Deployment, order: Order, machines: tuple[Rented, ...]) -> None:
    """Start every machine's server, now and at every boot, judged, whatever had given it up; what runs goes on.

    One that takes no judge serves without, or with the one that it has: it is said what then is not watched. Of one
    engine over several each is told its rank; the first leads. Safe to repeat. Raises HostError for an address that is
    none, and where Session Manager does not reach; ServerError for a machine that does not do it.
    """
    bring = unpacked(brought_later(judged_setup(deployment, order)))
    is_joined = order.nodes > 1
    started = commands(deployment.name, machines, is_joined)
    for rank, (machine, command) in enumerate(zip(machines, started, strict=True)):
        begin = shlex.join(("sudo", *command))
        words = f"{{ {bring}; }} || exit {NOT_BROUGHT}; {begin}"
        answer = session.run(machine.instance_id, machine.region, words)
        if answer.exit_code == NOT_BROUGHT and not is_joined:
            warn(
                f"{machine.instance_id} takes no judge ({answer.last_line}): unless an earlier one is there, a server "
                "that hangs stays so, and one that dies is started again for ever. Make room, then again: "
                f"corral serve {deployment.name}"
            )
            answer = session.run(machine.instance_id, machine.region, begin)
        if answer.exit_code:
            refused = "took no rank" if is_joined else "did not start its server"
            raise ServerError(
                f"{machine.instance_id} {refused}: {answer.last_line}.", boxes.next_step(deployment)
            )
        if is_joined:
            aws.say(
                f"serve: {machine.instance_id} at {machine.private_address}: rank {rank} of {len(machines)}"
            )


def commands(name: str, machines: tuple[Rented, ...], is_joined: bool) -> list[tuple[str, ...]]:
    """What starts each one's server there, or its rank of one. Raises HostError for an address that is none."""
    if not is_joined:
        return [hosts.start_command(name)] * len(machines)
    addresses = tuple(machine.private_address for machine in machines)
    return [hosts.join_command(name, rank, addresses) for rank in range(len(machines))]


def unpacked(files: tuple[hosts.HostFile, ...]) -> str:
    """The words of a shell that put files on a box, if they are not there; AWS takes 65,535 characters."""
    packed = base64.b64encode(gzip.compress(archive(files), mtime=0)).decode()
    check = f"printf %s {shlex.quote(sums(files))} | sudo {shlex.join(CHECK)}"
    unpack = f"printf %s {packed} | base64 -d | gzip -d | sudo {shlex.join(UNPACK)}"
    return f"{{ {check} || {unpack}; }} && sudo systemctl daemon-reload"


def judged_setup(deployment: Deployment, order: Order) -> hosts.HostSetup:
    """As much of what its machines were told as what judges them, and ends them when nobody asks, needs to know."""
    plan = deployment.plan
    return hosts.HostSetup(
        name=deployment.name,
        argv=(),
        host="0.0.0.0" if order.cidr else "127.0.0.1",
        port=order.port,
        served_model_name=plan.serve.served_model_name,
        load_budget_s=load_budget_s(plan.weights_bytes),
        gpus=plan.machine.gpu_count // plan.machine.hosts,
        nodes=order.nodes,
        engine=hosts.Engine(),
        api_key="generated",
        ttl_minutes=order.ttl_minutes,
        idle_minutes=order.idle_minutes,
        rented=True,
    )
