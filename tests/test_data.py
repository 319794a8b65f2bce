"""The shipped files: parsed once, read as they are, and the error for one that is not there."""

import ast
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest

from infra.data import shipped_table, shipped_text


def test_a_table_is_parsed_once() -> None:
    assert shipped_table("infra.aws", "quotas.toml") is shipped_table("infra.aws", "quotas.toml")
    assert set(shipped_table("infra.aws", "quotas.toml")) == {"on-demand", "spot"}


def test_a_file_is_read_as_it_is() -> None:
    assert shipped_text("infra.onhost", "facts.sh").startswith("#!")


def test_what_was_not_shipped_is_no_table() -> None:
    with pytest.raises(FileNotFoundError):
        shipped_table("infra", "nothing.toml")


def asked_for() -> Iterator[tuple[str, str]]:
    """Every package and file that the sources name to either function."""
    root = Path(__file__).parent.parent
    for path in (path for floor in ("infra", "serving", "deploy") for path in (root / floor).rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(text)) if "shipped_" in text else ():
            named = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id
            if named in ("shipped_table", "shipped_text") and isinstance(node, ast.Call):
                words = [word.value for word in node.args if isinstance(word, ast.Constant)]
                if len(words) == 2:
                    yield str(words[0]), str(words[1])


def test_what_the_sources_name_is_there() -> None:
    named = {*asked_for()}
    assert len(named) > 30
    assert sorted(each for each in named if not files(each[0]).joinpath(each[1]).is_file()) == []
