"""The proof over SSH: try to get out as the server on every host, ask it completions, look again, judge."""

from collections.abc import Iterator
from datetime import UTC, datetime

from deploy.targets import adapters, drafts
from deploy.targets.deployment import Deployment
from deploy.targets.prove_egress import ask, not_serving
from deploy.targets.ssh import host_unit, tunnels
from deploy.targets.ssh.fleet import on_each
from deploy.targets.ssh.host_setup import Brought, brought, is_draft_fetched
from infra import host as hosts
from infra import host_gateway
from infra.data import shipped_text
from infra.egress_checks import Expected
from infra.egress_proof import NAMED_BY_LISTS, Egress, GatewayProof, Look, Proof, limits, look, problems
from infra.onhost.egress_look import engine_of
from infra.say import progress
from infra.ssh import Host
from infra.transfer import manifest
from serving.model import lora_files
from serving.vllm.endpoint import Endpoint

# Public name servers, which answer everybody everywhere; by address, so that no name must be asked first.
PUBLIC = ("1.1.1.1:443", "8.8.8.8:53", "[2606:4700:4700::1111]:443")
# A port nobody needs to listen on: the packet to it is what counts.
ASKER_PORT = 9


def proved(deployment: Deployment, destinations: tuple[str, ...]) -> Egress:
    """The proof on every host: attempts on all, completions through each, then the counters of all."""
    before = on_each(
        deployment, lambda host: look_at(deployment, host, destinations or default_destinations(host))
    )
    beside = on_each(
        deployment, lambda host: gateway_at(deployment, host, destinations or default_destinations(host))
    )
    endpoints = on_each(deployment, lambda host: endpoint_of(deployment, host))
    asked = [ask(endpoint) if endpoint else 0 for endpoint in endpoints]
    after = on_each(deployment, lambda host: look_at(deployment, host, ()))
    several = deployment.plan.machine.hosts > 1
    proofs = tuple(
        Proof(
            host=destination,
            unit=hosts.unit(deployment.name),
            peers=tuple(Host(destination).address() for destination in deployment.hosts) if several else (),
            listens_outside=deployment.plan.serve.host not in tunnels.LOOPBACK,
            completions=asked[number],
            before=before[number],
            after=after[number],
            rules_sha256=before[number].rules_sha256,
            gateway=beside[number],
        )
        for number, destination in enumerate(deployment.hosts)
    )
    wrong = tuple(problem for proof in proofs for problem in problems(proof))
    return Egress(
        name=deployment.name,
        made_at=datetime.now(UTC),
        verdict="not proved" if wrong else "proved",
        problems=wrong,
        hosts=proofs,
        completions=sum(asked),
        limits=(
            *limits(
                tuple(proof.host for proof in proofs if not proof.before.holds_abstract_sockets),
                tuple(proof.host for proof in proofs if proof.gateway and not proof.gateway.is_listener),
                tuple(proof.host for proof in proofs if proof.gateway and proof.gateway.is_listener),
            ),
            NAMED_BY_LISTS,
        ),
    )


def look_at(deployment: Deployment, host: Host, destinations: tuple[str, ...]) -> Look:
    """Run the script there, which tries the destinations first."""
    for destination in destinations:
        progress(f"{host.destination}: trying {destination} from inside the server's unit")
    seen = looked(deployment.name, host, destinations)
    if not seen.pid:
        raise not_serving(deployment.name)
    return seen


def looked(name: str, host: Host, destinations: tuple[str, ...]) -> Look:
    """What the script says there of what is called so."""
    script = shipped_text("infra.onhost", "egress_look.py").encode()
    return look(host.run(["python3", "-I", "-", name, *destinations], stdin=script, as_root=True).stdout)


def gateway_at(deployment: Deployment, host: Host, destinations: tuple[str, ...]) -> GatewayProof | None:
    """The same of the gateway, or the listener of one, that runs on that host, if one does."""
    for kind in host_gateway.KINDS:
        title = host_gateway.called(deployment.name, kind)
        seen = looked(title, host, destinations)
        if seen.pid:
            progress(f"{host.destination}: tried the same from inside its {kind}'s unit")
            servers = host.run(["cat", host_gateway.servers_file(title)], as_root=True).stdout
            return GatewayProof(unit=hosts.unit(title), servers=tuple(servers.splitlines()), look=seen)
    return None


def default_destinations(host: Host) -> tuple[str, ...]:
    """Public ones, and where we come from, if it says so: even a host without internet has a way to that."""
    said = host.run(["sh", "-c", 'echo "${SSH_CONNECTION%% *}"']).stdout.strip().partition("%")[0]
    asker = said if hosts.is_address(said) else ""
    near = f"[{asker}]:{ASKER_PORT}" if ":" in asker else f"{asker}:{ASKER_PORT}"
    return (*PUBLIC, near) if asker else PUBLIC


def endpoint_of(deployment: Deployment, host: Host) -> Endpoint | None:
    """Where that host answers; None where it only works for the first one."""
    return None if host_unit.is_headless(deployment, host) else tunnels.endpoint(deployment, host)


def expected(deployment: Deployment) -> Expected:
    """What its hosts should serve from, by what would be brought from here: engine and weights where they lie here."""
    bring = brought(deployment)
    progress(f"summing up what {deployment.name} was brought from")
    return Expected(
        where=f"the deployment {deployment.name}",
        engine_sha256=engine_of(bring.engine)[1] if bring.engine else "",
        model=manifest(bring.model, bring.model_files) if bring.model else {},
        beside=dict(expected_beside(deployment, bring)),
        rules=True,
    )


def expected_beside(deployment: Deployment, bring: Brought) -> Iterator[tuple[str, dict[str, str]]]:
    """The draft and the adapters that come with the model: folder -> file -> sum; of what a host fetches none."""
    if bring.draft:
        yield drafts.PLACE, manifest(bring.draft, bring.draft_files)
    elif is_draft_fetched(deployment.plan, bring):
        yield drafts.PLACE, {}
    for module in bring.adapters:
        yield f"{adapters.PLACE}/{module.name}", manifest(lora_files.folder_of(module), lora_files.FILES)
