"""What people asked in public, answered by commands: each file of tests/data/situations, beside its arithmetic.

A file says who asked it (`described_by`), what (`asks`), the arithmetic of the right answer, a line an equation, and
the commands with what they must answer. Of a command with --json `answers` are values by their path, to as many places
as they are written with, and no more digits are needed than the arithmetic has; `says` are words that must be printed.
Documents beside it, `NAME.*` for NAME.toml, lie where the commands run, as do those of tests/data/compare.
"""

import ast
import json
import operator
import shlex
import shutil
import tomllib
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from deploy.cli.main import run

DATA = Path(__file__).parent / "data"
SITUATIONS = DATA / "situations"
A_DAY = "1795521600"  # 2026-11-24, noon
OPERATORS: dict[type[ast.AST], Callable[[Decimal, Decimal], Decimal]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}


def situation(path: Path) -> dict[str, Any]:
    """The file; its numbers as they are written."""
    return tomllib.loads(path.read_text(encoding="utf-8"), parse_float=Decimal)


def worth(node: ast.AST) -> Decimal:
    """The value of an expression of numbers, exactly as it stands."""
    if isinstance(node, ast.BinOp):
        return OPERATORS[type(node.op)](worth(node.left), worth(node.right))
    if isinstance(node, ast.UnaryOp):
        return -worth(node.operand)
    assert isinstance(node, ast.Constant)
    return Decimal(repr(node.value))


def is_near(found: object, wanted: object) -> bool:
    """Whether they are equal; numbers to as many places as the wanted one is written with."""
    if isinstance(wanted, Decimal):
        places = max(0, -int(wanted.as_tuple().exponent))
        return isinstance(found, int | float) and round(Decimal(repr(found)), places) == wanted
    return found == wanted


def at(document: Any, path: str) -> Any:
    """What stands in a document at `claude.0.usd_per_month`."""
    for step in path.split("."):
        document = document[int(step) if isinstance(document, list) else step]
    return document


PATHS = {path.stem: path for path in sorted(SITUATIONS.glob("*.toml"))}


@pytest.mark.parametrize("name", PATHS)
def test_the_arithmetic_holds(name: str) -> None:
    """Each line is `expression = number`; what follows a # is words."""
    found = situation(PATHS[name])
    assert found["described_by"]
    assert found["asks"]
    for line in found["arithmetic"]:
        left, _, right = line.partition("#")[0].partition("=")
        value = worth(ast.parse(left.strip(), mode="eval").body)
        wanted = Decimal(right.strip().replace(",", "").replace("_", ""))
        assert round(value, max(0, -int(wanted.as_tuple().exponent))) == wanted, line


@pytest.mark.parametrize("name", PATHS)
def test_a_situation_is_answered(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for document in (*(DATA / "compare").iterdir(), *SITUATIONS.glob(f"{name}.*")):
        shutil.copy(document, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", A_DAY)
    monkeypatch.setenv("COLUMNS", "100")
    for command in situation(PATHS[name])["commands"]:
        code = run(shlex.split(command["line"]))
        out, err = capsys.readouterr()
        assert code == command.get("exit_code", 0), err
        words = " ".join((out + err).split())
        assert [text for text in command.get("says", []) if text not in words] == []
        if answers := command.get("answers"):
            document = json.loads(out)
            found = {path: at(document, path) for path in answers}
            assert {path: found[path] for path in answers if not is_near(found[path], answers[path])} == {}
