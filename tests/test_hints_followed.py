"""A hint is followed where it was given: what it names is typed there, in the same folder and home.

Of each line of tests/data/bad_lines.toml: a command that the hint names is run as it stands; a flag or a value that it
names is put into the line that was refused, and what it says to leave out is left out. None is refused with the same
sentence, and a command is no wrong question. Nobody outside this machine is asked. Those of
tests/data/refusals.json are followed by refusals.py.
"""

import re
import shlex
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from following import alone, amended, commands, fault
from test_bad_lines import KEPT_WRONG, LINES, said, somewhere, typed

from deploy.cli.main import run
from deploy.gateway import gateway, haproxy
from infra.home import home

__all__ = ["somewhere"]

OF_THE_SHELL = re.compile(r"(?:^|: )((?:ls|mv|df|file|head|rm) [^;,()]+)")


def followed() -> Iterator[tuple[str, str, bool]]:
    """Each line to be typed, the one whose hint says so, and whether it stands there as a whole."""
    for line, kept in LINES.items():
        whole = commands(f"hint: {kept['hint']}")
        for words in whole or amended(typed(line), kept["error"], kept["hint"]):
            yield shlex.join(words), line, bool(whole)


TYPED: dict[str, dict[str, bool]] = defaultdict(dict)
"""Each line to be typed, with those whose hints say so: the place is the same for all."""
for then, line, is_whole in followed():
    TYPED[then][line] = is_whole


@pytest.fixture(autouse=True)
def nobody_outside(monkeypatch: pytest.MonkeyPatch, somewhere: Path) -> Iterator[None]:
    """Nobody is asked, and a gateway that a hint starts ends with its test."""
    alone(monkeypatch)
    yield
    if gateway.folder("mine").exists():
        haproxy.stop(gateway.folder("mine"), 0)


@pytest.mark.parametrize("line", TYPED)
def test_what_a_hint_says_is_not_refused(line: str, somewhere: Path) -> None:
    refused = {LINES[each]["error"] for each in TYPED[line]}
    assert fault(shlex.split(line), refused, any(TYPED[line].values()), somewhere) == ""


def test_no_hint_is_left_that_is_not_followed() -> None:
    ways = {line for _, line, _ in followed()}
    shell = {line for line, kept in LINES.items() if OF_THE_SHELL.search(kept["hint"])}
    names = {line for line, kept in LINES.items() if "nown here: " in kept["hint"]}
    assert set(LINES) - ways - shell - names == set()


def test_what_a_hint_says_to_a_shell_ends_well(somewhere: Path) -> None:
    told = {match[1] for kept in LINES.values() for match in OF_THE_SHELL.finditer(kept["hint"])}
    assert told
    for command in sorted(told):
        assert (
            subprocess.run(command, shell=True, capture_output=True, text=True, check=False).returncode == 0
        ), command


# --- elsewhere: nothing is there yet; what is kept is wrong


def told(line: str, place: Path, capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    """What a line is refused with there; nothing where it is not."""
    run(typed(line))
    err = capsys.readouterr().err
    return said(err, place) if "error: " in err else ("", "")


OF_WHAT_IS_THERE = [line for line in LINES if {"mine", "nope", "plan.json", "nowhere"} & {*line.split()}]


def test_where_nothing_is_yet_each_hint_can_be_followed_too(
    somewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("plan.json").unlink()
    (home() / "mine/deployment.json").unlink()
    (home() / "mine").rmdir()
    refused: dict[str, set[str]] = defaultdict(set)
    for line in OF_WHAT_IS_THERE:
        message, hint = told(line, somewhere, capsys)
        for words in commands(f"hint: {hint}"):
            refused[shlex.join(words)].add(message)
    faults = {
        line: said
        for line, messages in refused.items()
        if (said := fault(shlex.split(line), messages, True, somewhere))
    }
    assert faults == {}
    assert len(refused) > 10


KEPT_BESIDE = {
    "a number for a region": "region = 5",
    "a time that is none": "ttl = 'soon'",
    "a tag that is none": "tag = 'x'",
    "no bool": "offline = 3",
    "a limit below nothing": "max-usd-per-hour = -1",
}
EXAMPLE = re.compile(r"For example: (.+)")


@pytest.mark.parametrize("text", (KEPT_WRONG | KEPT_BESIDE).values(), ids=KEPT_WRONG | KEPT_BESIDE)
def test_what_is_kept_wrong_is_mended_as_its_hint_says(
    text: str, somewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A command is run, an example is put in place of what is wrong."""
    Path("corral.toml").write_text(text)
    message, hint = told("config", somewhere, capsys)
    assert message
    if command := OF_THE_SHELL.search(hint):
        subprocess.run(command[1], shell=True, capture_output=True, check=True)
    elif example := EXAMPLE.search(hint):
        Path("corral.toml").write_text(example[1])
    else:
        assert hint in {
            "Did you mean region?",
            "Mend that line.",
            "Remove it, and give a secret through the environment or a file that only you read: HF_TOKEN, "
            "--hf-token-file, --api-key-file.",
        }
        return
    assert told("config", somewhere, capsys) == ("", "")


@pytest.mark.parametrize(
    ("name", "value"), [("CORRAL_REGION", "mars"), ("CORRAL_TTL", "x"), ("CORRAL_QUIET", "maybe")]
)
def test_a_variable_that_cannot_be_meant_is_mended_as_its_hint_says(
    name: str,
    value: str,
    somewhere: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(name, value)
    example = EXAMPLE.search(told("config", somewhere, capsys)[1])
    assert example
    there, _, mended = example[1].partition("=")
    monkeypatch.setenv(there, mended)
    assert told("config", somewhere, capsys) == ("", "")
