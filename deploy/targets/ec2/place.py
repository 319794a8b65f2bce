"""The place `ec2`: machines rented by the hour. The truth is in EC2's tags; our documents only remember the order."""

import heapq
import shlex
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from deploy.targets import host_weights, hurry
from deploy.targets.abilities import VerifiedFolder
from deploy.targets.deployment import Deployment
from deploy.targets.ec2 import (
    boxes,
    documents,
    dry_run,
    each_server,
    examining,
    journals,
    machine_status,
    offered,
    ordering,
    release_order,
    rental,
    takedown,
    tunnels,
    weights_upload,
)
from deploy.targets.ec2.cost import check_limit
from deploy.targets.ec2.options import Ec2Options
from deploy.targets.ec2.releases import bring as bring
from deploy.targets.ec2.releases import engine_version as engine_version
from deploy.targets.ec2.releases import keep as keep
from deploy.targets.ec2.releases import let_go as let_go
from deploy.targets.ec2.releases import missing as missing
from deploy.targets.ec2.releases import note as note
from deploy.targets.ec2.releases import pinned as pinned
from deploy.targets.ec2.releases import remember as remember
from deploy.targets.ec2.releases import settled as settled
from deploy.targets.ec2.releases import turn_to as turn_to
from deploy.targets.ec2.releases import with_engine as with_engine
from deploy.targets.ec2.rental import still_rented
from deploy.targets.ec2.replicas import answering as answering
from deploy.targets.ec2.replicas import count as count
from deploy.targets.ec2.replicas import replicas as replicas
from deploy.targets.ec2.replicas import require_whole as require_whole
from deploy.targets.ec2.replicas import restart as restart
from deploy.targets.ec2.replicas import share_key as share_key
from deploy.targets.place import LOOK_S, Status, Teardown
from infra import deadline, offline
from infra.aws import power, rented_machines, session
from infra.aws.boto import default_region
from infra.aws.order import utc
from infra.aws.renting import told
from infra.aws.teardown import enabled_regions
from infra.errors import CorralError, Interrupted, UsageError
from infra.rented import Rented
from infra.say import progress
from serving.sizing.plan import Plan
from serving.vllm import chat_template, stopping
from serving.vllm import versions as vllm_versions
from serving.vllm.endpoint import Endpoint
from serving.vllm.events import Event

examined = examining.examined
look, make, remove, push_weights = rental.look, rental.make, takedown.remove, weights_upload.push
says_where, require_here, check_sold = offered.says_where, offered.require_here, offered.check_sold
ask_prices, stored_cost, outlined = offered.ask_prices, offered.stored_cost, offered.outlined


def foreseen(wishes: Ec2Options) -> Ec2Options:
    """With the regions to try. Raises UsageError where nobody named one, or for what does not go with them."""
    return ordering.located(wishes)


def wished(deployment: Deployment, wishes: Ec2Options) -> tuple[Deployment, Ec2Options]:
    """With the regions to try. Raises UsageError where nobody named one."""
    plan = deployment.plan
    vllm_versions.check_planned(plan.vllm_version, progress, plan.serve)
    return deployment, ordering.located(counted(plan, wishes), plan.region)


def counted(plan: Plan, wishes: Ec2Options) -> Ec2Options:
    """With the number of replicas that the plan counts on, which is said, where nobody named one."""
    if wishes.replicas is not None or (count := ordering.planned_replicas(plan)) == 1:
        return wishes
    progress(f"replicas: {count}, as the plan counts on; for another number: --replicas 1")
    return wishes.model_copy(update={"replicas": count})


def check_files(deployment: Deployment, beside: Path) -> None:
    """The chat template, whose text the box is told: it must lie below that folder or the model's."""
    chat_template.check_planned(deployment.plan.serve, beside)


def with_token_file(deployment: Deployment, path: str | None) -> Deployment:
    """Raises UsageError for a file: a box gets its token from AWS."""
    if path is None:
        return deployment
    raise UsageError(
        "--hf-token-file is for this machine and hosts over SSH; a rented box reads its token from AWS.",
        "Put it there (aws ssm put-parameter --type SecureString --name /hf/token --value file://token.txt), "
        "instead: --hf-token-parameter /hf/token",
    )


def refuse_offline(deployment: Deployment, is_made: bool) -> None:
    """Raise for anything: all of it is asked of AWS."""
    offline.refuse("AWS")


def requests(deployment: Deployment, wishes: Ec2Options | None = None) -> list[dict[str, object]]:
    """Every call a launch would make, in order; asks nobody. Raises UsageError for a limit that takes AWS to check."""
    if wishes is None:
        return dry_run.requests(release_order.accepted(deployment, documents.order_of(deployment)))
    order = ordering.order(deployment, wishes)
    check_limit(order)
    return dry_run.requests(order)


def where(deployment: Deployment) -> str:
    """The region."""
    return f"EC2 {deployment.region}"


@told
def serve(deployment: Deployment) -> Endpoint:
    """Start what is stopped, wait until the boxes have prepared themselves and the server has answered a completion.

    One box starts its server by itself at its first boot, unjudged, or anew when it was given up; of several each is
    told its rank. Raises ServerError with a box's own words
    when it failed; Interrupted, which says what is still rented.
    """
    aws, order = documents.aws_for(deployment.name), documents.order_of(deployment)
    try:
        return each_server.served(aws, deployment, order)
    except KeyboardInterrupt:
        raise still_rented(aws, order) from None


@told
def endpoint(deployment: Deployment) -> Endpoint:
    """Where the first machine's server answers from here."""
    return next(iter(answering(deployment, opens=True).values()))


@told
def shell(deployment: Deployment) -> tuple[str, ...]:
    """A shell on the first machine, through Session Manager."""
    session.require_plugin()
    aws, order = documents.aws_for(deployment.name), documents.order_of(deployment)
    first = boxes.running(aws, deployment, order)[0]
    return session.shell(first.instance_id, first.region)


@told
def status(deployment: Deployment) -> Status:
    """Ask EC2 by tag, the boxes by their consoles, and the server where it can be reached from here."""
    aws, order = documents.aws_for(deployment.name), documents.order_of(deployment)
    machines = boxes.there(aws, deployment, order)
    ends = [
        machine.expires_at for machine in machines if machine.expires_at and machine.state != "terminated"
    ]
    money = {
        "usd_so_far": rented_machines.usd_so_far(aws, machines),
        "expires_at": utc(ends[0]) if ends else None,
    }
    return machine_status.status(aws, deployment, order, machines).model_copy(update=money)


@told
def logs(deployment: Deployment, follow: bool) -> Iterator[str]:
    """The server's log, of several machines each line with its own's id; with `follow`, as it is written."""
    aws, order = documents.aws_for(deployment.name), documents.order_of(deployment)
    with deadline.within(LOOK_S):
        machines = boxes.running(aws, deployment, order)
    lines = journals.followed(deployment, machines) if follow else journals.written(aws, deployment, machines)
    return (f"{box}: {line}" if len(machines) > 1 else line for box, line in lines)


@told
def history(deployment: Deployment) -> tuple[Event, ...]:
    """What each machine that runs has on record."""
    aws, order = documents.aws_for(deployment.name), documents.order_of(deployment)
    machines = boxes.running(aws, deployment, order)
    each = [journals.history(deployment, machine) for machine in machines]
    return tuple(heapq.merge(*each, key=lambda event: event.at))


@told
def verified(deployment: Deployment) -> tuple[VerifiedFolder, ...]:
    """What every machine that runs finds of the weights that it serves, over Session Manager."""
    aws, order = documents.aws_for(deployment.name), documents.order_of(deployment)
    words = shlex.join(("sudo", *host_weights.command(deployment.name)))
    found: list[VerifiedFolder] = []
    for machine in boxes.running(aws, deployment, order):
        progress(f"{machine.instance_id}: reading every byte of its weights")
        said = session.run(machine.instance_id, machine.region, words, host_weights.WITHIN_S)
        found += host_weights.parsed(said.text, said.exit_code, deployment.name, machine.instance_id)
    return tuple(found)


@told
def extend(deployment: Deployment, minutes: int, shorten: bool) -> datetime:
    """Let a deployment live that long from now: schedule, tags, and the limit in the boxes themselves.

    A box that is stopped is told when it is started. Raises UsageError where it lives longer already and is not to be
    shortened.
    """
    aws, order = documents.aws_for(deployment.name), documents.order_of(deployment)
    machines = rented_machines.machines(aws, deployment.name, order.regions)
    if not shorten:
        rented_machines.refuse_earlier(aws, machines, deployment.name, minutes)
    # The boxes first: each ends itself when all else fails to. A replica that is not reached keeps none of the others
    # from living on.
    alive = tuple(machine for machine in machines if machine.state == "running")
    untold = each_server.with_each(
        order, alive, lambda machine: boxes.tell_end(deployment.name, machine, minutes)
    )
    end = rented_machines.extend(aws, order, minutes)
    if untold:
        raise untold
    return end


@told
def reap(regions: tuple[str, ...], dry_run: bool) -> tuple[list[Rented], list[Teardown]]:
    """Take away every deployment whose time is over, whoever made it; with `dry_run` only say which."""
    reader = documents.reader()
    over = rented_machines.expired(reader, regions or enabled_regions(reader, default_region()))
    names = dict.fromkeys(machine.deployment for machine in over)
    return list(over), [] if dry_run else [remove(name) for name in names]


@told
def stop(deployment: Deployment) -> None:
    """Stop the machines: their requests end first, then no hours of them are billed; what still costs, status says.

    Raises UsageError for what EC2 does not stop.
    """
    name = deployment.name
    with documents.alone(name, without=lambda why: progress(f"stop: going on without a lock: {why}")):
        aws, order = documents.aws_for(name), documents.order_of(deployment)
        machines = power.there(aws, order)
        power.refuse_unstoppable(order, machines)
        if any(machine.state in power.UP for machine in machines):
            wait_until_idle(deployment)
        try:
            power.stop(aws, order)
        except KeyboardInterrupt:
            raise Interrupted(
                f"Interrupted while {name} stops: what EC2 was asked for, it goes on with.",
                f"See how it is: corral status {name}; again: corral stop {name}",
            ) from None
        tunnels.close(name)


def wait_until_idle(deployment: Deployment) -> None:
    """Wait until its server has no request, for as long as its drain may take; a server that cannot be asked ends."""
    try:
        each = answering(deployment, opens=True).values()
    except CorralError as error:
        progress(f"stop: not waiting for requests: {error.message}")
        return
    within_s = deployment.plan.serve.shutdown_timeout
    for at in each:
        stopping.until_idle(at, within_s, lambda: hurry.is_hurried(deployment.name), progress)


def down(deployment: Deployment) -> Teardown:
    """Take everything of the deployment away, in every enabled region, and prove it."""
    return remove(deployment.name, deployment.region)


def made_elsewhere(name: str) -> str:
    """It is found by its tag."""
    return f"Made on EC2 from another machine? corral down {name} --target ec2"


def without_document(name: str) -> str:
    """Nothing: what was rented is known by its ledger, and taken away by its tag."""
    return ""
