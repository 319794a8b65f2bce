"""Which release starts, whenever corral was killed: the one that `deployment.json` names, and no other.

Before the accepted release's server is ended a note says that another is tried; whoever starts the deployment next
ends what is on trial first.
"""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path

from deploy.releases import release
from deploy.releases.release import Release, Trial
from deploy.targets import deployment as deployments
from deploy.targets.abilities import HoldsReleases, Replicated, SharedByOperators
from deploy.targets.choose import place_of
from deploy.targets.deployment import Deployment, folder
from deploy.targets.place import Status
from infra import locks, processes
from infra.argument import pasted
from infra.errors import DocumentError, HostError, UsageError
from infra.record import removed
from infra.say import progress


def holding(deployment: Deployment) -> HoldsReleases:
    """Its place, which can have two releases. Raises UsageError where that is not possible."""
    place, name = place_of(deployment), deployment.name
    if isinstance(place, HoldsReleases):
        return place
    raise UsageError(
        f"{name} is on {deployment.target}, where corral brings no release beside another.",
        f"Bring it up under another name, switch to that, then take this one away: corral up plan.json --target "
        f"{deployment.target} --name {name[:38]}-2; corral down {name}",
    )


@contextmanager
def at_work(deployment: Deployment) -> Iterator[None]:
    """Hold a deployment's releases, here and where it is. Raises UsageError where another corral does."""
    place = place_of(deployment)
    elsewhere = place.alone(deployment) if isinstance(place, SharedByOperators) else nullcontext()
    with alone(deployment.name), elsewhere:
        yield


def alone(name: str) -> AbstractContextManager[None]:
    """Hold them here. Raises UsageError where another corral does."""
    busy = UsageError(f"Another corral is upgrading {name} now.", f"See how far it is: corral status {name}")
    return locks.held(lock(name), busy)


def lock(name: str) -> Path:
    """What is locked meanwhile; there once there was an upgrade."""
    return folder(name) / "upgrade.lock"


def settle(accepted: Deployment) -> bool:
    """End what an upgrade that was killed left: a release on trial that is not the accepted one; whether there was one.

    Where it was accepted already, what is left to do is done.
    """
    name = accepted.name
    on_trial = release.trial(name)
    if on_trial is None:
        return False
    place = holding(accepted)
    with suppress(HostError):  # whoever supervises it waits for what comes of this
        mine = on_trial.model_copy(update={"by": processes.birth(os.getpid())})
        mine.write(release.trial_file(name))
    is_accepted = on_trial.release == accepted.release
    if is_accepted:
        place.keep(accepted)
    else:
        progress(f"upgrade: the one to {on_trial.release} was cut short; the accepted release is what starts")
        place.let_go(accepted)
        with suppress(DocumentError, HostError):  # what starts does not hang on what is told of it
            if cut_short := release.kept(name, on_trial.release):
                note_taken_back(cut_short, "it was cut short", place)
    removed([release.trial_file(name)])
    return not is_accepted


def settled(name: str) -> None:
    """The same before a start, where no other corral is upgrading. Raises UsageError where one is."""
    if name in deployments.names() and (release.trial(name) is not None or lock(name).exists()):
        with alone(name):
            settle(deployments.load(name))


def refuse_anothers(deployment: Deployment, status: Status) -> None:
    """Raise UsageError where a host starts a release that was never known here: another operator has brought it."""
    if others := brought_by_others(deployment, status):
        raise UsageError(
            f"{', '.join(others)} starts a release that is not known here: another operator has brought it.",
            f"Take it over: {adopting(deployment, others)}",
        )


def brought_by_others(deployment: Deployment, status: Status) -> tuple[str, ...]:
    """The replicas that start such a release, by name; the only one by the deployment's."""
    place, name = place_of(deployment), deployment.name
    if not (isinstance(place, HoldsReleases) and isinstance(place, SharedByOperators)):
        return ()
    accepted = release.id_of(deployment, place.engine_version(deployment))
    each = {one.name: one.release for one in status.endpoints} or {name: status.release}
    return tuple(
        one
        for one, starts in each.items()
        if starts not in (None, accepted) and " " not in starts and not is_known(name, starts)
    )


def is_known(name: str, id: str) -> bool:
    """Whether a release was brought from here."""
    return release.kept_at(name, id).exists()


def adopting(deployment: Deployment, replicas: tuple[str, ...]) -> str:
    """The command that brings here what another operator has made of it, from the first of these replicas."""
    place = place_of(deployment)
    each = place.replicas(deployment) if isinstance(place, Replicated) else {}
    first, *_ = each.get(replicas[0], deployment).hosts
    return f"corral hosts adopt {pasted(first)} {deployment.name}"


def note_taken_back(new: Release, why: str, place: HoldsReleases) -> None:
    """Keep what became of it, unless the deployment was taken away meanwhile."""
    if new.deployment.name in deployments.names():
        place.note(new.deployment, "rolled back", f"{new.id}, vLLM {new.vllm_version}: {why}")
        release.keep(new.model_copy(update={"outcome": "taken back", "why": why}))


def told(status: Status, deployment: Deployment) -> Status:
    """The status with the release that is accepted, and whether another is on trial."""
    place, name = place_of(deployment), deployment.name
    if not isinstance(place, HoldsReleases):
        return status
    accepted = release.id_of(deployment, place.engine_version(deployment))
    on_trial = release.trial(name)
    if on_trial is None or on_trial.release == accepted:
        if anothers := brought_by_others(deployment, status):
            words = f"{', '.join(anothers)} starts a release of another operator's: {adopting(deployment, anothers)}"
            status = status.model_copy(update={"detail": f"{status.detail}; {words}"})
        others = [
            each.name
            for each in status.endpoints
            if each.release not in (None, accepted) and each.name not in anothers
        ]
        if others:
            words = f"{', '.join(others)} starts another release than the accepted one: corral roll {name}"
            status = status.model_copy(update={"detail": f"{status.detail}; {words}"})
        return status.model_copy(update={"release": accepted})
    words = f"release {on_trial.release} is on trial"
    if why := held_up(name):
        words = f"{words}; {why}"
    if not is_at_work(on_trial):
        words = (
            f"an upgrade to {on_trial.release} was cut short: corral serve {name} starts the accepted release"
        )
    return status.model_copy(update={"release": accepted, "detail": f"{status.detail}; {words}"})


def is_at_work(on_trial: Trial) -> bool:
    """Whether a corral is upgrading it now. Takes no lock, which an upgrade that begins would find taken."""
    return on_trial.by is not None and processes.is_alive(on_trial.by)


def held_up(name: str) -> str:
    """What to do about an upgrade that is at work, but for its user who has suspended it; "" about any other."""
    on_trial = release.trial(name)
    if on_trial is None or on_trial.by is None or not is_at_work(on_trial):
        return ""
    pid = on_trial.by.pid
    return f"its upgrade is suspended. {locks.how_it_goes_on(pid)}" if processes.is_suspended(pid) else ""
