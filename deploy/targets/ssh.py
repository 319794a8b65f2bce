"""Machines you own, over SSH: one or several hosts that serve the same plan, each with a record of its own on it.

Nothing of a host's drivers or packages is changed; everything we put there lies in /opt/corral/NAME and in units
called corral-NAME, and `down` takes away exactly that.
"""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, TypeVar

from deploy import preflight as judge
from deploy.cli.output import progress
from deploy.deployment import Deployment, folder
from deploy.targets import tunnels
from deploy.targets.base import Check, Status, Teardown
from deploy.targets.owned import Brought, brought, host_setup, removal_script
from infra import host as hosts
from infra.errors import HostError, ServerError
from infra.record import Record
from infra.ssh import Host
from infra.transfer import PATIENCE_S, copy_folder
from serving import diagnosis, health
from serving.endpoint import Endpoint
from serving.pack import pack
from serving.startup import load_budget_s, phases

T = TypeVar("T")

# systemd makes the state folder at the first start.
STATE_SCRIPT = """\
[ ! -e "$1/record.json" ] || echo "Record=yes"
[ ! -e "/var/lib/private/${2%.service}" ] || echo "HasRun=yes"
printf 'Phase=%s\n' "$(cat "$1/phase" 2>/dev/null)"
systemctl show "$2" --property=ActiveState --property=NRestarts
"""


# Of the last start only: an earlier failure is not this one's cause.
LOG_SCRIPT = """\
invocation=$(systemctl show --value --property=InvocationID "$1")
[ -n "$invocation" ] || exit 0
journalctl --no-pager --output=cat "_SYSTEMD_INVOCATION_ID=$invocation" + "INVOCATION_ID=$invocation"
"""


class UnitState(Record):
    """What systemd says of the server's unit on one host."""

    active: str
    """systemd's ActiveState; `absent` when the host has nothing of that name."""
    restarts: int = 0
    has_run: bool = False
    phase: str = ""
    """The prepare script's own last word."""


def preflight(deployment: Deployment) -> tuple[Check, ...]:
    """Read every host and judge it; changes nothing. Raises HostError or AuthError for one that cannot be reached."""
    return tuple(
        check for found in on_each(deployment, lambda host: _checks(deployment, host)) for check in found
    )


def requests(deployment: Deployment) -> list[dict[str, object]]:
    """Per host: what is brought, the files written, the commands run."""
    bring = brought(deployment)
    setup = host_setup(deployment, bring)
    return [
        {
            "host": destination,
            "bring": bring.model_dump(mode="json"),
            "write": [file.model_dump() for file in _files(deployment, setup)],
            "run": [
                list(_prepare(deployment.name)),
                *[["systemctl", "enable", "--now", u] for u in hosts.units(setup)],
            ],
        }
        for destination in deployment.hosts
    ]


def provision(deployment: Deployment) -> None:
    """Bring engine and weights to every host and prepare it. Safe to call again: what is there is not sent twice."""
    found = preflight(deployment)
    judge.require(found, "The fleet" if len(deployment.hosts) > 1 else deployment.hosts[0])
    # Before anything is there, so that `down` knows where to look whatever happens next.
    deployment.write(folder(deployment.name) / "deployment.json")
    bring = brought(deployment)
    on_each(deployment, lambda host: _provision(deployment, bring, host))


def serve(deployment: Deployment) -> Endpoint:
    """Start every host's server, and return the first one's endpoint once all have answered a real completion.

    Raises ServerError with the last lines of the log of one that did not.
    """
    setup = host_setup(deployment, brought(deployment))

    def start(host: Host) -> Endpoint:
        for unit in hosts.units(setup):
            host.run(["systemctl", "enable", "--now", unit], as_root=True)
        endpoint = tunnels.endpoint(deployment, host)
        _wait(deployment, host, endpoint)
        return endpoint

    return on_each(deployment, start)[0]


def status(deployment: Deployment) -> Status:
    """Ask every host; the fleet is as well as its worst host."""
    found = on_each(deployment, lambda host: _status(deployment, host))
    worst = max(found, key=lambda one: SEVERITY.index(one.state))
    if len(found) == 1:
        return worst
    detail = "; ".join(
        f"{host}: {one.state}{f' at {one.endpoint.base_url}' if one.endpoint else ''}"
        for host, one in zip(deployment.hosts, found, strict=True)
    )
    return worst.model_copy(update={"detail": detail, "endpoint": found[0].endpoint})


def logs(deployment: Deployment, follow: bool) -> Iterator[str]:
    """The journal of the server's unit. With several hosts each line begins with its host, and none is followed."""
    command = ["journalctl", "--no-pager", "--output=cat", f"--unit={hosts.unit(deployment.name)}"]
    if len(deployment.hosts) == 1:
        yield from connected(deployment.hosts[0]).lines([*command, *(["--follow"] if follow else [])])
        return
    for destination in deployment.hosts:
        for line in connected(destination).lines(command):
            yield f"{destination}: {line}"


def stop(deployment: Deployment) -> None:
    """Stop the servers and keep them from starting at boot; engine and weights stay."""

    on_each(deployment, lambda host: _disable(deployment, host))
    tunnels.close(deployment)


def down(deployment: Deployment) -> Teardown:
    """Take away what we put on every host, and prove it by asking again."""
    script = removal_script().encode()

    def remove(host: Host) -> list[str]:
        command = ["sh", "-s", "--", deployment.name]
        said = host.run(command, stdin=script, as_root=True, timeout_s=_stop_timeout_s(deployment)).stdout
        return [line.removeprefix("left ") for line in said.splitlines() if line.startswith("left ")]

    left = on_each(deployment, remove)
    tunnels.forget(deployment)
    flat = [f"{host}: {item}" for host, items in zip(deployment.hosts, left, strict=True) for item in items]
    kinds = ("path", "unit", "process")
    counts = {kind: sum(item.startswith(f"{kind} ") for items in left for item in items) for kind in kinds}
    return Teardown(name=deployment.name, counts=counts, left=tuple(flat))


# From well to ill.
SEVERITY = ("serving", "starting", "provisioned", "stopped", "degraded", "hung", "dead", "absent")


def connected(destination: str) -> Host:
    """A host whose facts were read, so that it is known whether root needs sudo there."""
    host = Host(destination)
    host.facts()
    return host


def on_each(deployment: Deployment, do: Callable[[Host], T]) -> list[T]:
    """Do something on every host at once, in the order of the hosts. The first failure is raised."""
    if not deployment.hosts:
        raise HostError("This deployment names no host.", "Give one: --host USER@HOST")

    def one(destination: str) -> T:
        return do(connected(destination))

    with ThreadPoolExecutor(max_workers=min(8, len(deployment.hosts))) as pool:
        return list(pool.map(one, deployment.hosts))


def _checks(deployment: Deployment, host: Host) -> tuple[Check, ...]:
    asked_at_s = time.time()
    facts = host.facts()
    bring = brought(deployment)
    running = _unit_state(deployment.name, host).active in ("active", "activating")
    ports = facts.ports_in_use - {deployment.plan.serve.port} if running else facts.ports_in_use
    facts = facts.model_copy(update={"ports_in_use": ports})
    on_disk = _on_disk_gib(deployment.name, host)
    found = (
        *judge.checks(
            facts,
            facts.gpu,
            deployment.plan,
            disk_path="/opt/corral",
            disk_gib=max(0.1, bring.disk_gib - on_disk),
        ),
        *judge.owned_host_checks(facts, (asked_at_s + time.time()) / 2, bring.python),
        *_model_check(deployment, bring, host),
    )
    if len(deployment.hosts) == 1:
        return found
    return tuple(check.model_copy(update={"name": f"{host.destination}: {check.name}"}) for check in found)


def _on_disk_gib(name: str, host: Host) -> float:
    """What an earlier run already brought."""
    done = host.run(["du", "-sk", hosts.root(name)], check=False, as_root=True)
    return int(done.stdout.split()[0]) / 2**20 if done.code == 0 else 0.0


def _model_check(deployment: Deployment, bring: Brought, host: Host) -> tuple[Check, ...]:
    """A model that is neither brought nor fetched must lie on the host."""
    model = deployment.plan.serve.model
    if bring.model or not model.startswith("/"):
        return ()
    there = host.run(["test", "-e", f"{model}/config.json"], check=False, as_root=True).code == 0
    if there:
        return (Check(name="model", outcome="ok", found=model),)
    fix = "Plan with a folder that exists here (it is brought) or there, or with a repository of the Hub."
    return (Check(name="model", outcome="failed", found=f"{model} is neither here nor there", fix=fix),)


def _files(deployment: Deployment, setup: hosts.HostSetup) -> tuple[hosts.HostFile, ...]:
    record = hosts.HostFile(
        path=f"{hosts.root(deployment.name)}/record.json", content=deployment.model_dump_json(indent=2) + "\n"
    )
    template = brought(deployment).chat_template
    if template is None:
        return (record, *hosts.host_files(setup))
    chat = hosts.HostFile(
        path=f"{hosts.root(deployment.name)}/chat_template.jinja", content=template.read_text()
    )
    return (record, chat, *hosts.host_files(setup))


def _prepare(name: str) -> tuple[str, ...]:
    return (f"{hosts.root(name)}/bin/prepare",)


def _provision(deployment: Deployment, bring: Brought, host: Host) -> None:
    """The record comes first: whatever fails after it, `down` and `corral hosts` find what was begun."""
    where = host.destination
    host.write(_files(deployment, host_setup(deployment, bring)))
    if bring.wheelhouse:
        copy_folder(host, bring.wheelhouse, f"{hosts.root(deployment.name)}/wheelhouse")
    if bring.model:
        progress(f"{where}: bringing the model from {bring.model}")
        copy_folder(host, bring.model, hosts.model_folder(deployment.name))
    if bring.engine and not _engine_is_there(deployment, bring, host):
        prefix = bring.engine
        progress(f"{where}: bringing the engine from {prefix}")
        host.send(lambda pipe: pack(prefix, pipe), _prepare(deployment.name))
    else:
        progress(f"{where}: preparing")
        host.run(_prepare(deployment.name), as_root=True, timeout_s=PATIENCE_S)
    tunnels.fetch_key(deployment, host)


def _engine_is_there(deployment: Deployment, bring: Brought, host: Host) -> bool:
    """Whether the prepare script would find that engine in place, and read nothing of what we send."""
    path = f"{hosts.root(deployment.name)}/engine/.complete"
    wanted = hosts.engine_mark(host_setup(deployment, bring).engine)
    return host.run(["cat", path], check=False, as_root=True).stdout == f"{wanted}\n"


def _unit_state(name: str, host: Host) -> UnitState:
    command = ["sh", "-c", STATE_SCRIPT, "state", hosts.root(name), hosts.unit(name)]
    lines = host.run(command, as_root=True).stdout.splitlines()
    said = dict(line.partition("=")[::2] for line in lines)
    if "Record" not in said:
        return UnitState(active="absent")
    return UnitState(
        active=said.get("ActiveState", ""),
        restarts=int(said.get("NRestarts") or 0),
        has_run="HasRun" in said,
        phase=said.get("Phase", ""),
    )


def _wait(deployment: Deployment, host: Host, endpoint: Endpoint) -> None:
    heard: list[str] = []

    def check() -> health.Verdict:
        unit = _unit_state(deployment.name, host)
        if unit.active == "failed" or unit.restarts:
            return health.DEAD
        _say_phase(host, deployment.name, heard)
        return _verdict(endpoint)

    budget_s = load_budget_s(deployment.plan.weights_bytes)
    try:
        health.wait_until_ready(check, budget_s, time.sleep, time.monotonic)
    except ServerError as error:
        raise _explained(deployment, host, error) from None


def _disable(deployment: Deployment, host: Host) -> None:
    command = ["systemctl", "disable", "--now", hosts.unit(deployment.name)]
    host.run(command, as_root=True, timeout_s=_stop_timeout_s(deployment))


def _say_phase(host: Host, name: str, heard: list[str]) -> None:
    """Say a phase of the load when it is a new one."""
    found = phases(_log(host, name).splitlines())
    for words in found[len(heard) :]:
        progress(f"{host.destination}: {words}")
    heard[:] = found


def _explained(deployment: Deployment, host: Host, error: ServerError) -> ServerError:
    """The failure with the cause the journal gives; the unit is stopped, so that it does not try for ever."""
    found = diagnosis.explain(_log(host, deployment.name))
    _disable(deployment, host)
    if found.name == "unknown" and "died" not in error.message:
        return ServerError(f"{host.destination}: {error.message}", f"Its log: corral logs {deployment.name}")
    message = f"The server on {host.destination} did not start: {found.cause}."
    return ServerError(message, found.next.replace("NAME", deployment.name))


def _log(host: Host, name: str) -> str:
    """The journal of the unit since its last start."""
    command = ["sh", "-c", LOG_SCRIPT, "log", hosts.unit(name)]
    return host.run(command, as_root=True).stdout


def _verdict(endpoint: Endpoint) -> health.Verdict:
    return health.judge(health.look(endpoint), endpoint.served_model_name)


def _status(deployment: Deployment, host: Host) -> Status:
    unit = _unit_state(deployment.name, host)
    if unit.active in ("active", "activating"):
        endpoint = tunnels.endpoint(deployment, host)
        verdict = _verdict(endpoint)
        detail = f"{verdict.detail}; {unit.restarts} restarts" if unit.restarts else verdict.detail
        return Status(
            name=deployment.name, target="ssh", state=verdict.state, detail=detail, endpoint=endpoint
        )
    if unit.active == "absent":
        detail = f"nothing of that name on {host.destination}"
        return Status(name=deployment.name, target="ssh", state="absent", detail=detail)
    if unit.active == "failed":
        cause = diagnosis.explain(_log(host, deployment.name)).cause
        return Status(name=deployment.name, target="ssh", state="dead", detail=cause)
    state: Literal["stopped", "provisioned"] = "stopped" if unit.has_run else "provisioned"
    return Status(name=deployment.name, target="ssh", state=state, detail=unit.phase or "not prepared")


def _stop_timeout_s(deployment: Deployment) -> float:
    return deployment.plan.serve.shutdown_timeout + 120
