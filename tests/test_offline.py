"""--offline: one switch, one refusal, and not a single packet to anybody the user did not name."""

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest
from bundling import a_checkpoint, planned_for

from deploy.cli.main import run
from deploy.targets.deployment import folder, make
from infra.offline import VARIABLE
from serving.sizing.plan import Plan
from serving.vllm import engine


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials are there and every socket is forbidden: what is refused, is refused before."""

    def refused(*args: object, **kwargs: object) -> NoReturn:
        raise AssertionError("offline, and yet a socket was asked for")

    for door in ("socket.connect", "getaddrinfo"):
        monkeypatch.setattr(f"socket.{door}", refused)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    monkeypatch.delenv("HF_HUB_OFFLINE")
    # So that what a command sets is put back.
    monkeypatch.setenv(VARIABLE, "")
    monkeypatch.setattr("infra.command_line.before_the_verb", [])


@pytest.fixture
def plan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    path = tmp_path / "plan.json"
    assert (
        run(["--offline", "size", "scout", "--on", "g5.12xlarge", "--precision", "int4", "-o", str(path)])
        == 0
    )
    capsys.readouterr()
    return str(path)


@pytest.mark.parametrize(
    ("command", "whom"),
    [
        (["size", "some/body", "--on", "8xH100"], "the model hub about some/body"),
        (["provision", "PLAN", "--target", "ec2", "--yes"], "AWS"),
        (["provision", "PLAN", "--target", "ssh", "--host", "gpu-1", "--yes"], "the model hub for "),
        (["down", "scout", "--target", "ec2"], "AWS"),
        (["reap"], "AWS"),
        (["capacity-block", "list", "p5.48xlarge"], "AWS"),
        (["capacity-block", "buy", "p5.48xlarge", "cb-0123456789abcdef0", "--yes-i-pay", "1"], "AWS"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value[:3]),
)
def test_what_would_ask_the_internet_is_refused_before_it_does(
    command: list[str], whom: str, plan: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = [plan if word == "PLAN" else word for word in command]
    assert run(["--offline", *words, "--json"]) == 2
    said = capsys.readouterr()
    assert said.err.splitlines()[-2].startswith(f"error: This would ask {whom}")
    assert json.loads(said.out)["error"]["exit_code"] == 2
    assert not (tmp_path / "corral-home").exists()


EC2 = ["--target", "ec2", "--region", "us-east-1"]
SSH = ["--target", "ssh", "--host", "gpu-1"]
SCOUT = ["up", "scout", "--on", "g5.12xlarge", "--precision", "int4"]
OF_THE_HUB = "the model hub for RedHatAI/Llama-4-Scout-17B-16E-Instruct-quantized.w4a16"
OF_AN_INDEX = "a package index for vLLM (bring it: --engine)"
MINE = "mine=some/adapter"
REFUSED = {
    "provision PLAN EC2": "AWS",
    "up PLAN EC2": "AWS",
    "up PLAN --region us-east-1": "AWS",
    "SCOUT --region us-east-1": "AWS",
    "SCOUT --region us-east-1 --weights s3://mine/scout/": "AWS",
    "SCOUT --region us-east-1 --lora MINE": "the model hub for some/adapter",
    "serve rented": "AWS",
    "provision PLAN SSH": OF_THE_HUB,
    "up PLAN SSH": OF_THE_HUB,
    "SCOUT SSH": OF_THE_HUB,
    "SCOUT SSH --lora MINE": "the model hub for some/adapter",
    "provision HERE SSH --name toy": OF_AN_INDEX,
    "up HERE SSH --name toy": OF_AN_INDEX,
    "provision PLAN --target local": OF_THE_HUB,
    "up PLAN --target local": OF_THE_HUB,
    "SCOUT --target local": OF_THE_HUB,
    "SCOUT --target local --lora MINE": "the model hub for some/adapter",
    "serve PLAN": OF_THE_HUB,
    "serve PLAN --supervise": OF_THE_HUB,
    "serve here": OF_THE_HUB,
    "serve PLAN_FOR_ADAPTERS --lora MINE": "the model hub for some/adapter",
    "provision PLAN_FOR_ADAPTERS --target local --lora MINE": "the model hub for some/adapter",
}
"""A line -> whom its run would ask first."""
LEFT_OUT = (
    "Leave out --offline (and unset CORRAL_OFFLINE), or bring what is needed along: a folder, wheels, a plan."
)
BROUGHT = {
    OF_THE_HUB: "Where there is a network: corral fetch scout --precision int4 --to weights. Here name ./weights, or "
    "leave out --offline (CORRAL_OFFLINE).",
    OF_AN_INDEX: "Where there is a network: pip download vllm==0.33.0 -d wheels. Here add --engine wheels, or leave "
    "out --offline (CORRAL_OFFLINE).",
}
"""Whom -> how what would come from there is brought along."""


@pytest.fixture
def lines(plan: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[str]]:
    """A line's words; the plans and deployments that it names are there."""
    monkeypatch.chdir(tmp_path)
    read = Plan.read(Path(plan))
    slots = ("--enable-lora", "--max-lora-rank", "16")
    serve = read.serve.model_copy(update={"extra_args": slots})
    read.model_copy(update={"serve": serve}).write(tmp_path / "slots.json")
    for target, name in (("ec2", "rented"), ("ssh", "owned"), ("local", "here")):
        made = make(read, target, name).model_copy(update={"hosts": ("gpu-1",) if target == "ssh" else ()})
        made.write(folder(name) / "deployment.json")
    tiny = a_checkpoint(tmp_path / "tiny")
    planned_for(read, tiny).write(tmp_path / "here.json")
    names = {"EC2": EC2, "SSH": SSH, "SCOUT": SCOUT, "PLAN": [plan], "MINE": [MINE]}
    names |= {"HERE": ["here.json"], "PLAN_FOR_ADAPTERS": ["slots.json"]}
    return lambda line: [word for each in line.split() for word in names.get(each, [each])]


@pytest.mark.parametrize("line", REFUSED)
def test_a_dry_run_is_refused_as_the_run_is(
    line: str, lines: Callable[[str], list[str]], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """By the same sentence, hint and code, and either leaves nothing behind."""
    words, before = lines(line), sorted(tmp_path.rglob("*"))
    capsys.readouterr()
    for more in ([], ["--dry-run"], ["--dry-run", "--json"]):
        assert run(["--offline", *words, *more]) == 2
        assert capsys.readouterr().err.splitlines()[-2:] == [
            f"error: This would ask {REFUSED[line]}, and --offline forbids it.",
            f"hint: {BROUGHT.get(REFUSED[line], LEFT_OUT)}",
        ]
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "line",
    [
        "serve owned",
        "provision HERE SSH --name toy --engine wheels",
        "up HERE SSH --name toy --engine wheels",
        "provision HERE --target local --name toy",
        "up HERE --target local --name toy",
        "serve HERE",
        "serve HERE --unit",
    ],
)
def test_what_is_here_is_shown_offline(
    line: str, lines: Callable[[str], list[str]], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels/vllm-0.33.0-py3-none-any.whl").touch()
    assert run(["--offline", *lines(line), "--dry-run"]) == 0, capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("up HERE --target local --name owned", "'owned' is already a deployment on gpu-1."),
        ("provision HERE --target local --name rented", "'rented' is already a deployment on ec2."),
        ("serve HERE --name owned", "'owned' is already a deployment on gpu-1."),
        ("serve owned --supervise", "Only a server of this machine is supervised here."),
        ("serve owned --unit", "Only a server of this machine becomes a unit of yours."),
    ],
)
def test_what_the_documents_forbid_a_run_they_forbid_a_dry_run(
    line: str, said: str, lines: Callable[[str], list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    words, heard = lines(line), []
    for more in ([], ["--dry-run"]):
        assert run([*words, *more]) == 2
        heard.append(capsys.readouterr().err.splitlines()[-2:])
    assert (heard[0][0], heard[0]) == (f"error: {said}", heard[1])


@pytest.mark.parametrize("value", ["1", "true"])
def test_the_variable_is_the_same_switch(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, value)
    assert run(["reap"]) == 2


def test_what_needs_nobody_works_offline(plan: str) -> None:
    for command in (
        ["size", "maverick"],
        ["capacity", "scout", "--requests-per-s", "1"],
        ["claude-cost", "--model", "haiku-5.5", "--input-tokens", "10", "--output-tokens", "10"],
        ["compare", "--plan", plan],
        ["iam-policy"],
        ["status"],
        ["schema", "size"],
    ):
        assert run(["--offline", *command]) == 0, command


def test_the_engines_installer_is_kept_off_the_network_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "bundle", lambda: "")
    assert "UV_OFFLINE" not in engine.uv_environment({})
    monkeypatch.setenv(VARIABLE, "1")
    assert engine.uv_environment({"UV_FIND_LINKS": "/wheels"}) == {
        "UV_FIND_LINKS": "/wheels",
        "UV_OFFLINE": "1",
    }


def test_the_guard_would_notice() -> None:
    with pytest.raises(AssertionError, match="offline, and yet"):
        socket.create_connection(("127.0.0.1", 9))
