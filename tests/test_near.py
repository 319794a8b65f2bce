"""What was meant by a word that names nothing: one most like it that is there, or nothing."""

from pathlib import Path

import pytest

from infra.near import is_called_json, meant, meant_file, near


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("scuot", "scout"),
        ("maverik", "maverick"),
        ("scout", ""),  # it is there: something else is wrong with it
        ("grok", ""),
        ("", ""),
    ],
)
def test_a_name_is_offered_for_one_much_like_it(word: str, found: str) -> None:
    assert near(word, ["scout", "maverick"]) == found
    assert meant(word, ["scout", "maverick"]) == (f"Did you mean {found}?" if found else "")


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        ("plan.jsn", "Did you mean plan.json?"),
        ("plna.json", "Did you mean plan.json?"),
        ("./b/plan.jso", "Did you mean 'b/plan 1.json'?"),
        ("none.json", ""),
        ("nowhere/plan.json", ""),
        ("fold", ""),  # a folder is no file
        ("\0", ""),
    ],
)
def test_a_file_is_offered_for_one_much_like_it(
    typed: str, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("plan.json", "b/plan 1.json", "folder/x"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).touch()
    assert meant_file(Path(typed)) == hint


@pytest.mark.parametrize(
    ("word", "is_one"),
    [
        ("plan.json", True),
        ("plan.jsn", True),
        ("a/plan.JSON", True),
        (".json", True),
        ("plan", False),
        ("scout-int4", False),
        ("owner/Llama-4.1-Scout", False),
        ("plan.toml", False),
    ],
)
def test_what_is_called_as_a_document_is(word: str, is_one: bool) -> None:
    assert is_called_json(word) == is_one
