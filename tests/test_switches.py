"""--offline, --quiet and --json: the same wherever on the line they stand."""

import json
from pathlib import Path

import pytest

import deploy.line
from deploy.cli.main import run
from deploy.line import Approve
from deploy.provision_request import approval
from deploy.targets.deployment import Deployment, deployment_for
from deploy.targets.place import Check, Offer
from infra import offline
from infra.errors import UsageError
from serving.sizing.size import answer_for
from serving.sizing.size_options import Options


@pytest.fixture(autouse=True)
def put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a command line sets for all that it starts."""
    monkeypatch.setenv(offline.VARIABLE, "")
    monkeypatch.setenv("CORRAL_QUIET", "")


def anywhere(switch: str, *words: str) -> list[list[str]]:
    """The line with the switch before, between and after its words."""
    return [[*words[:place], switch, *words[place:]] for place in range(len(words) + 1)]


@pytest.mark.parametrize("line", anywhere("--json", "engine", "show"), ids=" ".join)
def test_json_is_printed_wherever_it_is_asked_for(
    line: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CORRAL_VLLM", "/bin/true")
    assert run(line) == 0
    assert json.loads(capsys.readouterr().out)["origin"] == "CORRAL_VLLM"


def test_json_before_a_verb_that_has_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--json", "logs", "scout"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["message"] == "No such option: --json"


@pytest.mark.parametrize(
    ("line", "same"),
    [
        (["--json"], []),
        (["--quiet"], []),
        (["--quiet", "--json", "--offline"], []),
        (["--profile", "work"], []),
        (["--json", "--help"], ["--help"]),
        (["-h", "--json"], ["-h"]),
        (["--version", "--json"], ["--version"]),
        (["--json", "logs", "--help"], ["logs", "--help"]),
    ],
    ids=" ".join,
)
def test_a_switch_is_no_obstacle_to_help(
    line: list[str], same: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "")
    assert run(same) == 0
    shown = capsys.readouterr()
    assert (run(line), capsys.readouterr()) == (0, shown)


def test_json_beside_no_verb_is_told_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--json", "--colour"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["message"] == "No such option: --colour"


@pytest.mark.parametrize("line", anywhere("--offline", "hosts", "show"), ids=" ".join)
def test_offline_is_heeded_wherever_it_is_said(line: list[str]) -> None:
    run(line)
    assert offline.is_offline()


def test_quiet_is_heeded_wherever_it_is_said_and_leaves_the_result(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["size", "scout", "--on", "g5.12xlarge", "--precision", "int4", "-o", str(tmp_path / "plan.json")]
    assert run(words) == 0
    loud = capsys.readouterr()
    assert loud.err == f"plan written to {tmp_path / 'plan.json'}\n"
    for line in anywhere("--quiet", *words):
        monkeypatch.setenv("CORRAL_QUIET", "")
        assert run(line) == 0, line
        assert capsys.readouterr() == (loud.out, "")


def test_an_error_and_a_warning_are_said_all_the_same(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    kept = tmp_path / "corral-home" / "prices.json"
    kept.parent.mkdir()
    kept.write_text("{")
    assert run(["--quiet", "size", "scout", "--on", "4xA10G", "--precision", "bf16"]) == 3
    assert capsys.readouterr().err.startswith(f"warning: {kept} ")
    assert run(["--quiet", "nope"]) == 2
    assert capsys.readouterr().err == "error: No such command 'nope'.\nhint: See: corral --help\n"


def test_a_question_is_asked_with_what_it_is_about(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CORRAL_QUIET", "1")
    plan = answer_for("scout", "int4", "g5.12xlarge", Options())
    offer = Offer(
        deployment_for(plan, "local", "toy"),
        (
            Check(name="gpu", outcome="ok", found="one"),
            Check(name="clock", outcome="warning", found="+3 s", fix="Set it."),
        ),
        cost="At most 68.06 USD.",
        sent=("plan.json",),
    )
    with pytest.raises(UsageError, match="Nobody is there to confirm the cost"):
        approval(yes=False)(offer)
    assert capsys.readouterr().err == "warning  clock: +3 s  (Set it.)\nAt most 68.06 USD.\n"
    approval(yes=True)(offer)
    assert capsys.readouterr().err == "warning  clock: +3 s  (Set it.)\n"


def test_what_up_has_sized_is_said_with_the_question_and_not_without(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def up(deployment: Deployment, wishes: object, approve: Approve) -> None:
        approve(Offer(deployment, (), cost="At most 68.06 USD."))
        raise UsageError("enough", "")

    monkeypatch.setattr(deploy.line, "up", up)
    words = ["up", "scout", "--precision", "int4", "--on", "g5.12xlarge", "--region", "us-east-1", "--quiet"]
    assert run(words) == 2
    assert capsys.readouterr().err.splitlines() == [
        "scout: scout in int4 on g5.12xlarge (ec2): tight, requests of up to 32,768 tokens, 342 tokens/s (modelled), "
        "at worst 10 of 16 requests at once",
        "weights: 60.4 GiB of RedHatAI/Llama-4-Scout-17B-16E-Instruct-quantized.w4a16, from the model hub",
        "At most 68.06 USD.",
        "error: Nobody is there to confirm the cost.",
        "hint: Say so beforehand: --yes",
    ]
    assert run([*words, "--yes"]) == 2
    assert capsys.readouterr().err == "error: enough\n"
