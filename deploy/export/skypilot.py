"""SkyPilot: a task for `sky launch`, on one node or several, on whichever cloud it finds."""

from typing import Any

from deploy.export.container import MODEL, TOKEN, Container, container, draft_note, shell_line
from deploy.export.rendering import Ask, Export
from infra.host import HostFile
from infra.yaml_text import dumped

SKYPILOT = "0.14.1"
# SkyPilot names its GPUs as catalogues do: A100 is the one of 40 GB.
GPU_NAMES = {"A100-40GB": "A100", "RTX-PRO-6000": "RTXPRO6000"}

OWN_ADDRESS = """\
master=$(printf '%s\\n' "$SKYPILOT_NODE_IPS" | sed -n 1p)
VLLM_HOST_IP=$(printf '%s\\n' "$SKYPILOT_NODE_IPS" | sed -n "$((SKYPILOT_NODE_RANK + 1))p")
export VLLM_HOST_IP
"""


def render(ask: Ask) -> Export:
    """task.yaml; the keys are secrets that `sky launch --secret NAME` takes from your environment."""
    box = container(ask, listen="127.0.0.1")
    name = ask.resource_name
    return Export(
        format="skypilot",
        files=(HostFile(path="task.yaml", content=dumped(task(ask, box))),),
        notes=(
            f"Rendered from the plan and read by SkyPilot {SKYPILOT}; not launched by us.",
            "It listens on the head node's loopback and no port is opened: SkyPilot would open it to the world.",
            "What SkyPilot launches ends when you say so; corral neither watches nor ends it.",
            *draft_note(box),
            f"Before: export VLLM_API_KEY=sk-$(openssl rand -hex 32){TOKEN * box.is_repository}",
            f"Next: sky launch -c {name} task.yaml --secret VLLM_API_KEY"
            f"{' --secret HF_TOKEN' * box.is_repository} -i 60 --down; then "
            f"ssh -N -L {box.port}:127.0.0.1:{box.port} {name}",
        ),
    )


def task(ask: Ask, box: Container) -> dict[str, Any]:
    """The task; a secret without a value is one the caller must give."""
    secrets: dict[str, None] = {"VLLM_API_KEY": None}
    bring: dict[str, Any] = {"file_mounts": {MODEL: ask.plan.serve.model}}
    if box.is_repository:
        secrets["HF_TOKEN"] = None
        bring = {"setup": f"{box.fetch_online}\n"}
    return {
        "name": ask.resource_name,
        "num_nodes": box.hosts,
        "resources": resources(ask, box),
        "envs": box.environment,
        "secrets": secrets,
        **bring,
        "run": run(box),
    }


def resources(ask: Ask, box: Container) -> dict[str, Any]:
    """The plan's machine where a cloud sells it, else any with those GPUs; the disk holds the image and the weights."""
    machine = ask.plan.machine
    where = {"infra": "aws", "instance_type": machine.instance_type} if machine.instance_type else {}
    gpus = {} if where else {"accelerators": {GPU_NAMES.get(machine.gpu, machine.gpu): box.gpus}}
    return {
        **where,
        **gpus,
        "image_id": f"docker:{box.image}:{box.tag}",
        "disk_size": box.weights_gib * 11 // 10 + 100,
    }


def run(box: Container) -> str:
    """The script of every node."""
    address = OWN_ADDRESS if box.hosts > 1 else ""
    return f"{box.folders}\n{address}{shell_line(box, 'SKYPILOT_NODE_RANK', 'master')}\n"
