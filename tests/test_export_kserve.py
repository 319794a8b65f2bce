"""`corral export --to kserve`: KServe's own schema, its merge and its templating, each by a tool that does the same."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import jsonschema
import pytest
from test_export import DATA, documents, rendered
from test_export_hostile import asked, template

from deploy.export.formats import export

# What KServe's own template of a server on one node says, in short (config/llmisvcconfig/config-llm-template.yaml, read
# 2026-08-21, as rendered without TLS): whatever a merge could put beside what corral says, or leave of it.
KSERVES = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: x}
spec:
  selector: {matchLabels: {a: b}}
  template:
    metadata: {labels: {a: b}}
    spec:
      containers:
      - image: ghcr.io/llm-d/llm-d-cuda:v0.9.0
        imagePullPolicy: IfNotPresent
        name: main
        ports: [{containerPort: 8000, protocol: TCP}]
        command: [/bin/bash, -c, 'eval "exec vllm serve /mnt/models $@"', --]
        env: [{name: HOME, value: /home}, {name: VLLM_LOGGING_LEVEL, value: INFO}, {name: HF_HUB_CACHE, value: /models}]
        securityContext:
          allowPrivilegeEscalation: false
          readOnlyRootFilesystem: false
          runAsNonRoot: true
          capabilities: {drop: [ALL]}
          seccompProfile: {type: RuntimeDefault}
        lifecycle: {preStop: {exec: {command: [/bin/sleep, "15"]}}}
        livenessProbe:
          httpGet: {path: /health, port: 8000, scheme: HTTP}
          periodSeconds: 10
          timeoutSeconds: 1
          failureThreshold: 10
        readinessProbe:
          httpGet: {path: /health, port: 8000, scheme: HTTP}
          periodSeconds: 1
          timeoutSeconds: 1
          failureThreshold: 2
        startupProbe:
          httpGet: {path: /health, port: 8000, scheme: HTTP}
          failureThreshold: 60
          periodSeconds: 10
        volumeMounts:
        - {mountPath: /home, name: home}
        - {mountPath: /tmp, name: tmp-dir}
        - {mountPath: /dev/shm, name: dshm}
        - {mountPath: /models, name: model-cache}
        - {mountPath: /var/run/kserve/tls, name: tls-certs, readOnly: true}
      terminationGracePeriodSeconds: 60
      volumes:
      - {emptyDir: {}, name: home}
      - {emptyDir: {medium: Memory, sizeLimit: 1Gi}, name: dshm}
      - {emptyDir: {}, name: model-cache}
      - {emptyDir: {}, name: tmp-dir}
      - {name: tls-certs, secret: {secretName: x-kserve-self-signed-certs}}
"""


def server(replicas: int = 1, **changes: Any) -> list[dict[str, Any]]:
    return documents(rendered("kserve", "scout-int4", replicas=replicas, **changes), "server.yaml")


@pytest.mark.parametrize("replicas", [1, 3])
def test_kserves_own_schema_takes_it_and_kubernetes_the_rest(
    replicas: int, need: Callable[[str, str], NoReturn]
) -> None:
    try:
        import kubernetes_validate
    except ImportError:
        need("schemas", "kubernetes-validate is not installed")
    made = rendered("kserve", "scout-int4", replicas=replicas)
    schema = json.loads((DATA / "llminferenceservice.schema.json").read_text())
    service, *others = documents(made, "server.yaml")
    jsonschema.validate(service, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(service | {"spec": service["spec"] | {"replica": 1}}, schema)
    head = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "x"}}
    for known in (
        head | {"template": {"spec": service["spec"]["template"]}},
        *others,
        *documents(made, "weights.yaml"),
    ):
        kubernetes_validate.validate(known, "1.37", strict=True)


def test_merged_with_kserves_own_template_it_is_still_the_plans_server(tmp_path: Path, kubectl: str) -> None:
    """By kubectl's strategic merge, which is the controller's: it keeps what is not said, of a probe's kind too."""
    (tmp_path / "kserve.yaml").write_text(KSERVES)
    (service,) = (each for each in server() if each["kind"] == "LLMInferenceService")
    patch = {"spec": {"template": {"spec": service["spec"]["template"]}}}
    words = [
        "patch",
        "--local",
        f"--filename={tmp_path / 'kserve.yaml'}",
        "--type=strategic",
        "--output=json",
    ]
    command = [kubectl, *words, "--patch", json.dumps(patch)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    pod = json.loads(done.stdout)["spec"]["template"]["spec"]
    (main,) = pod["containers"]
    (ours,) = service["spec"]["template"]["containers"]
    for field in ("image", "command", "resources", "lifecycle"):
        assert main[field] == ours[field]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert set(main[probe]) & {"exec", "tcpSocket", "grpc", "httpGet"} == {"httpGet"}
        assert main[probe] == main[probe] | ours[probe]
    environment = {each["name"]: each for each in main["env"]}
    assert environment == environment | {each["name"]: each for each in ours["env"]}
    assert main["securityContext"]["readOnlyRootFilesystem"] is True
    seen = {each["mountPath"]: each["name"] for each in main["volumeMounts"]}
    assert len(seen) == len(main["volumeMounts"])
    assert seen == seen | {each["mountPath"]: each["name"] for each in ours["volumeMounts"]}
    assert set(seen.values()) <= {each["name"] for each in pod["volumes"]}
    assert [each["containerPort"] for each in main["ports"]] == [8000]
    assert pod["terminationGracePeriodSeconds"] == 690


@pytest.mark.parametrize(
    "name", ["{{ x }}", "{{{{", "%{ if x }", "a;b", '{{ "x" }}', "{{`x`}}", "}} {{- /* x */ -}}"]
)
def test_nothing_of_it_is_a_template_of_the_controllers(name: str, tmp_path: Path, kubectl: str) -> None:
    """The controller runs all of it through Go's text/template, as kubectl does for its output."""
    made = export("kserve", asked(name))
    (service,) = (each for each in documents(made, "server.yaml") if each["kind"] == "LLMInferenceService")
    (tmp_path / "template").write_text(json.dumps(service))
    words = ["config", "view", "--kubeconfig=/dev/null", f"--output=go-template-file={tmp_path / 'template'}"]
    done = subprocess.run([kubectl, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    command = json.loads(done.stdout)["spec"]["template"]["containers"][0]["command"]
    serve = asked(name).plan.serve
    assert command[command.index("--served-model-name") + 1] == serve.served_model_name.replace("$", "$$")
    assert command[command.index("--chat-template") + 1] == template(name).replace("$", "$$")


def test_what_stands_beside_it_is_of_the_pods_and_the_service_that_the_controller_makes() -> None:
    of_pods = {
        "app.kubernetes.io/name": "corral-scout-int4",
        "app.kubernetes.io/part-of": "llminferenceservice",
        "kserve.io/component": "workload",
    }
    service, policy, budget = server(replicas=2, namespaces=("envoy-gateway-system",))
    assert policy["spec"]["podSelector"] == {"matchLabels": of_pods}
    assert budget["spec"]["selector"] == {"matchLabels": of_pods}
    (spread,) = service["spec"]["template"]["topologySpreadConstraints"]
    assert spread["labelSelector"] == {"matchLabels": of_pods}
    (asking,) = policy["spec"]["ingress"]
    assert [each.get("namespaceSelector") for each in asking["from"]] == [
        None, {"matchLabels": {"kubernetes.io/metadata.name": "envoy-gateway-system"}}
    ]  # fmt: skip
    (monitor,) = documents(rendered("kserve", "scout-int4"), "monitor.yaml")
    assert monitor["spec"]["jobLabel"] == "app.kubernetes.io/name"
    assert monitor["spec"]["selector"]["matchLabels"]["app.kubernetes.io/name"] == "corral-scout-int4"


def test_replicas_have_a_scheduler_and_one_server_has_none() -> None:
    one, several = server()[0]["spec"], server(replicas=2)[0]["spec"]
    assert (one["router"], one["replicas"]) == ({"route": {}, "gateway": {}}, 1)
    assert (several["router"], several["replicas"]) == ({"route": {}, "gateway": {}, "scheduler": {}}, 2)
    assert several["rolloutStrategy"] == {"maxSurge": 0, "maxUnavailable": 1}


def test_it_listens_where_kserve_asks_whatever_the_plan_says() -> None:
    given = asked("a;b")
    serve = given.plan.serve.model_copy(update={"port": 9000})
    plan = given.plan.model_copy(update={"serve": serve})
    made = export("kserve", given.model_copy(update={"plan": plan}))
    texts = "".join(file.content for file in made.files)
    assert "9000" not in texts
    (main,) = documents(made, "server.yaml")[0]["spec"]["template"]["containers"]
    assert main["command"][main["command"].index("--port") + 1] == "8000"
