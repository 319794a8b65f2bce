"""One owned host, looked at before anything is put on it, and the setup that follows from what it is."""

import os
import time

from deploy.targets import preflight as judge
from deploy.targets.deployment import Deployment
from deploy.targets.place import LOOK_S, Check
from deploy.targets.ssh import host_unit, operators, tunnels
from deploy.targets.ssh.host_setup import Brought, engine_brought, own_root
from infra import deadline
from infra import host as hosts
from infra.facts import HostFacts
from infra.ssh import Host


def checks(deployment: Deployment, bring: Brought, host: Host) -> tuple[Check, ...]:
    """Every check of one host. With several hosts, each name begins with its host.

    Raises UsageError where a deployment of that name is another operator's.
    """
    asked_at_s = time.time()
    facts = host.facts()
    if facts.systemd is not None and facts.privilege != "none":
        operators.refuse_others(deployment, host)  # the other checks would be of another's server
    clock_s = (asked_at_s + time.time()) / 2
    others = without_our_server(deployment, facts, host)
    judged = (
        *judge.checks(
            others,
            others.gpu,
            deployment.plan,
            disk_path="/opt/corral",
            disk_gib=max(0.1, bring.disk_gib - on_disk_gib(deployment, host)),
        ),
        *judge.owned_host_checks(facts, clock_s, bring.python),
        *listen_check(deployment),
        *model_check(deployment, bring, host),
        *node_checks(deployment, facts, host),
    )
    if len(deployment.hosts) == 1:
        return judged
    return tuple(check.model_copy(update={"name": f"{host.destination}: {check.name}"}) for check in judged)


def of_engine(deployment: Deployment) -> tuple[Check, ...]:
    """Nothing, of an engine that can be brought: its host is looked at. Raises as `brought` does of another."""
    engine_brought(deployment)
    return ()


def any_plan(destination: str) -> tuple[Check, ...]:
    """Every check of a host that no plan was made for yet; each name begins with it. Raises HostError, AuthError."""
    asked_at_s = time.time()
    with deadline.within(LOOK_S):
        facts = Host(destination).facts()
    clock_s = (asked_at_s + time.time()) / 2
    engine_gib = judge.figures()["engine_disk_gib"]["cuda"]
    judged = (
        *judge.machine_checks(facts, facts.gpu, disk_path="/opt/corral", disk_gib=engine_gib),
        *judge.owned_host_checks(facts, clock_s),
        gateway_check(facts),
    )
    return tuple(check.model_copy(update={"name": f"{destination}: {check.name}"}) for check in judged)


def gateway_check(facts: HostFacts) -> Check:
    """Whether a gateway could stand there; nobody else needs what it needs."""
    if "haproxy" in facts.tools:
        return Check(name="gateway", outcome="ok", found="HAProxy is there")
    found, fix = (
        "no HAProxy, which only a gateway needs, here or on another host of its deployment",
        "For one: sudo apt-get install haproxy",
    )
    return Check(name="gateway", outcome="ok", found=found, fix=fix)


def without_our_server(deployment: Deployment, facts: HostFacts, host: Host) -> HostFacts:
    """The facts as they would be if our own server did not run: its port and its GPUs' memory are no obstacle to it."""
    if facts.systemd is None or facts.privilege == "none":
        return facts  # nothing of ours can run there, and asking would fail before the check that says why
    if host_unit.state(deployment.name, host).active not in ("active", "activating"):
        return facts
    ports = facts.ports_in_use - {deployment.plan.serve.port}
    return facts.model_copy(update={"ports_in_use": ports, "gpu": judge.unused(facts.gpu)})


def on_disk_gib(deployment: Deployment, host: Host) -> float:
    """What an earlier run already brought, and what has come of the weights that deployments share."""
    serve = deployment.plan.serve
    fetched = ((serve.model, serve.revision), (serve.draft, serve.draft_revision))
    shared = [hosts.shared_weights(repo, revision) for repo, revision in fetched if repo and revision]
    return sum(gib_at(path, host) for path in (own_root(deployment), *shared))


def gib_at(path: str, host: Host) -> float:
    """What a folder of the host takes; nothing where there is none."""
    done = host.run(["du", "-sk", path], check=False, as_root=True)
    return int(done.stdout.split()[0]) / 2**20 if done.code == 0 else 0.0


def listen_check(deployment: Deployment) -> tuple[Check, ...]:
    """vLLM speaks no TLS of its own here, and its key does not guard every path."""
    listen = deployment.plan.serve.host
    if listen in tunnels.LOOPBACK:
        return ()
    found = f"on {listen}, without TLS, and some paths without a key"
    if is_network_trusted():
        fix = "Let nobody onto that network whom you do not trust with the prompts."
        return (Check(name="listen", outcome="warning", found=found, fix=fix),)
    fix = (
        "Keep 127.0.0.1, which is reached through SSH; or, on a network you trust, set CORRAL_ALLOW_REMOTE=1."
    )
    return (Check(name="listen", outcome="failed", found=found, fix=fix),)


def is_network_trusted() -> bool:
    """Whether the user says that nobody else listens on the network, for what crosses it in the clear."""
    return os.environ.get("CORRAL_ALLOW_REMOTE") == "1"


def model_check(deployment: Deployment, bring: Brought, host: Host) -> tuple[Check, ...]:
    """A model and a draft that are neither brought nor fetched must lie on the host."""
    model, draft = deployment.plan.serve.model, deployment.plan.serve.draft
    fix = "Plan with a folder that exists here (it is brought) or there, or with a repository of the Hub."
    is_there = draft and draft.startswith("/") and not bring.draft
    checks = (
        (folder_check("draft", draft, "neither here nor there", fix, host),) if draft and is_there else ()
    )
    if bring.model or not model.startswith("/"):
        return checks
    return (folder_check("model", model, "neither here nor there", fix, host), *checks)


def folder_check(name: str, folder: str, otherwise: str, fix: str, host: Host) -> Check:
    """Whether a checkpoint lies there on the host."""
    as_root = host.privilege != "none"
    if host.run(["test", "-e", f"{folder}/config.json"], check=False, as_root=as_root).code == 0:
        return Check(name=name, outcome="ok", found=folder)
    return Check(name=name, outcome="failed", found=f"{folder} is {otherwise}", fix=fix)


def node_checks(deployment: Deployment, facts: HostFacts, host: Host) -> tuple[Check, ...]:
    """Of an engine over several hosts, each must have the address it is known by, and no public one."""
    if deployment.plan.machine.hosts == 1:
        return ()
    address = host.address()
    if address not in facts.interfaces:
        interface = f"no interface has the address {address}"
        fix = "Name the hosts by the IP addresses they have (HostName in ~/.ssh/config)."
        return (Check(name="nodes", outcome="failed", found=interface, fix=fix),)
    interface = f"{address} on {facts.interfaces[address]}"
    if hosts.is_public(address) and not is_network_trusted():
        found = f"{interface} is a public address, and the hosts talk in the clear"
        fix = (
            "Name the hosts by private addresses (HostName in ~/.ssh/config), of an overlay such as WireGuard, say; "
            "or, on a network you trust, set CORRAL_ALLOW_REMOTE=1."
        )
        return (Check(name="nodes", outcome="failed", found=found, fix=fix),)
    fix = "The hosts talk in the clear: keep them on a network of their own."
    return (Check(name="nodes", outcome="warning", found=interface, fix=fix),)
