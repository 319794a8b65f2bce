"""vLLM production-stack: the values of its Helm chart, which puts its own router in front of the replicas."""

from typing import Any

from deploy.export import kubernetes, kubernetes_access, kubernetes_nodes, kubernetes_pod, kubernetes_weights
from deploy.export.container import SHM_GIB, Container, container
from deploy.export.kubernetes_weights import literal
from deploy.export.rendering import Ask, Export
from infra.host import HostFile
from infra.yaml_text import dumped

CHART = "0.1.12"
ROUTER = f"v{CHART}"
"""The tag that the chart's own release gives the router's image (its workflow of releases, read 2026-08-05)."""
# The chart says these itself.
SAID_BY_THE_CHART = ("--host", "--port", "--tensor-parallel-size")
SET_BY_THE_CHART = ("HF_HOME",)


def render(ask: Ask) -> Export:
    """values.yaml, weights.yaml as for plain Kubernetes, and a kustomization of what the chart has no value for."""
    box = container(ask, listen="0.0.0.0")
    weights = kubernetes_weights.prepared(ask, box)
    values = {
        "servingEngineSpec": engine(ask, box),
        "routerSpec": {"tag": ROUTER, "imagePullPolicy": "IfNotPresent"},
        "extraObjects": [network_policy(ask, box)],
    }
    return Export(
        format="production-stack",
        files=(
            HostFile(path="weights.yaml", content="".join(map(kubernetes.document, weights))),
            HostFile(path="values.yaml", content=dumped(values)),
            HostFile(path="kustomization.yaml", content=dumped(kustomization(ask, box))),
        ),
        notes=(
            f"Rendered from the plan for chart vllm-stack {CHART}, rendered by helm 4 and held against the schemas of "
            "Kubernetes 1.37; not run by us.",
            "The chart kills a pod 30 s after its SIGTERM and gives up on a rollout after 1,200 s, and has no value "
            "for either: kustomization.yaml puts in what the server needs, so it is rendered first, then applied.",
            kubernetes.RUNTIME_CLASS,
            kubernetes_access.who_comes_in(ask),
            kubernetes.STOPPING,
            kubernetes.MEMORY,
            f"Before: printf sk-%s $(openssl rand -hex 32) | kubectl create secret generic {ask.resource_name} "
            "--from-file=api-key=/dev/stdin (add hf-token for a gated model)",
            kubernetes_weights.how_to_bring(ask, box),
            f"Next: helm template {ask.resource_name} vllm/vllm-stack --version {CHART} -f values.yaml > chart.yaml && "
            "kubectl apply -k .",
        ),
    )


def engine(ask: Ask, box: Container) -> dict[str, Any]:
    """What the chart makes a Deployment of."""
    probes = kubernetes_pod.probes(box)
    return {
        "vllmApiKey": {"secretName": ask.resource_name, "secretKey": "api-key"},
        "runtimeClassName": "",
        "containerPort": box.port,
        "servicePort": box.port,
        "strategy": {"type": "RollingUpdate", "rollingUpdate": kubernetes.ONE_AT_A_TIME},
        "securityContext": kubernetes_pod.pod_security(),
        "containerSecurityContext": kubernetes_pod.container_security(),
        "tolerations": kubernetes_nodes.tolerations(),
        **probes,
        "modelSpec": [model(ask, box)],
    }


def model(ask: Ask, box: Container) -> dict[str, Any]:
    """The one model. Everything the chart has no field for goes in as an extra argument."""
    volumes = [volume for volume in kubernetes_pod.volumes(ask) if volume["name"] != "shm"]
    mounts = [mount for mount in kubernetes_pod.mounts() if mount["name"] != "shm"]
    return {
        "name": ask.name,
        "repository": box.image,
        "tag": box.tag,
        "modelURL": box.command[2],
        "replicaCount": ask.replicas,
        "resources": kubernetes_pod.taken(ask, box),
        **({"pdb": {"enabled": True, "maxUnavailable": 1}} if ask.replicas > 1 else {}),
        "shmSize": f"{SHM_GIB}Gi",
        "vllmConfig": {
            # Left out, the chart turns it off.
            "enablePrefixCaching": True,
            "tensorParallelSize": ask.plan.parallel.tensor,
            "extraArgs": [literal(argument) for argument in extra_arguments(box)],
        },
        "env": [
            variable for variable in kubernetes_pod.variables(box) if variable["name"] not in SET_BY_THE_CHART
        ],
        "extraVolumes": volumes,
        "extraVolumeMounts": mounts,
        **node_selector(ask),
    }


def kustomization(ask: Ask, box: Container) -> dict[str, Any]:
    """What the chart's Deployment lacks: time to drain and to load, and replicas on nodes of their own."""
    apart = {"topologySpreadConstraints": kubernetes_nodes.spread({"model": ask.name})}
    pod = {
        "terminationGracePeriodSeconds": kubernetes_pod.grace_s(box),
        **(apart if ask.replicas > 1 else {}),
        "containers": [{"name": "vllm", "lifecycle": kubernetes_pod.drained(box)}],
    }
    named = {"kind": "Deployment", "name": f"{ask.resource_name}-{ask.name}-deployment-vllm"}
    patch = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": named["name"]},
        "spec": {
            "progressDeadlineSeconds": kubernetes.progress_deadline_s(box),
            "template": {"spec": pod},
        },
    }
    return {"resources": ["chart.yaml"], "patches": [{"target": named, "patch": dumped(patch)}]}


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
    policy = kubernetes_access.network_policy(ask, box)
    chosen = {"podSelector": {"matchLabels": {"model": ask.name}}}
    return policy | {"spec": policy["spec"] | chosen}
