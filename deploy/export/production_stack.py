"""vLLM production-stack: the values of its Helm chart, which puts its own router in front of the replicas."""

from math import ceil
from typing import Any

from deploy.export import kubernetes, kubernetes_weights
from deploy.export.container import SHM_GIB, Container, container
from deploy.export.kubernetes_weights import literal
from deploy.export.rendering import Ask, Export
from infra.host import HostFile
from infra.yaml_text import dumped

CHART = "0.1.12"
# The chart says these itself.
SAID_BY_THE_CHART = ("--host", "--port", "--tensor-parallel-size")
SET_BY_THE_CHART = ("HF_HOME",)


def render(ask: Ask) -> Export:
    """values.yaml, and weights.yaml as for plain Kubernetes."""
    box = container(ask, listen="0.0.0.0")
    weights = [
        kubernetes_weights.claim(ask, box),
        *([kubernetes_weights.job(ask, box)] if box.is_repository else []),
    ]
    values = {"servingEngineSpec": engine(ask, box), "extraObjects": [network_policy(ask, box)]}
    return Export(
        format="production-stack",
        files=(
            HostFile(path="weights.yaml", content="".join(map(kubernetes.document, weights))),
            HostFile(path="values.yaml", content=dumped(values)),
        ),
        notes=(
            f"Rendered from the plan for chart vllm-stack {CHART} and held against its schema; not run by us.",
            kubernetes.RUNTIME_CLASS,
            f"Before: printf sk-%s $(openssl rand -hex 32) | kubectl create secret generic {ask.resource_name} "
            "--from-file=api-key=/dev/stdin (add hf-token for a gated model)",
            kubernetes_weights.how_to_bring(ask, box),
            f"Next: helm install {ask.resource_name} vllm/vllm-stack --version {CHART} -f values.yaml",
        ),
    )


def engine(ask: Ask, box: Container) -> dict[str, Any]:
    """What the chart makes a Deployment of."""
    probes = kubernetes.probes(box)
    return {
        "vllmApiKey": {"secretName": ask.resource_name, "secretKey": "api-key"},
        "runtimeClassName": "",
        "containerPort": box.port,
        "servicePort": box.port,
        "strategy": {"type": "Recreate"},
        "securityContext": kubernetes.pod_security(),
        "containerSecurityContext": kubernetes.container_security(),
        "startupProbe": {
            "httpGet": {"path": "/health", "port": box.port},
            "periodSeconds": 10,
            "failureThreshold": ceil(box.load_budget_s / 10),
        },
        "readinessProbe": probes["readinessProbe"],
        "livenessProbe": probes["livenessProbe"],
        "modelSpec": [model(ask, box)],
    }


def model(ask: Ask, box: Container) -> dict[str, Any]:
    """The one model. Everything the chart has no field for goes in as an extra argument."""
    volumes = [volume for volume in kubernetes.volumes(ask) if volume["name"] != "shm"]
    mounts = [mount for mount in kubernetes.mounts() if mount["name"] != "shm"]
    return {
        "name": ask.name,
        "repository": box.image,
        "tag": box.tag,
        "modelURL": box.command[2],
        "replicaCount": ask.replicas,
        "resources": {"limits": {"nvidia.com/gpu": box.gpus}},
        "shmSize": f"{SHM_GIB}Gi",
        "vllmConfig": {
            # Left out, the chart turns it off.
            "enablePrefixCaching": True,
            "tensorParallelSize": ask.plan.parallel.tensor,
            "extraArgs": [literal(argument) for argument in extra_arguments(box)],
        },
        "env": [
            variable for variable in kubernetes.variables(box) if variable["name"] not in SET_BY_THE_CHART
        ],
        "extraVolumes": volumes,
        "extraVolumeMounts": mounts,
        **node_selector(ask),
    }


def extra_arguments(box: Container) -> list[str]:
    """The plan's flags without those the chart writes."""
    kept: list[str] = []
    arguments = iter(box.command[3:])
    for argument in arguments:
        if argument in SAID_BY_THE_CHART:
            next(arguments)
        else:
            kept.append(argument)
    return kept


def node_selector(ask: Ask) -> dict[str, Any]:
    """The nodes of the plan's EC2 type."""
    if not ask.plan.machine.instance_type:
        return {}
    wanted = {
        "key": "node.kubernetes.io/instance-type",
        "operator": "In",
        "values": [ask.plan.machine.instance_type],
    }
    return {"nodeSelectorTerms": [{"matchExpressions": [wanted]}]}


def network_policy(ask: Ask, box: Container) -> dict[str, Any]:
    """The same as for plain Kubernetes, on the chart's own label."""
    policy = kubernetes.network_policy(ask, box)
    chosen = {"podSelector": {"matchLabels": {"model": ask.name}}}
    return policy | {"spec": policy["spec"] | chosen}
