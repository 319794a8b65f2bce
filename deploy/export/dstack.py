"""dstack: a service where one node holds the model, a task over the nodes where it takes several."""

from typing import Any

from deploy.export.container import (
    MODEL,
    SHM_GIB,
    TOKEN,
    Container,
    container,
    draft_note,
    mounted,
    shell_line,
)
from deploy.export.rendering import Ask, Export
from infra.errors import UsageError
from infra.host import HostFile
from infra.yaml_text import dumped

DSTACK = "0.22.5"
# As dstack's catalogue (gpuhunt) names them; the memory tells one A100 from the other.
GPU_NAMES = {"A100-40GB": "A100:40GB", "A100-80GB": "A100:80GB", "RTX-PRO-6000": "RTXPRO6000"}


def render(ask: Ask) -> Export:
    """The configuration; variables without a value are taken from your environment."""
    box = container(ask, listen="127.0.0.1")
    body = task(box) if box.hosts > 1 else service(ask, box)
    content = dumped({"type": body.pop("type"), "name": ask.resource_name, **common(ask, box), **body})
    return Export(
        format="dstack",
        files=(HostFile(path="serve.dstack.yml", content=content),),
        notes=(
            f"Rendered from the plan and read by dstack {DSTACK}; not run by us.",
            *reached(box),
            "It runs until you stop it; corral neither watches nor ends it.",
            *draft_note(box),
            f"Before: export VLLM_API_KEY=sk-$(openssl rand -hex 32){TOKEN * box.is_repository}",
            "Next: dstack apply -f serve.dstack.yml",
        ),
    )


def reached(box: Container) -> tuple[str, ...]:
    """How callers come to the server, as a note."""
    if box.hosts > 1:
        return ("A port of a task is forwarded to your machine.",)
    return (
        "`auth: false` leaves the Authorization header to the server, which asks for its own key: with dstack's token "
        "in it vLLM would answer 401. dstack lists the model, and its own page for it brings no key: ask the "
        "service's address.",
    )


def common(ask: Ask, box: Container) -> dict[str, Any]:
    """What a service and a task share."""
    machine = ask.plan.machine
    where = {"backends": ["aws"], "instance_types": [machine.instance_type]} if machine.instance_type else {}
    needed = ["VLLM_API_KEY", *(["HF_TOKEN"] if box.is_repository else [])]
    return {
        "image": f"{box.image}:{box.tag}",
        "env": [*needed, *(f"{name}={value}" for name, value in box.environment.items())],
        **where,
        **({} if box.is_repository else {"volumes": [f"{mounted(box.model)}:{MODEL}"]}),
        "resources": {
            "gpu": f"{GPU_NAMES.get(machine.gpu, machine.gpu)}:{box.gpus}",
            "shm_size": f"{SHM_GIB}GB",
            "disk": f"{box.weights_gib * 11 // 10 + 100}GB..",
        },
        "commands": commands(box),
    }


def commands(box: Container) -> list[str]:
    """One shell runs them in order. Raises UsageError for what dstack would put something else in place of."""
    if any("${{" in word for word in (*box.command, *box.fetch)):
        raise UsageError(
            "dstack reads ${{ as the beginning of a name of its own.", "Leave it out of the plan."
        )
    fetch = [box.fetch_online] if box.is_repository else []
    own = ["export VLLM_HOST_IP=$(hostname -I | cut -d' ' -f1)"] if box.hosts > 1 else []
    line = shell_line(box, "DSTACK_NODE_RANK", "DSTACK_MASTER_NODE_IP")
    return [box.folders, *fetch, *own, line]


def service(ask: Ask, box: Container) -> dict[str, Any]:
    """dstack sends it requests once the probe has answered; the probe carries no key, so it asks /health."""
    return {
        "type": "service",
        "port": box.port,
        "auth": False,
        "model": ask.plan.serve.served_model_name,
        "replicas": ask.replicas,
        "probes": [{"type": "http", "url": "/health", "interval": "15s", "timeout": "10s"}],
    }


def task(box: Container) -> dict[str, Any]:
    """dstack's services have one node a replica."""
    return {"type": "task", "nodes": box.hosts, "ports": [box.port]}
