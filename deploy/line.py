"""The line forward and back: provision, up and down, wherever a deployment is."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from datetime import datetime
from threading import Thread

from deploy import newest
from deploy.gateway import gateway
from deploy.gateway.out_of_rotation import out_of_rotation
from deploy.releases import release, settling
from deploy.targets import deployment as deployments
from deploy.targets import hurry
from deploy.targets.abilities import EndsByItself, FindsByName, Hurries, RemovesUnread
from deploy.targets.choose import place_called, place_of
from deploy.targets.deployment import Deployment
from deploy.targets.place import LOOK_S, Offer, Place, Status, Teardown
from deploy.targets.table import PLACES
from infra import deadline
from infra.deadline import Clock
from infra.errors import CorralError, DocumentError, UsageError
from infra.record import Record, removed
from infra.rented import Rented
from serving.vllm.endpoint import Endpoint

STATUSES_S = 18.5
"""For the status of every deployment: more than one look at a server takes (serving/vllm/health.py)."""
LAST_WORDS_S = 0.5
"""For one that ends with its time to say so itself."""

Approve = Callable[[Offer], None]
"""Told what was checked and, of what is rented, what it costs; raises when it is not to be."""


def dry_run(deployment: Deployment, wishes: Record | None) -> list[dict[str, object]]:
    """What provisioning would ask of the world, every call, without making one; refused as the run would be."""
    return unrefused(deployment).requests(deployment, wishes)


def provision(
    deployment: Deployment, wishes: Record | None, approve: Approve, to_serve: bool = False
) -> Deployment:
    """Make the machine ready, after what would be done has been approved."""
    place = unrefused(deployment)
    with place.look(deployment, wishes, to_serve) as offer:
        approve(offer)
        # What an upgrade that was killed left on trial would be started in its stead.
        settling.settled(deployment.name)
        return place.make(offer)


def unrefused(deployment: Deployment, is_made: bool = False) -> Place:
    """Its place, where the line that was typed and the documents here let it be. Raises UsageError or DocumentError."""
    refuse_another_place(deployment)
    place = place_of(deployment)
    place.refuse_offline(deployment, is_made)
    return place


def refuse_another_place(deployment: Deployment) -> None:
    """Raise UsageError when the name belongs to a deployment elsewhere, which would be lost from sight."""
    if deployment.name in deployments.names():
        known = deployments.load(deployment.name)
        if (known.target, known.hosts) != (deployment.target, deployment.hosts):
            raise UsageError(
                f"{deployment.name!r} is already a deployment on {' '.join(known.hosts) or known.target}.",
                f"Choose another --name, or take that one away: corral down {deployment.name}",
            )
    for target, row in PLACES.items():
        begun = deployments.folder(deployment.name) / row.begun
        if row.begun and target != deployment.target and begun.exists():
            raise UsageError(
                f"{deployment.name!r} was begun as a deployment on {target}, and may still stand there.",
                f"Choose another --name, or take that one away: corral down {deployment.name} --target {target}",
            )


def up(deployment: Deployment, wishes: Record | None, approve: Approve) -> Endpoint:
    """Provision and serve."""
    made = provision(deployment, wishes, approve, to_serve=True)
    return place_of(made).serve(made)


def down(name: str, target: str | None = None, region: str | None = None, is_now: bool = False) -> Teardown:
    """Take a deployment away and prove it. With a target that finds it by name, also one made on another machine."""
    if gateway.exists(name):
        end_gateway(name, is_now)
    if gateway.is_here(name) and (still_there := gateway.remove(name)):
        return Teardown(name=name, counts={"gateway": len(still_there)}, left=still_there)
    with hurried(name) if is_now else nullcontext():
        teardown = taken_away(name, target, region)
    if teardown.left:
        return teardown
    audits = ", ".join(filter(None, (gateway.audit(name), teardown.audit)))
    teardown = teardown.model_copy(update={"audit": audits})
    folder = deployments.folder(name)
    # What is of a gateway on a host goes last: the host has nothing of it now.
    left = (*gateway.remove(name), *release.forget(name), *removed([folder / "deployment.json"]))
    newest.forget(name)
    with suppress(OSError):  # the user may keep files of his own there
        folder.rmdir()
    return teardown.model_copy(update={"left": left})


def stop(deployment: Deployment, is_now: bool = False) -> None:
    """End its server: out of rotation, and once it has no request, or is not to wait for that."""
    with hurried(deployment.name) if is_now else nullcontext(), out_of_rotation(deployment.name):
        place_of(deployment).stop(deployment)


@contextmanager
def hurried(name: str) -> Iterator[None]:
    """Have an end of it wait for no request while this lasts, also one that waits already."""
    with ExitStack() as stack:
        stack.enter_context(hurry.marked(name))
        with suppress(CorralError):  # the end says what is amiss
            deployment = deployments.load(name)
            place = place_of(deployment)
            if isinstance(place, Hurries):
                stack.enter_context(place.hurried(deployment))
        yield


def end_gateway(name: str, is_now: bool) -> None:
    """Have its gateway take nothing new and finish its streams, for as long as its servers' drain may take."""
    with suppress(CorralError):  # of a document that cannot be read nothing is waited for
        gateway.stop(name, 0 if is_now else deployments.load(name).plan.serve.shutdown_timeout)


def taken_away(name: str, target: str | None, region: str | None) -> Teardown:
    """Take away what is there, by the document unless the place that is named needs none. Raises DocumentError."""
    if target:
        named = place_called(target)
        if isinstance(named, FindsByName):
            return named.remove(name, region)
    try:
        deployment = deployments.load(name)
    except DocumentError as error:
        return taken_away_unread(name, target, region, error)
    if region:
        deployment = deployment.model_copy(update={"region": region})
    return place_of(deployment).down(deployment)


def taken_away_unread(name: str, target: str | None, region: str | None, error: DocumentError) -> Teardown:
    """Take away what no document tells of, where it shows whose it is; else raise the error, with what to do."""
    is_absent = name not in deployments.names()
    for place in owners(name, target):
        if isinstance(place, FindsByName):
            return place.remove(name, region)
        if isinstance(place, RemovesUnread) and not is_absent:
            return place.remove_unread(name)
    hints = [made_elsewhere(place, name) if is_absent else place.without_document(name) for place in places()]
    error.hint = " ".join(filter(None, [f"{error.hint.rstrip('.')}." if is_absent else "", *hints]))
    raise error


def owners(name: str, target: str | None) -> list[Place]:
    """Whose a deployment is that cannot be read: as told, as its document states, or by the traces in its folder."""
    stated = target or deployments.stated_target(name)
    folder = deployments.folder(name)
    traced = [place for place, row in PLACES.items() if row.trace and (folder / row.trace).exists()]
    return [place_called(place) for place in ([stated] if stated else traced) if place in PLACES]


def places() -> list[Place]:
    """Every place there is."""
    return list(map(place_called, PLACES))


def made_elsewhere(place: Place, name: str) -> str:
    """What to do where it was made from another machine."""
    return place.made_elsewhere(name) if isinstance(place, FindsByName) else ""


def status(deployment: Deployment) -> Status:
    """What a deployment is doing now, asked in the time of one look."""
    with deadline.within(LOOK_S):
        found = settling.told(place_of(deployment).status(deployment), deployment)
    gateway.keep_certificate(deployment.name)
    address = gateway.address(deployment.name)
    seen = {
        "adapters": deployment.plan.serve.adapters,
        "gateway": address,
        "taken_out": gateway.taken_out(deployment.name) if address else (),
    }
    return found.model_copy(update=seen)


def status_of(name: str) -> Status:
    """A deployment's status; where it cannot be told, "unknown" with the reason, so that one hides no other."""
    try:
        return status(deployments.load(name))
    except CorralError as error:
        return unknown(name, f"{error.message} {error.hint}".strip())


def statuses(
    names: Sequence[str], seconds: float = STATUSES_S, clock: Clock = time.monotonic
) -> list[Status]:
    """Each one's status, all asked at once: together they take no longer than one may."""
    answers: dict[str, Status | Exception] = {}

    def ask(name: str) -> None:
        try:
            with deadline.within(seconds, clock):
                answers[name] = status_of(name)
        except Exception as error:
            answers[name] = error

    end_s = clock() + seconds + LAST_WORDS_S
    asking = [Thread(target=ask, args=(name,), daemon=True) for name in names]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join(max(0.0, end_s - clock()))
    return [answered(answers.get(name, silent(name, seconds))) for name in names]


def answered(status: Status | Exception) -> Status:
    """What was found, here: a mistake of ours is raised where it is seen."""
    if isinstance(status, Exception):
        raise status
    return status


def silent(name: str, seconds: float) -> Status:
    """What is said of one that was waited for long enough."""
    return unknown(name, f"it did not answer within {seconds:g} s; ask it alone: corral status {name}")


def unknown(name: str, why: str) -> Status:
    """The status of one that cannot be told."""
    target = deployments.stated_target(name) or "unknown"
    return Status(name=name, target=target, state="unknown", detail=why)


def extend(name: str, minutes: int, shorten: bool = False) -> datetime:
    """Move the end of a rented deployment; when it is now.

    Raises UsageError for a place that has no end, and for an end that is later already unless it may be shortened.
    """
    deployment = deployments.load(name)
    place = place_of(deployment)
    if not isinstance(place, EndsByItself):
        raise UsageError(
            f"{name} has no time limit to move: nothing there ends by itself.",
            f"End it when you like: corral down {name}",
        )
    return place.extend(deployment, minutes, shorten)


def reap(regions: tuple[str, ...], dry_run: bool) -> tuple[list[Rented], list[Teardown]]:
    """Take away what is over its time, wherever anything has one; with `dry_run` only say which."""
    over: list[Rented] = []
    gone: list[Teardown] = []
    for place in places():
        if isinstance(place, EndsByItself):
            ended, teardowns = place.reap(regions, dry_run)
            over, gone = over + ended, gone + teardowns
    return over, gone
