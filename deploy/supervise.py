"""`corral serve --supervise`: watch a server of this machine, start it again when it dies, give up with the reason."""

import time
from collections.abc import Callable

from deploy.launch import launch
from deploy.targets.abilities import KeepsFirstDeath
from deploy.targets.choose import place_of
from deploy.targets.deployment import Deployment, folder
from deploy.targets.place import Place
from infra.errors import ServerError, UsageError
from infra.say import progress
from serving.vllm.endpoint import Endpoint
from serving.vllm.restart_policy import Policy, delay_s


def supervise(
    deployment: Deployment,
    ready: Callable[[Endpoint], None],
    policy: Policy,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Serve and stay; `ready` is told each time it answers. Returns when somebody stops the server.

    Raises ServerError with the last cause when it dies too often. Ctrl-C ends the server too. Raises UsageError where
    another's runs there, which is left alone.
    """
    place = place_of(deployment)
    if not isinstance(place, KeepsFirstDeath):
        raise UsageError("Only a server of this machine is supervised here.", "Elsewhere systemd does it.")
    deaths: list[float] = []
    try:
        while True:
            trouble = one_life(place, deployment, ready, policy, sleep)
            if not trouble:
                return
            deaths.append(clock())
            if len(deaths) == 1:
                place.keep_first_death(deployment)
            again_or_give_up(deployment.name, trouble, deaths, clock(), policy, sleep)
    except UsageError:
        raise
    except BaseException:
        place.stop(deployment)
        raise


def one_life(
    place: Place,
    deployment: Deployment,
    ready: Callable[[Endpoint], None],
    policy: Policy,
    sleep: Callable[[float], None],
) -> str:
    """Start the server and watch it until it ends; why it died, or "" when it was stopped."""
    try:
        ready(launch(deployment))
    except ServerError as error:
        return error.message
    hung = 0
    while True:
        sleep(policy.look_again_s if hung else policy.look_every_s)
        status = place.status(deployment)
        hung = hung + 1 if status.state == "hung" else 0
        if status.state == "stopped":
            return ""
        if status.state in ("dead", "unknown") or hung >= policy.hung_looks:
            place.stop(deployment)
            return f"The server {'hung' if hung else 'died'}: {status.detail}"


def again_or_give_up(
    name: str,
    trouble: str,
    deaths: list[float],
    now_s: float,
    policy: Policy,
    sleep: Callable[[float], None],
) -> None:
    """Wait for the next start, or raise ServerError when there is to be none."""
    wait_s = delay_s(deaths, now_s, policy)
    if wait_s is None:
        minutes = policy.within_s / 60
        raise ServerError(
            f"Gave up after {policy.most_deaths} deaths in {minutes:g} minutes. The last: {trouble}",
            f"Mend the cause and serve again. The first log: {folder(name)}/first-death; the last: corral logs {name}",
        )
    progress(f"supervise: {trouble}")
    progress(
        f"supervise: starting it again in {wait_s:g} s ({len(deaths)} of at most {policy.most_deaths} deaths)"
    )
    sleep(wait_s)
