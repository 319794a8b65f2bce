"""The servers of a rented deployment one by one, each called by the id of its machine: where it answers, how it is
ended and started anew. Which machines there are only AWS knows; none is rented, stopped or given another end here.
"""

import shlex

from deploy.targets.deployment import Deployment
from deploy.targets.ec2 import box_release, boxes, common_key, documents, each_server, judged_start, tunnels
from infra import host as hosts
from infra.aws import power, replacing, session
from infra.aws.api import Aws
from infra.aws.order import Order
from infra.aws.renting import told
from infra.errors import CloudError, ServerError, UsageError
from infra.rented import Rented
from serving.vllm.endpoint import Endpoint


def servers(order: Order, machines: tuple[Rented, ...]) -> tuple[Rented, ...]:
    """The machines that answer: every replica, or the first of those that one server is over."""
    return machines if order.replicas > 1 else machines[:1]


@told
def answering(deployment: Deployment, opens: bool) -> dict[str, Endpoint]:
    """Where each server answers from here, by the id of its machine; as it was last, where no way is opened.

    What cannot be reached now is told, and hides no other. Raises HostError where none can, CloudError where none runs,
    UsageError where none is to be opened and none was.
    """
    order = documents.order_of(deployment)
    if not opens and (found := tunnels.noted(deployment, order)):
        return found
    if not opens and not order.cidr:
        raise UsageError(
            f"No way to {deployment.name} is open here.", f"Serve it: corral serve {deployment.name}"
        )
    aws = documents.aws_for(deployment.name)
    return tunnels.answering(deployment, order, servers(order, boxes.running(aws, deployment, order)))


def count(deployment: Deployment) -> int:
    """As many as were ordered."""
    order = documents.begun(deployment.name)
    return order.replicas if order else 1


@told
def replicas(deployment: Deployment) -> dict[str, Deployment]:
    """Each that runs as a deployment of its machine; one server over several machines is one of them all.

    Raises CloudError where none runs.
    """
    aws, order = documents.aws_for(deployment.name), documents.order_of(deployment)
    machines = boxes.running(aws, deployment, order)
    each = [(machine,) for machine in machines] if order.replicas > 1 else [machines]
    return {
        of_one[0].instance_id: deployment.model_copy(update={"hosts": tuple(power.ids(of_one))})
        for of_one in each
    }


@told
def share_key(deployment: Deployment) -> None:
    """Have every replica that runs take the one key; a server alone has its own."""
    aws, order = documents.aws_for(deployment.name), documents.order_of(deployment)
    if order.replicas > 1:
        common_key.share(deployment, boxes.running(aws, deployment, order))


@told
def require_whole(deployment: Deployment) -> None:
    """Raise CloudError where machines lack, but for those that were said to be dispensable; ServerError for one that is
    not prepared, or that EC2 takes back.
    """
    aws, order = documents.aws_for(deployment.name), documents.order_of(deployment)
    there = replacing.up(boxes.there(aws, deployment, order))
    if len(there) < order.machines and not replacing.will_do(order, there):
        back = f"corral serve {order.name}"
        if order.nodes > 1:
            back = f"corral up plan.json --target ec2 --name {order.name}"
        raise CloudError(
            f"Only {len(there)} of the {order.machines} machines of {order.name} run.",
            f"Nothing was ended. Have what is lost put back first: {back}",
        )
    for machine in there:
        phase = boxes.phase(aws, deployment, machine)
        if phase.state == "interrupted":
            raise ServerError(f"{machine.instance_id}: {phase.words}.", boxes.again(deployment))
        if machine.state != "running" or not phase.is_prepared:
            raise ServerError(
                f"{machine.instance_id} is not prepared: {phase.words or 'booting'}.",
                f"Nothing was ended. Wait until it serves: corral serve {order.name}",
            )


@told
def restart(deployment: Deployment) -> Endpoint:
    """End the server of these machines and start it anew, judged, with the engine, weights and key that they have.

    Raises ServerError for one that does not end or start, CloudError for a machine that is gone meanwhile.
    """
    aws, order = documents.aws_for(deployment.name), documents.order_of(deployment)
    machines = boxes.running(aws, deployment, order)
    for machine in machines:
        end(deployment, machine)
    judged_start.start(aws, deployment, order, machines)
    return each_server.ready(
        aws, deployment, order, machines, lambda: require_there(aws, deployment, order, machines)
    )


def end(deployment: Deployment, machine: Rented) -> None:
    """End the server of a machine, which starts again at a boot. Raises ServerError where it does not end."""
    words = shlex.join(("sudo", "systemctl", "stop", hosts.unit(deployment.name)))
    answer = session.run(machine.instance_id, machine.region, words, box_release.ends_within_s(deployment))

    if answer.exit_code:
        raise ServerError(
            f"{machine.instance_id} did not end its server: {answer.last_line}.", boxes.next_step(deployment)
        )


def require_there(aws: Aws, deployment: Deployment, order: Order, machines: tuple[Rented, ...]) -> None:
    """Raise CloudError where one of these machines has gone: its server is not waited for."""
    alive = power.ids(replacing.up(boxes.there(aws, deployment, order)))
    if lost := [key for key in power.ids(machines) if key not in alive]:
        raise boxes.lost(order.name, lost)
