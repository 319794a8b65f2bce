"""How a rented deployment is: EC2 asked by tag, each box by its console and its unit, the server by a completion."""

from deploy.targets.deployment import Deployment
from deploy.targets.ec2 import box_release, boxes, tunnels
from deploy.targets.ec2.cost import hourly
from deploy.targets.place import State, Status, together
from infra import host as hosts
from infra.aws import power, session, stopped_costs
from infra.aws.api import Aws
from infra.aws.order import Order
from infra.errors import HostError
from infra.phase import Phase
from infra.rented import Rented
from serving.vllm import health
from serving.vllm.endpoint import Endpoint

TAKEN_BACK = "Server.SpotInstanceTermination"
UNIT_STATES = ("active", "activating", "deactivating", "inactive", "failed")
"""What systemd calls them; it ends with another code for each."""


def status(aws: Aws, deployment: Deployment, order: Order, machines: tuple[Rented, ...]) -> Status:
    """All machines as one: as well as the worst, reached at the first. One that is missing is the worst of all.

    Of a deployment that names its machines, a replica, these alone.
    """
    wanted, is_whole = len(deployment.hosts) or order.machines, not deployment.hosts
    ended = ("terminated", "shutting-down") if order.replicas > 1 else ("terminated",)
    alive = [machine for machine in machines if machine.state not in ended]
    each = [of_machine(aws, deployment, order, machine, leads=machine == alive[0]) for machine in alive]
    names = [machine.instance_id for machine in alive]
    replicas = tuple(names) if order.replicas > 1 and is_whole else ()
    if len(alive) < wanted and not is_whole:
        each.append(said(deployment, "dead", boxes.lost(deployment.name, deployment.hosts).message))
        names.append("missing")
    elif len(alive) < wanted:
        each.append(gone(deployment, order, machines, len(alive)))
        names.append("missing")
    return together(names, each, replicas)


def gone(deployment: Deployment, order: Order, machines: tuple[Rented, ...], left: int) -> Status:
    """What is missing: all of it, or some of the machines; and whether EC2 took it back."""
    what = f"{order.machines - left} of {order.machines} machines" if order.machines > 1 else "its machine"
    if any(machine.end_reason == TAKEN_BACK for machine in machines):
        detail = f"interrupted by EC2: {what} was taken back. {boxes.again(deployment)}"
        return said(deployment, "interrupted", detail)
    if left and order.replicas > 1:
        return said(
            deployment, "dead", f"{what} are not there; rented anew by: corral serve {deployment.name}"
        )
    if left:
        return said(deployment, "dead", f"{what} ended. {boxes.again(deployment)}")
    return said(deployment, "absent", "no machine carries its tag")


def of_machine(aws: Aws, deployment: Deployment, order: Order, machine: Rented, leads: bool) -> Status:
    """One machine and its part of the server, and the endpoint of the one that leads."""
    where = f"{machine.instance_id}, {machine.purchase} {machine.instance_type} in {machine.zone}"
    if machine.end_reason == TAKEN_BACK:
        return said(deployment, "interrupted", f"{where}: interrupted by EC2. {boxes.again(deployment)}")
    if machine.state in power.DOWN:
        start = f"start it: corral serve {deployment.name}"
        return said(
            deployment, "stopped", f"{where}: {machine.state}; {stopped_costs.told(aws, machine)}; {start}"
        )
    if machine.state != "running":
        return said(deployment, "provisioned", where)
    phase = boxes.phase(aws, deployment, machine)
    if phase.state == "interrupted":
        return said(deployment, "interrupted", f"{where}: {phase.words}. {boxes.again(deployment)}")
    if phase.state == "failed":
        return said(deployment, "dead", f"{where}: {failure(deployment, order, machine, phase)}")
    if phase.state != "prepared":
        elapsed_s = (aws.now() - machine.launched_at).total_seconds()
        words = boxes.so_far(deployment, phase, elapsed_s)
        if order.replicas > 1 and elapsed_s > boxes.prepared_within_s(deployment):
            words = f"{words}. {boxes.another_for(deployment.name, machine)}"
        return said(deployment, "starting", f"{where}: {words}")
    try:
        return of_server(deployment, order, machine, leads, where)
    except HostError as error:
        return said(deployment, "provisioned", f"{where}: {error.message}")


def failure(deployment: Deployment, order: Order, machine: Rented, phase: Phase) -> str:
    """What a machine says that failed; where that was its server alone, the ways on, and what it costs till then."""
    words, name = boxes.failure(deployment, machine, phase), deployment.name
    if not phase.is_prepared:
        return words
    return f"{words}; again: corral serve {name}; it still costs {hourly(order)}: corral down {name}"


def of_server(deployment: Deployment, order: Order, machine: Rented, leads: bool, where: str) -> Status:
    """A prepared machine's part of the server; only the one that leads can be asked for a completion."""
    if order.nodes > 1:
        unit = unit_state(deployment, machine)
        if unit == "inactive":
            return said(deployment, "provisioned", f"{where}: start it: corral serve {deployment.name}")
        if unit == "failed":
            return said(deployment, "dead", f"{where}: its unit has failed")
        if not leads:
            return said(deployment, "serving", f"{where}: works for the first machine")
    endpoint = tunnels.endpoint(deployment, order, machine)
    verdict = health.judge(health.look(endpoint), deployment.plan.serve.served_model_name)
    starts = box_release.starts(deployment, machine)
    return said(deployment, verdict.state, f"{where}: {verdict.detail}", endpoint, starts)


def unit_state(deployment: Deployment, machine: Rented) -> str:
    """What systemd says of the server's unit on one machine. Raises HostError when it does not tell."""
    words = f"systemctl is-active {hosts.unit(deployment.name)}"
    unit = session.run(machine.instance_id, machine.region, words).text.strip()
    if unit not in UNIT_STATES:
        raise HostError(f"{machine.instance_id} does not tell how its unit is.", "Try again in a minute.")
    return unit


def said(
    deployment: Deployment,
    state: State,
    detail: str,
    endpoint: Endpoint | None = None,
    release: str | None = None,
) -> Status:
    """A status of this target."""
    return Status(
        name=deployment.name,
        target="ec2",
        state=state,
        detail=detail,
        endpoint=endpoint,
        release=release,
    )
