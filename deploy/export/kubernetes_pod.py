"""Kubernetes: the pod of a server, as every export for a cluster has it: who it runs as, what it takes, how it ends."""

from math import ceil
from typing import Any

from deploy.export.container import GROUP, HOME, MODEL, SHM_GIB, TEMPORARY, USER, Container
from deploy.export.kubernetes_weights import cache_name, claim_name, literal
from deploy.export.rendering import Ask

DRAIN_S = 600
"""How long requests that run may take when a pod is to go: as long as the routers wait for an answer."""

# vLLM's own drain refuses new requests with 500, or answers 200 and nothing (measured, vLLM 0.32.0): so first nobody
# sends it any more (the endpoints are told while this sleeps), then none runs or waits, and only then it gets SIGTERM.
IS_IDLE = """\
import re, time, urllib.request as http
time.sleep(10)
until, idle = time.monotonic() + {drain_s}, 0
while idle < 3 and time.monotonic() < until:
    page = http.urlopen('http://127.0.0.1:{port}/metrics', timeout=10).read().decode()
    counts = re.findall(r'^vllm:num_requests_(?:running|waiting)(?:{{.*}})? (\\S+)', page, re.MULTILINE)
    idle = idle + 1 if counts and not any(map(float, counts)) else 0
    time.sleep(1)
"""
CORES_BESIDE = 2
"""vLLM's API process and its engine's core, beside one process a GPU (vLLM's docs/configuration/optimization.md)."""
HOST_GIB_EACH = 4
"""Of a process, in the host's memory, at the least: not measured on a GPU."""


def drained(box: Container) -> dict[str, Any]:
    """What is waited for before the server is ended."""
    script = IS_IDLE.format(drain_s=DRAIN_S, port=box.port)
    return {"preStop": {"exec": {"command": ["python3", "-c", script]}}}


def grace_s(box: Container) -> int:
    """How long a pod may take to end: until idle, and the server's own stop."""
    return DRAIN_S + box.stop_s


def taken(ask: Ask, box: Container) -> dict[str, Any]:
    """GPUs, cores and memory: without the last two the pod would be the first to be evicted (BestEffort)."""
    offloaded = ask.plan.further.cpu_offload_gb if ask.plan.further else 0
    gib = HOST_GIB_EACH * (box.gpus + 1) + ceil(offloaded * box.gpus)
    gpus = {"nvidia.com/gpu": box.gpus}
    return {
        "requests": {"cpu": str(box.gpus + CORES_BESIDE), "memory": f"{gib}Gi", **gpus},
        # Shared memory counts, too. No limit of cores: one that is held back holds back its GPU.
        "limits": {"memory": f"{2 * gib + SHM_GIB}Gi", **gpus},
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
    """What the container may not; that it is no root is said here too, where a chart says otherwise."""
    return {
        "runAsNonRoot": True,
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
        {"name": "cache", "mountPath": f"{HOME}/vllm"},
        {"name": "tmp", "mountPath": TEMPORARY},
        {"name": "shm", "mountPath": "/dev/shm"},
    ]


def volumes(ask: Ask) -> list[dict[str, Any]]:
    """The weights read-only, what was compiled for them, and room for sockets and the like that goes with the pod."""
    return [
        {"name": "model", "persistentVolumeClaim": {"claimName": claim_name(ask), "readOnly": True}},
        {"name": "home", "emptyDir": {}},
        {"name": "cache", "persistentVolumeClaim": {"claimName": cache_name(ask)}},
        {"name": "tmp", "emptyDir": {}},
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": f"{SHM_GIB}Gi"}},
    ]
