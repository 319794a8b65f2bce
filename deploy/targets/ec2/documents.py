"""What is kept here of a rented deployment: its order and its ledger, under a lock; and AWS as its user."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from deploy.targets.deployment import Deployment, folder, home
from infra import locks
from infra.aws import profile
from infra.aws.api import Aws
from infra.aws.boto import Boto
from infra.aws.ledger import Ledger
from infra.aws.order import Order
from infra.errors import DocumentError, UsageError
from infra.record import removed
from infra.say import progress


def aws_for(name: str) -> Aws:
    """AWS with the ledger of that deployment, by the profile it was made with where none is named now."""
    with suppress(DocumentError):
        order = begun(name)
        if order and order.profile and not profile.is_chosen():
            profile.use(order.profile)
    return Aws(Boto(), Ledger(folder(name) / "ledger.jsonl"), say=progress)


def reader() -> Aws:
    """AWS, which is only asked, and of no one deployment."""
    return Aws(Boto(), say=progress)


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


def ordered_regions(name: str) -> tuple[str, ...]:
    """The regions of the order that was begun; none when it cannot be read, as the tags and the ledger tell too."""
    with suppress(DocumentError):
        order = begun(name)
        return order.regions if order else ()
    return ()


def forget(name: str) -> tuple[str, ...]:
    """Remove the documents of what is gone; the ledger stays as its history. Says what could not be removed."""
    documents = [folder(name) / document for document in ("order.json", "deployment.json")]
    return removed([*documents, *folder(name).glob("api-key*")])


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
