"""`corral serve --supervise`: watch a server of this machine, start it again when it dies, give up with the reason.

What a server is, and whether it is started once more, decides infra/onhost/judge.py.
"""

import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import NamedTuple

from deploy.launch import launch, supervised
from deploy.releases import release, settling
from deploy.targets import deployment as deployments
from deploy.targets import hurry
from deploy.targets.abilities import Life, Supervised
from deploy.targets.choose import place_of
from deploy.targets.deployment import Deployment, folder
from infra.errors import CorralError, LeftoverError, ServerError, UsageError
from infra.onhost import judge
from infra.onhost.history import Name
from infra.onhost.judge import Ends, Memory, Policy
from infra.say import progress
from serving.vllm.endpoint import Endpoint
from serving.vllm.health import Stopped

LACKS_EVERY_S = 5.0


@dataclass(frozen=True)
class Watch:
    """Who watches, by whose time, and how patiently."""

    deployment: Deployment
    place: Supervised
    ready: Callable[[Endpoint], None]
    policy: Policy
    sleep: Callable[[float], None]
    clock: Callable[[], float]
    up_s: Callable[[], float]
    drawn: Callable[[], float]


@dataclass(frozen=True)
class End:
    """How a life ended that nobody wished to end."""

    trouble: str
    served_s: float | None = None
    """None for one that did not get ready."""


class Lack(NamedTuple):
    """What a start waits for."""

    what: str
    until: str


class GaveUp(ServerError):
    """A server that ended too often; nothing of it is left."""


def up_s() -> float:
    """How long ago this machine has booted."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def supervise(
    deployment: Deployment,
    ready: Callable[[Endpoint], None],
    policy: Policy,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
    up_s: Callable[[], float] = up_s,
    drawn: Callable[[], float] = random.random,
) -> None:
    """Serve and stay; `ready` is told each time it answers. Returns when somebody stops the server.

    Raises ServerError with the last cause when it ends too often. Ctrl-C ends the server too. Raises UsageError where
    another's runs there, which is left alone; and what stands against the first start, unless nobody is there to read
    it: then it may pass, as a port passes that another has for a while. What a unit gave up stays so after a boot.
    """
    place = supervised(place_of(deployment))
    if place.is_unattended() and (why := place.given_up(deployment)):
        raise GaveUp(
            f"It was given up before: {why}", f"Mend the cause, then: corral serve {deployment.name} --unit"
        )
    watch = Watch(deployment, place, ready, policy, sleep, clock, up_s, drawn)
    try:
        keep_alive(watch, place.is_unattended())
    except (UsageError, GaveUp):
        raise
    except BaseException as error:
        if isinstance(error, Exception) and not isinstance(error, CorralError):
            place.note(deployment, "ended", f"what supervised it fell: {type(error).__name__}")
        try:
            place.stop_server(deployment)
        except KeyboardInterrupt:
            with hurry.marked(deployment.name):
                place.stop_server(deployment)
            raise
        raise


def keep_alive(watch: Watch, is_unattended: bool) -> None:
    """One life after the other, until somebody stops it or it is given up.

    One that a unit started goes on with the count of those before it, which may have been killed with their server.
    """
    ends = watch.place.ends(watch.deployment, watch.policy) if is_unattended else Ends()
    is_down = bool(ends.all) and watch.place.life(watch.deployment).look is None
    if is_down and ends.all == 1:
        watch.place.keep_first_death(watch.deployment)
    if is_down and not is_to_start_again(watch, watch.place.last_trouble(watch.deployment), ends):
        return
    while True:
        if ends.all:
            watch = replace(watch, deployment=as_kept(watch.deployment))
        end = one_life(watch, is_unattended or ends.all > 0)
        if end is None:
            return
        ends = judge.ended(ends, end.served_s, watch.policy)
        if ends.all == 1:
            watch.place.keep_first_death(watch.deployment)
        if not is_to_start_again(watch, end.trouble, ends):
            return


def as_kept(deployment: Deployment) -> Deployment:
    """The deployment as its document has it by now: it may have been upgraded."""
    with suppress(CorralError):
        return deployments.load(deployment.name)
    return deployment


def one_life(watch: Watch, may_pass: bool) -> End | None:
    """Start the server and watch it until it ends; None when it was stopped.

    `may_pass` is whether what stands against its start is one more end, and not the end of all.
    """
    counted = watch.place.ends(watch.deployment, watch.policy)
    try:
        wait_for_what_lacks(watch, may_pass)
        refuse_held_gpus(watch)
        endpoint = launch(watch.deployment)
    except Stopped:
        return None
    except ServerError as error:
        if watch.place.ends(watch.deployment, watch.policy) == counted:
            watch.place.note(watch.deployment, "died", error.message)  # nobody has kept it
        return End(error.message)
    except CorralError as error:
        if not may_pass:
            raise
        if isinstance(error, UsageError) and watch.place.life(watch.deployment).look is not None:
            progress("supervise: another corral has started it; that one is watched")
            return lived(watch)
        watch.place.note(watch.deployment, "died", error.message)
        return End(error.message)
    watch.ready(endpoint)
    return lived(watch)


def lived(watch: Watch) -> End | None:
    """Watch a server until it ends; None when it was stopped."""
    began_s = watch.clock() - watch.place.served_s(watch.deployment)
    trouble = watched(watch)
    return End(trouble, watch.clock() - began_s) if trouble else None


def wait_for_what_lacks(watch: Watch, may_pass: bool) -> None:
    """Wait for what is no failed start. Raises Stopped where somebody stops it."""
    told = ""
    wish = watch.place.stop_wish(watch.deployment)
    while lack := what_lacks(watch, may_pass):
        if lack.what != told:
            progress(f"supervise: {lack.what}; waiting {lack.until}")
            watch.place.note(watch.deployment, "waiting", lack.what)
        told = lack.what
        watch.sleep(LACKS_EVERY_S)
        if watch.place.stop_wish(watch.deployment) != wish:
            raise Stopped(f"{watch.deployment.name} was stopped while it waited to be started.", "")


def what_lacks(watch: Watch, may_pass: bool) -> Lack | None:
    """GPUs whose driver is late at boot; an upgrade that its user is to let go on; room on the disk."""
    if (missing := watch.place.gpus_missing(watch.deployment)) and watch.up_s() < watch.policy.gpu_s:
        return Lack(missing, f"until {watch.policy.gpu_s / 60:g} minutes after the boot")
    if may_pass and (held_up := settling.held_up(watch.deployment.name)):
        return Lack(held_up, "until it does")
    if may_pass and (full := watch.place.full(watch.deployment)):
        return Lack(full, "until there is room")
    return None


def refuse_held_gpus(watch: Watch) -> None:
    """Raise ServerError where the memory of its GPUs is another's, or is not given back."""
    if not watch.place.life(watch.deployment).look and (held := watch.place.in_the_way(watch.deployment)):
        watch.place.note(watch.deployment, "died", held)
        raise ServerError(f"It cannot start: {held}.", "See which: nvidia-smi; end it first.")


def watched(watch: Watch) -> str:
    """Watch a server that is ready until it ends, or is ended; why, or "" when it was stopped.

    Another one that is served in its stead meanwhile begins with what a start has of patience.
    """
    memory, policy = Memory(was_ready=True, at_s=watch.clock()), watch.policy
    born, told = watch.place.born(watch.deployment), ""
    held_up = ""
    while True:
        watch.sleep(watch.policy.look_again_s if memory.ill_looks else watch.policy.look_every_s)
        held_up = tell_held_up(watch, held_up)
        life = watch.place.life(watch.deployment)
        if life.is_stopping:
            continue
        if life.look is None:
            if is_between_releases(watch.deployment.name):
                continue
            return died(watch, life)
        if life.born != born:
            born, told = life.born, ""
            memory, policy = Memory(at_s=watch.clock()), policy._replace(load_s=life.load_s)
        verdict, memory = judge.judge(memory, life.look._replace(at_s=watch.clock()), policy)
        said = f"{life.status.state}: {life.status.detail}"
        if verdict.action == "restart":
            trouble = f"The server hung: {life.status.detail}" if judge.is_hang(verdict.kind) else said
            return ended(watch, f"{trouble}, for {verdict.quiet_s:.0f} s")
        if memory.ill_looks > 1 and verdict.kind != told:
            told = verdict.kind
            watch.place.note(watch.deployment, "ill", said)
            progress(f"supervise: it is {said}")


def tell_held_up(watch: Watch, told: str) -> str:
    """Say once that an upgrade, for which a server that ended is left alone, does not go on; what was said."""
    held_up = settling.held_up(watch.deployment.name)
    if held_up and held_up != told:
        watch.place.note(watch.deployment, "waiting", held_up)
        progress(f"supervise: {held_up}")
    return held_up


def is_between_releases(name: str) -> bool:
    """Whether an upgrade is at work, which starts another in its stead, or it again."""
    on_trial = release.trial(name)
    return on_trial is not None and settling.is_at_work(on_trial)


def died(watch: Watch, life: Life) -> str:
    """Clear up after a server that has ended; why it did, or "" where that was somebody's wish."""
    if life.status.state in ("stopped", "provisioned"):
        return ""
    trouble = f"The server died: {life.status.detail}"
    end_stuck(watch, "died", trouble)
    return trouble


def ended(watch: Watch, trouble: str) -> str:
    """End a server that has nothing to finish; why."""
    end_stuck(watch, "ended", trouble)
    return trouble


def end_stuck(watch: Watch, event: Name, cause: str) -> None:
    """End what is left of it. What does not even die of SIGKILL now may do so before the next start, which looks."""
    try:
        watch.place.end_stuck(watch.deployment, event, cause)
    except LeftoverError as error:
        progress(f"supervise: {error.message}")


def is_to_start_again(watch: Watch, trouble: str, ends: Ends) -> bool:
    """Wait for the next start; False where somebody stopped it meanwhile. Raises GaveUp when there is to be none."""
    name, policy = watch.deployment.name, watch.policy
    if broken := watch.place.broken_gpu(watch.deployment):
        why = f"an end that no start mends: {broken.cause}"
        watch.place.note(watch.deployment, "gave up", why)
        raise GaveUp(f"Gave up after {why}.", broken.next.replace("NAME", name))
    wait_s = judge.delay_s(ends, watch.drawn(), policy)
    if wait_s is None:
        count = judge.gave_up(ends, policy)
        watch.place.note(watch.deployment, "gave up", f"{count}; the last: {trouble}")
        raise GaveUp(
            f"Gave up after {count}. The last: {trouble}",
            f"Mend the cause and serve again. The first log: {folder(name)}/first-death; the last: corral logs {name}",
        )
    progress(f"supervise: {trouble}")
    progress(
        f"supervise: starting it again in {wait_s:.0f} s ({ends.loads} of at most {policy.most_loads} starts failed, "
        f"{ends.all} of at most {policy.most_ends} ends, without an hour of service between)"
    )
    wish = watch.place.stop_wish(watch.deployment)
    watch.sleep(wait_s)
    return watch.place.stop_wish(watch.deployment) == wish
