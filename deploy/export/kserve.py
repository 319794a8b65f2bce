"""KServe: an LLMInferenceService, of which its controller makes a Deployment, a Service and a route.

The controller merges a template of its own below this one (config/llmisvcconfig/config-llm-template.yaml, read
2026-08-21), and then runs all of it through Go's text/template.
"""

from typing import Any

from deploy.export import kubernetes, kubernetes_access, kubernetes_nodes, kubernetes_pod, kubernetes_weights
from deploy.export.container import Container, container
from deploy.export.kubernetes_weights import literal
from deploy.export.rendering import Ask, Export
from infra.host import HostFile

READ = "2026-08-21"
"""When KServe's CRD, its template and its controller were read."""
PORT = 8000
"""Of the Service that the controller makes, and of its scheduler: it takes no other."""


def render(ask: Ask) -> Export:
    """weights.yaml as for plain Kubernetes, server.yaml to serve, monitor.yaml where Prometheus' operator is."""
    plan = ask.plan.model_copy(update={"serve": ask.plan.serve.model_copy(update={"port": PORT})})
    ask = ask.model_copy(update={"plan": plan})
    box = container(ask, listen="0.0.0.0")
    server = [inference_service(ask, box), network_policy(ask, box), *disruption_budget(ask)]
    return Export(
        format="kserve",
        files=(
            HostFile(
                path="weights.yaml",
                content="".join(map(kubernetes.document, kubernetes_weights.prepared(ask, box))),
            ),
            HostFile(path="server.yaml", content="".join(map(kubernetes.document, server))),
            HostFile(path="monitor.yaml", content=kubernetes.document(service_monitor(ask))),
        ),
        notes=(
            f"Rendered from the plan and held against KServe's CRD (v1alpha2, {READ}), its merge and its templating, "
            "and the schemas of Kubernetes 1.37; not run on a cluster by us.",
            "KServe downloads nothing (storageInitializer is off): the weights lie in the volume of "
            f"{kubernetes_weights.claim_name(ask)}.",
            "The server speaks HTTP, as KServe expects by default. Where its enableLLMInferenceServiceTLS is on, add "
            "--ssl-certfile /var/run/kserve/tls/tls.crt --ssl-keyfile /var/run/kserve/tls/tls.key to the command, and "
            "HTTPS to the probes and the preStop.",
            kubernetes.RUNTIME_CLASS,
            kubernetes_access.who_comes_in(ask),
            "KServe's gateway is such an ingress: name the namespace in which its proxies run (envoy-gateway-system, "
            "or that of the Gateway).",
            kubernetes.STOPPING,
            "KServe has no deadline of its own for a start: while weights load for more than ten minutes it says "
            "ProgressDeadlineExceeded, and Ready when they are there.",
            kubernetes.MEMORY,
            kubernetes.WATCHED,
            f"Before: printf sk-%s $(openssl rand -hex 32) | kubectl create secret generic {ask.resource_name} "
            "--from-file=api-key=/dev/stdin (add hf-token for a gated model)",
            kubernetes_weights.how_to_bring(ask, box),
            "Next: kubectl apply -f server.yaml && kubectl wait --for=condition=Ready "
            f"--timeout={kubernetes.progress_deadline_s(box)}s llminferenceservice/{ask.resource_name}",
        ),
    )


def inference_service(ask: Ask, box: Container) -> dict[str, Any]:
    """The resource; a scheduler that picks a replica by its queue and prefixes where there are several."""
    scheduler: dict[str, Any] = {"scheduler": {}} if ask.replicas > 1 else {}
    spec = {
        "model": {
            "uri": f"pvc://{kubernetes_weights.claim_name(ask)}",
            "name": ask.plan.serve.served_model_name,
        },
        # Our own mounts hold the draft, too, and are read-only.
        "storageInitializer": {"enabled": False},
        "replicas": ask.replicas,
        "rolloutStrategy": kubernetes.ONE_AT_A_TIME,
        # For that the server would have to answer to a second name, publishers/NAMESPACE/models/NAME.
        "annotations": {"serving.kserve.io/model-based-routing-enabled": "false"},
        "router": {"route": {}, "gateway": {}, **scheduler},
        "template": pod(ask, box),
    }
    return {
        "apiVersion": "serving.kserve.io/v1alpha2",
        "kind": "LLMInferenceService",
        "metadata": {"name": ask.resource_name, "labels": kubernetes_access.labels(ask)},
        "spec": untemplated(spec),
    }


def pod(ask: Ask, box: Container) -> dict[str, Any]:
    """The pod of plain Kubernetes, as KServe's template is merged with it: by the names of containers and mounts."""
    spec: dict[str, Any] = kubernetes.pod(ask, box, {}, tuple(map(literal, box.command)), answers=True)[
        "spec"
    ]
    (server,) = spec["containers"]
    apart = (
        {"topologySpreadConstraints": kubernetes_nodes.spread(pod_labels(ask))} if ask.replicas > 1 else {}
    )
    return spec | apart | {"containers": [{**server, "name": "main", **probes(box)}]}


def probes(box: Container) -> dict[str, Any]:
    """By HTTP all three: KServe's template has httpGet in each, and a probe of two kinds is none.

    vLLM listens when the model is loaded and not before, so /health says as much as the list of models.
    """
    health = {"httpGet": {"path": "/health", "port": box.port, "scheme": "HTTP"}}
    known = kubernetes_pod.probes(box)
    ready = {"periodSeconds": 5, "timeoutSeconds": 5, "failureThreshold": 3}
    return {
        "startupProbe": known["startupProbe"] | health,
        "readinessProbe": ready | health,
        "livenessProbe": known["livenessProbe"] | health,
    }


def untemplated(value: Any) -> Any:
    """The same after Go's text/template, which the controller runs over all of it: a chat template has `{{` in it."""
    if isinstance(value, dict):
        return {name: untemplated(each) for name, each in value.items()}
    if isinstance(value, list):
        return [untemplated(each) for each in value]
    return value.replace("{{", "{{`{{`}}") if isinstance(value, str) else value


def pod_labels(ask: Ask) -> dict[str, str]:
    """What the controller writes on the pods of the server."""
    return {
        "app.kubernetes.io/name": ask.resource_name,
        "app.kubernetes.io/part-of": "llminferenceservice",
        "kserve.io/component": "workload",
    }


def network_policy(ask: Ask, box: Container) -> dict[str, Any]:
    """The same as for plain Kubernetes, on the controller's labels; its scheduler is of the same namespace."""
    policy = kubernetes_access.network_policy(ask, box)
    return policy | {"spec": policy["spec"] | {"podSelector": {"matchLabels": pod_labels(ask)}}}


def disruption_budget(ask: Ask) -> tuple[dict[str, Any], ...]:
    """The same, on the same labels."""
    return tuple(
        budget | {"spec": budget["spec"] | {"selector": {"matchLabels": pod_labels(ask)}}}
        for budget in kubernetes_access.disruption_budget(ask)
    )


def service_monitor(ask: Ask) -> dict[str, Any]:
    """What Prometheus' operator is to scrape, as the job that the rules ask for: the Service has another name."""
    monitor = kubernetes_access.service_monitor(ask)
    selector = {name: value for name, value in pod_labels(ask).items() if name != "kserve.io/component"}
    of_server = {"app.kubernetes.io/component": "llminferenceservice-workload"}
    return monitor | {
        "spec": monitor["spec"]
        | {"jobLabel": "app.kubernetes.io/name", "selector": {"matchLabels": selector | of_server}}
    }
