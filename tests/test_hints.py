"""What a hint tells people to run can be run: each `corral ...` in any text of ours is a verb with flags it has."""

import ast
import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
from following import UNSAID, commands

from deploy.cli.flags import FirstVerb
from deploy.cli.main import app, fronted
from deploy.cli.verbs import VERBS

ROOT = Path(__file__).parent.parent
PLACEHOLDER = "X"
LINE = re.compile(r"\bcorral ([a-z][a-z-]*)\b((?:://|[^;:,()`'\"|\n])*)")
# Words that are a value where they follow a verb, and not the sentence going on.
VALUE = re.compile(rf"{PLACEHOLDER}|[A-Z]{{2,}}(@[A-Z]+)?|~?[/.].*|[a-z0-9]+\.[a-z0-9.]+")


def texts(path: Path) -> Iterator[str]:
    """Every text of a file that names a verb, a placeholder where a value comes."""
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source if "corral " in source else "")
    parts = {id(value) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for value in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(
                str(each.value) if isinstance(each, ast.Constant) else PLACEHOLDER for each in node.values
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
            yield node.value


def hints(path: Path) -> Iterator[str]:
    """Every text of a file but docstrings, and what the help of a verb or a flag says: there forms are meant."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    meant = {
        id(each)
        for node in ast.walk(tree)
        for said in [
            *([node.value] if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) else []),
            *([node.value] if isinstance(node, ast.keyword) and node.arg in ("help", "metavar") else []),
        ]
        for each in ast.walk(said)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in meant:
            yield node.value


def every_text() -> Iterator[str]:
    """Of the sources, and of the causes and remedies beside them."""
    for floor in ("infra", "serving", "deploy"):
        for path in sorted((ROOT / floor).rglob("*.py")):
            yield from texts(path)
    for cause in tomllib.loads((ROOT / "serving/vllm/diagnosis.toml").read_text(encoding="utf-8"))["cause"]:
        yield cause["next"]


@cache
def verbs() -> Any:
    """Each verb as the program knows it."""
    return typer.main.get_command(app).commands  # type: ignore[attr-defined]


def wrong_with(verb: str, rest: str) -> list[str]:
    """What there is not of a line to paste: a verb below another, a flag, a place for a value."""
    command = verbs()[verb]
    words = re.split(r"[.?](?: |$)", rest)[0].split()
    below = getattr(command, "commands", {})
    if below and words and re.fullmatch("[a-z-]+", words[0]):
        if words[0] not in below:
            return [f"{verb} {words[0]}"]
        command, words = below[words[0]], words[1:]
    elif isinstance(command, FirstVerb):  # what is meant without a verb below it
        command = next(iter(below.values()))
    options = {name: each for each in command.params for name in (*each.opts, *each.secondary_opts)}
    flags = [word.partition("=")[0] for word in words if re.match("--?[a-z]", word)]
    unknown = [f"{verb} {flag}" for flag in flags if flag not in {*options, "--help"}]
    room = sum(
        1000 if each.nargs < 0 else each.nargs
        for each in command.params
        if each.param_type_name == "argument"
    )
    values = 0
    for word in words:
        if not VALUE.fullmatch(word):
            break
        values += 1
    return [*unknown, *([f"{verb} takes no {words[room]}"] if values > room else [])]


def test_every_line_to_paste_can_be_run() -> None:
    lines = [(match[1], match[2]) for text in every_text() for match in LINE.finditer(text)]
    told = [(verb, rest) for verb, rest in lines if verb in VERBS]
    assert {wrong for verb, rest in set(told) for wrong in wrong_with(verb, rest)} == set()
    assert len(set(told)) > 100


def refused(line: str) -> str:
    """What the program's own parser has against a line to paste; empty where it would run."""
    front, words = fronted(shlex.split(line))
    program = typer.main.get_command(app)
    context = program.make_context("corral", [*front, *words])
    try:
        name, verb, rest = program.resolve_command(context, [*context._protected_args, *context.args])  # type: ignore[attr-defined]
        while rest and rest[0] in getattr(verb, "commands", {}):
            name, verb, rest = rest[0], verb.commands[rest[0]], rest[1:]
        verb.make_context(name, list(rest), parent=context)
    except typer.Exit:  # the help, which is no refusal
        return ""
    except typer.TyperException as error:
        return f"corral {line}: {error.format_message()}"
    return ""


def test_each_hint_that_was_given_in_a_test_is_a_command_that_is_taken() -> None:
    """Those that refusals ended with, their values put in: tests/data/refusals.json."""
    kept = json.loads((ROOT / "tests/data/refusals.json").read_text(encoding="utf-8"))
    lines = {line for said in kept.values() for line in said if line.startswith(("hint: ", "  "))}
    named = {shlex.join(words) for line in lines for words in commands(line)}
    assert [wrong for each in sorted(named) if (wrong := refused(each))] == []
    assert len(named) > 15


def test_no_line_to_paste_has_a_word_in_capitals_for_a_value() -> None:
    """NAME alone stands in causes of a server's end, for which the deployment's is put in."""
    found = [
        (path.relative_to(ROOT).as_posix(), UNSAID.search(text))
        for floor in ("infra", "serving", "deploy")
        for path in sorted((ROOT / floor).rglob("*.py"))
        for text in hints(path)
    ]
    causes = tomllib.loads((ROOT / "serving/vllm/diagnosis.toml").read_text(encoding="utf-8"))["cause"]
    found += [("diagnosis.toml", UNSAID.search(cause["next"].replace("NAME", ""))) for cause in causes]
    assert {f"{where}: {match[0]}" for where, match in found if match} == {
        "serving/vllm/diagnosis.py: corral logs NAME",
        # A signal's own name, in a command that is run.
        "infra/onhost/heal.py: --signal=KILL",
        # What a verb is for, in a note: nothing was refused that it would mend.
        "serving/model/evaluations.py: --texts FILE",
        # How a page's reader checks it, with files of his own.
        "deploy/report/egress_page.py: corral egress verify FILE",
    }


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("down X --targt ec2", ["down --targt"]),
        ("hosts check X", ["hosts check"]),
        ("stop NAME HOST", ["stop takes no HOST"]),
        ("iam-policy FILE", ["iam-policy takes no FILE"]),
        ("logs -f X.", []),
        ("hosts show A B C", []),
        ("status X tells how it is", []),
        ("prices --refresh --region REGION", []),
    ],
)
def test_a_line_that_cannot_be_run_is_found(line: str, wrong: list[str]) -> None:
    verb, _, rest = line.partition(" ")
    assert wrong_with(verb, rest) == wrong
