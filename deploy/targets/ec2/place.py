"""The target `ec2`: machines rented by the hour. The truth is in EC2's tags; our documents only remember the order."""

import math
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from deploy.targets.deployment import Deployment, folder, home, load
from deploy.targets.ec2 import dry_run as ec2_dry_run
from deploy.targets.ec2 import ranks as ec2_ranks
from deploy.targets.ec2 import reach as ec2_reach
from deploy.targets.ec2.condition import condition
from deploy.targets.ec2.question import priced, question
from deploy.targets.place import Check, Status, Teardown
from infra import host as hosts
from infra import locks, prices
from infra.aws import account_preflight as look
from infra.aws import power, profile, rented_machines, renting, session
from infra.aws.api import Aws
from infra.aws.boto import Boto, checked_regions, default_region
from infra.aws.failover import Launched, console
from infra.aws.failures import Refused
from infra.aws.ledger import Ledger
from infra.aws.order import Order, utc
from infra.aws.renting import told
from infra.aws.teardown import enabled_regions
from infra.errors import AuthError, CloudError, DocumentError, HostError, Interrupted, UsageError
from infra.record import removed
from infra.say import progress
from serving.vllm.endpoint import Endpoint

Approve = Callable[[tuple[Check, ...], str], None]


def aws_for(name: str) -> Aws:
    """AWS with the ledger of that deployment, by the profile it was made with where none is named now."""
    with suppress(DocumentError):
        order = begun(name)
        if order and order.profile and not profile.is_chosen():
            profile.use(order.profile)
    return Aws(Boto(), Ledger(folder(name) / "ledger.jsonl"), say=progress)


def order_file(name: str) -> Path:
    """Where the order is kept until the deployment is gone."""
    return folder(name) / "order.json"


def order_of(deployment: Deployment) -> Order:
    """The order that was placed. Raises DocumentError when there is none."""
    return Order.read(order_file(deployment.name))


def begun(name: str) -> Order | None:
    """The order that was begun under that name, if one was."""
    path = order_file(name)
    return Order.read(path) if path.exists() else None


def preflight(deployment: Deployment) -> tuple[Check, ...]:
    """Ask AWS who we are, what is allowed, what is sold where and what the quotas are; changes nothing."""
    return checks(survey(aws_for(deployment.name), order_of(deployment)))


@told
def survey(aws: Aws, order: Order) -> look.Survey:
    """Look, and raise when nothing could be launched."""
    return look.checked(look.survey(aws, order), order)


def checks(found: look.Survey) -> tuple[Check, ...]:
    """The findings as checks."""
    return tuple(
        Check(name=f"{one.topic} {one.region}", outcome=one.outcome, found=one.found, fix=one.fix)
        for one in found.findings
    )


def requests(deployment: Deployment) -> list[dict[str, object]]:
    """Every call a launch would make, in order; asks AWS nothing."""
    return ec2_dry_run.requests(order_of(deployment))


def provision(deployment: Deployment) -> None:
    """Launch the order that is kept, or find it running. Safe to repeat: one order is one set of machines."""
    launch(deployment, order_of(deployment), lambda checks, cost: None)


def launch(deployment: Deployment, order: Order, approve: Approve, keep: bool = False) -> Launched:
    """Look, have it approved, write the order down, launch. Nothing is written before it is approved."""
    with alone(deployment.name):
        aws = aws_for(deployment.name)
        found = survey(aws, order)
        refuse_another_account(order, found.account)
        approve(checks(found), question(order, found))
        prices.keep(found.prices)
        order = priced(order, found).model_copy(update={"profile": profile.named()})
        order.write(order_file(deployment.name))
        deployment.write(folder(deployment.name) / "deployment.json")
        launched = renting.rent(aws, order, found, keep)
        tell_ends(aws, deployment, order)
        return launched


@told
def serve(deployment: Deployment) -> Endpoint:
    """Start what is stopped, wait until the boxes have prepared themselves and the server has answered a completion.

    One box starts its server by itself; of several each is told its rank. Raises ServerError with a box's own words
    when it failed; Interrupted, which says what is still rented.
    """
    aws, order = aws_for(deployment.name), order_of(deployment)
    try:
        return served(aws, deployment, order)
    except KeyboardInterrupt:
        raise still_rented(order) from None


def still_rented(order: Order) -> Interrupted:
    """What Ctrl-C leaves: the machines, what they cost, when they end, and the two ways on."""
    cost = f"{order.usd_per_hour:.3f} USD per hour" if order.usd_per_hour else "a price nobody knows"
    what = "Its machine is" if order.nodes == 1 else f"Its {order.nodes} machines are"
    return Interrupted(
        f"Interrupted while waiting for {order.name}. {what} still rented at {cost}, until "
        f"{utc(order.expires_at)} at the latest.",
        f"Go on: corral serve {order.name}; take it away: corral down {order.name}",
    )


def served(aws: Aws, deployment: Deployment, order: Order) -> Endpoint:
    """Wait for the machines and their server, whoever waits."""
    if power.is_stopped(rented_machines.machines(aws, deployment.name, order.regions)):
        with alone(deployment.name):
            session.close_tunnel(folder(deployment.name) / "tunnel.json")
            power.start(aws, order)
    tell_ends(aws, deployment, order)
    machines = running(aws, deployment, order)
    if len(machines) < order.nodes:
        raise CloudError(
            f"Only {len(machines)} of the {order.nodes} machines of {deployment.name} run.",
            f"Rent all of them anew: corral up PLAN --target ec2 --name {deployment.name}",
        )
    for machine in machines:
        ec2_reach.wait_prepared(aws, deployment, machine)
    if order.nodes > 1:
        ec2_ranks.join(aws, deployment, machines)
    found = ec2_reach.endpoint(deployment, order, machines[0])
    ec2_reach.wait_ready(aws, deployment, machines, found)
    return found


def tell_ends(aws: Aws, deployment: Deployment, order: Order) -> None:
    """Tell each box that was stopped when it ends: what it was told before may be over. Safe to repeat."""
    for machine in rented_machines.machines(aws, deployment.name, order.regions):
        if machine.state == "running" and machine.billed_until_start:
            left_s = (power.end_of(order, [machine]) - aws.now()).total_seconds()
            ec2_reach.wait_told(aws, deployment.name, machine, max(1, math.ceil(left_s / 60)))


def running(aws: Aws, deployment: Deployment, order: Order) -> tuple[rented_machines.Rented, ...]:
    """The machines that run, the one that leads first. Raises CloudError when none does."""
    found = rented_machines.machines(aws, deployment.name, order.regions)
    alive = tuple(machine for machine in found if machine.state == "running")
    if not alive:
        hint = f"Rent one: corral up PLAN --target ec2 --name {deployment.name}"
        if power.is_stopped(found):
            hint = f"It is stopped; start it: corral serve {deployment.name}"
        raise CloudError(f"No machine of {deployment.name} runs.", hint)
    return alive


@told
def endpoint(deployment: Deployment) -> Endpoint:
    """Where the first machine's server answers from here."""
    aws, order = aws_for(deployment.name), order_of(deployment)
    return ec2_reach.endpoint(deployment, order, running(aws, deployment, order)[0])


@told
def shell(deployment: Deployment) -> tuple[str, ...]:
    """A shell on the first machine, through Session Manager."""
    session.require_plugin()
    aws, order = aws_for(deployment.name), order_of(deployment)
    first = running(aws, deployment, order)[0]
    return session.shell(first.instance_id, first.region)


@told
def status(deployment: Deployment) -> Status:
    """Ask EC2 by tag, the boxes by their consoles, and the server where it can be reached from here."""
    aws, order = aws_for(deployment.name), order_of(deployment)
    found = rented_machines.machines(aws, deployment.name, order.regions)
    ends = [one.expires_at for one in found if one.expires_at and one.state != "terminated"]
    money = {
        "usd_so_far": rented_machines.usd_so_far(aws, found),
        "expires_at": utc(ends[0]) if ends else None,
    }
    return condition(aws, deployment, order, found).model_copy(update=money)


@told
def logs(deployment: Deployment, follow: bool) -> Iterator[str]:
    """The server's log, of several machines each line with its own's id; with `follow`, as it is written."""
    aws, order = aws_for(deployment.name), order_of(deployment)
    machines = running(aws, deployment, order)
    lines = followed(deployment, machines) if follow else written(aws, deployment, machines)
    return (f"{box}: {line}" if len(machines) > 1 else line for box, line in lines)


def followed(
    deployment: Deployment, machines: tuple[rented_machines.Rented, ...]
) -> Iterator[tuple[str, str]]:
    """Each machine's id and its lines as they come, through Session Manager."""
    boxes = [(machine.instance_id, machine.region) for machine in machines]
    return session.follow(boxes, f"{journal(deployment)} --follow")


def written(
    aws: Aws, deployment: Deployment, machines: tuple[rented_machines.Rented, ...]
) -> Iterator[tuple[str, str]]:
    """Each machine's id and its lines until now; where Session Manager does not reach it, its console's."""
    for machine in machines:
        try:
            answer = session.run(machine.instance_id, machine.region, journal(deployment))
            if answer.exit_code:
                raise HostError(f"{machine.instance_id} shows no log: {answer.last_line}.", "Try again.")
            text = answer.text
        except HostError as error:
            progress(f"{error.message} This is the console instead.")
            text = console(aws, machine.region, machine.instance_id)
        yield from ((machine.instance_id, line) for line in text.splitlines())


def journal(deployment: Deployment) -> str:
    """The command that prints the log of a box's server and of its spot notice."""
    units = f"--unit={hosts.unit(deployment.name)} --unit={hosts.spot_unit(deployment.name)}"
    return f"sudo journalctl --no-pager --output=cat {units} --lines=2000"


@told
def extend(name: str, minutes: int) -> datetime:
    """Let a deployment live that long from now: schedule, tags, and the limit in the boxes themselves.

    A box that is stopped is told when it is started.
    """
    deployment = load(name)
    aws, order = aws_for(name), order_of(deployment)
    # The boxes first: each ends itself when all else fails to.
    for machine in rented_machines.machines(aws, name, order.regions):
        if machine.state == "running":
            ec2_reach.tell_end(name, machine, minutes)
    return rented_machines.extend(aws, order, minutes)


@told
def reap(regions: tuple[str, ...], dry_run: bool) -> tuple[list[rented_machines.Rented], list[Teardown]]:
    """Take away every deployment whose time is over, whoever made it; with `dry_run` only say which."""
    checked_regions(regions)
    reader = Aws(Boto(), say=progress)
    over = rented_machines.expired(reader, regions or enabled_regions(reader, default_region()))
    names = dict.fromkeys(one.deployment for one in over)
    return list(over), [] if dry_run else [remove(name) for name in names]


@told
def stop(deployment: Deployment) -> None:
    """Stop the machines: their requests end first, then no hours of them are billed; what still costs, status says.

    Raises UsageError for what EC2 does not stop.
    """
    name = deployment.name
    with alone(name, without=lambda why: progress(f"stop: going on without a lock: {why}")):
        aws, order = aws_for(name), order_of(deployment)
        try:
            power.stop(aws, order)
        except KeyboardInterrupt:
            raise Interrupted(
                f"Interrupted while {name} stops: what EC2 was asked for, it goes on with.",
                f"See how it is: corral status {name}; again: corral stop {name}",
            ) from None
        session.close_tunnel(folder(name) / "tunnel.json")


def down(deployment: Deployment) -> Teardown:
    """Take everything of the deployment away, in every enabled region, and prove it."""
    return remove(deployment.name, deployment.region)


@told
def remove(name: str, region: str | None = None) -> Teardown:
    """Take away whatever carries the name, with or without our documents."""
    checked_regions((region,) if region else ())
    with alone(name, without=lambda why: progress(f"down: going on without a lock: {why}")):
        aws = aws_for(name)
        assert aws.ledger is not None
        known = dict.fromkeys((*ordered_regions(name), *aws.ledger.regions()))
        account = account_of(aws, name, tuple(known))
        progress(f"down: looking for what carries the name {name} on EC2 in account {account or 'unknown'}")
        session.close_tunnel(folder(name) / "tunnel.json")
        search = () if known else (region or default_region(),)
        remains = renting.take_away(aws, name, tuple(known), search)
        left = remains.left or forget(name)
        return Teardown(name=name, counts=remains.counts, left=left, account=account)


def account_of(aws: Aws, name: str, regions: tuple[str, ...]) -> str:
    """The account these credentials are of, asked in the deployment's regions; empty where AWS does not say.

    Raises AuthError where the deployment was made in another: there nothing of it would be found.
    """
    try:
        account = look.identity(aws, regions or (default_region(),)).account
    except Refused as refused:
        if refused.kind in ("auth", "local"):
            raise
        return ""
    with suppress(DocumentError):
        refuse_another_account(begun(name), account)
    return account


def refuse_another_account(order: Order | None, account: str) -> None:
    """Raise AuthError for an order that was placed in another account than this one."""
    if order and order.account not in ("", account):
        by = f"--profile {order.profile}" if order.profile else "--profile NAME, the one that leads there"
        raise AuthError(
            f"{order.name!r} stands in AWS account {order.account}; these credentials are of {account}.",
            f"Use those of that account: {by}",
        )


def ordered_regions(name: str) -> tuple[str, ...]:
    """The regions of the order that was begun; none when it cannot be read, as the tags and the ledger tell too."""
    with suppress(DocumentError):
        order = begun(name)
        return order.regions if order else ()
    return ()


def forget(name: str) -> tuple[str, ...]:
    """Remove the documents of what is gone; the ledger stays as its history. Says what could not be removed."""
    documents = [folder(name) / document for document in ("order.json", "deployment.json")]
    return removed([*documents, *folder(name).glob("api-key-*")])


@contextmanager
def alone(name: str, without: Callable[[str], None] | None = None) -> Iterator[None]:
    """Hold the deployment against another corral on this machine. Raises UsageError when one is at work on it.

    A folder that holds nothing else afterwards, such as one of an unknown name, is removed. Where no lock can be had:
    raises HostError, or tells `without` and goes on.
    """
    place = folder(name)
    was_here = home().exists()
    busy = UsageError(
        f"Another corral is at work on {name!r}.", "Wait for it, or see what it does: corral status"
    )
    with locks.held(place / ".lock", busy, without):
        try:
            yield
        finally:
            with suppress(OSError):  # nothing is there, or somebody else is at work there by now
                if os.listdir(place) == [".lock"]:
                    shutil.rmtree(place)
                    if not was_here:
                        home().rmdir()
