"""Releases on rented boxes: the next one lies beside the one that serves, on the same machine, and replaces it there.

No machine is rented, stopped or given another end for it. What is lost is rented anew at the accepted release
(release_order.py): deployment.json alone says which that is.
"""

import shlex
from collections.abc import Callable

from deploy.targets import deployment as deployments
from deploy.targets import hub_weights, hurry, preflight
from deploy.targets.deployment import Deployment, folder
from deploy.targets.ec2 import (
    box_release,
    boxes,
    documents,
    each_server,
    judged_start,
    release_bring,
    release_order,
    release_room,
    rental,
    replicas,
    tunnels,
)
from deploy.targets.place import Check, Offer
from infra import host as hosts
from infra.aws import session
from infra.aws.order import Order
from infra.aws.renting import told
from infra.errors import CorralError, HostError, UsageError
from infra.host_judge import PYTHON
from infra.onhost.history import Name
from infra.rented import Rented
from infra.say import progress
from serving.vllm import events, stopping, versions
from serving.vllm.endpoint import Endpoint


def engine_version(deployment: Deployment) -> str:
    """The version that the boxes install."""
    return deployment.plan.vllm_version


def pinned(deployment: Deployment) -> Deployment:
    """As it is: its plan names the engine."""
    return deployment


def with_engine(deployment: Deployment, version: str | None, engine: str | None) -> Deployment:
    """With the index's engine of that version. Raises UsageError for one of this machine, or a box's packed one."""
    if engine:
        raise UsageError(
            "A rented machine is brought no engine from here: it installs the next one from the package index.",
            "Leave out --engine, and name a version: --vllm-version 0.33.0",
        )
    present = deployments.load(deployment.name)
    if version and versions.release(version) != versions.release(present.plan.vllm_version):
        release_order.refuse_another_engine(present, documents.order_of(deployment))
    return deployment


@told
def settled(deployment: Deployment) -> tuple[Deployment, tuple[Check, ...]]:
    """At the commit of its weights, and what there is to say of them; every machine is there and prepared.

    Raises UsageError for a release that those machines cannot serve, CloudError where one lacks, ServerError where one
    is not prepared.
    """
    order = documents.order_of(deployment)
    release_order.refuse_unlike(deployments.load(deployment.name), deployment, order)
    versions.check_planned(deployment.plan.vllm_version, progress, deployment.plan.serve)
    deployment, about = rental.settled(hub_weights.kept(deployment), release_order.options_of(order))
    next_order = release_order.order_of_release(deployment, order)
    replicas.require_whole(deployment)
    return deployment, (*about, *unlocked(next_order))


def unlocked(order: Order) -> tuple[Check, ...]:
    """What nobody has fixed beforehand of what the boxes will run."""
    if not order.engine_unlocked:
        return ()
    found = f"{order.engine_unlocked} has no lock: a box installs what the package index has that day"
    return (Check(name="engine", outcome="warning", found=found, fix="Take a version that has one."),)


@told
def bring(deployment: Deployment, about: tuple[Check, ...], approve: Callable[[Offer], None]) -> None:
    """Put its engine and weights on every machine, beside those of the server that runs.

    Raises HostError where one has no room for both, ServerError for one that does not prepare it.
    """
    aws, order = documents.aws_for(deployment.name), documents.order_of(deployment)
    machines = boxes.running(aws, deployment, order)
    setup = release_order.setup_of(deployment, order)
    room = tuple(release_room.check(deployment, machine, setup) for machine in machines)
    sent = rental.told_of_template(deployment)
    approve(Offer(deployment, (*about, *room), sent=sent, is_planned=bool(sent)))
    preflight.require(room, deployment.name)
    release_bring.prepare(aws, deployment, setup, machines)


@told
def missing(deployment: Deployment) -> str:
    """What of a release is not on a machine any more."""
    aws, order = documents.aws_for(deployment.name), documents.order_of(deployment)
    machines = boxes.running(aws, deployment, order)
    found = [(machine.instance_id, box_release.missing(deployment, machine)) for machine in machines]
    return "; ".join(f"{word} on {instance_id}" for instance_id, word in found if word)


@told
def remember(deployment: Deployment) -> None:
    """Keep the units of every machine as this release's; a machine that has no record of one is given this one's."""
    aws, order = documents.aws_for(deployment.name), documents.order_of(deployment)
    record = box_release.record(deployment, hosts.root(deployment.name))
    first = f"{{ sudo test -e {record.path} || {judged_start.unpacked((record,))}; }} && "

    for machine in boxes.running(aws, deployment, order):
        box_release.tell(deployment, machine, "note", first)


@told
def turn_to(deployment: Deployment) -> Endpoint:
    """End what every machine serves, once it has no request, and serve this; where the first answers once all do."""
    aws, order = documents.aws_for(deployment.name), documents.order_of(deployment)
    machines = boxes.running(aws, deployment, order)
    # The console may still tell of a server that was given up, and this is another.
    prepared = f"{shlex.join(('sudo', f'{hosts.root(deployment.name)}/bin/phase', 'prepared'))}; "
    for machine in machines:
        wait_until_idle(deployment, order, machine)
        box_release.tell(deployment, machine, "turn", prepared)
    found = [
        each_server.ready(
            aws,
            deployment,
            order,
            (machine,),
            lambda: replicas.require_there(aws, deployment, order, machines),
        )
        for machine in machines
    ]
    return found[0]


def wait_until_idle(deployment: Deployment, order: Order, machine: Rented) -> None:
    """Wait until its server has no request, for as long as its drain may take; one that cannot be asked is ended."""
    try:
        at = tunnels.endpoint(deployment, order, machine)
    except HostError as error:
        progress(f"not waiting for requests: {error.message}")
        return
    within_s = deployment.plan.serve.shutdown_timeout
    stopping.until_idle(at, within_s, lambda: hurry.is_hurried(deployment.name), progress)


@told
def keep(deployment: Deployment) -> None:
    """What was turned to is what every machine starts from now on, at a boot too."""
    aws, order = documents.aws_for(deployment.name), documents.order_of(deployment)
    for machine in boxes.running(aws, deployment, order):
        box_release.tell(deployment, machine, "keep")


@told
def let_go(deployment: Deployment) -> None:
    """End what was turned to on every machine, once it has no request; what it keeps is what starts next."""
    aws, order = documents.aws_for(deployment.name), documents.order_of(deployment)
    for machine in boxes.running(aws, deployment, order):
        wait_until_idle(deployment, order, machine)
        box_release.tell(deployment, machine, "back")


def note(deployment: Deployment, event: Name, cause: str) -> None:
    """Add it to what the first machine has on record; here where that cannot be asked."""
    try:
        noted = note_there(deployment, event, cause)
    except CorralError:
        noted = False
    if not noted:
        events.note(folder(deployment.name), event, cause)


@told
def note_there(deployment: Deployment, event: Name, cause: str) -> bool:
    """Whether the first machine has noted it: what does so says what it notes."""
    aws, order = documents.aws_for(deployment.name), documents.order_of(deployment)
    machine = boxes.running(aws, deployment, order)[0]
    heal = f"{hosts.root(deployment.name)}/bin/heal"
    words = shlex.join(("sudo", *PYTHON, heal, "note", deployment.name, event, cause))
    answer = session.run(machine.instance_id, machine.region, words)
    return not answer.exit_code and bool(answer.text.strip())
