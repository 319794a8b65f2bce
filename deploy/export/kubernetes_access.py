"""Kubernetes: who comes to the pods of a server, who may take them away, and who reads their metrics."""

from typing import Any

from deploy.export.container import Container
from deploy.export.rendering import Ask


def labels(ask: Ask) -> dict[str, str]:
    """On every pod of the server."""
    return {"app.kubernetes.io/name": "vllm", "app.kubernetes.io/instance": ask.resource_name}


def leader_labels(ask: Ask) -> dict[str, str]:
    """On the pods that answer requests."""
    return labels(ask) | {"app.kubernetes.io/component": "api"}


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
    """Requests come in from the same namespace and from those that were named.

    Nothing goes out, but to the other ranks and the cluster's DNS.
    """
    named = [
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}
        for name in ask.namespaces
    ]
    asking = {"from": [{"podSelector": {}}, *named], "ports": [{"protocol": "TCP", "port": box.port}]}
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
            "ingress": [asking, *([{"from": ranks}] if box.hosts > 1 else [])],
            "egress": [{"to": ranks}, dns] if box.hosts > 1 else [],
        },
    }


def who_comes_in(ask: Ask) -> str:
    """The same as a note."""
    others = f" and {', '.join(ask.namespaces)}" if ask.namespaces else ""
    more = "" if ask.namespaces else "; an ingress or Prometheus elsewhere is let in with --allow-namespace"
    return (
        f"Pods of its own namespace{others} may ask it{more}. The NetworkPolicy is only as good as the network plugin "
        "that enforces it."
    )


def disruption_budget(ask: Ask) -> tuple[dict[str, Any], ...]:
    """A node is emptied of one replica at a time; a single server has nothing that such a budget could keep."""
    if ask.replicas == 1:
        return ()
    budget = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": ask.resource_name, "labels": labels(ask)},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": leader_labels(ask)}},
    }
    return (budget,)


def service_monitor(ask: Ask) -> dict[str, Any]:
    """What Prometheus' operator is to scrape: vLLM tells its metrics without a key."""
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "ServiceMonitor",
        "metadata": {"name": ask.resource_name, "labels": labels(ask)},
        "spec": {
            "selector": {"matchLabels": labels(ask)},
            "endpoints": [{"port": "http", "path": "/metrics", "interval": "15s"}],
        },
    }
