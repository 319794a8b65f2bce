"""Kubernetes: the nodes that pods of a server may stand on."""

from typing import Any

from deploy.export.rendering import Ask


def placed(ask: Ask) -> dict[str, Any]:
    """The nodes of the plan's EC2 type, also where GPUs keep others away."""
    selector = ask.plan.machine.instance_type
    return {
        **({"nodeSelector": {"node.kubernetes.io/instance-type": selector}} if selector else {}),
        "tolerations": tolerations(),
    }


def tolerations() -> list[dict[str, str]]:
    """The mark that clouds put on nodes with GPUs."""
    return [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]


def spread(selector: dict[str, str]) -> list[dict[str, Any]]:
    """Replicas on nodes of their own where there are any: two on one node are lost together."""
    return [
        {
            "maxSkew": 1,
            "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": selector},
        }
    ]
