"""Machines you own, over SSH: each serves the plan on its own, or all serve one plan that needs them all.

Nothing of a host's drivers or packages is changed; everything we put there lies in /opt/corral/NAME and in units
called corral-NAME, and `down` takes away exactly that. Each host carries the deployment's record.
"""

import heapq
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from deploy.targets import adapters, drafts, host_weights, hub_weights, licence
from deploy.targets import preflight as judge
from deploy.targets.abilities import VerifiedFolder
from deploy.targets.checkup import checkups, failure, tried
from deploy.targets.deployment import Deployment, folder
from deploy.targets.hub_weights import with_token_file as with_token_file
from deploy.targets.place import LOOK_S, Check, Checkup, Offer, Status, together
from deploy.targets.ssh import egress as ssh_egress
from deploy.targets.ssh import host_releases, host_unit, one_key, operators, tunnels
from deploy.targets.ssh import replicas as replicas_of
from deploy.targets.ssh.at_work import alone as alone
from deploy.targets.ssh.bringing import files_for, prepare, prepare_beside, prepare_command
from deploy.targets.ssh.fleet import checked_hosts, connected, on_each
from deploy.targets.ssh.host_checks import any_plan, checks, of_engine
from deploy.targets.ssh.host_releases import engine_version as engine_version
from deploy.targets.ssh.host_releases import keep as keep
from deploy.targets.ssh.host_releases import let_go as let_go
from deploy.targets.ssh.host_releases import missing as missing
from deploy.targets.ssh.host_releases import note as note
from deploy.targets.ssh.host_releases import pinned as pinned
from deploy.targets.ssh.host_releases import remember as remember
from deploy.targets.ssh.host_releases import require_whole as require_whole
from deploy.targets.ssh.host_releases import turn_to as turn_to
from deploy.targets.ssh.host_releases import with_engine as with_engine
from deploy.targets.ssh.host_removal import down as down
from deploy.targets.ssh.host_setup import (
    Brought,
    brought,
    check_model,
    check_template_place,
    host_setup,
    is_draft_fetched,
    is_repository,
    refuse_downloads,
    sent,
)
from deploy.targets.ssh.options import SshOptions, no_hosts
from deploy.targets.ssh.outlined import outlined as outlined
from deploy.targets.ssh.replicas import answering as answering
from deploy.targets.ssh.replicas import count as count
from deploy.targets.ssh.replicas import replicas as replicas
from deploy.targets.ssh.replicas import restart as restart
from deploy.targets.ssh.replicas import share_key as share_key
from infra import deadline, offline, ssh_client
from infra import host as hosts
from infra.egress_checks import Expected
from infra.egress_proof import Egress
from infra.errors import CorralError, HostError, UsageError
from infra.record import removed
from infra.say import progress
from infra.ssh import Host
from infra.typed_path import typed_path
from serving.model import lora_files
from serving.vllm import flashinfer_kernels
from serving.vllm import versions as vllm_versions
from serving.vllm.endpoint import Endpoint
from serving.vllm.events import Event

PREFLIGHT_S = 300.0
"""For all that is asked of the hosts before anything is done; one of them may count the bytes of a checkpoint."""


def foreseen(wishes: SshOptions) -> SshOptions:
    """As they are. Raises UsageError where no host is named."""
    if not wishes.hosts:
        raise no_hosts()
    return wishes


def wished(deployment: Deployment, wishes: SshOptions) -> tuple[Deployment, SshOptions]:
    """With the hosts and what they are brought. Raises UsageError where none is named."""
    foreseen(wishes)
    plan = deployment.plan
    vllm_versions.check_planned(plan.vllm_version, progress, plan.serve)
    engine = str(typed_path(wishes.engine)) if wishes.engine else ""
    update = {"hosts": wishes.hosts, "engine": engine}
    return deployment.model_copy(update=update), wishes


@contextmanager
def look(deployment: Deployment, wishes: SshOptions, to_serve: bool) -> Iterator[Offer]:
    """At every host and the weights; nothing is rented."""
    deployment, about = settled(deployment)
    checks = (*about, *preflight(deployment))
    bring = brought(deployment)
    yield Offer(
        deployment,
        checks,
        sent=sent(deployment, bring),
        is_planned=bring.is_planned,
    )


def check_files(deployment: Deployment, beside: Path) -> None:
    """The chat template, which must lie below that folder or the model's; the model is a checkpoint or not sent."""
    check_template_place(deployment.plan, beside)


def make(offer: Offer) -> Deployment:
    """Bring engine and weights to every host and prepare it."""
    provision(offer.deployment)
    return offer.deployment


def settled(deployment: Deployment) -> tuple[Deployment, tuple[Check, ...]]:
    """The deployment at the commit of its weights, and what there is to say of them before a host fetches them."""
    deployment = hub_weights.kept(adapters.settled(deployment))
    bring = brought(deployment)
    beside = (bring.draft, *map(lora_files.folder_of, bring.adapters))
    for each in filter(None, (bring.model, *beside)):
        licence.require(licence.in_folder(each))
    check_model(deployment.plan, bring)
    deployment, about = settled_draft(deployment, bring)
    if not is_repository(deployment.plan, bring):
        return deployment, about
    serve = deployment.plan.serve
    shared = shared_weights(deployment, serve.model, serve.revision)
    if not shared:
        refuse_downloads(deployment, bring)
    deployment, known = hub_weights.settled(deployment, shared)
    return deployment, (*about, hub_weights.check(known))


def settled_draft(deployment: Deployment, bring: Brought) -> tuple[Deployment, tuple[Check, ...]]:
    """The same of the draft beside it, which the hosts fetch too."""
    deployment = drafts.kept(deployment)
    serve = deployment.plan.serve
    if serve.draft is None or not is_draft_fetched(deployment.plan, bring):
        return deployment, ()
    shared = shared_weights(deployment, serve.draft, serve.draft_revision)
    if not shared:
        refuse_downloads(deployment, bring)
    return drafts.settled(deployment, at=shared)


def shared_weights(deployment: Deployment, repository: str, revision: str | None) -> str:
    """Where every host has a repository's weights already, whole; empty when one of them lacks them."""
    if revision is None or offline.is_offline():
        return ""
    folder = hosts.shared_weights(repository, revision)
    mark = ["test", "-e", f"{folder}/.complete"]
    whole = on_each(deployment, lambda host: host.run(mark, check=False).code == 0)
    return folder if all(whole) else ""


def preflight(deployment: Deployment) -> tuple[Check, ...]:
    """Read every host and judge it; changes nothing. Raises HostError or AuthError for one that cannot be reached."""
    bring = brought(deployment)
    refuse_downloads(deployment, bring)
    with deadline.within(PREFLIGHT_S):
        each = on_each(deployment, lambda host: checks(deployment, bring, host))
    return tuple(check for of_host in each for check in of_host)


def examined(deployment: Deployment | None, wishes: SshOptions) -> Iterator[Checkup]:
    """The client here, the weights and every host, for `corral doctor`."""
    yield tried("ssh client", ssh_client.version)
    if deployment is None:
        if not wishes.hosts:
            yield failure("hosts", no_hosts())
        yield from examined_alone(wishes.hosts)
        return
    # Before the weights: what is wrong with it is said of it, though it ends their look and that at the hosts, too.
    engine = tuple(checkups("engine", partial(of_engine, deployment)))
    weights = tuple(checkups("weights", lambda: settled(deployment)[1]))
    try:
        judged = preflight(hub_weights.kept(deployment))
    except CorralError as error:
        alone = tuple(examined_alone(deployment.hosts))
        said = {check.found for check in alone if check.outcome == "failed"}
        for check in (*engine, *weights, failure("hosts", error)):
            if check.found not in said:
                said.add(check.found)
                yield check
        yield from alone
        return
    yield from (*weights, *checkups("hosts", lambda: judged))


def examined_alone(destinations: tuple[str, ...]) -> Iterator[Checkup]:
    """Each host, whatever becomes of another, and for no plan."""
    for destination in destinations:
        yield from checkups(destination, partial(any_plan, destination))


def refuse_offline(deployment: Deployment, is_made: bool) -> None:
    """Raise for what a host, or this machine for it, would download; one that is made downloads nothing."""
    if offline.is_offline() and not is_made:
        deployment = adapters.settled(hub_weights.kept(deployment))
        refuse_downloads(deployment, brought(deployment))


def requests(deployment: Deployment, wishes: SshOptions | None = None) -> list[dict[str, object]]:
    """Per host: what is brought, the files written, the commands run."""
    checked_hosts(deployment)
    bring = brought(deployment)
    check_model(deployment.plan, bring)
    write = [file.model_dump() for file in files_for(deployment, host_setup(deployment, bring))]
    return [
        {
            "host": destination,
            "bring": bring.model_dump(mode="json"),
            "write": write,
            "run": [
                list(prepare_command(deployment)),
                list(host_unit.start_command(deployment, destination)),
            ],
        }
        for destination in deployment.hosts
    ]


def provision(deployment: Deployment) -> None:
    """Bring engine and weights to every host and prepare it. Safe to call again: what is there is not sent twice."""
    bring = brought(deployment)
    checks = preflight(deployment)
    judge.require(checks, "The fleet" if len(deployment.hosts) > 1 else deployment.hosts[0])
    tell_of_the_engine(deployment, bring)
    claim(deployment)
    one_key.settle(deployment)
    on_each(deployment, lambda host: prepare(deployment, bring, host))


def tell_of_the_engine(deployment: Deployment, bring: Brought) -> None:
    """Say what is known against the engine that is brought, or that a host installs. Raises as the check does."""
    plan = deployment.plan
    vllm_versions.check(bring.version, progress, plan.serve.extra_args)
    if bring.engine and (lacking := flashinfer_kernels.lacking(bring.engine, plan.machine.gpu)):
        progress(f"warning: {lacking}")


def claim(deployment: Deployment) -> None:
    """Make the name ours on every host. Raises UsageError where another operator was faster, HostError."""
    path, before = folder(deployment.name) / "deployment.json", operators.kept_here(deployment.name)
    operators.operator()
    # Before anything is there, so that `down` knows where to look whatever happens next.
    deployment.write(path)
    try:
        on_each(deployment, lambda host: operators.claim(deployment.name, before, host))
    except UsageError:
        if before is None and len(deployment.hosts) == 1:
            removed([path])  # nothing is there that it could be of
        raise


def bring(deployment: Deployment, about: tuple[Check, ...], approve: Callable[[Offer], None]) -> None:
    """Bring its engine and weights to every host, beside those of the server that runs, whose units stay.

    Raises UsageError for one engine over several hosts, HostError for a host that has no room for both.
    """
    if deployment.plan.machine.hosts > 1:
        raise UsageError(
            f"{deployment.name} is one engine over several hosts, which corral does not upgrade.",
            f"Stop it, and make its hosts ready with the next plan: corral stop {deployment.name}",
        )
    refuse_others(deployment)
    bring_it = brought(deployment)
    room = tuple(check for check in preflight(deployment) if not host_releases.is_taken_by_the_server(check))
    approve(
        Offer(deployment, (*about, *room), sent=sent(deployment, bring_it), is_planned=bring_it.is_planned)
    )
    judge.require(room, "The fleet" if len(deployment.hosts) > 1 else deployment.hosts[0])
    tell_of_the_engine(deployment, bring_it)
    one_key.settle(deployment)
    on_each(deployment, lambda host: prepare_beside(deployment, bring_it, host))


def serve(deployment: Deployment) -> Endpoint:
    """Start every host's server, and return the first one's endpoint once all have answered a real completion.

    Raises ServerError with the cause in the log of one that did not, UsageError where it is another operator's.
    """
    refuse_others(deployment)
    share_key(deployment)
    first, *others = on_each(deployment, lambda host: host_unit.start(deployment, host))
    assert first is not None  # only the hosts after the first are headless
    for name, other in zip(replicas_of.names(deployment)[1:], others, strict=False):
        if other is not None:
            progress(
                f"{name} answers at {other.base_url}; one address for all: corral gateway {deployment.name}"
            )
    return first


def where(deployment: Deployment) -> str:
    """The hosts."""
    return ", ".join(deployment.hosts)


def endpoint(deployment: Deployment) -> Endpoint:
    """Where the first host's server answers from here."""
    host = connected(deployment.hosts[0])
    operators.refuse_others(deployment, host)
    return tunnels.endpoint(deployment, host)


def shell(deployment: Deployment) -> tuple[str, ...]:
    """A shell on the first host."""
    return Host(deployment.hosts[0]).shell()


def status(deployment: Deployment) -> Status:
    """Ask every host; the fleet is as well as its worst host. One that is away hides no other."""

    def away(destination: str, error: HostError) -> Status:
        return host_unit.said(deployment, "unknown", error.message)

    each = on_each(deployment, lambda host: status_at(deployment, host), away)
    names = replicas_of.names(deployment) if one_key.is_shared(deployment) else ()
    return together(deployment.hosts, each, names)


def status_at(deployment: Deployment, host: Host) -> Status:
    """What one host says; ours is not where another operator's is."""
    if other := operators.owner(deployment, host):
        detail = f"what {host.destination} has of that name is another operator's: {other}"
        return host_unit.said(deployment, "absent", detail)
    return host_unit.status(deployment, host)


def refuse_others(deployment: Deployment) -> None:
    """Raise UsageError where a host has another operator's deployment of that name."""
    on_each(deployment, lambda host: operators.refuse_others(deployment, host))


def logs(deployment: Deployment, follow: bool) -> Iterator[str]:
    """The journal of the server's unit. With several hosts each line begins with its host, and none is followed."""
    with deadline.within(LOOK_S):
        refuse_others(deployment)
    is_alone = len(deployment.hosts) == 1
    for destination in deployment.hosts:
        for line in journal(deployment, destination, follow and is_alone):
            yield line if is_alone else f"{destination}: {line}"


def journal(deployment: Deployment, destination: str, is_followed: bool) -> Iterator[str]:
    """The lines of one host's; its waits are bounded, but for those for a new line."""
    command = ["journalctl", "--no-pager", "--output=cat", f"--unit={hosts.unit(deployment.name)}"]
    with deadline.within(LOOK_S):
        host = connected(destination)
        return host.lines([*command, *(["--follow"] if is_followed else [])], is_followed)


def history(deployment: Deployment) -> tuple[Event, ...]:
    """What each host has on record, in its own order."""
    refuse_others(deployment)
    each = on_each(deployment, lambda host: host_unit.history(deployment, host))
    return tuple(heapq.merge(*each, key=lambda event: event.at))


def verified(deployment: Deployment) -> tuple[VerifiedFolder, ...]:
    """What every host finds of the weights that it serves."""
    refuse_others(deployment)
    asked = host_weights.command(deployment.name)

    def of(host: Host) -> tuple[VerifiedFolder, ...]:
        progress(f"{host.destination}: reading every byte of its weights")
        done = host.run(asked, as_root=True, check=False, timeout_s=host_weights.WITHIN_S)
        said = done.stderr if done.code else done.stdout
        return host_weights.parsed(said, done.code, deployment.name, host.destination)

    return tuple(folder for found in on_each(deployment, of) for folder in found)


def egress(deployment: Deployment, destinations: tuple[str, ...]) -> Egress:
    """The proof, by the lock of every host."""
    refuse_others(deployment)
    return ssh_egress.proved(deployment, destinations)


def should_have_served(deployment: Deployment) -> Expected:
    """What was brought to its hosts from here."""
    return ssh_egress.expected(deployment)


def stop(deployment: Deployment) -> None:
    """Stop the servers and keep them from starting at boot; engine and weights stay."""
    refuse_others(deployment)
    if deployment.plan.machine.hosts > 1:  # the one that answers before those that work for it
        host_unit.stop(deployment, connected(deployment.hosts[0]))
    on_each(deployment, lambda host: host_unit.stop(deployment, host))
    tunnels.close(deployment)


@contextmanager
def hurried(deployment: Deployment) -> Iterator[None]:
    """Have every host's end wait for no request while this lasts."""
    refuse_others(deployment)
    on_each(deployment, lambda host: host_unit.hurry(deployment, host, "touch"))
    try:
        yield
    finally:
        on_each(deployment, lambda host: host_unit.hurry(deployment, host, "rm -f"))


def without_document(name: str) -> str:
    """Its hosts carry it: their names are what is missing here."""
    return (
        f"On hosts of yours: remove that file, provision it there again under that name (corral provision), then "
        f"corral down {name}"
    )
