"""Kubernetes: a Deployment for one node, a LeaderWorkerSet for several; a Service; and a network that leads nowhere."""

from math import ceil
from typing import Any

from deploy.export.container import GROUP, HOME, MODEL, SHM_GIB, TEMPORARY, USER, Container, container
from deploy.export.kubernetes_weights import claim, claim_name, how_to_bring, job, literal
from deploy.export.rendering import Ask, Export
from infra.host import HostFile
from infra.yaml_text import dumped
from serving.vllm.serve_options import across_nodes

RUNTIME_CLASS = "Where GPUs need a RuntimeClass (k3s, RKE2), add runtimeClassName: nvidia."


def render(ask: Ask) -> Export:
    """weights.yaml once, server.yaml to serve; the keys are in a Secret that is not ours to write."""
    box = container(ask, listen="0.0.0.0")
    weights = [claim(ask, box), *([job(ask, box)] if box.is_repository else [])]
    server = [workload(ask, box), service(ask, box), network_policy(ask, box)]
    crd = ("LeaderWorkerSet must be installed (API v1, read in release 0.9.0).",) if box.hosts > 1 else ()
    fabric = (
        "vLLM's image lets NCCL talk over TCP; for EFA or InfiniBand build an image with your fabric's plugin and add "
        "its resource, and IPC_LOCK, to both templates.",
    )
    return Export(
        format="kubernetes",
        files=(
            HostFile(path="weights.yaml", content="".join(map(document, weights))),
            HostFile(path="server.yaml", content="".join(map(document, server))),
        ),
        notes=(
            "Rendered from the plan and held against the schemas of Kubernetes 1.37; not run on a cluster by us.",
            *crd,
            *(fabric if box.hosts > 1 else ()),
            RUNTIME_CLASS,
            "The NetworkPolicy is only as good as the network plugin that enforces it.",
            f"Before: printf sk-%s $(openssl rand -hex 32) | kubectl create secret generic {ask.resource_name} "
            "--from-file=api-key=/dev/stdin (add hf-token for a gated model)",
            how_to_bring(ask, box),
            "Next: kubectl apply -f server.yaml",
        ),
    )


def document(resource: dict[str, Any]) -> str:
    """One of several documents in a file."""
    return f"---\n{dumped(resource)}"


def labels(ask: Ask) -> dict[str, str]:
    """On every pod of the server."""
    return {"app.kubernetes.io/name": "vllm", "app.kubernetes.io/instance": ask.resource_name}


def leader_labels(ask: Ask) -> dict[str, str]:
    """On the pods that answer requests."""
    return labels(ask) | {"app.kubernetes.io/component": "api"}


def workload(ask: Ask, box: Container) -> dict[str, Any]:
    """A Deployment, or a LeaderWorkerSet where one server spans nodes."""
    head = {"metadata": {"name": ask.resource_name, "labels": labels(ask)}}
    if box.hosts == 1:
        command = tuple(map(literal, box.command))
        template = pod(ask, box, leader_labels(ask), command, answers=True)
        spec = {
            "replicas": ask.replicas,
            # A second server beside the first would wait for its GPUs for ever.
            "strategy": {"type": "Recreate"},
            "progressDeadlineSeconds": box.load_budget_s + 600,
            "selector": {"matchLabels": leader_labels(ask)},
            "template": template,
        }
        return {"apiVersion": "apps/v1", "kind": "Deployment", **head, "spec": spec}
    group = {
        "size": box.hosts,
        # A server that lost a rank is lost whole.
        "restartPolicy": "RecreateGroupOnPodRestart",
        "leaderTemplate": pod(ask, box, leader_labels(ask), node_command(box, headless=False), answers=True),
        "workerTemplate": pod(ask, box, labels(ask), node_command(box, headless=True), answers=False),
    }
    return {
        "apiVersion": "leaderworkerset.x-k8s.io/v1",
        "kind": "LeaderWorkerSet",
        **head,
        "spec": {"replicas": ask.replicas, "leaderWorkerTemplate": group},
    }


def node_command(box: Container, headless: bool) -> tuple[str, ...]:
    """The command of one rank; LeaderWorkerSet gives every container these variables, and the kubelet expands them."""
    place = across_nodes(box.hosts, "$(LWS_WORKER_INDEX)", "$(LWS_LEADER_ADDRESS)", headless)
    return (*map(literal, box.command), *place)


def pod(
    ask: Ask, box: Container, pod_labels: dict[str, str], command: tuple[str, ...], answers: bool
) -> dict[str, Any]:
    """The template of a pod: a user of its own, a read-only system, no token of the cluster."""
    selector = ask.plan.machine.instance_type
    return {
        "metadata": {"labels": pod_labels},
        "spec": {
            **({"nodeSelector": {"node.kubernetes.io/instance-type": selector}} if selector else {}),
            "automountServiceAccountToken": False,
            # A Service called vllm would set VLLM_PORT in here.
            "enableServiceLinks": False,
            "securityContext": pod_security(),
            "terminationGracePeriodSeconds": box.stop_s,
            "containers": [
                {
                    "name": "vllm",
                    "image": f"{box.image}:{box.tag}",
                    "command": list(command),
                    "env": [*variables(box), secret(ask, "VLLM_API_KEY", "api-key")],
                    "resources": {"limits": {"nvidia.com/gpu": box.gpus}},
                    "securityContext": container_security(),
                    "volumeMounts": mounts(),
                    **(probes(box) if answers else {}),
                }
            ],
            "volumes": volumes(ask),
        },
    }


def pod_security() -> dict[str, Any]:
    """Who the pod runs as."""
    return {
        "runAsNonRoot": True,
        "runAsUser": USER,
        "runAsGroup": GROUP,
        "fsGroup": USER,
        # A checkpoint is read by many and owned by none of them: it is not chowned at every start.
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def container_security() -> dict[str, Any]:
    """What the container may not."""
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def variables(box: Container) -> list[dict[str, Any]]:
    """The environment; across nodes every rank is known by its pod's address."""
    given: list[dict[str, Any]] = [
        {"name": name, "value": literal(value)} for name, value in box.sealed_environment.items()
    ]
    if box.hosts > 1:
        given.append({"name": "VLLM_HOST_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}})
    return given


def secret(ask: Ask, variable: str, key: str) -> dict[str, Any]:
    """A variable whose value is in the Secret."""
    return {
        "name": variable,
        "valueFrom": {"secretKeyRef": {"name": ask.resource_name, "key": key}},
    }


def probes(box: Container) -> dict[str, Any]:
    """Patience while the weights load; traffic only once the model is listed; a restart when the engine has died."""
    health = {"httpGet": {"path": "/health", "port": box.port}}
    return {
        "ports": [{"name": "http", "containerPort": box.port}],
        "startupProbe": {**health, "periodSeconds": 10, "failureThreshold": ceil(box.load_budget_s / 10)},
        "readinessProbe": {
            "exec": {"command": list(box.is_ready)},
            "periodSeconds": 15,
            "timeoutSeconds": 10,
        },
        "livenessProbe": {**health, "periodSeconds": 15, "timeoutSeconds": 10, "failureThreshold": 8},
    }


def mounts() -> list[dict[str, Any]]:
    """Where the volumes are seen."""
    return [
        {"name": "model", "mountPath": MODEL, "readOnly": True},
        {"name": "home", "mountPath": HOME},
        {"name": "tmp", "mountPath": TEMPORARY},
        {"name": "shm", "mountPath": "/dev/shm"},
    ]


def volumes(ask: Ask) -> list[dict[str, Any]]:
    """The weights read-only, and room for caches, sockets and shared memory that goes with the pod."""
    return [
        {"name": "model", "persistentVolumeClaim": {"claimName": claim_name(ask), "readOnly": True}},
        {"name": "home", "emptyDir": {}},
        {"name": "tmp", "emptyDir": {}},
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": f"{SHM_GIB}Gi"}},
    ]


def service(ask: Ask, box: Container) -> dict[str, Any]:
    """Inside the cluster only."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": ask.resource_name, "labels": labels(ask)},
        "spec": {
            "type": "ClusterIP",
            "selector": leader_labels(ask),
            "ports": [{"name": "http", "port": box.port, "targetPort": "http"}],
        },
    }


def network_policy(ask: Ask, box: Container) -> dict[str, Any]:
    """Requests from the same namespace come in; nothing goes out, but to the other ranks and the cluster's DNS."""
    from_namespace = {"from": [{"podSelector": {}}], "ports": [{"protocol": "TCP", "port": box.port}]}
    ranks = [{"podSelector": {"matchLabels": labels(ask)}}]
    dns = {
        "to": [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}}],
        "ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}],
    }
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": ask.resource_name, "labels": labels(ask)},
        "spec": {
            "podSelector": {"matchLabels": labels(ask)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [from_namespace, *([{"from": ranks}] if box.hosts > 1 else [])],
            "egress": [{"to": ranks}, dns] if box.hosts > 1 else [],
        },
    }
