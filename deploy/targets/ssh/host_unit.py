"""The server's systemd unit on one owned host: started, waited for, judged, stopped."""

import re
import time
from typing import Literal

from deploy.targets import adapters, host_deaths, host_history
from deploy.targets.deployment import Deployment
from deploy.targets.place import State, Status
from deploy.targets.ssh import at_work, one_key, tunnels
from deploy.targets.ssh.host_setup import judged_setup
from infra import bar, host_judge
from infra import host as hosts
from infra.argument import pasted
from infra.data import shipped_text
from infra.errors import HostError, ServerError
from infra.host_archive import CHECK, sums
from infra.onhost.history import Name
from infra.quantity import counted
from infra.record import Record
from infra.say import progress
from infra.ssh import Host
from serving.vllm import diagnosis, events, health
from serving.vllm.endpoint import Endpoint
from serving.vllm.startup_log import load_budget_s, phases

# systemd makes the state folder at the first start.
STATE_SCRIPT = """\
[ ! -e "$1/record.json" ] || echo "Record=yes"
[ ! -e "/var/lib/private/${2%.service}" ] || echo "HasRun=yes"
sed -n 's/^  "release": "\\([0-9a-f]*\\)".*/Release=\\1/p' "$1/record.json" 2>/dev/null
trial=/run/systemd/system.control/$2
[ ! -e "$trial" ] || {
    echo "Trial=unknown"
    for each in "${1%/*}/.releases/${1##*/}"/*/units/"$2"; do
        if cmp -s "$each" "$trial"; then each=${each%/units/*}; echo "Trial=${each##*/}"; fi
    done
}
printf 'Phase=%s\\n' "$(cat "$1/phase" 2>/dev/null)"
[ ! -e "$1/gave-up" ] || printf 'GaveUp=%s\\n' "$(cat "$1/gave-up")"
systemctl show "$2" --property=ActiveState --property=SubState --property=NRestarts
"""

# Of the last start only: an earlier failure is not this one's cause.
LOG_SCRIPT = """\
invocation=$(systemctl show --value --property=InvocationID "$1") || exit
[ -n "$invocation" ] || exit 0
journalctl --no-pager --lines=50000 --output=cat "_SYSTEMD_INVOCATION_ID=$invocation" + "INVOCATION_ID=$invocation"
"""

# The first of a series, where there has been an end: nothing pushes it out, as it may be of the journal.
FIRST_LOG_SCRIPT = '[ ! -e "$1/ends" ] || cat "$1/first-death.log" 2>/dev/null'

# Beyond the drain, for systemd's own patience and a slow host.
STOP_MARGIN_S = 120
TURNED_WITHIN_S = 120.0
"""Beyond that, to turn to another release."""


class UnitState(Record):
    """What systemd says of the server's unit on one host."""

    active: str
    """systemd's ActiveState; `absent` when the host has nothing of that name."""
    sub: str = ""
    restarts: int = 0
    has_run: bool = False
    phase: str = ""
    """The prepare script's own last word."""
    gave_up: str = ""
    """Why the host starts it no more by itself."""
    release: str = ""
    """Which release starts there; empty for the first."""
    trial: str = ""
    """Which one runs there instead until a boot or the next end, while it was not kept; empty where none does."""

    @property
    def is_before_start(self) -> bool:
        """Whether the host waits for a GPU that is late, or sums up large weights, before it starts the server."""
        return self.sub == "start-pre"

    @property
    def has_died(self) -> bool:
        """Whether the server ended without being asked to."""
        return self.active == "failed" or self.sub == "auto-restart"


def start_command(deployment: Deployment, destination: str) -> tuple[str, ...]:
    """What starts the unit, now and at every boot."""
    if deployment.plan.machine.hosts == 1:
        return hosts.start_command(deployment.name)
    addresses = tuple(Host(other).address() for other in deployment.hosts)
    return hosts.join_command(deployment.name, deployment.hosts.index(destination), addresses)


def start(deployment: Deployment, host: Host) -> Endpoint | None:
    """Start the server and wait until it serves; None on a host that only works for the first one.

    What judges it is this corral's, whoever prepared the host. Raises ServerError with the cause its journal gives; the
    unit is stopped then.
    """
    bring_judge(deployment, host)
    if trial := state(deployment.name, host).trial:
        with at_work.held(deployment.name, host):  # it may be what another operator tries just now
            progress(f"{host.destination}: ending release {trial}, whose trial was cut short")
            end(deployment, host)
    elif not one_key.is_taken(deployment, host):
        progress(f"{host.destination}: ending the server that has a key of its own")
        end(deployment, host)
    host.run(start_command(deployment, host.destination), as_root=True)
    if is_headless(deployment, host):
        return None
    endpoint = tunnels.endpoint(deployment, host)
    wait(deployment, host, endpoint)
    return endpoint


def restart(deployment: Deployment, host: Host) -> Endpoint | None:
    """End the server, once it has no request, and start it as `start` does."""
    end(deployment, host)
    return start(deployment, host)


def end(deployment: Deployment, host: Host) -> None:
    """End the server; the next start, by us or at a boot, is of the release that was kept and takes the key of all."""
    release(deployment, "back", host)
    one_key.taken(deployment, host)


def release(deployment: Deployment, order: str, host: Host, mark: str = "") -> str:
    """Give a host an order about a release (infra/onhost/release.sh); what it says. Raises HostError."""
    script = shipped_text("infra.onhost", "release.sh").encode()
    words = ["sh", "-s", "--", deployment.name, order, deployment.release, mark]
    timeout_s = stop_timeout_s(deployment) + TURNED_WITHIN_S
    return host.run(words, stdin=script, as_root=True, timeout_s=timeout_s).stdout.strip()


def bring_judge(deployment: Deployment, host: Host) -> None:
    """Put what judges the server there anew where it is an earlier corral's; what is the same is not written."""
    files = host_judge.files(judged_setup(deployment))
    same = host.run(CHECK, stdin=sums(files).encode(), as_root=True, check=False)
    if same.code:
        progress(f"{host.destination}: bringing what judges the server")
        host.write(files)
        host.run(["systemctl", "daemon-reload"], as_root=True)


def prove_adapters(deployment: Deployment, host: Host, endpoint: Endpoint) -> None:
    """Ask the server by the name of each adapter; the unit is stopped where one changes nothing, or does not answer.

    Raises ServerError, EndpointError or AuthError.
    """
    try:
        adapters.prove(deployment.plan.serve, endpoint)
    except BaseException:
        stop(deployment, host)
        raise


@bar.waiting("the server starts")
def wait(deployment: Deployment, host: Host, endpoint: Endpoint) -> None:
    """Wait until the server answers a completion, saying the phases of its load, and applies its adapters.

    What comes before its start takes nothing of the load's time; systemd has a limit for that.
    """
    heard: list[str] = []
    began_s = time.monotonic()
    restarts = state(deployment.name, host).restarts

    def check() -> health.Verdict:
        nonlocal began_s
        unit = state(deployment.name, host)
        if unit.is_before_start:
            began_s = time.monotonic()
            return health.BEFORE_START
        if unit.has_died or unit.restarts > restarts:
            return health.DEAD
        say_phases(host, deployment.name, heard)
        return verdict(endpoint)

    budget_s = load_budget_s(deployment.plan.weights_bytes)
    try:
        health.wait_until_ready(
            check,
            budget_s,
            time.sleep,
            lambda: time.monotonic() - began_s,
            lambda text: progress(f"{host.destination}: {text}"),
        )
    except ServerError as error:
        raise explained(deployment, host, error) from None
    prove_adapters(deployment, host, endpoint)


def status(deployment: Deployment, host: Host) -> Status:
    """The host's own answer, with a real completion when the unit runs."""
    unit = state(deployment.name, host)
    if unit.active == "active" and is_headless(deployment, host):
        return said(deployment, "serving", "works for the first host")
    if unit.gave_up and unit.active not in ("active", "activating"):
        return said(deployment, "dead", f"{unit.gave_up}: {explain(host, deployment.name).cause}")
    if unit.has_died:
        return said(deployment, "dead", explain(host, deployment.name).cause)
    if unit.active in ("active", "activating"):
        try:
            endpoint = tunnels.endpoint(deployment, host)
        except HostError as error:
            return said(
                deployment,
                "unknown",
                f"its unit is {unit.active}; it cannot be asked from here: {error.message}",
            )
        judged = verdict(endpoint)
        detail = f"{judged.detail}; {counted(unit.restarts, 'restart')}" if unit.restarts else judged.detail
        if not one_key.is_taken(deployment, host):
            detail = (
                f"{detail}; it has a key of its own until it is started anew: corral roll {deployment.name}"
            )
        starts = f"{unit.trial} on trial" if unit.trial else unit.release or None
        return said(deployment, judged.state, detail, endpoint, starts)
    if unit.active == "absent":
        return said(deployment, "absent", f"nothing of that name on {host.destination}")
    return said(deployment, "stopped" if unit.has_run else "provisioned", unit.phase or "not prepared")


def said(
    deployment: Deployment,
    state: State,
    detail: str,
    endpoint: Endpoint | None = None,
    release: str | None = None,
) -> Status:
    """A status of this target."""
    return Status(
        name=deployment.name,
        target="ssh",
        state=state,
        detail=detail,
        endpoint=endpoint,
        release=release,
    )


def stop(deployment: Deployment, host: Host) -> None:
    """Stop the server and keep it from starting at boot; engine and weights stay."""
    command = ["systemctl", "disable", "--now", hosts.unit(deployment.name)]
    host.run(command, as_root=True, timeout_s=stop_timeout_s(deployment))


def hurry(deployment: Deployment, host: Host, order: Literal["touch", "rm -f"]) -> None:
    """Have an end of it wait for no request, also one that waits already (infra/onhost/idle.py); or no more of that."""
    script = f'[ ! -d "$1" ] || {order} "$1/now"'
    host.run(["sh", "-c", script, "hurry", hosts.root(deployment.name)], as_root=True)


def stop_timeout_s(deployment: Deployment) -> float:
    """How long a stop may take: until it has no request, its own drain, and then some."""
    return 2 * deployment.plan.serve.shutdown_timeout + STOP_MARGIN_S


def state(name: str, host: Host) -> UnitState:
    """Ask systemd."""
    command = ["sh", "-c", STATE_SCRIPT, "state", hosts.root(name), hosts.unit(name)]
    lines = host.run(command, as_root=True).stdout.splitlines()
    shown = dict(line.partition("=")[::2] for line in lines)
    if "Record" not in shown:
        return UnitState(active="absent")
    return UnitState(
        active=shown.get("ActiveState", ""),
        sub=shown.get("SubState", ""),
        restarts=int(restarts) if re.fullmatch("[0-9]{1,9}", restarts := shown.get("NRestarts", "")) else 0,
        has_run="HasRun" in shown,
        phase=shown.get("Phase", ""),
        gave_up=shown.get("GaveUp", ""),
        release=shown.get("Release", ""),
        trial=shown.get("Trial", ""),
    )


def is_headless(deployment: Deployment, host: Host) -> bool:
    """Whether that host only works for the first one."""
    return deployment.plan.machine.hosts > 1 and deployment.hosts.index(host.destination) > 0


def say_phases(host: Host, name: str, heard: list[str]) -> None:
    """Say the phases of the load that were not said yet."""
    said = phases(log(host, name).splitlines())
    for words in said[len(heard) :]:
        progress(f"{host.destination}: {words}")
    heard[:] = said


def explained(deployment: Deployment, host: Host, error: ServerError) -> ServerError:
    """The failure with the cause the journal gives; the unit is stopped, so that it does not try for ever."""
    cause = explain(host, deployment.name)
    stop(deployment, host)
    if cause.name == "unknown" and not isinstance(error, health.Died):
        return ServerError(f"{host.destination}: {error.message}", f"Its log: corral logs {deployment.name}")
    message = f"The server on {host.destination} did not start: {cause.cause}."
    return ServerError(message, cause.next.replace("NAME", deployment.name))


def explain(host: Host, name: str) -> diagnosis.Diagnosis:
    """Why it died, by the first log of the series of deaths."""
    first = host.run(["sh", "-c", FIRST_LOG_SCRIPT, "log", hosts.root(name)], as_root=True, check=False)
    return death(host, name, first.stdout if first.stdout.strip() else log(host, name))


def death(host: Host, name: str, log: str) -> diagnosis.Diagnosis:
    """Why it died, by that log and by what the host's kernel said."""
    answer = host.run(host_deaths.kernel_command(name), as_root=True, check=False)
    return host_deaths.explain(log, answer.stdout, answer.code, f"ssh {pasted(host.destination)}")


def log(host: Host, name: str) -> str:
    """The journal of the unit since its last start."""
    return host.run(["sh", "-c", LOG_SCRIPT, "log", hosts.unit(name)], as_root=True).stdout


def history(deployment: Deployment, host: Host) -> tuple[events.Event, ...]:
    """What happened to the server there, oldest first: what the host itself has kept."""
    asked = host_history.command(deployment.name)
    return events.parsed(host.run(asked, as_root=True, check=False).stdout.encode())


def note(deployment: Deployment, host: Host, event: Name, cause: str) -> None:
    """Add to that what its host does not see. Raises HostError, also where an earlier corral brought what notes it."""
    heal = f"{hosts.root(deployment.name)}/bin/heal"
    said = host.run([*host_judge.PYTHON, heal, "note", deployment.name, event, cause], as_root=True).stdout
    if not said.strip():  # it says what it has noted; one that knows no such order ends well, too
        raise HostError(
            f"{host.destination} notes nothing of what corral does.",
            f"Bring it what does: corral serve {deployment.name}",
        )


def verdict(endpoint: Endpoint) -> health.Verdict:
    """Look at the server through its endpoint, and judge."""
    return health.judge(health.look(endpoint), endpoint.served_model_name)
