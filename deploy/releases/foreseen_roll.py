"""What a roll would do to each replica, and in which order: looked at, nothing changed."""

from typing import Literal

from deploy.gateway import out_of_rotation
from deploy.releases import release
from deploy.releases.release import Release
from deploy.releases.roll_order import Found, Roll, looked_at, require_served, roll_of, rollable
from deploy.releases.settling import holding
from deploy.releases.upgrade import NextOf, Step, known, next_release
from deploy.targets import deployment as deployments
from deploy.targets.place import State
from infra.record import Record
from infra.say import warn

Order = Literal["drain", "wait", "restart", "upgrade", "canary", "probe", "ready"]
Meanwhile = Literal["served by others", "waiting", "refused"]


class ForeseenReplica(Record):
    """What would be done to one replica."""

    name: str
    """As its gateway names it."""
    state: State
    """Of its server now."""
    detail: str
    """Why, in words."""
    steps: tuple[Order, ...]
    """In this order: `drain` and `ready` are told to its gateway, `wait` is for its requests to end, `restart` or
    `upgrade` for a server that answers, `canary` and `probe` are asked of it. None where nothing would be done."""
    meanwhile: Meanwhile | None
    """What becomes of new requests while it is away: the gateway has others for them, or none, so that they wait in it;
    or no gateway gives it its requests. Null where it is not ended, or serves nobody now."""


class ForeseenRoll(Record):
    """What a roll would do; nothing was changed."""

    name: str
    """The deployment's."""
    release: str
    """The release that all of them would serve."""
    previous: str
    """The one that is accepted now; the same where they would only be started anew."""
    changes: tuple[str, ...]
    """How that release differs, a line each: an option, its value now, and then."""
    wait_at_most_s: float
    """For the requests of each to end."""
    replicas: tuple[ForeseenReplica, ...]
    """In the order of the roll: those first that do not serve, or get no requests."""


def foreseen(next_of: NextOf | None, name: str) -> ForeseenRoll:
    """Look at a deployment as a roll does, and say what it would do. Raises what it would, before a server is touched.

    What it would bring is looked up, and neither brought nor asked about.
    """
    present = deployments.load(name)
    place = rollable(present, next_of is not None)
    was_tried = release.trial(name) is not None
    require_served(present, place.status(present), was_tried)
    if was_tried:
        warn("Another release is on trial, or was when corral was killed: a roll ends that first")
    old = known(present, place)
    found = None
    if next_of:
        holder = holding(present)
        found = next_release(next_of(present, holder), old, holder, is_whole=True)
    if found is None:
        place.require_whole(present)
    new = found[0] if found else old
    this = roll_of(present, place, Step(old, new, None), to_all=next_of is None)
    return ForeseenRoll(
        name=name,
        release=new.id,
        previous=old.id,
        changes=changes(old, new),
        wait_at_most_s=present.plan.serve.shutdown_timeout,
        replicas=each_of(this, looked_at(this)),
    )


def each_of(this: Roll, seen: Found) -> tuple[ForeseenReplica, ...]:
    """The replicas in the order of the roll; those before one in it serve again when its turn comes."""
    in_front, without = set(out_of_rotation.in_front(this.name)), set(seen.without_requests)
    told: list[ForeseenReplica] = []
    for name in seen.order:
        status, is_fronted = seen.statuses[name], name in in_front
        steps: list[Order] = []
        if name not in seen.has_it:
            steps += ["drain"] * is_fronted
            steps += ["wait"] * (status.endpoint is not None)
            steps += ["upgrade", "canary", "probe"] if this.is_upgrade else ["restart", "canary"]
        if is_fronted and (steps or name in without):
            steps.append("ready")
        meanwhile: Meanwhile | None = None
        if status.endpoint is not None and name not in seen.has_it:
            meanwhile = "served by others" if in_front - {name} - without else "waiting"
            meanwhile = meanwhile if is_fronted else "refused"
        without.discard(name)
        told.append(
            ForeseenReplica(
                name=name, state=status.state, detail=status.detail, steps=tuple(steps), meanwhile=meanwhile
            )
        )
    return tuple(told)


def changes(old: Release, new: Release) -> tuple[str, ...]:
    """The options that differ, and the engine's version."""
    before, after = ({"vllm_version": each.vllm_version} | options_of(each) for each in (old, new))
    return tuple(
        f"{name}: {before.get(name)} -> {after.get(name)}"
        for name in dict.fromkeys((*before, *after))
        if before.get(name) != after.get(name)
    )


def options_of(one: Release) -> dict[str, object]:
    """What its engine is told, but for the address, which stays."""
    return one.deployment.plan.serve.model_dump(mode="json", exclude=release.ADDRESS)
