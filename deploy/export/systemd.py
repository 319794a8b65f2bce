"""systemd: the very files that `corral provision --target ssh` puts on a host, for those who bring them otherwise."""

from deploy.export.rendering import Ask, Export
from deploy.targets import adapters, drafts
from deploy.targets import deployment as deployments
from deploy.targets.ssh.host_setup import Brought, adapters_folder, host_setup
from infra import host as hosts
from infra import host_files


def render(ask: Ask) -> Export:
    """A tree to be copied to /; its prepare script gets engine and weights, and makes the key."""
    drafts.require_commit(ask.plan.serve)
    deployment = deployments.make(ask.plan, "ssh", ask.name)
    setup = host_setup(
        deployment, Brought(version=ask.plan.vllm_version, adapters=ask.plan.serve.lora_modules)
    )
    files = tuple(
        file.model_copy(update={"path": file.path.lstrip("/")}) for file in host_files.host_files(setup)
    )
    return Export(
        format="systemd",
        files=files,
        notes=(
            "These are the files corral itself puts on a host; its tests run them on Debian, without a GPU.",
            f"Before, as root: {adapters_first(ask)}cp -r FOLDER/. / && {hosts.root(ask.name)}/bin/prepare",
            f"Next: systemctl enable --now {hosts.unit(ask.name)}; or let corral do all of it, checked: "
            f"corral up plan.json --target ssh --host gpu-1 --name {ask.name}",
        ),
    )


def adapters_first(ask: Ask) -> str:
    """The commands that bring the plan's adapters; empty without any."""
    modules = ask.plan.serve.lora_modules
    return f"{adapters.copied(modules, adapters_folder(ask.name))} && " if modules else ""
