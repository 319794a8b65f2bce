"""What a roll begins with: what is done to each replica, how each is found, and in which order they come."""

from typing import NamedTuple

from deploy.gateway import out_of_rotation
from deploy.releases import started_anew
from deploy.releases.settling import holding, refuse_anothers
from deploy.releases.upgrade import Step, is_meant_to_serve
from deploy.targets.abilities import Replicated, StartsAnew
from deploy.targets.choose import place_of
from deploy.targets.deployment import Deployment
from deploy.targets.place import Status
from infra.errors import UsageError


class Roll(NamedTuple):
    """What is done to each replica."""

    name: str
    place: StartsAnew
    step: Step
    """From the accepted release to the next one, or to itself."""
    present: Deployment
    """As it is deployed."""
    replicas: dict[str, Deployment]
    """Each as a deployment of its own, by the name that its gateway gives it."""
    to_all: bool
    """Whether also those are started anew that serve the release already."""
    done: frozenset[str] = frozenset()
    """Those of them that were, by a roll that stopped: it goes on with the others."""

    @property
    def is_upgrade(self) -> bool:
        """Whether another release is brought, and no replica only started anew."""
        return self.step.new.id != self.step.old.id


class Found(NamedTuple):
    """The replicas before the first is touched."""

    statuses: dict[str, Status]
    """By name."""
    order: tuple[str, ...]
    """Those that do not serve, or get no requests, come first."""
    has_it: frozenset[str]
    """Those that serve already what they are to, and need not be started anew."""
    without_requests: frozenset[str]
    """Those to which their gateway gives none."""


def rollable(present: Deployment, is_next: bool) -> StartsAnew:
    """Its place, where a server can be started anew, and the next release served. Raises UsageError where not."""
    if is_next:
        holding(present)  # says how another release comes there
    place = place_of(present)
    if isinstance(place, StartsAnew):
        return place
    raise UsageError(
        f"{present.name} is on {present.target}, where servers are not rolled.",
        f"End its server and start it: corral stop {present.name}; corral serve {present.name}",
    )


def require_served(present: Deployment, status: Status, was_tried: bool) -> None:
    """Raise UsageError where nothing is served, or a host starts what another operator has brought."""
    if not (was_tried or is_meant_to_serve(status)):
        raise UsageError(
            f"{present.name} is {status.state}: there is nothing to roll.",
            f"Start it: corral serve {present.name}",
        )
    refuse_anothers(present, status)


def roll_of(present: Deployment, place: StartsAnew, step: Step, to_all: bool) -> Roll:
    """The roll of all that there are."""
    each = place.replicas(present) if isinstance(place, Replicated) else {present.name: present}
    done = frozenset(started_anew.noted(present.name)) if to_all else frozenset[str]()
    return Roll(present.name, place, step, present, each, to_all, done & each.keys())


def looked_at(this: Roll) -> Found:
    """How each is. Raises HostError or ServerError where the gateway cannot be asked."""
    statuses = {name: this.place.status(each) for name, each in this.replicas.items()}
    has_it = {
        name
        for name, status in statuses.items()
        if has(this, status) and (name in this.done or not this.to_all)
    }
    without = out_of_rotation.without_requests(this.name)
    order = sorted(statuses, key=lambda name: statuses[name].state == "serving" and name not in without)
    return Found(statuses, tuple(order), frozenset(has_it), frozenset(without))


def has(this: Roll, status: Status) -> bool:
    """Whether a replica serves the release that all are to."""
    wanted = (this.step.new.id,) if this.is_upgrade else (this.step.new.id, None)
    return status.state == "serving" and status.release in wanted
