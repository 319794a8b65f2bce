"""What programs rely on: a schema for every verb with --json, that its output fits, and that would notice."""

import json
from collections.abc import Iterator
from typing import Any

import json_schemas
import pytest
import typer
from jsonschema import ValidationError

from deploy.cli.main import app, run
from deploy.cli.printed import printed
from deploy.targets.place import Teardown
from infra import errors


def verbs(command: Any, path: tuple[str, ...] = ()) -> Iterator[str]:
    """Every verb that takes --json."""
    for name, inner in getattr(command, "commands", {}).items():
        yield from verbs(inner, (*path, name))
    if any("--json" in parameter.opts for parameter in command.params):
        yield " ".join(path)


def test_every_verb_with_json_has_a_schema() -> None:
    # `probe URL` is short for `probe run URL`, as `quality A B` and `egress NAME`; `error` is what any verb may say.
    assert {*verbs(typer.main.get_command(app)), "egress", "gateway", "probe", "quality", "error"} == set(
        printed()
    )


@pytest.mark.parametrize("verb", sorted(printed()))
def test_a_schema_is_one_and_lets_nothing_else_through(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["schema", *verb.split()]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == f"corral {verb}"
    with pytest.raises(ValidationError):
        json_schemas.validator(verb).validate({"surprise": 1})


def test_a_verb_without_json_has_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["schema", "logs"]) == 2
    assert "error: 'logs' prints no JSON that is described." in capsys.readouterr().err


def test_what_tests_print_is_checked_here_and_would_be_noticed() -> None:
    """The check of conftest.py is in force, and is none that lets everything pass."""
    assert (
        json_schemas.verb_of(["--offline", "capacity-block", "list", "p5.48xlarge"]) == "capacity-block list"
    )
    assert json_schemas.verb_of(["probe", "http://127.0.0.1"]) == "probe"
    with pytest.raises(ValidationError):
        json_schemas.check(["down", "x", "--json"], '{"name": "x", "counts": {}, "left": [], "more": 1}')
    with pytest.raises(json.JSONDecodeError):
        json_schemas.check(["down", "x", "--json"], "{}{}")


LEFT = Teardown(name="t1", counts={"volumes": 1}, left=("volumes: vol-1 in us-east-1",))


@pytest.mark.parametrize(
    ("command", "answers"),
    [
        (["down", "t1"], ("deploy.line.down", LEFT)),
        (["reap"], ("deploy.targets.ec2.place.reap", ([], [LEFT]))),
    ],
    ids=["down", "reap"],
)
def test_what_is_left_is_one_object_with_its_exit_code(
    command: list[str],
    answers: tuple[str, object],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(answers[0], lambda *arguments: answers[1])
    assert run([*command, "--json"]) == errors.LeftoverError.exit_code
    said = capsys.readouterr()
    assert "vol-1" in json.dumps(json.loads(said.out))
    assert said.err.startswith("error: Left of t1: volumes: vol-1 in us-east-1.\nhint: ")


def test_an_error_says_its_own_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["down", "nothing", "--json"]) == errors.DocumentError.exit_code
    said = json.loads(capsys.readouterr().out)
    json_schemas.validator("error").validate(said)
    assert said["error"]["exit_code"] == errors.DocumentError.exit_code
