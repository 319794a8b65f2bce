"""What is brought to a host over SSH and how it is prepared there: files, engine, weights, draft and adapters."""

from deploy.targets import drafts, hub_weights
from deploy.targets.deployment import Deployment
from deploy.targets.ssh import host_unit, one_key, tunnels
from deploy.targets.ssh.host_setup import (
    Brought,
    adapters_folder,
    brought,
    host_setup,
    is_draft_fetched,
    is_repository,
    own_root,
)
from infra import host as hosts
from infra import host_files
from infra.say import progress
from infra.ssh import Host
from infra.transfer import PATIENCE_S, copy_files
from serving.model import fetching, lora_files
from serving.vllm import chat_template
from serving.vllm.pack import pack

UNLINK = ("sh", "-c", '[ ! -L "$1" ] || rm "$1"', "-")
"""What an earlier plan fetched is shared, and only linked: before files are put in its place."""


def prepare_beside(deployment: Deployment, bring: Brought, host: Host) -> None:
    """Prepare a release in a folder of its own; an engine that is there already takes no room a second time."""
    mark = hosts.engine_mark(host_setup(deployment, bring).engine)
    host_unit.release(deployment, "room", host, mark)
    prepare(deployment, bring, host)


def prepare(deployment: Deployment, bring: Brought, host: Host) -> None:
    """The record comes first: whatever fails after it, `down` and `corral hosts` find what was begun."""
    setup = host_setup(deployment, bring)
    host.write(files_for(deployment, setup))
    if bring.wheelhouse:
        progress(f"{host.destination}: bringing the wheels from {bring.wheelhouse}")
        copy_files(host, bring.wheelhouse, bring.wheels, f"{own_root(deployment)}/wheelhouse")
    if bring.model:
        progress(f"{host.destination}: bringing the model from {bring.model}")
        host.run((*UNLINK, f"{own_root(deployment)}/model"), as_root=True)
        there = f"{own_root(deployment)}/model"
        copy_files(host, bring.model, bring.model_files, there, fetching.sums(bring.model))
    if bring.draft:
        progress(f"{host.destination}: bringing the draft from {bring.draft}")
        there = f"{own_root(deployment)}/{drafts.PLACE}"
        host.run((*UNLINK, there), as_root=True)
        copy_files(host, bring.draft, bring.draft_files, there, fetching.sums(bring.draft))
    for module in bring.adapters:
        progress(f"{host.destination}: bringing the adapter {module.name} from {module.path}")
        there = f"{adapters_folder(deployment.name, deployment.release)}/{module.name}"
        here = lora_files.folder_of(module)
        copy_files(host, here, lora_files.FILES, there, fetching.sums(here))
    if bring.engine and not engine_is_there(setup, host):
        prefix = bring.engine
        progress(f"{host.destination}: bringing the engine from {prefix}")
        host.send(lambda pipe: pack(prefix, pipe), (*prepare_command(deployment), "engine"))
    one_key.bring(deployment, host)
    progress(f"{host.destination}: preparing")
    line = token_line(deployment, bring)
    host.run(prepare_command(deployment), stdin=line, as_root=True, timeout_s=PATIENCE_S)
    if not one_key.is_shared(deployment):
        tunnels.fetch_key(deployment, host)


def token_line(deployment: Deployment, bring: Brought) -> bytes:
    """The input of the preparation: the Hub's token, where the host fetches what is gated or may be."""
    is_asked = is_repository(deployment.plan, bring) and hub_weights.told(deployment.plan).gated is not False
    if not (is_asked or is_draft_fetched(deployment.plan, bring)):
        return b"\n"
    token = hub_weights.token_of(deployment)
    return f"{token.value if token else ''}\n".encode()


def prepare_command(deployment: Deployment) -> tuple[str, ...]:
    """The prepare script, which was written with the other files."""
    return (f"{own_root(deployment)}/bin/prepare",)


def engine_is_there(setup: hosts.HostSetup, host: Host) -> bool:
    """Whether the prepare script would find that engine in place, and read nothing of what we send."""
    path = f"{hosts.own_root(setup.name, setup.release)}/engine/.complete"
    return host.run(["cat", path], check=False, as_root=True).stdout == f"{hosts.engine_mark(setup.engine)}\n"


def files_for(deployment: Deployment, setup: hosts.HostSetup) -> tuple[hosts.HostFile, ...]:
    """The record first, then what the setup says, and the chat template if the plan names a file."""
    here = own_root(deployment)
    record = deployment.model_dump_json(indent=2) + "\n"
    files = (hosts.HostFile(path=f"{here}/record.json", content=record), *host_files.host_files(setup))
    template = brought(deployment).chat_template
    if template is None:
        return files
    content = chat_template.read(template)
    return (*files, hosts.HostFile(path=f"{here}/chat_template.jinja", content=content))
