"""Kubernetes: the volume of the weights, and the job that fills it; the server itself may not reach the Hub."""

from typing import Any

from deploy.export.container import GROUP, HOME, MODEL, USER, Container
from deploy.export.kubernetes_nodes import placed
from deploy.export.rendering import Ask


def claim_name(ask: Ask) -> str:
    """The claim that the server mounts read-only."""
    return f"{ask.resource_name}-model"


def cache_name(ask: Ask) -> str:
    """The claim of what vLLM compiles: a pod that comes anew need not do it again."""
    return f"{ask.resource_name}-cache"


CACHE_GIB = 10
"""Room for what torch.compile writes; not measured on a GPU."""


def prepared(ask: Ask, box: Container) -> tuple[dict[str, Any], ...]:
    """What there must be before a server: room for the weights and the cache, and the download."""
    volumes = (claim(ask, box), cache(ask, box))
    return (*volumes, job(ask, box)) if box.is_repository else volumes


def claim(ask: Ask, box: Container) -> dict[str, Any]:
    """Room for the checkpoint and a tenth; shared where more than one node reads it."""
    return room(claim_name(ask), box.weights_gib * 11 // 10 + 1, box.hosts > 1 or ask.replicas > 1)


def cache(ask: Ask, box: Container) -> dict[str, Any]:
    """Room for what is compiled, shared as the weights are: what is in it is named by what it was compiled of."""
    return room(cache_name(ask), CACHE_GIB, box.hosts > 1 or ask.replicas > 1)


def room(name: str, gib: int, shared: bool) -> dict[str, Any]:
    """A claim."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name},
        "spec": {
            "accessModes": ["ReadWriteMany" if shared else "ReadWriteOnce"],
            "resources": {"requests": {"storage": f"{gib}Gi"}},
        },
    }


def job(ask: Ask, box: Container) -> dict[str, Any]:
    """The download, with the Hub's token only where there is one."""
    token = {
        "name": "HF_TOKEN",
        "valueFrom": {"secretKeyRef": {"name": ask.resource_name, "key": "hf-token", "optional": True}},
    }
    fetch = {
        "name": "fetch",
        "image": f"{box.image}:{box.tag}",
        "command": list(map(literal, box.fetch)),
        "env": [token, {"name": "HOME", "value": HOME}, {"name": "HF_HUB_DISABLE_TELEMETRY", "value": "1"}],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": "model", "mountPath": MODEL}, {"name": "home", "mountPath": HOME}],
    }
    template = {
        "spec": {
            "restartPolicy": "OnFailure",
            "automountServiceAccountToken": False,
            # A disk of one zone stays in the zone of the first pod that mounts it: that must be one with GPUs.
            **placed(ask),
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": USER,
                "runAsGroup": GROUP,
                "fsGroup": USER,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [fetch],
            "volumes": [
                {"name": "model", "persistentVolumeClaim": {"claimName": claim_name(ask)}},
                {"name": "home", "emptyDir": {}},
            ],
        }
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": f"{ask.resource_name}-weights"},
        "spec": {"backoffLimit": 4, "template": template},
    }


def how_to_bring(ask: Ask, box: Container) -> str:
    """The step before the server, as a note."""
    if not box.is_repository:
        draft = ", its draft into draft/ there" if box.draft else ""
        volume = claim_name(ask)
        return f"Then: kubectl apply -f weights.yaml, and copy the checkpoint into the volume of {volume}{draft}."
    wait = f"kubectl wait --for=condition=complete --timeout=12h job/{ask.resource_name}-weights"
    return f"Then: kubectl apply -f weights.yaml && {wait}"


def literal(text: str) -> str:
    """Text the kubelet does not take for one of its variables."""
    return text.replace("$", "$$")
