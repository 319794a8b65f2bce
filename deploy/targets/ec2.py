"""The target `ec2`: machines rented by the hour. The truth is in EC2's tags; our documents only remember the order."""

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy import ec2_dry_run
from deploy.cli.output import progress
from deploy.deployment import Deployment, folder
from deploy.targets.base import Check, Status, Teardown
from infra.aws import preflight as look
from infra.aws import rent
from infra.aws.api import Aws
from infra.aws.ec2 import Boto, default_region
from infra.aws.launch import Launched
from infra.aws.ledger import Ledger
from infra.aws.order import Order
from infra.aws.rent import told
from infra.errors import UsageError
from serving.endpoint import Endpoint

Approve = Callable[[tuple[Check, ...]], None]


def aws_for(name: str) -> Aws:
    """AWS with the ledger of that deployment."""
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
    launch(deployment, order_of(deployment), lambda checks: None)


def launch(deployment: Deployment, order: Order, approve: Approve, keep: bool = False) -> Launched:
    """Look, have it approved, write the order down, launch. Nothing is written before it is approved."""
    with alone(deployment.name):
        aws = aws_for(deployment.name)
        found = survey(aws, order)
        approve(checks(found))
        order.write(order_file(deployment.name))
        deployment.write(folder(deployment.name) / "deployment.json")
        return rent.rent(aws, order, found, keep)


def serve(deployment: Deployment) -> Endpoint:
    """Wait until the box has prepared itself and its server answers."""
    raise UsageError("Serving on EC2 is not there yet.", "")


def status(deployment: Deployment) -> Status:
    """Ask EC2 by tag."""
    raise UsageError("Status on EC2 is not there yet.", "")


def logs(deployment: Deployment, follow: bool) -> Iterator[str]:
    """What the machines say on their consoles."""
    raise UsageError("Logs on EC2 are not there yet.", "")


def stop(deployment: Deployment) -> None:
    """There is nothing between serving and gone on a rented machine."""
    raise UsageError(
        "A rented machine costs the same with its server stopped.",
        f"Take it away: corral down {deployment.name}",
    )


def down(deployment: Deployment) -> Teardown:
    """Take everything of the deployment away, in every enabled region, and prove it."""
    return remove(deployment.name, deployment.region)


@told
def remove(name: str, region: str | None = None) -> Teardown:
    """Take away whatever carries the name, with or without our documents."""
    with alone(name):
        aws, order = aws_for(name), begun(name)
        assert aws.ledger is not None
        known = dict.fromkeys((*(order.regions if order else ()), *aws.ledger.regions()))
        remains = rent.take_away(aws, name, tuple(known), (region or default_region(),))
        if not remains.left:
            for document in ("order.json", "deployment.json"):
                (folder(name) / document).unlink(missing_ok=True)
        return Teardown(name=name, counts=remains.counts, left=remains.left)


@contextmanager
def alone(name: str) -> Iterator[None]:
    """Hold the deployment against another corral on this machine. Raises UsageError when one is at work on it."""
    folder(name).mkdir(parents=True, exist_ok=True)
    with (folder(name) / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(
                f"Another corral is at work on {name!r}.", "Wait for it, or see what it does: corral status"
            ) from None
        yield
