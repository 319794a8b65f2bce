"""This machine's facts, and what is told where they cannot be read."""

import subprocess
from typing import Any

import pytest

from infra import local_facts
from infra.errors import HostError
from infra.facts import script


def test_this_machine_is_asked_by_the_script_that_asks_any(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def run(command: list[str], **how: Any) -> "subprocess.CompletedProcess[str]":
        asked.append((command, how))
        return subprocess.CompletedProcess(command, 0, "what it says", "")

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(local_facts, "parse", {"what it says": "facts"}.get)
    found: object = local_facts.facts()
    assert found == "facts"
    assert asked == [
        (
            ["sh", "-s"],
            {
                "input": script(),
                "capture_output": True,
                "text": True,
                "errors": "replace",
                "timeout": 60,
                "check": False,
            },
        )
    ]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (subprocess.CompletedProcess([], 1, "", "awk:\n not found\n"), "awk: not found"),
        (subprocess.CompletedProcess([], 3, "x", " \n"), "the shell ended with 3"),
        (FileNotFoundError(2, "No such file", "sh"), "[Errno 2] No such file: 'sh'"),
        (subprocess.TimeoutExpired(["sh", "-s"], 60), "Command '['sh', '-s']' timed out after 60 seconds"),
    ],
)
def test_a_machine_that_cannot_be_read(answer: Any, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: object, **__: object) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(HostError) as error:
        local_facts.facts()
    assert (error.value.message, error.value.hint) == (
        f"This machine's facts cannot be read: {why}.",
        "Try by hand: uname -a",
    )
