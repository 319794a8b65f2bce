"""Kubernetes: a Deployment for one node, a LeaderWorkerSet for several; a Service; and a network that leads nowhere."""

from typing import Any

from deploy.export.container import Container, container
from deploy.export.kubernetes_access import (
    disruption_budget,
    labels,
    leader_labels,
    network_policy,
    service,
    service_monitor,
    who_comes_in,
)
from deploy.export.kubernetes_nodes import placed, spread
from deploy.export.kubernetes_pod import (
    DRAIN_S,
    HOST_GIB_EACH,
    container_security,
    drained,
    grace_s,
    mounts,
    pod_security,
    probes,
    secret,
    taken,
    variables,
    volumes,
)
from deploy.export.kubernetes_weights import how_to_bring, literal, prepared
from deploy.export.rendering import Ask, Export
from infra.host import HostFile
from infra.yaml_text import dumped
from serving.vllm.serve_options import across_nodes

STOPPING = (
    f"A pod that is to go gets no new requests, and {DRAIN_S} s for those that run; one at a time. An update of a "
    "single server is an outage while the other loads."
)
MEMORY = (
    f"The memory that is asked of a node ({HOST_GIB_EACH} GiB a process) is not measured on a GPU, nor is its limit: "
    "raise both where a pod ends as OOMKilled."
)
WATCHED = (
    "Where Prometheus' operator is: kubectl apply -f monitor.yaml, with the labels that yours selects by; rules and a "
    "dashboard: --to prometheus."
)
RUNTIME_CLASS = "Where GPUs need a RuntimeClass (k3s, RKE2), add runtimeClassName: nvidia."


def render(ask: Ask) -> Export:
    """weights.yaml once, server.yaml to serve, monitor.yaml where Prometheus' operator is; the Secret is not ours."""
    box = container(ask, listen="0.0.0.0")
    server = [workload(ask, box), service(ask, box), network_policy(ask, box), *disruption_budget(ask)]
    crd = ("LeaderWorkerSet must be installed (API v1, read in release 0.9.0).",) if box.hosts > 1 else ()
    fabric = (
        "vLLM's image lets NCCL talk over TCP; for EFA or InfiniBand build an image with your fabric's plugin and add "
        "its resource, and IPC_LOCK, to both templates.",
    )
    return Export(
        format="kubernetes",
        files=(
            HostFile(path="weights.yaml", content="".join(map(document, prepared(ask, box)))),
            HostFile(path="server.yaml", content="".join(map(document, server))),
            HostFile(path="monitor.yaml", content=document(service_monitor(ask))),
        ),
        notes=(
            "Rendered from the plan and held against the schemas of Kubernetes 1.37; not run on a cluster by us.",
            *crd,
            *(fabric if box.hosts > 1 else ()),
            RUNTIME_CLASS,
            who_comes_in(ask),
            STOPPING,
            MEMORY,
            WATCHED,
            f"Before: printf sk-%s $(openssl rand -hex 32) | kubectl create secret generic {ask.resource_name} "
            "--from-file=api-key=/dev/stdin (add hf-token for a gated model)",
            how_to_bring(ask, box),
            "Next: kubectl apply -f server.yaml",
        ),
    )


def progress_deadline_s(box: Container) -> int:
    """Until one pod is ready: the old one's end, the image, and the load."""
    return grace_s(box) + box.load_budget_s + 600


ONE_AT_A_TIME = {"maxSurge": 0, "maxUnavailable": 1}


def document(resource: dict[str, Any]) -> str:
    """One of several documents in a file."""
    return f"---\n{dumped(resource)}"


def workload(ask: Ask, box: Container) -> dict[str, Any]:
    """A Deployment, or a LeaderWorkerSet where one server spans nodes."""
    head = {"metadata": {"name": ask.resource_name, "labels": labels(ask)}}
    if box.hosts == 1:
        command = tuple(map(literal, box.command))
        template = pod(ask, box, leader_labels(ask), command, answers=True)
        spec = {
            "replicas": ask.replicas,
            # A further server beside the others would wait for its GPUs for ever.
            "strategy": {"type": "RollingUpdate", "rollingUpdate": ONE_AT_A_TIME},
            "progressDeadlineSeconds": progress_deadline_s(box),
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
        "spec": {
            "replicas": ask.replicas,
            "rolloutStrategy": {"type": "RollingUpdate", "rollingUpdateConfiguration": ONE_AT_A_TIME},
            "leaderWorkerTemplate": group,
        },
    }


def node_command(box: Container, headless: bool) -> tuple[str, ...]:
    """The command of one rank; LeaderWorkerSet gives every container these variables, and the kubelet expands them."""
    place = across_nodes(box.hosts, "$(LWS_WORKER_INDEX)", "$(LWS_LEADER_ADDRESS)", headless)
    return (*map(literal, box.command), *place)


def pod(
    ask: Ask, box: Container, pod_labels: dict[str, str], command: tuple[str, ...], answers: bool
) -> dict[str, Any]:
    """The template of a pod: a user of its own, a read-only system, no token of the cluster."""
    apart = {"topologySpreadConstraints": spread(leader_labels(ask))} if answers and ask.replicas > 1 else {}
    ports = {"ports": [{"name": "http", "containerPort": box.port}], **probes(box), "lifecycle": drained(box)}
    return {
        "metadata": {"labels": pod_labels},
        "spec": {
            **placed(ask),
            **apart,
            "automountServiceAccountToken": False,
            # A Service called vllm would set VLLM_PORT in here.
            "enableServiceLinks": False,
            "securityContext": pod_security(),
            "terminationGracePeriodSeconds": grace_s(box),
            "containers": [
                {
                    "name": "vllm",
                    "image": f"{box.image}:{box.tag}",
                    "command": list(command),
                    "env": [*variables(box), secret(ask, "VLLM_API_KEY", "api-key")],
                    "resources": taken(ask, box),
                    "securityContext": container_security(),
                    "volumeMounts": mounts(),
                    **(ports if answers else {}),
                }
            ],
            "volumes": volumes(ask),
        },
    }
