"""A deployment of this machine as a unit of this user's own systemd: supervised, and there again after a boot."""

import os
import sys
import time
from collections.abc import Mapping

from deploy.targets.deployment import Deployment, folder, home
from deploy.targets.local import looking
from infra import user_systemd
from infra.errors import ServerError
from infra.host_units import systemd_quoted
from infra.record import removed, write_text_atomically
from infra.say import progress
from serving.vllm import events, server
from serving.vllm.endpoint import Endpoint

PROGRAM = "from deploy.cli.start import main; main()"
# What a start reads of the environment; no token, no key, and no proxy, whose address may hold a password: the weights
# are here before the unit is.
KEPT = (
    "PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "CUDA_VISIBLE_DEVICES",
    "CORRAL_VLLM", "CORRAL_ALLOW_REMOTE", "CORRAL_GPUS", "CORRAL_OFFLINE", "HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE",
)  # fmt: skip
INSIDE = "CORRAL_UNIT"
"""What tells a corral that it is the unit's."""
AFTER_DRAIN_S = 90.0
"""For a server that does not end when it is asked, and for the proof that it is gone."""
LOOK_EVERY_S = 2.0
UNIT = """\
[Unit]
Description=vLLM server of corral deployment {name}
# How often it is started again is the judge's to say (infra/onhost/judge.py).
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStart={command}
{environment}# A supervisor that was killed begins again, and takes a server that lives as it is.
# One that gave up, or cannot do as asked, stays down.
Restart=on-failure
RestartSec=15
RestartPreventExitStatus=2 3 4 7
SuccessExitStatus=130
# SIGTERM to the supervisor alone: it has the server drain, and proves that nothing is left.
KillMode=process
OOMPolicy=continue
TimeoutStopSec={stop_s:.0f}

[Install]
WantedBy=default.target
"""


def unit(name: str) -> str:
    """What the unit of a deployment is called."""
    return f"corral-{name}.service"


def is_unattended() -> bool:
    """Whether this corral is the one that a unit started: nobody is there to read what it says."""
    return bool(os.environ.get(INSIDE))


def text(deployment: Deployment, environ: Mapping[str, str]) -> str:
    """The unit's file."""
    command = [sys.executable, "-c", PROGRAM, "serve", deployment.name, "--supervise"]
    given = {name: environ[name] for name in KEPT if environ.get(name)}
    given |= {"CORRAL_HOME": str(home()), INSIDE: deployment.name}
    return UNIT.format(
        name=deployment.name,
        command=" ".join(map(systemd_quoted, command)),
        environment="".join(f"Environment={quoted(f'{name}={value}')}\n" for name, value in given.items()),
        stop_s=stop_s(deployment),
    )


def quoted(setting: str) -> str:
    """A setting of Environment=, in which a dollar means itself."""
    return systemd_quoted(setting).replace("$$", "$")


def stop_s(deployment: Deployment) -> float:
    """How long its end may take: until it has no request, its own drain, and then some."""
    return 2 * deployment.plan.serve.shutdown_timeout + AFTER_DRAIN_S


def require_units(deployment: Deployment) -> None:
    """Raise HostError where this user's systemd runs no units."""
    user_systemd.require(f"corral serve {deployment.name} --supervise")


def serve_as_unit(deployment: Deployment) -> Endpoint:
    """Write the unit, start it now and at every boot, and wait until its server answers.

    A server that runs already is taken as it is. Raises HostError where systemd refuses, ServerError where it gives up.
    """
    name, place = unit(deployment.name), folder(deployment.name)
    write_text_atomically(user_systemd.file(name), text(deployment, os.environ))
    events.note(place, "asked", "to be served as a unit")
    user_systemd.required("daemon-reload")
    user_systemd.asked("reset-failed", name)
    user_systemd.required("enable", name)
    user_systemd.required("start", name)
    progress(f"unit: {name} starts it, and again at boot; end it: corral stop {deployment.name}")
    if not user_systemd.lingers():
        progress(
            "unit: it ends when you log out, and starts when you log in, unless: "
            f"sudo loginctl enable-linger {user_systemd.user()}"
        )
    return wait(deployment)


def wait(deployment: Deployment) -> Endpoint:
    """Wait until the unit's server answers. Raises ServerError where the unit ended before."""
    told = ""
    while True:
        status = looking.status(deployment)
        if status.endpoint and (status.state == "serving" or has_served(deployment)):
            return status.endpoint
        if user_systemd.state(unit(deployment.name)) in ("failed", "inactive"):
            raise ended(deployment)
        if status.detail != told:
            told = status.detail
            progress(f"unit: {status.state}: {told}")
        time.sleep(LOOK_EVERY_S)


def has_served(deployment: Deployment) -> bool:
    """Whether its supervisor has seen the server serve, and judges it from now on: it may be busy with others."""
    running = server.known(folder(deployment.name))
    return running is not None and events.was_ready(folder(deployment.name), running.started_at)


def ended(deployment: Deployment) -> ServerError:
    """Why a unit ended before its server answered."""
    end = events.last_end(folder(deployment.name))
    why = f"{end.event}: {end.cause}" if end else "it was stopped, or never got so far"
    return ServerError(
        f"The unit {unit(deployment.name)} has ended; {why}",
        f"What happened: corral status {deployment.name} --history; its own words: "
        f"journalctl --user --unit {unit(deployment.name)}",
    )


def stop(deployment: Deployment) -> None:
    """Stop the unit, and with it the server, and do not start it at boot; nothing where there is none, or inside it.

    Where systemd does not answer it is not started at boot all the same.
    """
    name = unit(deployment.name)
    if is_unattended() or not user_systemd.file(name).exists():
        return
    answer = user_systemd.asked("disable", "--now", name, within_s=stop_s(deployment))
    if answer.returncode:
        progress(f"unit: systemd did not stop {name}: {user_systemd.last_line(answer)}")
        for left in removed([user_systemd.wish(name)]):
            progress(f"unit: it starts at boot again: {left}")


def resume(deployment: Deployment) -> None:
    """Have the unit watch what was started in its stead, where it is to start at boot; nothing where there is none.

    What systemd says to it stops nothing: the server serves.
    """
    name = unit(deployment.name)
    if not is_unattended() and user_systemd.is_enabled(name):
        user_systemd.asked("reset-failed", name)
        if user_systemd.asked("start", name).returncode:
            progress(f"unit: {name} does not watch it; corral serve {deployment.name} --unit")


def take_away(name: str, within_s: float) -> tuple[str, ...]:
    """Take the unit of a deployment away; what is left of it."""
    return () if is_unattended() else user_systemd.take_away(unit(name), within_s)
