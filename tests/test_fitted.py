"""Prose is wrapped at a terminal's width, by one function behind the doors of what is said; no command is broken."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from test_bad_lines import PLAN
from test_terminal import OnTerminal, on_terminal, words

from deploy.cli.main import run
from infra.fitted import fitted, in_room
from infra.printable import COLOUR
from infra.say import emit, notice, say

__all__ = ["on_terminal"]

WRAPPED = {
    "Say it: --region us-east-1; or set AWS_REGION, or the profile's: aws configure set region us-east-1": (
        "Say it: --region us-east-1; or set",
        "  AWS_REGION, or the profile's:",
        "  aws configure set region us-east-1",
    ),
    "  Next: corral probe scout --concurrency 16 --requests 200 --output 'a b'": (
        "  Next:",
        "    corral probe scout --concurrency 16 --requests 200 --output 'a b'",
    ),
    "Next: corral size scout --on 8xH100 -o plan.json && corral up plan.json --target ssh": (
        "Next:",
        "  corral size scout --on 8xH100 -o plan.json && corral up plan.json --target ssh",
    ),
    "price: 5.672 USD per hour, at most 68.61 USD in the 12 hours until it ends itself": (
        "price: 5.672 USD per hour, at most 68.61",
        "  USD in the 12 hours until it ends",
        "  itself",
    ),
    "with --language-model-only it still lacks 39.5 GiB of what is needed there": (
        "with --language-model-only it still",
        "  lacks 39.5 GiB of what is needed there",
    ),
    "See https://docs.aws.amazon.com/systems-manager/latest/userguide/session-manager.html for it.": (
        "See",
        "  https://docs.aws.amazon.com/systems-manager/latest/userguide/session-manager.html",
        "  for it.",
    ),
    "Check the free space and the owner of that place: df -h, ls -ld": (
        "Check the free space and the owner of",
        "  that place: df -h, ls -ld",
    ),
    '"A g5.12xlarge costs about $16 an hour, as somebody wrote."': (
        '"A g5.12xlarge costs about $16 an hour,',
        '  as somebody wrote."',
    ),
}


@pytest.mark.parametrize("line", WRAPPED)
def test_prose_is_wrapped_and_no_command_is(line: str) -> None:
    assert in_room(line, 40).split("\n") == [*WRAPPED[line]]
    assert in_room(line, len(line)) == line


def test_what_stands_before_the_first_line_counts(on_terminal: OnTerminal) -> None:
    on_terminal(40)
    assert fitted("a word " * 6, sys.stdout, 7) == "a word a word a word a word a\n  word a word"
    assert fitted("short\n  " + "a word " * 6, sys.stdout).split("\n") == [
        "short", "  a word a word a word a word a word a", "    word",
    ]  # fmt: skip


LONG = "a word " * 20


def test_each_door_wraps_on_a_terminal_and_never_in_a_pipe(
    on_terminal: OnTerminal, capsys: pytest.CaptureFixture[str]
) -> None:
    def told() -> tuple[str, str]:
        say(LONG)
        emit(PLAN, LONG, as_json=False)
        notice(LONG, "warning: ")
        return capsys.readouterr()

    assert told() == (f"{LONG}\n{LONG}\n", f"warning: {LONG}\n")
    on_terminal(40)
    shown = [COLOUR.sub("", text) for text in told()]
    assert max(len(line) for text in shown for line in text.splitlines()) <= 40
    assert [words(text) for text in shown] == [words(LONG) * 2, ["warning:", *words(LONG)]]
    say(LONG, as_it_is=True)
    emit(PLAN, LONG, as_json=False, as_it_is=True)
    assert COLOUR.sub("", capsys.readouterr().out) == f"{LONG}\n{LONG}\n"


SHOWN = [
    "--help",
    "up --help",
    "probe --help",
    "keys --help",
    "doctor --target ec2 --region us-east-1",
    "doctor plan.json --region us-east-1",
    "capacity scout --requests-per-s 5 --on p5.4xlarge",
    "claude-cost --model haiku-5.5 --input-tokens 1000 --output-tokens 500",
    "prices",
    "size scout --on g5.12xlarge",
    "size scout --on g5.xlarge",
    "compare --plan plan.json",
    "fetch nope",
]
DRY = "up scout --on g5.12xlarge --region us-east-1 --dry-run"
A_COMMAND = re.compile(r"(?:corral|aws|curl|--)\S* ")
NEXT = re.compile(r"^(?:Next: |hint: See: )(corral .*)$", re.MULTILINE)


@pytest.mark.parametrize("line", SHOWN)
def test_no_line_is_wider_than_a_terminal_but_what_cannot_be_broken(
    line: str,
    on_terminal: OnTerminal,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    PLAN.write(Path("plan.json"))

    def said() -> str:
        run(line.split())
        return COLOUR.sub("", "".join(capsys.readouterr()))

    commands = NEXT.findall(said())
    for width in (80, 40):
        on_terminal(width)
        shown = said()
        wide = [each.strip() for each in shown.splitlines() if len(each) > width]
        assert [each for each in wide if " " in each and not A_COMMAND.match(each)] == []
        assert [each for each in commands if each not in shown] == []


@pytest.mark.parametrize("width", [80, 40])
def test_a_terminal_of_the_systems_own_says_how_wide_it_is(width: int, tmp_path: Path) -> None:
    """Without COLUMNS, as a person has it; not a word is lost of what a pipe gets."""
    code = "import sys; from deploy.cli.main import run; sys.exit(run(sys.argv[1:]))"
    command = [sys.executable, "-c", code, *DRY.split()]
    given = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR")}
    given |= {"TERM": "xterm", "PYTHONPATH": os.pathsep.join(sys.path)}
    piped = subprocess.run(command, env=given, cwd=tmp_path, capture_output=True, text=True, check=True)
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    with subprocess.Popen(command, env=given, cwd=tmp_path, stdin=theirs, stdout=theirs, stderr=theirs):
        os.close(theirs)
        shown = b""
        while part := read(ours):
            shown += part
    os.close(ours)
    lines = COLOUR.sub("", shown.decode()).replace("\r", "").splitlines()
    wide = [line.strip() for line in lines if len(line) > width and " " in line.strip()]
    assert [line for line in wide if not line.startswith("corral ")] == []
    assert len(lines) > len(piped.stdout.splitlines())
    assert words("\n".join(lines)) == words(piped.stderr + piped.stdout)


def read(terminal: int) -> bytes:
    """What comes next of a terminal; nothing at its end, which Linux tells as an error."""
    try:
        return os.read(terminal, 65536)
    except OSError:
        return b""
