"""A hint is followed where it was given: what it names is typed there, and nobody outside this machine is asked."""

import io
import os
import re
import shlex
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from deploy.cli.main import run
from deploy.cli.verbs import VERBS
from infra import errors
from infra.fetch.patience import Pace
from infra.home import home
from serving.model import fetching

DATA = Path(__file__).parent / "data"
UNSAID = re.compile(
    r"(?:--[a-z][a-z-]*[ =]|corral [a-z-]+(?: [a-z-]+)? |(?:file|s3|https?)://|-d |-m venv )"
    r"(?:[A-Z]{4,}|URL|DIR|ARN)\b|\[--"
)
"""A word in capitals, or in brackets, where who pastes the line has a value to think of."""
COMMAND = re.compile(r"(?:^hint: |[:;] |[?] |&& |\()corral (.+?)(?=$|[.;,] | && | \| |\)[ ,;]|\)$)")
FLAG = r"--[a-z][a-z0-9-]*(?:[ =](?:'[^']*'|(?!--)[^\s;,()?]*[^\s;,()?.]))?"
FLAGS = re.compile(rf"(?<![\w-]){FLAG}(?: {FLAG})*")
OF_ANOTHER = re.compile(r"\((?:aws|curl|uv) [^()]*\)")
"""A command of another program's, whose flags are its own."""
LEFT_OUT = re.compile(r"^Leave out ((?:--[a-z0-9-]+(?: and )?)+)")
AS_A_VERB = re.compile(r"[a-z-]+ (?:says|tells) ")
"""What corral does, in a sentence that goes on."""
ALONE = "ame the model alone"
"""A hint to take a word apart, which only who reads it can."""
VALUES = re.compile(
    r"(?:One of: |Use one of: |^Use |Near it: |Did you mean |[Ff]or example,? |[Ff]or example: |Write it as |"
    r"It looks like |Name a file in it: )([^;?]+)"
)
QUOTED = re.compile(r"'([^']*)'")
OF_THE_PLACE = ("Nobody is there to choose a machine", "A gateway cannot listen on ", "EC2 sells no ")
"""What a line says in a pipe that asks at a terminal, where another program has the usual port, and of an own machine's
plan on EC2, with those nearest to it.
"""
NOT_FOLLOWED = {"demo": "it installs and starts the real engine, as tests/test_demo.py and scripts/demo do"}
"""What no test can type in passing, by why. It can only become shorter."""


def commands(text: str) -> list[list[str]]:
    """Each whole line of corral's that a text names, a hint as `hint: ` begins it; not what a verb is for."""
    found = [
        match[1]
        for match in COMMAND.finditer(text)
        if not (UNSAID.search(f"corral {match[1]}") or AS_A_VERB.match(match[1]))
    ]
    named = [shlex.split(each) for each in found if each.split()[0] in {*VERBS, "--help"}]
    return [words for words in named if shlex.join(words) not in NOT_FOLLOWED]


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


def amended(words: list[str], message: str, hint: str) -> list[list[str]]:
    """The line that was refused, in each way that the hint says."""
    if left_out := LEFT_OUT.search(hint):
        for flag in left_out[1].split(" and "):
            words = without(words, flag)
        return [words]
    if ALONE in hint:
        return []
    if ", instead: " in hint:
        for flag in re.findall("--[a-z-]+", message):
            words = without(words, flag)
    if flags := [shlex.split(each) for each in FLAGS.findall(OF_ANOTHER.sub("", hint))]:
        return [with_flags(words, each) for each in flags]
    quoted = QUOTED.search(message)
    wrong = (
        quoted[1]
        if quoted
        else next((word for word in words if f" {word} " in f" {message.rstrip('.')} "), None)
    )
    found = VALUES.search(hint)
    if wrong not in words or not found:
        return []
    values = (re.split(r"[ (]", each.strip(" ."))[0] for each in re.split(", (?:or )?", found[1]))
    return [[value if word == wrong else word for word in words] for value in values if value != "the"]


def alone(patched: pytest.MonkeyPatch) -> None:
    """No name but this machine's own is known, as without a network; there are no credentials, and nobody types."""
    real = socket.getaddrinfo

    def looked_up(host: Any, *arguments: Any, **options: Any) -> Any:
        if host not in (None, "127.0.0.1", "::1", "localhost"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return real(host, *arguments, **options)

    patched.setattr(socket, "getaddrinfo", looked_up)
    patched.setenv("CORRAL_SSH_CONFIG", str(DATA / "away.ssh-config"))
    patched.setattr(sys, "stdin", io.StringIO())
    # Nobody waits for a Hub that is not there.
    patched.setattr(fetching, "Pace", lambda: Pace(first_wait_s=0.0))
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        patched.delenv(name, raising=False)


def fault(words: Sequence[str], refused: set[str], is_whole: bool, place: Path) -> str:
    """The sentence with which a line is refused that a hint led to; empty where it did what it could here.

    A value that was put into a line may show what else that lacks; a line to paste lacks nothing.
    """
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()) as said:
        code = run(words)
    lines = said.getvalue().replace(str(place), "FOLDER").splitlines()
    message = next((line.removeprefix("error: ") for line in lines if line.startswith("error: ")), "")
    is_wrong = code == errors.CorralError.exit_code or (
        is_whole and code == errors.UsageError.exit_code and not message.startswith(OF_THE_PLACE)
    )
    return message if is_wrong or message in refused else ""


FOLLOWED: set[tuple[str, ...]] = set()
"""What was typed already, with the names of what was there: it says the same again."""


def led_to(said: str, line: Sequence[str]) -> Iterator[tuple[list[str], bool]]:
    """Each line to be typed, and whether it stands there as a whole; a flag or a value goes into the one refused.

    Of several the first: the others are followed where they come in tests/data/bad_lines.toml.
    """
    whole = [words for each in said.splitlines() for words in commands(each)]
    yield from ((words, True) for words in whole)
    message = re.search("^error: (.*)", said, re.MULTILINE)
    hint = re.search("^hint: (.*)", said, re.MULTILINE)
    if line and message and hint and not whole:
        yield from ((words, False) for words in amended([*line], message[1], hint[1])[:1])


def faults(said: str, place: Path, line: Sequence[str] = ()) -> dict[str, str]:
    """Each line that what was said leads to and that is refused there in its turn, with its sentence.

    `line` is the one that was refused, of which `said` is the sentence and the hint.
    """
    refused = set(re.findall("^error: (.*)", said.replace(str(place), "FOLDER"), re.MULTILINE))
    found = {}
    with pytest.MonkeyPatch.context() as patched:
        alone(patched)
        patched.chdir(place)
        for words, is_whole in led_to(said, line):
            there = (name for folder in (place, home()) if folder.exists() for name in os.listdir(folder))
            if (key := (*words, "", *sorted(there), *(refused if line else ()))) in FOLLOWED:
                continue
            if message := fault(words, refused, is_whole, place):
                found[shlex.join(words)] = message
            FOLLOWED.add(key)
    return found
