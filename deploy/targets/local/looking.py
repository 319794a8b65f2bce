"""What a server of this machine is doing: asked from the kernel, from itself, and from what is on record of it."""

import os
from pathlib import Path

from deploy.targets.deployment import Deployment, folder
from deploy.targets.place import Status
from infra import kernel_messages, processes
from infra.onhost.judge import STATES, WORDS
from serving.vllm import diagnosis, events, health, server, startup_log
from serving.vllm.endpoint import Endpoint


def status(deployment: Deployment, exit_code: int | None = None) -> Status:
    """Ask the kernel for its processes, then the server itself for a completion.

    `exit_code` is its leader's, where whoever asks saw it end.
    """
    place = folder(deployment.name)
    running = server.load(place)
    if running is None:
        return unlucky(deployment, place) or said(deployment, "provisioned", "it was never started")
    alive = server.workers(place)
    if not alive:
        return ended(deployment, place, running, exit_code)
    if not processes.is_alive(running.leader):
        death = explained(place, running, exit_code)
        orphans = f"{len(alive)} of its processes are left: corral stop {deployment.name}"
        return said(deployment, "dead", f"{death.cause}; {orphans}")
    verdict = judged(running)
    answers = verdict.look is None or verdict.look.health not in ("hang", "refuse")
    if not answers and not was_ready(place, running):
        return not_yet(deployment, place, running)
    if verdict.state == "starting":
        return said(deployment, STATES["deaf"], WORDS["deaf"], running.endpoint)
    return said(deployment, verdict.state, verdict.detail, running.endpoint)


def was_ready(place: Path, running: server.Server) -> bool:
    """Whether it has listened, by what is on record or by its log: a full disk may have lost either."""
    if events.was_ready(place, running.started_at):
        return True
    return startup_log.LISTENS in startup_log.phases(server.log_text(place).splitlines())


def ended(deployment: Deployment, place: Path, running: server.Server, exit_code: int | None) -> Status:
    """The status of a server without processes: it was stopped, or it died."""
    if running.stopped_at:
        since = f"since {running.stopped_at:%Y-%m-%d %H:%M:%S} UTC"
        return unlucky(deployment, place) or said(deployment, "stopped", since)
    death = explained(place, running, exit_code)
    if not os.access(place, os.W_OK):
        return said(
            deployment,
            "unknown",
            f"it has ended; {place} cannot be written, so nobody noted how; {death.cause}",
        )
    step = server.full(place) or death.next  # what such a disk refuses is in no log there
    return said(deployment, "dead", f"{death.cause}; {step}".replace("NAME", deployment.name))


def explained(place: Path, running: server.Server, exit_code: int | None) -> diagnosis.Diagnosis:
    """Why a server without its leader died."""
    kernel = kernel_messages.since(running.started_at)
    return diagnosis.explain(server.log_text(place), exit_code, kernel)


def unlucky(deployment: Deployment, place: Path) -> Status | None:
    """The status of a server whose last end, or start that failed, was nobody's wish; None of any other."""
    end = events.last_end(place)
    if end is None:
        return None
    gave_up = "gave up after " if end.event == "gave up" else ""
    return said(deployment, "dead", f"{gave_up}{end.cause}; corral status {deployment.name} --history")


def not_yet(deployment: Deployment, place: Path, running: server.Server) -> Status:
    """The status of a server that does not listen yet: how far it is, and whether its time is over."""
    heard = startup_log.phases(server.log_text(place).splitlines())
    phase = heard[-1] if heard else "vLLM is being imported"
    if server.age_s(running) > running.load_budget_s:
        return said(deployment, "hung", f"not ready after {running.load_budget_s} s; last: {phase}")
    return said(deployment, "starting", phase)


def said(deployment: Deployment, state: str, detail: str, endpoint: Endpoint | None = None) -> Status:
    """A status of this target."""
    return Status.model_validate(
        {"name": deployment.name, "target": "local", "state": state, "detail": detail, "endpoint": endpoint}
    )


def is_running(deployment: Deployment) -> bool:
    """Whether its server's leading process lives, ready or not."""
    running = server.load(folder(deployment.name))
    return running is not None and processes.is_alive(running.leader)


def judged(running: server.Server) -> health.Verdict:
    """Look at a server whose leader lives, and judge."""
    return health.judge(health.look(running.endpoint), running.endpoint.served_model_name)
