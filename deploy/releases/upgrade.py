"""From one release of a deployment to the next: tried in place of the accepted one, then kept, or taken back."""

import os
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import NamedTuple

from deploy.gateway.out_of_rotation import out_of_rotation
from deploy.releases import canary, release, short_probe
from deploy.releases.release import Release, Trial
from deploy.releases.settling import at_work, holding, note_taken_back, refuse_anothers, settle
from deploy.targets import deployment as deployments
from deploy.targets.abilities import HoldsReleases
from deploy.targets.deployment import Deployment, folder
from deploy.targets.place import Check, Offer, Status
from infra import processes
from infra.errors import CorralError, DocumentError, HostError, Interrupted, ServerError, UsageError
from infra.printable import one_line
from infra.record import Record, removed
from infra.say import progress
from serving.vllm.endpoint import Endpoint
from serving.vllm.health import Stopped


class Upgraded(Record):
    """Which release is accepted now, and which was."""

    name: str
    """The deployment's."""
    release: Release
    """The one that is accepted now."""
    previous: Release
    """The one before it."""
    changed: bool = True
    """False where that one was accepted already."""


class Step(NamedTuple):
    """What is tried, and by what it is judged."""

    old: Release
    new: Release
    slower_at_most: float | None
    """None: its speed is not asked for, as on the way back."""


NextOf = Callable[[Deployment, HoldsReleases], Deployment]
"""What comes next, of what is deployed."""


def upgrade(next_of: NextOf, name: str, slower_at_most: float, approve: Callable[[Offer], None]) -> Upgraded:
    """Bring the next release and serve it where it is as good; else the accepted one serves on.

    Raises ServerError with the cause for one that was taken back, and what stands against bringing it.
    """
    present = deployments.load(name)
    place = holding(present)
    with at_work(present):
        was_tried = settle(present)
        old = known(present, place)
        status = place.status(present)
        refuse_anothers(present, status)
        served = was_tried or is_meant_to_serve(status)
        # What `serve` cannot start, as its engine is gone, is brought again.
        is_whole = not present.release or status.state == "serving" or not place.missing(old.deployment)
        new = brought(next_of(present, place), old, place, is_whole, approve)
        if new is None:
            return Upgraded(name=name, release=old, previous=old, changed=False)
        return tried(
            Step(release.keep(measured(old, place)), release.keep(new), slower_at_most), place, served
        )


def brought(
    wanted: Deployment, old: Release, place: HoldsReleases, is_whole: bool, approve: Callable[[Offer], None]
) -> Release | None:
    """The next release, put beside the one that serves; None where that is it, and whole."""
    found = next_release(wanted, old, place, is_whole)
    if found is None:
        return None
    new, about = found
    place.bring(new.deployment, about, approve)
    return new


def next_release(
    wanted: Deployment, old: Release, place: HoldsReleases, is_whole: bool
) -> tuple[Release, tuple[Check, ...]] | None:
    """The next release, and what there is to say before it is brought; None where it is the old one, and whole."""
    if release.id_of(wanted, place.engine_version(wanted)) == old.id and is_whole:
        return None
    settled, about = place.settled(wanted)
    version = place.engine_version(settled)
    new_id = release.id_of(settled, version)
    if new_id == old.id and is_whole:
        return None
    new = Release(
        id=new_id,
        vllm_version=version,
        deployment=settled,
        previous=old.id if new_id != old.id else old.previous,
        tried_at=datetime.now(UTC),
    )
    return named(new), about


def back(name: str) -> Upgraded:
    """Serve the release before the accepted one again.

    Raises UsageError where there is none, or something of it is not there any more; ServerError where it is no good.
    """
    present = deployments.load(name)
    place = holding(present)
    with at_work(present):
        was_tried = settle(present)
        old = known(present, place)
        status = place.status(present)
        refuse_anothers(present, status)
        served = was_tried or is_meant_to_serve(status)
        new = named(at_address_of(present, release.before(name, old.id)))
        if missing := place.missing(new.deployment):
            raise UsageError(
                f"The release before this one, {new.id}, is not there any more: {missing}.",
                f"Nothing was changed. Bring it again by its plan: corral upgrade {name} plan.json",
            )
        return tried(Step(release.keep(old), new, None), place, served)


def is_meant_to_serve(status: Status) -> bool:
    """Whether a server that was started was not stopped: one that died counts, and one of several is enough."""
    states = [each.state for each in status.endpoints] or [status.state]
    return any(state not in ("stopped", "provisioned", "absent") for state in states)


def at_address_of(present: Deployment, one: Release) -> Release:
    """The release where the present one is asked."""
    return one.model_copy(update={"deployment": with_address_of(present, one.deployment)})


def with_address_of(present: Deployment, other: Deployment) -> Deployment:
    """The other with the present one's address: nobody who asks has to look for it."""
    address = {name: getattr(present.plan.serve, name) for name in release.ADDRESS}
    plan = other.plan.model_copy(update={"serve": other.plan.serve.model_copy(update=address)})
    return other.model_copy(update={"plan": plan})


def named(one: Release) -> Release:
    """The release, whose deployment says which it is."""
    return one.model_copy(update={"deployment": one.deployment.model_copy(update={"release": one.id})})


def known(present: Deployment, place: object) -> Release:
    """The accepted release, with what was measured of it when it was tried; where there is but one, what it is."""
    if not isinstance(place, HoldsReleases):
        version = present.plan.vllm_version
        return Release(id=release.id_of(present, version), vllm_version=version, deployment=present)
    version = place.engine_version(present)
    accepted = release.id_of(present, version)
    before = None
    with suppress(DocumentError):  # it cannot be read: what was measured is measured again
        before = release.kept(present.name, accepted)
    if before is not None:
        return named(before.model_copy(update={"deployment": place.pinned(present)}))
    return named(Release(id=accepted, vllm_version=version, deployment=place.pinned(present)))


def measured(old: Release, place: HoldsReleases) -> Release:
    """With its figures and its answer, which are asked for now where it serves and nobody did before."""
    status = place.status(old.deployment)
    if old.figures is not None or status.state != "serving" or status.endpoint is None:
        return old
    progress(f"upgrade: a short probe of the release that serves, {old.id}")
    figures = short_probe.measured(status.endpoint, old.deployment.plan.serve.max_model_len)
    return old.model_copy(update={"figures": figures, "answer": canary.asked(status.endpoint).tokens})


def tried(step: Step, place: HoldsReleases, served: bool) -> Upgraded:
    """End the accepted release's server, start the new one's, judge it, and keep it or go back."""
    old, new = step.old, step.new
    name = new.deployment.name
    old.deployment.write(folder(name) / "deployment.json")  # the same, with its engine named
    place.remember(old.deployment)
    me = processes.birth(os.getpid())
    Trial(release=new.id, begun_at=datetime.now(UTC), by=me).write(release.trial_file(name))
    try:
        progress(f"upgrade: ending {old.id} and starting {new.id}")
        with out_of_rotation(name):
            endpoint = place.turn_to(new.deployment)
        new = judged(step, endpoint, place)
        new = release.keep(new.model_copy(update={"outcome": "accepted", "why": ""}))
        new.deployment.write(folder(name) / "deployment.json")  # from here on it is the accepted one
    except BaseException as error:
        raise taken_back(step, place, error, served) from None
    place.keep(new.deployment)
    removed([release.trial_file(name)])
    is_back = step.slower_at_most is None
    words = f"from {old.id} to {new.id}, vLLM {new.vllm_version}"
    place.note(
        new.deployment, "rolled back" if is_back else "upgraded", f"{words}, as asked" if is_back else words
    )
    return Upgraded(name=name, release=new, previous=old)


def judged(step: Step, endpoint: Endpoint, place: HoldsReleases) -> Release:
    """The new release with what it answered and how fast. Raises ServerError where it is not as good."""
    new, figures = step.new, step.new.figures
    try:
        progress("upgrade: the canary")
        answer = canary.require_sense(endpoint, step.old.answer)
        if step.slower_at_most is not None:
            progress("upgrade: a short probe of it")
            figures = short_probe.measured(endpoint, new.deployment.plan.serve.max_model_len)
            short_probe.require_as_good(figures, step.old.figures, step.slower_at_most)
    except CorralError:
        if place.status(new.deployment).state == "stopped":
            raise Stopped(f"{new.deployment.name} was stopped while it was tried.", "") from None
        raise
    return new.model_copy(update={"figures": figures, "answer": answer.tokens})


def taken_back(step: Step, place: HoldsReleases, error: BaseException, served: bool) -> BaseException:
    """Serve the accepted release again; the error that says how it came to that, or a mistake of ours as it is."""
    old, new, name = step.old, step.new, step.new.deployment.name
    cause = (
        "it was interrupted"
        if isinstance(error, KeyboardInterrupt)
        else one_line(str(error), 400).rstrip(".")
    )
    progress(f"upgrade: {new.id} is taken back: {cause}")
    with suppress(DocumentError, HostError):  # taken away meanwhile, or a full disk
        if deployments.load(name).release == new.id:  # interrupted just after it was accepted
            old.deployment.write(folder(name) / "deployment.json")
    place.let_go(old.deployment)
    starts = served and not isinstance(error, Stopped)
    trouble = started_again(old, place) if starts else ""
    with suppress(HostError):  # a full disk: what is wrong is said all the same
        note_taken_back(new, cause, place)
    removed([release.trial_file(name)])
    if not isinstance(error, CorralError | KeyboardInterrupt):
        return error
    kind = Interrupted if isinstance(error, KeyboardInterrupt) else ServerError
    said = f"{name} was not upgraded to {new.id}: {cause}"
    if trouble:
        return kind(
            f"{said}; and the accepted release, {old.id}, does not start again: {trouble}",
            f"Start it once that is mended: corral serve {name}",
        )
    hint = getattr(error, "hint", "") or f"See what is served: corral status {name}"
    return kind(
        f"{said}. The accepted release, {old.id}, {'serves again' if starts else 'does not run'}.", hint
    )


def started_again(old: Release, place: HoldsReleases) -> str:
    """Start the accepted release's server; why it does not, if so."""
    try:
        with out_of_rotation(old.deployment.name):
            place.turn_to(old.deployment)
        place.keep(old.deployment)
    except CorralError as error:
        place.let_go(old.deployment)
        return error.message
    return ""
