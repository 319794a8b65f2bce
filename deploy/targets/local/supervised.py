"""A server of this machine as whoever starts it again sees it: how it lives, what ends it, what is in the way."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from deploy.targets.abilities import Life
from deploy.targets.deployment import Deployment, folder
from deploy.targets.local import looking, starting
from deploy.targets.preflight import BUSY_FRACTION, gpus_per_host
from infra import gpus, kernel_messages, processes, wait
from infra.errors import CorralError
from infra.facts import GpuFacts
from infra.onhost import history as onhost
from infra.onhost import xid
from infra.onhost.history import Name
from infra.onhost.judge import Ends, Policy
from infra.record import is_missing
from infra.say import progress
from serving.vllm import diagnosis, events, kernel_log, server, stopping

# A driver takes back the memory of killed processes in this time, or somebody else holds it.
FREED_WITHIN_S, FREED_EVERY_S = 30.0, 1.0


def life(deployment: Deployment) -> Life:
    """Look at its server. Never raises for what a server can do, or for a record that cannot be read."""
    try:
        running = server.load(folder(deployment.name))
        if running is None or not processes.is_alive(running.leader):
            exit_code = processes.reap(running.leader.pid) if running else None
            is_stopping = running is not None and server.is_being_stopped(running)
            return Life(looking.status(deployment, exit_code), is_stopping=is_stopping)
        verdict = looking.judged(running)
    except CorralError as error:
        return Life(looking.said(deployment, "unknown", error.message))
    status = looking.said(deployment, verdict.state, verdict.detail, running.endpoint)
    is_stopping = server.is_being_stopped(running)
    return Life(status, verdict.look, running.leader, running.load_budget_s, is_stopping)


def born(deployment: Deployment) -> object:
    """Which server is the last that was started."""
    running = server.known(folder(deployment.name))
    return running and running.leader


def ends(deployment: Deployment, policy: Policy) -> Ends:
    """How often it has ended since somebody asked for it, by its history; an end that nobody saw is noted first."""
    place = folder(deployment.name)
    starting.note_unseen_end(place)
    return events.ends(events.read(place), policy)


def last_trouble(deployment: Deployment) -> str:
    """Why it ended last, when nobody wished it; "" where it never did."""
    known = events.read(folder(deployment.name))
    return next((each.cause for each in reversed(known) if each.event in onhost.ILL_ENDS), "")


def served_s(deployment: Deployment) -> float:
    """How long its server has served until now, whoever watched it: by its history, and no longer than it lives."""
    place = folder(deployment.name)
    running, known = server.known(place), events.read(place)
    if running is None or not events.was_ready(place, running.started_at):
        return 0.0
    since_s = min((datetime.now(UTC) - each.at).total_seconds() for each in known if each.event == "ready")
    return max(min(since_s, processes.age_s(running.leader)), 0.0)


def end_stuck(deployment: Deployment, event: Name, cause: str) -> None:
    """End what is left of a server that died or has nothing to finish, and note it so. Raises LeftoverError."""
    place = folder(deployment.name)
    events.note(place, event, cause)
    stopping.stop(place, is_ready=False, progress=progress, is_stuck=True)


def stop_wish(deployment: Deployment) -> object:
    """Something else than before once somebody has stopped it, or taken it away."""
    place = folder(deployment.name)
    running, known = server.known(place), events.read(place)
    # Each where the other's disk was full, or nothing was started yet.
    is_stopped = bool(known) and known[-1].event == "stopped"
    return (running and running.stopping_at, is_stopped, is_missing(place / "deployment.json"))


def given_up(deployment: Deployment) -> str:
    """Why it was given up, since when nobody asked for it; "" where it was not."""
    end = events.last_end(folder(deployment.name))
    return end.cause if end and end.event == "gave up" else ""


def note(deployment: Deployment, event: Name, cause: str) -> None:
    """Keep it in the deployment's history, as well as the disk allows."""
    events.note(folder(deployment.name), event, cause)


def keep_first_death(deployment: Deployment) -> None:
    """Keep the log of a server that died, beside those of its later lives."""
    server.keep_first_death(folder(deployment.name))


def full(deployment: Deployment) -> str:
    """Why its folder takes nothing that a start writes, and what to do; "" where there is room."""
    return server.full(folder(deployment.name))


def gpus_missing(deployment: Deployment) -> str:
    """Which GPUs it needs are not there; "" where all are."""
    need = gpus_per_host(deployment.plan)
    if not need:
        return ""
    found = gpus.report()
    if len(found.gpus) >= need:
        return ""
    why = f": {found.problem}" if found.problem else ""
    return f"{len(found.gpus)} of the {need} GPUs it needs are there{why}"


def broken_gpu(deployment: Deployment) -> diagnosis.Diagnosis | None:
    """What has lately befallen a GPU it needs that no start mends; None for nothing, or where nobody can tell."""
    need, running = gpus_per_host(deployment.plan), server.known(folder(deployment.name))
    if not need or running is None:
        return None
    said = kernel_messages.since(
        max(running.started_at, datetime.now(UTC) - timedelta(seconds=xid.TELLS_FOR_S))
    )
    next_taken = gpus.report().gpus[:need]
    buses = tuple(gpu.pci_bus_id for gpu in next_taken) if len(next_taken) == need else None
    fault = kernel_log.barring_fault(diagnosis.kernel_of(said), buses)
    return diagnosis.of_fault(fault, "") if fault else None


def in_the_way(
    deployment: Deployment,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> str:
    """What holds the GPUs it needs; "" where they are free, or there is no telling."""
    need = gpus_per_host(deployment.plan)
    if not need:
        return ""
    pace = wait.Pace(FREED_WITHIN_S, FREED_EVERY_S, sleep, clock)
    held = wait.until(lambda: busy(gpus.report().gpus[:need]), lambda held: not held, pace)
    if not held:
        return ""
    users = ", ".join(gpus.users(tuple(gpu.index for gpu in held)))
    memory = ", ".join(f"{gpu.memory_used_mib} MiB of GPU {gpu.index}" for gpu in held)
    return f"{memory} {'is' if len(held) == 1 else 'are'} held by {users or 'a program that cannot be seen from here'}"


def busy(all_of_them: tuple[GpuFacts, ...]) -> tuple[GpuFacts, ...]:
    """Those whose memory somebody uses."""
    return tuple(
        gpu
        for gpu in all_of_them
        if gpu.memory_total_mib and (gpu.memory_used_mib or 0) > gpu.memory_total_mib * BUSY_FRACTION
    )
