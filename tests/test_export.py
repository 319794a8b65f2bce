"""`corral export`: whole files against golden ones, real schemas where a package brings them, and what is refused."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
import refusals
import yaml

from deploy.cli.main import run
from deploy.export.dstack import DSTACK
from deploy.export.formats import FORMATS, export
from deploy.export.rendering import Ask, Export
from deploy.targets import deployment as deployments
from deploy.targets import hub_weights
from deploy.targets.ec2.options import Ec2Options
from deploy.targets.ec2.ordering import located, order
from deploy.targets.ssh.host_setup import Brought, host_setup
from infra.errors import CorralError
from infra.host_files import host_files
from infra.record import Record
from serving.sizing.plan import Plan
from serving.vllm.serve_options import argv

DATA = Path(__file__).parent / "data" / "export"
PLANS = ("scout-int4", "scout-bf16", "maverick-bf16")
# One golden case a format; systemd's is the very value an owned host gets.
GOLDEN = {
    "compose": "scout-int4",
    "quadlet": "scout-int4",
    "kserve": "scout-int4",
    "kubernetes": "maverick-bf16",
    "production-stack": "scout-int4",
    "skypilot": "maverick-bf16",
    "dstack": "scout-int4",
    "terraform": "scout-int4",
    "litellm": "scout-int4",
    "vllm-router": "scout-int4",
}
ONE_HOST = ("compose", "quadlet", "systemd", "kserve", "production-stack", "terraform")
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "corral-tests"
QUADLET = Path("usr/libexec/podman/quadlet")


def plan(name: str) -> Plan:
    return Plan.read(DATA / f"{name}.json")


def ask(name: str, **changes: Any) -> Ask:
    given = {"plan": plan(name), "name": name, "claude_model": "claude-sonnet-5-5"}
    return Ask.model_validate(given | changes)


def rendered(to: str, name: str, **changes: Any) -> Export:
    return export(to, ask(name, **changes))


def documents(made: Export, path: str) -> list[dict[str, Any]]:
    (file,) = (file for file in made.files if file.path == path)
    return list(yaml.safe_load_all(file.content))


def carried(to: str) -> tuple[str, ...]:
    """The plans a format can carry."""
    known = PLANS[:2] if to in ONE_HOST else PLANS
    return ("scout-int4",) if to == "terraform" else known


EVERY = [(to, name) for to in FORMATS for name in carried(to)]


@pytest.mark.parametrize(("to", "name"), GOLDEN.items())
def test_every_file_is_the_golden_one(to: str, name: str) -> None:
    """Made again by: corral export tests/data/export/NAME.json --to FORMAT --name NAME -o tests/data/export/FORMAT"""
    found = {file.path: file.content for file in rendered(to, name).files}
    wanted = {
        path.relative_to(DATA / to).as_posix(): path.read_text(encoding="utf-8")
        for path in (DATA / to).rglob("*")
    }
    if to == "terraform":  # what EC2 gets anyway, and tests/test_host.py holds
        asked = ask(name)
        wanted["user-data.yaml"] = order(
            deployments.make(asked.plan, "ec2", name),
            located(Ec2Options(**asked.box.model_dump()), asked.plan.region),
        ).user_data
    assert found == wanted


@pytest.mark.parametrize("name", PLANS[:2])
def test_systemd_is_what_an_owned_host_gets(name: str) -> None:
    deployment = hub_weights.kept(deployments.make(plan(name), "ssh", name))
    wanted = host_files(host_setup(deployment, Brought(version="0.33.0")))
    found = rendered("systemd", name).files
    assert [("/" + file.path, file.content, file.mode) for file in found] == [
        (file.path, file.content, file.mode) for file in wanted
    ]


@pytest.mark.parametrize(("to", "name"), EVERY)
def test_no_secret_and_the_next_step(to: str, name: str) -> None:
    made = rendered(to, name)
    text = "".join(file.content for file in made.files)
    assert not re.search(r"sk-[A-Za-z0-9]|hf_[A-Za-z0-9]{8}|AKIA", text)
    assert made.notes[-1].startswith("Next: ")
    if to not in ("systemd", "terraform", "litellm", "vllm-router", "prometheus"):
        assert "VLLM_API_KEY" in text
        assert "VLLM_NO_USAGE_STATS" in text
        assert "HF_HUB_OFFLINE" in text


def vllm_command(to: str, name: str) -> list[str]:
    """The first rank's command, as the platform's own reader would see it."""
    made = rendered(to, name)
    if to == "compose":
        service = documents(made, "compose.yaml")[0]["services"]["vllm"]
        return [word.replace("$$", "$") for word in (*service["entrypoint"], *service["command"])]
    if to == "quadlet":
        line = next(line for line in made.files[0].content.splitlines() if line.startswith("Exec="))
        return ["vllm", *shlex.split(line.removeprefix("Exec="))]
    if to == "kserve":
        return list(documents(made, "server.yaml")[0]["spec"]["template"]["containers"][0]["command"])
    if to == "kubernetes":
        spec = documents(made, "server.yaml")[0]["spec"]
        template = spec.get("template") or spec["leaderWorkerTemplate"]["leaderTemplate"]
        return list(template["spec"]["containers"][0]["command"])
    script = (
        documents(made, "task.yaml")[0]["run"]
        if to == "skypilot"
        else documents(made, "serve.dstack.yml")[0]["commands"][-1]
    )
    words = shlex.split(script.strip().splitlines()[-1])
    return words[words.index("vllm") :]


@pytest.mark.parametrize("to", ["compose", "quadlet", "kubernetes", "kserve", "skypilot", "dstack"])
@pytest.mark.parametrize("name", PLANS)
def test_the_command_is_the_plans_own_and_its_ranks_make_the_whole(to: str, name: str) -> None:
    if name not in carried(to):
        return
    command, serve = vllm_command(to, name), plan(name).serve
    listen = command[command.index("--host") + 1]
    assert listen == ("0.0.0.0" if to in ("compose", "kubernetes", "kserve") else "127.0.0.1")
    wanted = ("vllm", *argv(serve.model_copy(update={"model": "/model", "host": listen})))
    assert tuple(command[: len(wanted)]) == wanted
    rest = command[len(wanted) :]
    if plan(name).machine.hosts == 1:
        assert rest == []
        return
    assert rest[:2] == ["--nnodes", "2"]
    assert [rest[2], rest[4]] == ["--node-rank", "--master-addr"]


def test_two_nodes_of_kubernetes_have_the_gpus_of_the_plan() -> None:
    group = documents(rendered("kubernetes", "maverick-bf16"), "server.yaml")[0]["spec"][
        "leaderWorkerTemplate"
    ]
    leader, worker = (group[role]["spec"]["containers"][0] for role in ("leaderTemplate", "workerTemplate"))
    place = ["--node-rank", "$(LWS_WORKER_INDEX)", "--master-addr", "$(LWS_LEADER_ADDRESS)"]
    assert (leader["command"][-4:], worker["command"][-5:]) == (place, [*place, "--headless"])
    assert group["size"] * leader["resources"]["limits"]["nvidia.com/gpu"] == 8 * 2
    assert "readinessProbe" in leader
    assert "readinessProbe" not in worker


@pytest.mark.parametrize("name", PLANS[:2])
def test_composes_own_schema_accepts_it(
    name: str, tmp_path: Path, need: Callable[[str, str], NoReturn]
) -> None:
    if not (checker := shutil.which("check-jsonschema", path=str(Path(sys.executable).parent))):
        need("schemas", "check-jsonschema is not installed")
    path = tmp_path / "compose.yaml"
    path.write_text(rendered("compose", name).files[0].content)
    command = [checker, "--builtin-schema", "vendor.compose-spec", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", PLANS)
def test_kubernetes_own_schemas_accept_it(name: str, need: Callable[[str, str], NoReturn]) -> None:
    try:
        import kubernetes_validate
    except ImportError:
        need("schemas", "kubernetes-validate is not installed")
    made = rendered("kubernetes", name)
    for resource in (*documents(made, "weights.yaml"), *documents(made, "server.yaml")):
        for known in core(resource):
            kubernetes_validate.validate(known, "1.37", strict=True)


def core(resource: dict[str, Any]) -> list[dict[str, Any]]:
    """The parts that Kubernetes itself knows: of a LeaderWorkerSet its two templates."""
    if resource["kind"] != "LeaderWorkerSet":
        return [resource]
    spec = LeaderWorkerSet.model_validate(resource).spec["leaderWorkerTemplate"]
    head = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "x"}}
    return [head | {"template": spec[role]} for role in ("leaderTemplate", "workerTemplate")]


class LeaderWorkerSet(Record):
    """The fields used, as in the CRD of LWS release 0.9.0, v1."""

    apiVersion: str  # noqa: N815
    kind: str
    metadata: dict[str, Any]
    spec: dict[str, Any]


@pytest.mark.parametrize("name", PLANS[:2])
def test_podmans_own_generator_reads_the_quadlet(
    name: str, tmp_path: Path, need: Callable[[str, str], NoReturn]
) -> None:
    found = [place / QUADLET for place in (CACHE / "quadlet", Path("/")) if (place / QUADLET).exists()]
    if not found:
        need("quadlet", "podman 5 is not installed; run: scripts/ci-exporters")
    for file in rendered("quadlet", name).files:
        (tmp_path / file.path).write_text(file.content)
    done = subprocess.run(
        [found[0], "-dryrun"],
        env={"QUADLET_UNIT_DIRS": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("ExecStart=") and "serve" in line)
    words = shlex.split(line)
    assert words[-len(argv(plan(name).serve)) :] == vllm_command("quadlet", name)[1:]
    health = json.loads(words[words.index("--health-cmd") + 1])
    assert (health[:3], words[words.index("--health-on-failure") + 1]) == (["CMD", "python3", "-c"], "kill")
    compile(health[3], "health", "exec")


@pytest.mark.parametrize("name", PLANS)
def test_dstacks_own_reader_takes_it(name: str, tmp_path: Path, need: Callable[[str, str], NoReturn]) -> None:
    """What it says of the service: whose key a request brings, and what the model is called."""
    if not ((folder := CACHE / f"dstack-{DSTACK}") / "complete").exists():
        need("dstack", "dstack is not installed; run: scripts/ci-exporters")
    (tmp_path / "serve.dstack.yml").write_text(rendered("dstack", name).files[0].content)
    done = subprocess.run(
        [folder / "bin" / "python", "-c", READ_BY_DSTACK],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    service = {"type": "service", "auth": False, "model": plan(name).serve.served_model_name}
    assert json.loads(done.stdout) == (service if plan(name).machine.hosts == 1 else {"type": "task"})


READ_BY_DSTACK = """
import json, yaml
from dstack._internal.core.models.configurations import parse_run_configuration
found = parse_run_configuration(yaml.safe_load(open("serve.dstack.yml")))
more = {"auth": found.auth, "model": found.model.name} if found.type == "service" else {}
print(json.dumps({"type": found.type, **more}))
"""


@pytest.mark.engine
@pytest.mark.parametrize("name", ["maverick-bf16"])
def test_the_engines_own_parser_takes_every_flag(
    name: str, engine_parser: Callable[[list[str]], Any]
) -> None:
    words = vllm_command("kubernetes", name)[2:]
    made = engine_parser(["0" if word == "$(LWS_WORKER_INDEX)" else word for word in words])
    split, hosts = plan(name).parallel, plan(name).machine.hosts
    fields = ("tensor_parallel_size", "pipeline_parallel_size", "nnodes", "headless")
    assert [made[field] for field in fields] == [split.tensor, split.pipeline, hosts, False]


@pytest.mark.parametrize(
    ("to", "name", "changes", "code", "sentence", "hint"),
    [
        *((to, "maverick-bf16", {}, 2, f"{to} describes one host", "kubernetes") for to in ONE_HOST),
        ("helm", "scout-int4", {}, 2, "'helm' is not a format corral knows.", "compose"),
        ("terraform", "scout-bf16", {}, 2, "EC2 sells no 8xH100.", "corral size"),
        (
            "litellm",
            "scout-int4",
            {"claude_model": "claude-3-opus", "falls_back": True},
            2,
            "Claude 3 Opus is retired",
            "--claude",
        ),
    ],
)
def test_what_a_format_cannot_carry_is_refused(
    to: str,
    name: str,
    changes: dict[str, Any],
    code: int,
    sentence: str,
    hint: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    with pytest.raises(CorralError) as caught:
        rendered(to, name, **changes)
    assert (caught.value.exit_code, caught.value.message[: len(sentence)]) == (code, sentence)
    assert hint in caught.value.hint
    plan(name).write(tmp_path / "plan.json")  # as the hints call it
    refusals.hold(f"{caught.value.message}\n{caught.value.hint}", request, tmp_path)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            "--to compose --replicas 2",
            "--replicas is for --to kubernetes, kserve, production-stack or dstack only.",
        ),
        (
            "--to compose --endpoint nowhere",
            "--endpoint is for --to litellm, vllm-router or prometheus only.",
        ),
        ("--to vllm-router --claude-model x", "--claude-model is for --to litellm only."),
        ("--to compose --fallback-to-claude", "--fallback-to-claude is for --to litellm only."),
        (
            "--to litellm --claude-model claude-haiku-4-5",
            "--claude-model names who answers in place of the servers, and nobody is asked to.",
        ),
        (
            "--to litellm --endpoint http://a:1/v1/ --endpoint http://a:1",
            "--endpoint http://a:1 is named twice.",
        ),
        (
            "--to compose --replicas 0",
            "--replicas is for --to kubernetes, kserve, production-stack or dstack only.",
        ),
        ("--to dstack --replicas 0", "--replicas 0 is not between 1 and 1,000."),
        ("--to compose --ttft 2", "--ttft is for --to prometheus only."),
        ("--to litellm --gpu-metrics http://a:1", "--gpu-metrics is for --to prometheus only."),
        ("--to prometheus --ttft 0", "--ttft 0 is not above 0 and at most 3,600."),
        ("--to prometheus --ends-at tomorrow", "--ends-at 'tomorrow' is no time with its zone."),
        ("--to compose --weights=", "--weights is for --to terraform only."),
        ("--to compose --ttl soon", "--ttl is for --to terraform only."),
        ("--to compose --region us-east-1", "--region is for --to terraform only."),
        ("--to compose --weights s3://bucket/scout/", "--weights is for --to terraform only."),
        ("--to compose --hf-token-parameter /hf/t", "--hf-token-parameter is for --to terraform only."),
        (
            "--to terraform --region us-east-1 --region us-west-2",
            "terraform puts the machine in one region, and 2 are named.",
        ),
        ("--to litellm --endpoint 10.0.0.5:8000", "'10.0.0.5:8000' is no URL of a server."),
        ("--to litellm --endpoint http://:8000", "'http://:8000' is no URL of a server."),
        ("--to litellm --endpoint http://a:0", "'http://a:0' is no URL of a server."),
        ("--to litellm --endpoint http://a:99999", "'http://a:99999' is no URL of a server."),
        ("--to litellm --endpoint http://me@a", "--endpoint has more than an address in it."),
        ("--to litellm --endpoint http://:sk-1@a", "--endpoint has more than an address in it."),
        ("--to litellm --endpoint http://a/?key=1", "--endpoint has more than an address in it."),
        ("--to litellm --endpoint http://a/#x", "--endpoint has more than an address in it."),
    ],
)
def test_what_a_format_would_ignore_or_keep_in_the_clear_is_refused(
    words: str,
    sentence: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
) -> None:
    line = ["export", str(DATA / "scout-int4.json"), *words.split()]
    assert run(line) == 2
    out, err = capsys.readouterr()
    assert (out, err.splitlines()[0]) == ("", f"error: {sentence}")
    refusals.hold(err, request, tmp_path, line)


def test_json_prints_and_a_different_file_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["export", str(DATA / "scout-int4.json"), "--to", "compose"]
    assert run([*words, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said == rendered("compose", "scout-int4").model_dump(mode="json")
    assert run(words) == 0
    assert capsys.readouterr().out == said["files"][0]["content"]
    folder = tmp_path / "out"
    assert run([*words, "-o", str(folder)]) == 0
    assert run([*words, "-o", str(folder)]) == 0
    (folder / "compose.yaml").write_text("mine")
    capsys.readouterr()
    assert run([*words, "-o", str(folder)]) == 2
    assert "is there already, and different." in capsys.readouterr().err
    assert (folder / "compose.yaml").read_text() == "mine"
    assert run([*words, "-o", str(folder), "--force"]) == 0
    assert (folder / "compose.yaml").read_text() == said["files"][0]["content"]


def test_a_plan_that_does_not_fit_is_not_rendered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan("scout-int4").model_copy(update={"fits": False}).write(tmp_path / "plan.json")
    assert run(["export", str(tmp_path / "plan.json"), "--to", "compose"]) == 3
    assert "This plan does not fit" in capsys.readouterr().err


@pytest.mark.parametrize(("to", "name"), [(to, name) for to in FORMATS for name in carried(to)])
def test_what_is_said_beside_the_files_is_kept(
    to: str, name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """What was run and what was not, what must be there, and the next step."""
    plan(name).write(tmp_path / "plan.json")
    refusals.hold("\n".join(rendered(to, name).notes), request, tmp_path)
