"""What programs rely on: a schema for every verb with --json, that its output fits, and that would notice."""

import json
from collections.abc import Iterator
from typing import Any, get_args

import json_schemas
import pytest
import typer
from jsonschema import ValidationError

from deploy.cli.main import app, run
from deploy.cli.printed import OF_EVERY_DOCUMENT, printed, schema
from deploy.targets.place import Teardown
from infra import errors
from infra.asked import docstrings
from infra.record import Document, Record


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


def records(kind: Any, found: set[type[Record]]) -> set[type[Record]]:
    """Every record that a type is made of, beside those that were found."""
    if isinstance(kind, type) and issubclass(kind, Record) and kind not in found:
        found.add(kind)
        for info in kind.model_fields.values():
            records(info.annotation, found)
    for inner in get_args(kind):
        records(inner, found)
    return found


def documents(kind: type[Document] = Document) -> Iterator[type[Document]]:
    """Every kind of document that is kept somewhere; printed() has imported them."""
    for each in kind.__subclasses__():
        if each.__module__.startswith(("infra.", "serving.", "deploy.")):
            yield each
            yield from documents(each)


def unsaid(kind: type[Record]) -> Iterator[str]:
    """The fields of a record of which nothing says what they are."""
    said = {*OF_EVERY_DOCUMENT}.union(*(docstrings(each) for each in kind.__mro__))
    for name, info in kind.model_fields.items():
        if name not in said and not info.description:
            yield f"{kind.__module__}.{kind.__qualname__}.{name}"


def test_every_field_of_every_document_and_of_all_that_is_printed_says_what_it_is() -> None:
    """Below the field: what it means, its unit where the name has none, and when it is null or absent."""
    kinds: set[type[Record]] = set()
    for kind in (*printed().values(), *documents()):
        records(kind, kinds)
    assert len(kinds) > 150
    assert sorted(field for kind in kinds for field in unsaid(kind)) == []


def test_a_field_without_a_word_is_found_and_what_is_said_is_in_the_schema() -> None:
    class Bare(Teardown):
        more: int

    assert [*unsaid(Bare)] == [f"{__name__}.{Bare.__qualname__}.more"]
    made = schema("status")
    assert made["$defs"]["Status"]["properties"]["usd_so_far"]["description"].startswith("Since its start")
    for verb in printed():
        whole = schema(verb)
        for each in (whole, *whole.get("$defs", {}).values()):
            for name, field in each.get("properties", {}).items():
                assert field.get("description"), (verb, each.get("title"), name)


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
