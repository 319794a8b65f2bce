"""`corral serve`: what a word means, what a dry run shows, and bad input in one sentence."""

import json
from pathlib import Path

import pytest
import refusals
import stubbed

from deploy.cli.main import run
from deploy.launch import deployment_of
from deploy.releases import release
from deploy.targets import deployment as deployments
from deploy.targets.deployment import Deployment, make
from deploy.targets.local import place as local
from deploy.targets.place import Teardown
from serving.model import tiny
from serving.sizing.plan import Plan


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return stubbed.a_plan(tmp_path_factory.mktemp("plan"))


@pytest.fixture
def plan(made: Plan, tmp_path: Path) -> Plan:
    """A toy's plan, also at plan.json of the test's folder."""
    made.write(tmp_path / "plan.json")
    return made


def keep(deployment: Deployment) -> Deployment:
    """Write a deployment where corral looks for it."""
    deployment.write(deployments.folder(deployment.name) / "deployment.json")
    return deployment


def test_a_plan_file_or_a_name(tmp_path: Path, plan: Plan) -> None:
    made = deployment_of(str(tmp_path / "plan.json"))
    assert (made.name, made.target, made.plan) == ("tiny-bf16", "local", plan)
    named = keep(make(plan, "local", "mine"))
    assert deployment_of("mine") == named
    assert deployment_of("mine", port=9000).plan.serve.port == 9000


def test_a_dry_run_shows_the_command_and_its_environment_and_writes_nothing(
    tmp_path: Path, plan: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["serve", str(tmp_path / "plan.json"), "--dry-run", "--json"]) == 0
    (request,) = json.loads(capsys.readouterr().out)
    assert request["argv"][:5] == ["vllm", "serve", plan.serve.model, "--served-model-name", "tiny"]
    assert request["environment"]["VLLM_NO_USAGE_STATS"] == "1"
    assert request["environment"]["VLLM_API_KEY"].startswith("(from ")
    assert run(["serve", str(tmp_path / "plan.json"), "--dry-run"]) == 0
    shell = capsys.readouterr().out
    assert shell.splitlines()[-1].startswith(f"vllm serve {plan.serve.model} --served-model-name tiny ")
    assert "VLLM_PLUGINS='' \\\n" in shell
    assert not deployments.home().exists()


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["serve", "/no/plan.json"], 4, "There is no plan at /no/plan.json."),
        (["serve", "nobody"], 4, "There is no deployment called 'nobody' in"),
        (["serve", "../etc"], 4, "There is no plan at ../etc"),
        (["serve", "Not A Name"], 2, "'Not A Name' cannot be the name of a deployment."),
        (["serve", "corrupt.json"], 4, "corrupt.json is not a plan this version can read"),
        (
            ["serve", "older.json"],
            4,
            "older.json was written by another version of corral (schema 0, this one reads 1).",
        ),
        (["serve", "a/"], 4, "a is a folder, not a plan."),
        (["serve", "binary.json"], 4, "binary.json is not text, so it is no plan."),
        (
            ["serve", "plan.json", "--name", "engine"],
            2,
            "'engine' cannot be the name of a deployment: corral",
        ),
        (
            ["serve", "plan.json", "--name", "x" * 300],
            2,
            f"'{'x' * 37}...' cannot be the name of a deployment.",
        ),
        (["down", "nobody"], 4, "There is no deployment called 'nobody' in"),
        (["down", "nobody", "--target", "ec2"], 5, "No AWS credentials were found"),
        (["serve", "plan.json", "--name", "Ünï"], 2, "'Ünï' cannot be the name of a deployment."),
        (["serve", "plan.json", "--port", "0"], 2, "--port 0 is not between 1 and 65,535."),
        (["serve", "plan.json", "--port", "99999"], 2, "--port 99999 is not between 1 and 65,535."),
        (["serve", "plan.json", "--name", "taken"], 2, "'taken' is already a deployment on ec2."),
        (["serve", "unfit.json"], 3, "This plan does not fit: "),
        (["status", "nobody"], 4, "There is no deployment called 'nobody' in"),
        (["stop", "nobody"], 4, "There is no deployment called 'nobody' in"),
        (["logs", "nobody"], 4, "There is no deployment called 'nobody' in"),
        (
            ["demo", "--endpoint", "http://127.0.0.1:1"],
            8,
            "The demo stopped at: corral probe http://127.0.0.1:1",
        ),
    ],
)
def test_bad_input_is_one_sentence_and_starts_nothing(
    tmp_path: Path,
    plan: Plan,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    code: int,
    sentence: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    text = plan.model_dump_json()
    Path("a").mkdir()
    Path("binary.json").write_bytes(b"\x7fELF\xff\xfe")
    plan.write(Path("plan.json"))
    Path("corrupt.json").write_text(text[:100])
    Path("older.json").write_text(text.replace('"schema_version":1', '"schema_version":0'))
    plan.model_copy(update={"fits": False}).write(Path("unfit.json"))
    keep(make(plan, "ec2", "taken"))
    before = (deployments.folder("taken") / "deployment.json").read_text()
    assert run(words) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert f"error: {sentence}" in err
    assert (deployments.folder("taken") / "deployment.json").read_text() == before
    assert not list(deployments.home().glob("*/server.json"))
    assert not deployments.folder("nobody").exists()
    said = "\n".join(err.splitlines()[-2:])
    refusals.hold(said, request, tmp_path, words, {plan.serve.model: "CHECKPOINT"})


def test_a_corrupt_server_record_is_one_sentence_and_stop_mends_it(
    plan: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    keep(make(plan, "local", "mine"))
    (deployments.folder("mine") / "server.json").write_text("{")
    assert run(["status", "mine"]) == 4
    err = capsys.readouterr().err
    assert "is not a server record this version can read" in err
    assert err.endswith("hint: Its processes are found without it: corral stop mine\n")
    assert run(["stop", "mine"]) == 0
    assert run(["status", "mine"]) == 0


def broken(name: str, text: str) -> Path:
    """A deployment whose document cannot be read."""
    path = deployments.folder(name) / "deployment.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "words", "served"),
    [
        ('{"schema_version": 2, "target": "local"}', (), False),
        ("{", ("--target", "local"), False),
        ("{", (), True),
    ],
)
def test_down_takes_away_a_local_deployment_it_cannot_read(
    text: str, words: tuple[str, ...], served: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    path = broken("mine", text)
    if served:
        (path.parent / "server.json").write_text("{")
    assert run(["down", "mine", *words]) == 0
    assert not path.parent.exists()


def test_down_goes_by_the_document_though_an_earlier_deployment_left_a_ledger(
    plan: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    keep(make(plan, "local", "mine"))
    ledger = deployments.folder("mine") / "ledger.jsonl"
    ledger.write_text("")
    assert run(["down", "mine"]) == 0
    assert capsys.readouterr().out == "processes  0\nfiles      0\nNothing of mine is left.\n"
    assert list(ledger.parent.iterdir()) == [ledger]


def test_a_name_that_was_begun_elsewhere_is_not_taken(
    plan: Plan, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = deployments.folder("mine")
    folder.mkdir(parents=True)
    (folder / "order.json").write_text("{}")
    plan.write(tmp_path / "plan.json")
    assert run(["serve", str(tmp_path / "plan.json"), "--name", "mine"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "error: 'mine' was begun as a deployment on ec2, and may still stand there.",
        "hint: Choose another --name, or take that one away: corral down mine --target ec2",
    ]
    assert [path.name for path in folder.iterdir()] == ["order.json"]


@pytest.mark.parametrize("text", ['{"schema_version": 2, "target": "ec2"}', "{"])
def test_down_looks_on_ec2_for_what_a_broken_document_or_a_ledger_says_is_there(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = broken("mine", text)
    if text == "{":
        (path.parent / "ledger.jsonl").write_text("")
    asked = []

    def remove(name: str, region: str | None) -> Teardown:
        asked.append((name, region))
        return Teardown(name=name, counts={}, left=())

    monkeypatch.setattr("deploy.targets.ec2.place.remove", remove)
    assert run(["down", "mine"]) == 0
    assert asked == [("mine", None)]


@pytest.mark.parametrize("text", ["{", '{"schema_version": 2, "target": "ssh"}'])
def test_down_keeps_what_may_be_elsewhere_and_says_how_to_go_on(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = broken("mine", text)
    assert run(["down", "mine"]) == 4
    err = capsys.readouterr().err
    assert str(path) in err
    assert "corral down mine --target local." in err
    assert path.exists()


def test_status_marks_the_deployment_it_cannot_read_and_lists_the_others(
    plan: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    path = broken("bad", '{"schema_version": 2, "target": "ssh"}')
    keep(make(plan, "local", "good"))
    assert run(["status"]) == 0
    assert capsys.readouterr().out == (
        f"bad (ssh): unknown: {path} was written by another version of corral (schema 2, this one reads 1). "
        "Take it away, then make it again: corral down bad\n"
        "good (local): provisioned: it was never started\n"
    )
    assert run(["status", "--json"]) == 0
    assert [(one["name"], one["state"]) for one in json.loads(capsys.readouterr().out)] == [
        ("bad", "unknown"),
        ("good", "provisioned"),
    ]


def test_status_names_a_home_that_does_not_exist(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CORRAL_HOME", "/proc/none")
    assert run(["status"]) == 0
    assert capsys.readouterr().err == "/proc/none does not exist (yet).\n"


def test_status_lists_every_deployment(plan: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["status"]) == 0
    assert capsys.readouterr().out == (
        "No deployments. Make one: corral up scout --on g5.12xlarge --region us-east-1; made from another machine: "
        "corral hosts adopt --help\n"
    )
    keep(make(plan, "local", "one"))
    keep(make(plan, "local", "two"))
    assert run(["status"]) == 0
    assert capsys.readouterr().out == (
        "one (local): provisioned: it was never started\ntwo (local): provisioned: it was never started\n"
    )
    assert run(["status", "--json"]) == 0
    assert [one["name"] for one in json.loads(capsys.readouterr().out)] == ["one", "two"]


def test_stop_says_how_it_stands_then(plan: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    keep(make(plan, "local", "mine"))
    assert run(["stop", "mine"]) == 0
    assert capsys.readouterr().out == (
        "mine (local): provisioned: it was never started\nNext: corral serve mine\n"
    )
    assert run(["stop", "mine", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "name": "mine",
        "target": "local",
        "state": "provisioned",
        "detail": "it was never started",
        "endpoint": None,
        "expires_at": None,
        "usd_so_far": None,
        "release": release.id_of(deployments.load("mine"), local.engine_version(deployments.load("mine"))),
    }


def test_a_folder_named_from_here_is_planned_by_its_whole_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server may be started from anywhere, and vLLM takes `name` for a repository of the Hub."""
    tiny.make(tmp_path / "tiny")
    monkeypatch.chdir(tmp_path)
    assert run(["size", "./tiny", "--on", "local", "--output", "plan.json"]) == 0
    assert Plan.read(Path("plan.json")).serve.model == str(tmp_path / "tiny")


def test_down_leaves_no_folder(plan: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    keep(make(plan, "local", "mine"))
    assert run(["down", "mine", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "name": "mine",
        "counts": {"processes": 0, "files": 0},
        "left": [],
        "account": "",
        "kept": [],
    }
    assert not deployments.folder("mine").exists()
    assert run(["down", "mine"]) == 4


@pytest.mark.parametrize(
    ("model", "precision", "name"),
    [
        ("scout", "int4", "scout-int4"),
        ("meta-llama/Llama-4_Scout 17B", "BF16", "meta-llama-llama-4-scout-17b-bf16"),
        (
            "/models/a-folder-whose-name-is-longer-than-40-characters",
            "bf16",
            "models-a-folder-whose-name-is-longer-tha",
        ),
        ("x" * 39 + "/y", "bf16", "x" * 39),
        ("模型", "", "model"),
    ],
)
def test_a_deployment_without_a_name_is_called_by_its_model(
    model: str, precision: str, name: str, plan: Plan
) -> None:
    made = plan.model_copy(update={"model": model, "precision": precision})
    assert make(made, "local").name == name
