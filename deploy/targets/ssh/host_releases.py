"""Releases on owned hosts: the next one's engine, weights and unit lie beside those that serve, and replace them."""

from deploy.targets.deployment import Deployment, folder
from deploy.targets.place import Check
from deploy.targets.ssh import host_unit, one_key, operators, tunnels
from deploy.targets.ssh.fleet import connected, on_each
from deploy.targets.ssh.host_setup import engine_brought
from infra.errors import CorralError, ServerError, UsageError
from infra.onhost.history import Name
from infra.ssh import Host
from infra.typed_path import typed_path
from serving.vllm import events, versions
from serving.vllm.endpoint import Endpoint

# What the server that runs has of the host, and gives back before another is started.
TAKEN_BY_THE_SERVER = ("memory",)


def engine_version(deployment: Deployment) -> str:
    """The version of the engine that is brought, or that pip is asked for."""
    try:
        return str(engine_brought(deployment).get("version", deployment.plan.vllm_version))
    except CorralError:  # the folder here is gone; the host has its engine
        return deployment.plan.vllm_version


def pinned(deployment: Deployment) -> Deployment:
    """With the engine of this machine that is brought, where it was only found."""
    try:
        found = engine_brought(deployment).get("engine")
    except CorralError:
        return deployment
    return deployment.model_copy(update={"engine": str(found)}) if found else deployment


def with_engine(deployment: Deployment, version: str | None, path: str | None) -> Deployment:
    """With that engine or those wheels of this machine, or the index's of that version. Raises UsageError."""
    there = str(typed_path(path)) if path else ""
    if not there and not deployment.plan.machine.gpu_count:
        raise UsageError(
            "For a plan without GPUs an engine of this machine is brought.", "Name it: --engine ~/venv"
        )
    named = deployment.model_copy(update={"engine": there})
    found = engine_brought(named).get("version")
    if version and found and versions.release(str(found)) != versions.release(version):
        raise UsageError(f"{path} is vLLM {found}, not {version}.", "Leave out --vllm-version.")
    return named


def missing(deployment: Deployment) -> str:
    """What of a release is not on a host any more."""
    said = on_each(deployment, lambda host: host_unit.release(deployment, "look", host).split("\n")[0])
    return "; ".join(f"{word} on {host}" for host, word in zip(deployment.hosts, said, strict=True) if word)


def require_whole(deployment: Deployment) -> None:
    """Raise ServerError where its release is not whole on every host; one that never was upgraded has none."""
    if deployment.release and (gone := missing(deployment)):
        raise ServerError(
            f"{deployment.name} would not start again: {gone} is not there any more.",
            f"Nothing was ended. Bring it again by its plan: corral upgrade {deployment.name} plan.json",
        )


def is_taken_by_the_server(check: Check) -> bool:
    """Whether it is of what is given back before another is started; with several hosts its name begins with one."""
    return check.name.rpartition(": ")[2] in TAKEN_BY_THE_SERVER


def remember(deployment: Deployment) -> None:
    """Keep the units and the record of every host as this release's."""
    on_each(deployment, lambda host: host_unit.release(deployment, "note", host))


def turn_to(deployment: Deployment) -> Endpoint:
    """End what every host serves and serve this; the first one's endpoint once all have answered."""
    return on_each(deployment, lambda host: turned(deployment, host))[0]


def turned(deployment: Deployment, host: Host) -> Endpoint:
    """The same on one host. Raises ServerError with the cause its journal gives."""
    operators.refuse_others(deployment, host)
    host_unit.release(deployment, "turn", host)
    one_key.taken(deployment, host)
    endpoint = tunnels.endpoint(deployment, host)
    host_unit.wait(deployment, host, endpoint)
    return endpoint


def keep(deployment: Deployment) -> None:
    """What was turned to is what every host starts from now on."""
    on_each(deployment, lambda host: host_unit.release(deployment, "keep", host))


def let_go(deployment: Deployment) -> None:
    """End what was turned to on every host."""
    on_each(deployment, lambda host: host_unit.release(deployment, "back", host))


def note(deployment: Deployment, event: Name, cause: str) -> None:
    """Add it to what the first host has on record, for two clocks are no order; here where that cannot be asked."""
    try:
        host_unit.note(deployment, connected(deployment.hosts[0]), event, cause)
    except CorralError:
        events.note(folder(deployment.name), event, cause)
