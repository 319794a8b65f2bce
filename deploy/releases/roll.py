"""Replicas started anew or upgraded one at a time: each out of its gateway's rotation and without a request meanwhile.

deployment.json names the new release when all have it. Which one a host starts is kept there: a roll that was cut short
leaves every replica at one of the two, and the next one finds those that have the new one already.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from deploy.gateway import gateway, out_of_rotation
from deploy.releases import canary, release, started_anew
from deploy.releases.release import Release, Trial
from deploy.releases.roll_order import Roll, looked_at, require_served, roll_of, rollable
from deploy.releases.settling import at_work, holding, note_taken_back, settle
from deploy.releases.upgrade import NextOf, Step, brought, judged, known, measured, tried
from deploy.targets import deployment as deployments
from deploy.targets import hurry
from deploy.targets.abilities import HoldsReleases, Replicated
from deploy.targets.deployment import folder
from deploy.targets.place import Offer, Status
from infra import processes
from infra.errors import CorralError, HostError, Interrupted, ServerError
from infra.printable import one_line
from infra.record import Record, removed
from infra.say import progress, warn
from serving.vllm import stopping
from serving.vllm.endpoint import Endpoint


class Rolled(Record):
    """What became of each replica."""

    name: str
    """The deployment's."""
    release: str
    """The release that all of them serve now."""
    previous: str
    """The one that was accepted before; the same where they were only started anew."""
    rolled: tuple[str, ...]
    """The replicas that were started anew, in that order."""
    skipped: tuple[str, ...] = ()
    """Those that served that release before, or were started anew by a roll that stopped."""


def roll(
    next_of: NextOf | None, name: str, slower_at_most: float, approve: Callable[[Offer], None]
) -> Rolled:
    """Start every replica anew, or serve the next release with it, one after the other; the ill ones first.

    Raises UsageError where nothing is served, ServerError with the replica that failed: the others stay as they are.
    """
    present = deployments.load(name)
    place = rollable(present, next_of is not None)
    with at_work(present):
        was_tried = settle(present)
        status = place.status(present)
        require_served(present, status, was_tried)
        old = known(present, place)
        new = None
        if next_of:
            holder = holding(present)
            new = brought(next_of(present, holder), old, holder, True, approve)
            old = measured(old, holder) if new else old
        if new is None:
            place.require_whole(present)
            if answer := answers(status):
                old = old.model_copy(update={"answer": answer})
        step = Step(old, new or old, slower_at_most if new else None)
        this = roll_of(present, place, step, to_all=next_of is None)
        if this.is_upgrade and len(this.replicas) == 1:
            (replica,) = this.replicas
            tell_callers(name, replica, replica in out_of_rotation.in_front(name))
            both = Step(release.keep(step.old), release.keep(step.new), slower_at_most)
            tried(both, holding(present), True)
            return Rolled(name=name, release=step.new.id, previous=old.id, rolled=(name,))
        return all_of(this)


def answers(status: Status) -> tuple[str, ...]:
    """What the first replica that serves says to the canary's prompt; nothing where none does."""
    endpoints = [each.endpoint for each in status.endpoints if each.state == "serving"]
    for endpoint in endpoints or [status.endpoint if status.state == "serving" else None]:
        if endpoint is not None:
            return canary.asked(endpoint).tokens
    return ()


def all_of(this: Roll) -> Rolled:
    """One replica after the other."""
    old, new = this.step.old, this.step.new
    if isinstance(this.place, Replicated):
        this.place.share_key(this.present)
    if this.is_upgrade:
        release.keep(old)
        release.keep(new)
        old.deployment.write(folder(this.name) / "deployment.json")  # the same, with its engine named
        holding(this.present).remember(old.deployment)
        started_anew.forget(this.name)
    found = looked_at(this)
    rolled: list[str] = []
    with on_trial(this):
        for replica in found.order:
            has_it = replica in found.has_it
            one(this, replica, found.statuses[replica], rolled, has_it)
            if not has_it:
                rolled.append(replica)
                if this.to_all:
                    started_anew.note(this.name, (*found.has_it, *rolled))
    started_anew.forget(this.name)
    if this.is_upgrade:
        accepted(this)
    skipped = tuple(name for name in found.order if name in found.has_it)
    return Rolled(name=this.name, release=new.id, previous=old.id, rolled=tuple(rolled), skipped=skipped)


@contextmanager
def on_trial(this: Roll) -> Iterator[None]:
    """Have whoever supervises a server that is only started anew wait for what comes of it."""
    if this.is_upgrade or len(this.replicas) > 1 or not isinstance(this.place, HoldsReleases):
        yield
        return
    me = processes.birth(os.getpid())
    Trial(release=this.step.old.id, begun_at=datetime.now(UTC), by=me).write(release.trial_file(this.name))
    try:
        yield
    finally:
        removed([release.trial_file(this.name)])


def accepted(this: Roll) -> None:
    """All have it: from here on it is the accepted one."""
    old, new = this.step.old, this.step.new
    release.keep(new.model_copy(update={"outcome": "accepted", "why": ""}))
    new.deployment.write(folder(this.name) / "deployment.json")
    holding(this.present).note(
        new.deployment, "upgraded", f"from {old.id} to {new.id}, vLLM {new.vllm_version}, one by one"
    )


@dataclass
class Way:
    """How far one replica is, for whoever leads it back."""

    is_out: bool = False
    """Its gateway was told to give it nothing new, and not yet to give it requests again."""
    is_begun: bool = False
    """Its server was touched."""
    is_done: bool = False
    """It serves what it is to serve, from now on."""


def one(this: Roll, replica: str, status: Status, rolled: list[str], has_it: bool) -> None:
    """Take a replica out, start it anew, ask it, put it in again; the last alone where it `has_it` already.

    Raises ServerError or Interrupted where it fails, also where its gateway does not find it well.
    """
    way = Way(is_done=has_it)
    try:
        fronted = replica in out_of_rotation.in_front(this.name)
        if not has_it:
            progress(f"roll: {replica}")
            if status.endpoint is not None:
                tell_callers(this.name, replica, fronted)
            if fronted:
                way.is_out = True
                out_of_rotation.drain(this.name, replica, this.present.plan.serve.shutdown_timeout)
            if status.endpoint is not None:
                until_idle(this, status.endpoint)
            way.is_begun = True
            started(this, replica, status)
            way.is_done = True
        if fronted and (way.is_out or replica in out_of_rotation.without_requests(this.name)):
            way.is_out = True
            is_well = out_of_rotation.put_in(this.name, replica)
            way.is_out = False
            if not is_well:
                raise ServerError(NOT_WELL, "")
    except BaseException as error:
        raise halted(this, replica, error, rolled, way) from None


NOT_WELL = "Its gateway does not find it well, and gives it requests as soon as it does."


def tell_callers(name: str, replica: str, fronted: bool) -> None:
    """Say what whoever asks will see, where no other server takes the requests meanwhile."""
    if not fronted:
        warn(
            f"No gateway gives {replica} its requests: it finishes those it has, and refuses others until it is back."
        )
    elif not set(out_of_rotation.in_front(name)) - {replica, *out_of_rotation.without_requests(name)}:
        queue_s = gateway.load(name).asked.queue_s
        warn(
            f"No other server of {name} is well: requests wait in its gateway for up to {queue_s:g} s, then get 503."
        )


def until_idle(this: Roll, endpoint: Endpoint) -> None:
    """Wait until none runs or waits, for as long as its drain may take."""
    within_s = this.present.plan.serve.shutdown_timeout
    stopping.until_idle(endpoint, within_s, lambda: hurry.is_hurried(this.name), progress)


def started(this: Roll, replica: str, status: Status) -> None:
    """Start a replica anew, with the next release where there is one, and have it answer with sense."""
    old, new = this.step.old, this.step.new
    if this.is_upgrade:
        holder = holding(this.present)
        step = Step(alone_of(this, old, replica), alone_of(this, new, replica), this.step.slower_at_most)
        endpoint = holder.turn_to(step.new.deployment)
        judged(step, endpoint, holder)
        holder.keep(step.new.deployment)
        return
    if status.release in (None, old.id):
        endpoint = this.place.restart(this.replicas[replica])
    else:  # a roll that was cut short has left it at another release
        holder, back = holding(this.present), alone_of(this, old, replica).deployment
        endpoint = holder.turn_to(back)
        holder.keep(back)
    progress("roll: the canary")
    canary.require_sense(endpoint, old.answer)


def alone_of(this: Roll, whole: Release, replica: str) -> Release:
    """A release of one replica."""
    hosts = this.replicas[replica].hosts
    return whole.model_copy(update={"deployment": whole.deployment.model_copy(update={"hosts": hosts})})


def halted(this: Roll, replica: str, error: BaseException, rolled: list[str], way: Way) -> BaseException:
    """Lead the replica back; the error that says how each is, or a mistake of ours as it is."""
    name, old, new = this.name, this.step.old, this.step.new
    is_cut = isinstance(error, KeyboardInterrupt)
    cause = "it was interrupted" if is_cut else one_line(str(error), 400).rstrip(".")
    said = [f"The roll of {name} stopped at {replica}: {cause}."]
    try:
        said += led_back(this, replica, way, cause, is_cut)
    except KeyboardInterrupt:
        said.append("It is still on its way back.")
    if way.is_out:
        said.append("Its gateway gives it no requests.")
    each = tuple(this.replicas)
    if rolled:
        said.append(f"{', '.join(rolled)}: {f'at {new.id}' if this.is_upgrade else 'started anew'}.")
    if others := [other for other in each if other not in (*rolled, replica)]:
        said.append(f"{', '.join(others)}: as before.")
    if not isinstance(error, CorralError | KeyboardInterrupt):
        return error
    hints = [f"Look: corral logs {name}"]
    hints.append("the same command again goes on" if len(each) > 1 else f"start it: corral serve {name}")
    if way.is_out:
        hints.append(f"once {replica} serves: corral gateway ready {name} {replica}")
    if this.is_upgrade and (rolled or way.is_done):
        hints.append(f"all back to {old.id}: corral roll {name}")
    return (Interrupted if is_cut else ServerError)(" ".join(said), f"{'; '.join(hints)}.")


def led_back(this: Roll, replica: str, way: Way, cause: str, is_cut: bool) -> list[str]:
    """Have it serve again, and its gateway give it requests where it does; what became of it, in sentences.

    One that was only started anew and failed is left as it is: nothing better is known.
    """
    old, new = this.step.old, this.step.new
    said, is_well = [], True
    if way.is_done:
        said.append(f"It has {new.id}." if this.is_upgrade else "It serves.")
    elif not way.is_begun:
        said.append("Its server was not touched.")
    elif this.is_upgrade:
        progress(f"roll: {replica} is turned back to {old.id}: {cause}")
        trouble = turned_back(this, replica)
        with suppress(HostError):
            note_taken_back(new, f"on {replica}: {cause}", holding(this.present))
        said.append(
            f"It does not start again with {old.id}: {trouble.rstrip('.')}."
            if trouble
            else f"It is turned back to {old.id} and serves."
        )
        is_well = not trouble
    elif is_cut:
        trouble = started_again(this, replica)
        said.append(f"It does not run: {trouble.rstrip('.')}." if trouble else "It serves.")
        is_well = not trouble
    else:
        is_well = False
    if way.is_out and is_well:
        with suppress(CorralError):
            is_seen = out_of_rotation.put_in(this.name, replica)
            way.is_out = False
            if not is_seen:
                said.append(NOT_WELL)
    return said


def started_again(this: Roll, replica: str) -> str:
    """Start what was ended and does not serve; why that does not go, if so."""
    each = this.replicas[replica]
    try:
        if this.place.status(each).state != "serving":
            progress(f"roll: {replica} is started again")
            this.place.restart(each)
    except CorralError as error:
        return error.message
    return ""


def turned_back(this: Roll, replica: str) -> str:
    """Serve the accepted release with it again; why that does not go, if so."""
    back, holder = alone_of(this, this.step.old, replica).deployment, holding(this.present)
    try:
        holder.turn_to(back)
        holder.keep(back)
    except CorralError as error:
        return error.message
    return ""
