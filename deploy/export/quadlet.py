"""Podman quadlet: one host with Podman, systemd and a CDI description of its GPUs; the kernel denies it the network."""

import json

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
    mounted,
)
from deploy.export.rendering import Ask, Export
from infra.host import HostFile
from infra.host_units import systemd_quoted

# As the unit of an owned host: it listens on the host's loopback, and its cgroup reaches no other address.
UNIT = """\
[Unit]
Description=vLLM server {name}
# Five failed starts within an hour are no accident.
StartLimitIntervalSec=3600
StartLimitBurst=5

[Container]
ContainerName={name}
Image={image}
# The unit may reach nothing, so it cannot pull either.
Pull=never
Entrypoint={program}
Exec={arguments}
{environment}
Secret={name}-api-key,type=env,target=VLLM_API_KEY
{devices}
Network=host
Volume={model}:{model_there}:ro
# U: given to the container's user; kept, because it holds the compile cache.
Volume={name}.volume:{home}:U
Tmpfs={temporary}:mode=1777,exec
ShmSize={shm}g
User={user}
Group={group}
ReadOnly=true
# A server that hangs for two minutes is killed, and systemd starts it again.
HealthCmd={is_ready}
HealthInterval=15s
HealthTimeout=10s
HealthRetries=8
HealthStartPeriod={load_budget_s}s
HealthOnFailure=kill
DropCapability=all
NoNewPrivileges=true
Ulimit=memlock=-1:-1
# A core dump would hold prompts.
Ulimit=core=0:0
RunInit=true
StopTimeout={stop_s}

[Service]
Restart=always
RestartSec=15
TimeoutStopSec={service_stop_s}
IPAddressDeny=any
IPAddressAllow=localhost

[Install]
WantedBy=multi-user.target
"""

VOLUME = """\
[Volume]
VolumeName={name}
"""


def render(ask: Ask) -> Export:
    """The container and its volume, for /etc/containers/systemd; the key is a secret of Podman's."""
    box = container(ask, listen="127.0.0.1")
    name, model = ask.resource_name, model_folder(ask, box)
    image = f"{box.image}:{box.tag}"
    return Export(
        format="quadlet",
        files=(
            HostFile(path=f"{name}.container", content=unit(name, model, box)),
            HostFile(path=f"{name}.volume", content=VOLUME.format(name=name)),
        ),
        notes=(
            "Rendered from the plan and read by the generator of podman 5.4.2; not run with a GPU by us.",
            bring_weights(box, model),
            f"Before, as root: nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml; podman pull {image}; "
            f"printf sk-%s $(openssl rand -hex 32) | podman secret create {name}-api-key -",
            f"Next: copy the files to /etc/containers/systemd, then systemctl daemon-reload && systemctl start {name}",
        ),
    )


def unit(name: str, model: str, box: Container) -> str:
    """The .container file; every value is quoted as systemd wants it."""
    program, *arguments = box.command
    return UNIT.format(
        name=name,
        image=f"{box.image}:{box.tag}",
        program=program,
        arguments=" ".join(map(systemd_quoted, arguments)),
        environment="\n".join(
            f"Environment={systemd_quoted(f'{key}={value}')}" for key, value in box.sealed_environment.items()
        ),
        devices="\n".join(f"AddDevice=nvidia.com/gpu={index}" for index in range(box.gpus)),
        model=model.replace("%", "%%"),
        model_there=MODEL,
        home=HOME,
        temporary=TEMPORARY,
        shm=SHM_GIB,
        is_ready=json.dumps(["CMD", *box.is_ready]),
        load_budget_s=box.load_budget_s,
        user=USER,
        group=GROUP,
        stop_s=box.stop_s,
        service_stop_s=box.stop_s + 30,
    )


def model_folder(ask: Ask, box: Container) -> str:
    """Where the weights lie on the host."""
    return f"/srv/{ask.resource_name}/model" if box.is_repository else mounted(box.model)
