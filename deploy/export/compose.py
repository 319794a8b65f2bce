"""Docker Compose: one host with Docker and the NVIDIA container toolkit."""

from typing import Any

from deploy.export.container import (
    GROUP,
    HOME,
    MODEL,
    SHM_GIB,
    TEMPORARY,
    USER,
    Container,
    bring_weights,
    container,
)
from deploy.export.rendering import Ask, Export
from infra.host import HostFile
from infra.yaml_text import dumped


def render(ask: Ask) -> Export:
    """compose.yaml; the key is in secrets.env beside it, which is not ours to write."""
    box = container(ask, listen="0.0.0.0")
    model = "./model" if box.is_repository else box.model
    project = {
        "name": ask.resource_name,
        "services": {"vllm": service(box, model)},
        # Without masquerading nothing that leaves has a way back.
        "networks": {"inside": {"driver_opts": {"com.docker.network.bridge.enable_ip_masquerade": "false"}}},
    }
    return Export(
        format="compose",
        files=(HostFile(path="compose.yaml", content=dumped(project)),),
        notes=(
            "Rendered from the plan and read by docker compose 2.26.1; not run with a GPU by us.",
            bring_weights(box, model),
            "Docker has no rule against leaving: masquerading is off, which holds back answers, not packets. For a "
            "kernel's refusal use --to quadlet or --to systemd.",
            f"Before: install -d -o {USER} -g {GROUP} -m 700 state; "
            "(umask 077; echo VLLM_API_KEY=sk-$(openssl rand -hex 32) > secrets.env)",
            f"Next: docker compose up -d --wait --wait-timeout {box.load_budget_s}",
        ),
    )


def service(box: Container, model: str) -> dict[str, Any]:
    """The one service."""
    device = {"driver": "nvidia", "count": box.gpus, "capabilities": ["gpu"]}
    program, *arguments = map(literal, box.command)
    return {
        "image": f"{box.image}:{box.tag}",
        "entrypoint": [program],
        "command": arguments,
        "environment": {name: literal(value) for name, value in box.sealed_environment.items()},
        "env_file": [{"path": "secrets.env", "required": True}],
        "ports": [f"127.0.0.1:{box.port}:{box.port}"],
        "networks": ["inside"],
        "volumes": [bound(model, MODEL, read_only=True), bound("./state", HOME)],
        "tmpfs": [f"{TEMPORARY}:mode=1777,exec"],
        "shm_size": f"{SHM_GIB}gb",
        "user": f"{USER}:{GROUP}",
        "read_only": True,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "ulimits": {"memlock": -1, "core": 0},  # a core dump would hold prompts
        "init": True,
        "restart": "unless-stopped",
        "stop_grace_period": f"{box.stop_s}s",
        "healthcheck": {
            "test": ["CMD", *box.is_ready],
            "interval": "15s",
            "timeout": "10s",
            "retries": 4,
            "start_period": f"{box.load_budget_s}s",
        },
        "logging": {"driver": "json-file", "options": {"max-size": "20m", "max-file": "5"}},
        "deploy": {"resources": {"reservations": {"devices": [device]}}},
    }


def bound(source: str, target: str, read_only: bool = False) -> dict[str, Any]:
    """A folder of the host that must exist: Docker would make a missing one, empty and root's."""
    return {
        "type": "bind",
        "source": literal(source),
        "target": target,
        "read_only": read_only,
        "bind": {"create_host_path": False},
    }


def literal(text: str) -> str:
    """Text that Compose does not take for one of its variables."""
    return text.replace("$", "$$")
