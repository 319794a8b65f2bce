"""What a terminal is shown: fitted to its width, in colours where it has them, and no word less than a pipe gets."""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deploy.cli import engine
from deploy.cli.main import run
from deploy.targets.ec2 import boxes, weights_push
from deploy.targets.local import starting
from deploy.targets.ssh import host_unit
from infra import bar, columns
from infra.aws.bucket import Place
from infra.errors import UsageError
from infra.printable import COLOUR
from infra.say import fail

OnTerminal = Callable[[int], None]
NOTHING: Any = None


@pytest.fixture
def on_terminal(monkeypatch: pytest.MonkeyPatch) -> OnTerminal:
    """From now on stdout and stderr are a terminal of so many columns."""
    for name in ("NO_COLOR", "FORCE_COLOR", "CORRAL_QUIET"):
        monkeypatch.delenv(name, raising=False)

    def become(width: int) -> None:
        monkeypatch.setenv("COLUMNS", str(width))
        monkeypatch.setenv("TERM", "xterm")
        for stream in (sys.stdout, sys.stderr):
            monkeypatch.setattr(stream, "isatty", lambda: True)

    return become


ROWS = [
    ("machine", "GPUs", "$/h", "why not"),
    ("g5.12xlarge", "4x A10G", " 5.67", ""),
    ("p5.48xlarge", "8x H100", "55.04", "9.7x the cost, 4.2x as fast"),
]

FITTED = {
    80: """\
  machine      GPUs     $/h    why not
  g5.12xlarge  4x A10G   5.67
  p5.48xlarge  8x H100  55.04  9.7x the cost, 4.2x as fast""",
    56: """\
  machine      GPUs     $/h    why not
  g5.12xlarge  4x A10G   5.67
  p5.48xlarge  8x H100  55.04  9.7x the cost, 4.2x as
                               fast""",
    40: """\
  machine      GPUs     $/h
  g5.12xlarge  4x A10G   5.67
  p5.48xlarge  8x H100  55.04

  machine      why not
  g5.12xlarge
  p5.48xlarge  9.7x the cost, 4.2x as
               fast""",
}


@pytest.mark.parametrize("width", FITTED)
def test_a_table_is_fitted_and_nothing_of_it_left_out(width: int, on_terminal: OnTerminal) -> None:
    on_terminal(width)
    assert columns.table(ROWS) == FITTED[width]


@pytest.mark.parametrize("width", range(12, 40, 4))
def test_no_line_is_wider_than_a_narrow_terminal_and_no_letter_is_lost(
    width: int, on_terminal: OnTerminal
) -> None:
    on_terminal(width)
    shown = columns.table(ROWS)
    assert max(map(len, shown.splitlines())) <= width
    assert Counter("".join(shown.split())) >= Counter("".join("".join(row) for row in ROWS).replace(" ", ""))


COMMAND = ["size", "scout", "--precision", "fp8", "--on", "2xH100"]


def words(text: str) -> list[str]:
    return COLOUR.sub("", text).split()


@pytest.mark.parametrize("width", [80, 200])
def test_a_terminal_is_told_what_a_pipe_is(
    width: int, on_terminal: OnTerminal, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(COMMAND) == 0
    piped = capsys.readouterr().out
    on_terminal(width)
    assert run(COMMAND) == 0
    shown = capsys.readouterr().out
    assert words(shown) == words(piped)
    assert shown.startswith("\x1b[1mFITS: scout fp8 on 2xH100, vLLM 0.33.0\x1b[0m\n")
    assert "\x1b" not in piped


REFUSED = UsageError("No.", "Say it: --yes")
PAINTED = "\x1b[1;31merror: \x1b[0mNo.\n\x1b[1;36mhint: \x1b[0mSay it: --yes\n"
BOLD = "\x1b[1merror: \x1b[0mNo.\n\x1b[1mhint: \x1b[0mSay it: --yes\n"
PLAIN = "error: No.\nhint: Say it: --yes\n"


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [("TERM", "xterm", PAINTED), ("NO_COLOR", "1", BOLD), ("TERM", "dumb", PLAIN)],
)
def test_an_error_has_a_colour_where_that_is_wanted(
    variable: str,
    value: str,
    told: str,
    on_terminal: OnTerminal,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    on_terminal(80)
    monkeypatch.setenv(variable, value)
    assert fail(REFUSED, as_json=False) == 2
    assert capsys.readouterr().err == told


def test_a_wait_is_shown_on_a_terminal_and_what_is_said_meanwhile_stands(
    on_terminal: OnTerminal, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def wait() -> str:
        with bar.waiting("the server starts"):
            print("weights are read", file=sys.stderr)
        return capsys.readouterr().err

    assert wait() == "weights are read\n"
    on_terminal(80)
    drawn = wait()
    assert ("the server starts" in drawn, "weights are read\n" in COLOUR.sub("", drawn)) == (True, True)
    monkeypatch.setenv("TERM", "dumb")
    assert wait() == "weights are read\n"


WAITS: list[tuple[Callable[[], object], str]] = [
    (lambda: starting.wait("", Path(), NOTHING), "the server starts"),
    (lambda: host_unit.wait(NOTHING, NOTHING, NOTHING), "the server starts"),
    (lambda: boxes.wait_ready(NOTHING, NOTHING, (NOTHING,), NOTHING), "the server starts"),
    (lambda: boxes.wait_prepared(NOTHING, NOTHING, NOTHING), "the box prepares itself"),
    (lambda: engine.install(), "vLLM is installed"),
    (lambda: weights_push.upload(NOTHING, (), Place(bucket="a", prefix="b/"), ""), "uploading to s3://a/b/"),
]


@pytest.mark.parametrize(("wait", "said"), WAITS)
def test_each_wait_says_what_for(
    wait: Callable[[], object],
    said: str,
    on_terminal: OnTerminal,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each ends at once, for there is nothing to wait for."""
    monkeypatch.setattr("serving.vllm.engine.install", None)
    monkeypatch.setattr("shutil.which", lambda name: name)
    on_terminal(80)
    with pytest.raises((AttributeError, TypeError)):
        wait()
    assert said in COLOUR.sub("", capsys.readouterr().err)


def test_how_much_went_through_a_pipe_is_told(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    with (tmp_path / "pipe").open("wb") as pipe:
        counted = bar.Counted(pipe, 7, lambda there, total: told.append((there, total)))
        assert [counted.write(b"abc"), counted.write(b"defg")] == [3, 4]
    assert ((tmp_path / "pipe").read_bytes(), told) == (b"abcdefg", [(3, 7), (7, 7)])


def test_what_a_terminal_cannot_write_is_spelled_out(tmp_path: Path) -> None:
    """And JSON stays JSON: the folder's name has a letter that ASCII lacks."""
    (tmp_path / "m\xfcll").mkdir()
    program = [sys.executable, "-c", "from deploy.cli.start import main; main()"]
    command = [*program, *COMMAND, "-o", "m\xfcll/plan.json"]
    environ = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONPATH": str(Path(__file__).parent.parent)}
    text = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, check=True).stdout.decode()
    assert text.splitlines()[-1] == "Next: corral up 'm\\u00fcll/plan.json' --target ssh --host gpu-1"
    broken = [*program, "up", "m\xfcll/none.json", "--json"]
    done = subprocess.run(broken, cwd=tmp_path, env=environ, capture_output=True, check=False)
    assert json.loads(done.stdout)["error"]["message"] == "There is no plan at m\xfcll/none.json."
