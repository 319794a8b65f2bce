"""Commands that README, docs and helps tell are run where they ask nobody but this machine.

What is shown of it scripts/readme holds; the others are in test_told_in_their_place.py.
"""

import json
import shlex
import shutil
from collections.abc import Callable
from glob import glob
from pathlib import Path

import pytest
from probing import on_any_machine
from told_places import lines_told

from deploy.cli.main import run
from infra.errors import DoesNotFit

ORDER = (
    "size",
    "compare",
    "report",
    "capacity",
    "simulate",
    "claude-cost",
    "prices",
    "export",
    "gateway",
    "provision",
    "up",
    "iam-policy",
    "probe report",
    "probe diff",
    "config",
    "schema",
    "version",
)
"""What can be done here, after what it needs."""
ELSEWHERE = {"sweep", "--refresh", "ssh", "./scout"}
"""What only a server of one's own gives, AWS, a host, the Hub."""
OF_A_MODEL = {"size", "capacity", "simulate", "up"}
"""Of these `scout` is the model, of others a deployment."""
ANSWERS = (0, DoesNotFit.exit_code)
"""That what is asked for does not fit, or keep its promise, is an answer."""


def told() -> list[list[str]]:
    """The words of each such command, without `corral`, in the order in which they are run."""
    words = [shlex.split(line)[1:] for line in sorted(lines_told())]
    return sorted(filter(is_done_here, words), key=lambda each: ORDER.index(verb(each)))


def verb(words: list[str]) -> str:
    """Its verb, with the one below it."""
    return " ".join(words[: 2 if words[0] == "probe" else 1])


def is_done_here(words: list[str]) -> bool:
    """Whether it asks nobody, and what it takes is here."""
    if verb(words) not in ORDER or (words[0] in ("gateway", "provision", "up") and "--dry-run" not in words):
        return False
    is_by_name = words[1:2] == ["scout"] and words[0] not in OF_A_MODEL
    return not is_by_name and not ELSEWHERE & set(words)


@pytest.mark.slow
def test_what_can_be_done_here_ends_as_it_should(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    fake_llm: Callable[..., str],
) -> None:
    on_any_machine(monkeypatch)
    monkeypatch.chdir(tmp_path)
    url = fake_llm(ttft_ms=1.0, itl_ms=0.1)
    for folder in ("probe", "monday", "friday"):
        load = ("--concurrency", "4", "--requests", "40", "--output-tokens", "20", "--output", folder)
        assert run(["probe", url, *load]) == 0
        for kept in Path(folder).iterdir():  # as if it had been the plan's
            kept.write_text(kept.read_text().replace('"fake"', '"llama-4-scout"'))
    for turn in range(1, 4):
        shutil.copytree("monday", f"turns/a-{turn}")
        shutil.copytree("friday", f"turns/b-{turn}")
    (tmp_path / "trace.jsonl").write_text(
        "".join(
            json.dumps({"time_s": at / 2, "input_tokens": 900, "output_tokens": 90}) + "\n"
            for at in range(40)
        )
    )
    refused = {}
    for words in told():
        for folder in ("gateway", "k8s"):  # several ways to one are told
            shutil.rmtree(folder, ignore_errors=True)
        capsys.readouterr()
        expanded = [each for word in words for each in (sorted(glob(word)) or [word])]
        if (code := run(expanded)) not in ANSWERS:
            refused[shlex.join(words)] = (code, capsys.readouterr().err)
    assert refused == {}


def test_enough_is_done_here() -> None:
    """So that a command is not left out for a word that happens to be in it."""
    assert {verb(words) for words in told()} == set(ORDER)
    assert len(told()) > 35
