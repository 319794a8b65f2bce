"""A hint is followed where it was given: what it names is typed there, in the same folder and home.

Of each line of tests/data/bad_lines.toml: a command that the hint names is run as it stands; a flag or a value that it
names is put into the line that was refused, and what it says to leave out is left out. None is refused with the same
sentence, and a command is no wrong question. Nobody outside this machine is asked. What cannot be followed here is in
tests/data/hints_not_followed.toml, with the reason.
"""

import re
import shlex
import socket
import subprocess
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_bad_lines import DATA, KEPT_WRONG, LINES, said, somewhere, typed
from test_hints import COMMAND

from deploy.cli.main import run
from deploy.cli.verbs import VERBS
from infra import errors
from infra.home import home

__all__ = ["somewhere"]

LEFT: dict[str, list[str]] = tomllib.loads((DATA / "hints_not_followed.toml").read_text(encoding="utf-8"))
MOST_LEFT = 12
"""No more are left than at the last look: a new hint is one that can be followed."""
OF_THE_SHELL = re.compile(r"(?:^|: )((?:ls|mv|df|file|head|rm) [^;,()]+)")
FLAG = r"--[a-z][a-z-]*(?:[ =](?:'[^']*'|(?!--)[^\s;,()?]*[^\s;,()?.]))?"
FLAGS = re.compile(rf"(?<![\w-]){FLAG}(?: {FLAG})*")
LEFT_OUT = re.compile(r"^Leave out ((?:--[a-z-]+(?: and )?)+)")
VALUES = re.compile(
    r"(?:One of: |Use one of: |^Use |Near it: |Did you mean |[Ff]or example,? |[Ff]or example: |Write it as |"
    r"It looks like )([^;?]+)"
)
CHOOSING = "Nobody is there to choose a machine"
"""What a line says in a pipe that asks at a terminal."""
QUOTED = re.compile(r"'([^']*)'")


def without(words: list[str], flag: str) -> list[str]:
    """The line without that flag and its value."""
    return [
        word
        for before, word in zip(["", *words], words, strict=False)
        if word.partition("=")[0] != flag and (before != flag or word.startswith("--"))
    ]


def with_flags(words: list[str], flags: list[str]) -> list[str]:
    """The line with those flags and their values, each in place of one of its name."""
    for word in flags:
        words = without(words, word.partition("=")[0]) if word.startswith("--") else words
    return [*words, *flags]


def commands(hint: str) -> list[list[str]]:
    """Each whole line of corral's that a hint names."""
    named = [shlex.split(match[1]) for match in COMMAND.finditer(f"hint: {hint}")]
    return [words for words in named if words[0] in {*VERBS, "--help"}]


def amended(words: list[str], message: str, hint: str) -> list[list[str]]:
    """The line that was refused, in each way that the hint says."""
    if left_out := LEFT_OUT.search(hint):
        for flag in left_out[1].split(" and "):
            words = without(words, flag)
        return [words]
    if flags := [shlex.split(each) for each in FLAGS.findall(hint)]:
        return [with_flags(words, each) for each in flags]
    quoted = QUOTED.search(message)
    wrong = (
        quoted[1]
        if quoted
        else next((word for word in words if f" {word} " in f"{message.rstrip('.')} "), None)
    )
    found = VALUES.search(hint)
    if wrong not in words or not found:
        return []
    values = (re.split(r"[ (]", each.strip(" ."))[0] for each in re.split(", (?:or )?", found[1]))
    return [[value if word == wrong else word for word in words] for value in values if value != "the"]


def followed() -> Iterator[tuple[str, str, bool]]:
    """Each line to be typed, the one whose hint says so, and whether it stands there as a whole."""
    for line, kept in LINES.items():
        whole = commands(kept["hint"])
        for words in whole or amended(typed(line), kept["error"], kept["hint"]):
            yield shlex.join(words), line, bool(whole)


TYPED: dict[str, dict[str, bool]] = defaultdict(dict)
"""Each line to be typed, with those whose hints say so: the place is the same for all."""
for then, line, is_whole in followed():
    if line not in [left for lines in LEFT.values() for left in lines]:
        TYPED[then][line] = is_whole


@pytest.fixture(autouse=True)
def nobody_outside(monkeypatch: pytest.MonkeyPatch, somewhere: Path) -> None:
    """No name but this machine's own is known, as without a network, and no profile of AWS's is named."""
    real = socket.getaddrinfo

    def looked_up(host: Any, *arguments: Any, **options: Any) -> Any:
        if host not in (None, "127.0.0.1", "::1", "localhost"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return real(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", looked_up)
    monkeypatch.delenv("AWS_PROFILE")


def fault(words: list[str], refused: set[str], is_whole: bool, place: Path, capsys: Any) -> str:
    """The sentence with which a line is refused that a hint led to; empty where it did what it could here.

    A value that was put into a line may show what else that lacks; a line to paste lacks nothing.
    """
    code = run(words)
    err = capsys.readouterr().err
    message = said(err, place)[0] if "error: " in err else ""
    is_wrong = code == errors.CorralError.exit_code or (
        is_whole and code == errors.UsageError.exit_code and not message.startswith(CHOOSING)
    )
    return message if is_wrong or message in refused else ""


@pytest.mark.parametrize("line", TYPED)
def test_what_a_hint_says_is_not_refused(
    line: str, somewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refused = {LINES[each]["error"] for each in TYPED[line]}
    assert fault(shlex.split(line), refused, any(TYPED[line].values()), somewhere, capsys) == ""


def test_what_is_left_is_known_and_no_more_than_it_was() -> None:
    left = [line for lines in LEFT.values() for line in lines]
    ways = {line for _, line, _ in followed()}
    shell = {line for line, kept in LINES.items() if OF_THE_SHELL.search(kept["hint"])}
    names = {line for line, kept in LINES.items() if "nown here: " in kept["hint"]}
    assert set(LINES) - ways - shell - names - set(left) == set()
    assert set(left) - set(LINES) == set()
    assert len(left) <= MOST_LEFT


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
        for words in commands(hint):
            refused[shlex.join(words)].add(message)
    faults = {
        line: said
        for line, messages in refused.items()
        if (said := fault(shlex.split(line), messages, True, somewhere, capsys))
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
