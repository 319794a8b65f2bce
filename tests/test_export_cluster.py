"""What is exported for a cluster: how its pods come and go, what they take, and who may ask them."""

import json
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from test_export import documents, rendered

from deploy.cli.main import run

PLAN = Path(__file__).parent / "data" / "export" / "scout-int4.json"


def of_kind(documents: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    (found,) = (each for each in documents if each["kind"] == kind)
    return found


def server(replicas: int = 1, **changes: Any) -> list[dict[str, Any]]:
    return documents(rendered("kubernetes", "scout-int4", replicas=replicas, **changes), "server.yaml")


def test_replicas_go_one_at_a_time_and_stand_apart() -> None:
    found = server(replicas=3)
    deployment = of_kind(found, "Deployment")["spec"]
    assert deployment["replicas"] == 3
    assert deployment["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1},
    }
    pods = deployment["selector"]["matchLabels"]
    assert of_kind(found, "PodDisruptionBudget")["spec"] == {
        "maxUnavailable": 1,
        "selector": {"matchLabels": pods},
    }
    (spread,) = deployment["template"]["spec"]["topologySpreadConstraints"]
    assert (spread["topologyKey"], spread["labelSelector"]) == (
        "kubernetes.io/hostname",
        {"matchLabels": pods},
    )
    one = server()
    assert [each["kind"] for each in one] == ["Deployment", "Service", "NetworkPolicy"]
    assert "topologySpreadConstraints" not in one[0]["spec"]["template"]["spec"]


def quality_of_service(pod: dict[str, Any]) -> str:
    """As Kubernetes' documentation has it: by cores and memory alone, GPUs are none of it."""
    each = [container.get("resources", {}) for container in pod["containers"]]
    asked = [{key for kind in ("requests", "limits") for key in some.get(kind, {})} for some in each]
    if not any(keys & {"cpu", "memory"} for keys in asked):
        return "BestEffort"
    whole = all(
        some.get("limits", {}).get(key, "no") == some.get("requests", {}).get(key)
        for some in each
        for key in ("cpu", "memory")
    )
    return "Guaranteed" if whole else "Burstable"


@pytest.mark.parametrize(("to", "name"), [("kubernetes", "scout-int4"), ("kubernetes", "maverick-bf16")])
def test_no_pod_is_the_first_to_be_evicted_and_each_may_stand_on_a_node_with_gpus(to: str, name: str) -> None:
    made = documents(rendered(to, name), "server.yaml")[0]["spec"]
    group = made.get("leaderWorkerTemplate", {"leaderTemplate": made.get("template")})
    pods = [value["spec"] for key, value in group.items() if key.endswith("Template")]
    for pod in pods:
        assert quality_of_service(pod) == "Burstable"
        assert pod["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]


def test_the_download_stands_where_the_server_will() -> None:
    """A disk of one zone is made in the zone of the first pod that mounts it."""
    made = rendered("kubernetes", "scout-int4")
    job = of_kind(documents(made, "weights.yaml"), "Job")["spec"]["template"]["spec"]
    pod = of_kind(documents(made, "server.yaml"), "Deployment")["spec"]["template"]["spec"]
    assert [job[key] for key in ("nodeSelector", "tolerations")] == [
        pod[key] for key in ("nodeSelector", "tolerations")
    ]


def test_what_is_compiled_is_kept_when_a_pod_goes() -> None:
    made = rendered("kubernetes", "scout-int4")
    pod = of_kind(documents(made, "server.yaml"), "Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    places = {variable["name"]: variable.get("value") for variable in container["env"]}
    (volume,) = (
        each["name"] for each in container["volumeMounts"] if each["mountPath"] == places["VLLM_CACHE_ROOT"]
    )
    (claim,) = (
        each["persistentVolumeClaim"]["claimName"] for each in pod["volumes"] if each["name"] == volume
    )
    assert claim in [each["metadata"]["name"] for each in documents(made, "weights.yaml")]


def test_named_namespaces_may_ask_and_prometheus_operator_finds_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["--to", "kubernetes", "--allow-namespace", "monitoring", "--allow-namespace", "ingress-nginx"]
    assert run(["export", str(PLAN), *words, "--json"]) == 0
    out, err = capsys.readouterr()
    files = {file["path"]: list(yaml.safe_load_all(file["content"])) for file in json.loads(out)["files"]}
    (asking,) = of_kind(files["server.yaml"], "NetworkPolicy")["spec"]["ingress"]
    names = [
        each["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"] for each in asking["from"][1:]
    ]
    assert (asking["from"][0], names) == ({"podSelector": {}}, ["monitoring", "ingress-nginx"])
    assert "Pods of its own namespace and monitoring, ingress-nginx may ask it." in err
    service, (monitor,) = of_kind(files["server.yaml"], "Service"), files["monitor.yaml"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert [each["port"] for each in monitor["spec"]["endpoints"]] == [service["spec"]["ports"][0]["name"]]
    assert run(["export", str(PLAN), "--to", "kubernetes", "--allow-namespace", "Not One"]) == 2
    assert run(["export", str(PLAN), "--to", "compose", "--allow-namespace", "monitoring"]) == 2


def pages(*counts: tuple[int, int]) -> Iterator[str]:
    """What the real engine's page says of requests that run and wait, and lines beside that say neither."""
    for running, waiting in counts:
        yield (
            "# HELP vllm:num_requests_running Number of requests in model execution batches.\n"
            f'vllm:num_requests_running{{engine="0",model_name="m"}} {float(running)}\n'
            f'vllm:num_requests_waiting{{engine="0",model_name="m"}} {float(waiting)}\n'
            'vllm:num_requests_waiting_by_reason{engine="0",model_name="m",reason="capacity"} 1.0\n'
        )


@pytest.mark.parametrize(
    ("counts", "looks"),
    [
        ([(0, 0), (0, 0), (0, 0), (9, 9)], 3),
        ([(2, 0), (0, 1), (0, 0), (0, 0), (1, 0), (0, 0), (0, 0), (0, 0), (9, 9)], 8),
        ([(1, 0)] * 700, 600),
    ],
)
def test_a_pod_is_ended_when_nothing_runs_or_waits(
    counts: list[tuple[int, int]], looks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The script that runs before SIGTERM, with a clock that its waits alone move; it gives up after its time."""
    pod = of_kind(server(), "Deployment")["spec"]["template"]["spec"]
    python, flag, script = pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    assert (python, flag) == ("python3", "-c")
    assert "$" not in script, "who runs it puts nothing in place of a $, and takes nothing away"
    clock, said, asked = [0.0], pages(*counts), []

    def sleep(seconds: float) -> None:
        clock[0] += seconds

    def opened(url: str, timeout: float) -> BytesIO:
        asked.append(url)
        return BytesIO(next(said).encode())

    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(urllib.request, "urlopen", opened)
    exec(script, {})
    assert set(asked) == {"http://127.0.0.1:8000/metrics"}
    assert len(asked) == looks
    assert pod["terminationGracePeriodSeconds"] > clock[0] + 60


# What the chart of version 0.1.12 renders of this, in short: its names, and what it has no value for. Rendered with
# helm 4.2.3 on 2026-11-30.
CHART = """
apiVersion: apps/v1
kind: Deployment
metadata:
  name: corral-scout-int4-scout-int4-deployment-vllm
spec:
  progressDeadlineSeconds: 1200
  selector: {matchLabels: {model: scout-int4}}
  template:
    metadata: {labels: {model: scout-int4}}
    spec:
      containers: [{name: vllm, image: x, args: [a]}]
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: corral-scout-int4-deployment-router
spec:
  selector: {matchLabels: {a: b}}
  template:
    metadata: {labels: {a: b}}
    spec:
      containers: [{name: router-container, image: x}]
"""


def test_kubectl_puts_in_what_the_chart_has_no_value_for(tmp_path: Path, kubectl: str) -> None:
    made = rendered("production-stack", "scout-int4", replicas=2)
    (tmp_path / "chart.yaml").write_text(CHART)
    for file in made.files:
        (tmp_path / file.path).write_text(file.content)
    done = subprocess.run([kubectl, "kustomize", tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    router, engine = sorted(yaml.safe_load_all(done.stdout), key=lambda each: len(str(each)))
    assert "terminationGracePeriodSeconds" not in router["spec"]["template"]["spec"]
    assert engine["spec"]["progressDeadlineSeconds"] == 2376
    pod = engine["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] == 690
    (container,) = pod["containers"]
    assert (container["args"], "preStop" in container["lifecycle"]) == (["a"], True)
    assert pod["topologySpreadConstraints"][0]["labelSelector"] == {"matchLabels": {"model": "scout-int4"}}
    values = documents(made, "values.yaml")[0]
    assert values["servingEngineSpec"]["containerSecurityContext"]["runAsNonRoot"] is True
    assert values["servingEngineSpec"]["modelSpec"][0]["pdb"] == {"enabled": True, "maxUnavailable": 1}
    assert values["routerSpec"]["tag"] == "v0.1.12"
