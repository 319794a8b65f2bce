"""Command lines that cannot be meant, over all verbs: each one sentence, a hint that can be followed, an exit code that
is documented, nothing written. tests/data/bad_lines.toml has what each says.

CORRAL_TEST_KEEP=1 keeps what is said now: read the difference before it is committed.
"""

import errno
import io
import json
import os
import re
import shlex
import sys
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import typer
from following import commands
from test_hints import refused

from deploy.cli.main import app, run
from deploy.cli.verbs import VERBS
from deploy.targets.deployment import deployment_for, folder
from infra import errors, offline
from infra.printable import COLOUR
from infra.say import spell_out
from serving.sizing.plan import Plan

DATA = Path(__file__).parent / "data"
KEPT = DATA / "bad_lines.toml"
LINES: dict[str, dict[str, Any]] = tomllib.loads(KEPT.read_text(encoding="utf-8"))["line"]
CODES = {each.exit_code for each in errors.CorralError.__subclasses__()} - {errors.Interrupted.exit_code}
"""Those that are documented, without that for what went wrong in a way nobody foresaw."""
PLAN = Plan.read(DATA / "compare" / "plan.json")
LONGEST, LONGEST_HINT = 400, 140
"""Letters of a message with its hint, and of a hint."""


@pytest.fixture(autouse=True)
def somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a plan, a deployment of that plan, here, and nothing else; all is put back that a line sets."""
    for name in (offline.VARIABLE, "CORRAL_QUIET", "CORRAL_GPUS", "AWS_PROFILE"):
        monkeypatch.setenv(name, "")
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    PLAN.write(Path("plan.json"))
    deployment_for(PLAN, "local", "mine").write(folder("mine") / "deployment.json")
    return tmp_path


def there(place: Path) -> dict[str, tuple[int, int]]:
    """Every file and folder, with its size and when it was written."""
    found = {path: path.lstat() for path in sorted(place.rglob("*"))}
    return {str(path): (one.st_size, one.st_mtime_ns) for path, one in found.items()}


def typed(line: str) -> list[str]:
    """Its words; '' stands for an empty one."""
    return ["" if word == "''" else word for word in line.split()]


def said(err: str, place: Path) -> tuple[str, str]:
    """The sentence and the hint; what was told on the way before them is left out."""
    text = err.replace(str(place), "FOLDER")
    at = text.index("error: ")
    message, _, hint = text[at:].removeprefix("error: ").rstrip("\n").partition("\nhint: ")
    return message, hint


@pytest.mark.parametrize("line", LINES)
def test_a_line_that_cannot_be_meant_is_refused(
    line: str, somewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = there(somewhere)
    code = run(typed(line))
    out, err = capsys.readouterr()
    message, hint = said(err, somewhere)
    if os.environ.get("CORRAL_TEST_KEEP"):
        keep(line, {"code": code, "error": message, "hint": hint})
        return
    assert {"code": code, "error": message, "hint": hint} == LINES[line]
    assert there(somewhere) == before
    assert out == ("" if "--json" not in line else out)
    if "--json" in line:
        assert json.loads(out)["error"]["exit_code"] == code


@pytest.mark.parametrize("line", LINES)
def test_what_is_kept_is_a_sentence_a_hint_and_a_documented_code(line: str) -> None:
    kept = LINES[line]
    assert kept["code"] in CODES
    assert re.fullmatch(r"[^\n]+", kept["error"])  # the parser's own have no point at their end
    assert kept["hint"].strip()
    assert "Traceback" not in kept["error"]
    assert "does not expect" not in kept["error"]
    assert len(kept["error"] + kept["hint"]) < LONGEST
    assert len(kept["hint"]) < LONGEST_HINT
    named = commands(f"hint: {kept['hint']}")
    assert [wrong for words in named if words[0] in VERBS and (wrong := refused(shlex.join(words)))] == []


def keep(line: str, found: dict[str, Any]) -> None:
    """Write what is said now."""
    kept = tomllib.loads(KEPT.read_text(encoding="utf-8"))["line"] | {line: found}
    head = KEPT.read_text(encoding="utf-8").partition("\n[line")[0]
    rows = [
        f"[line.{json.dumps(name)}]\n"
        + "".join(f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in row.items())
        for name, row in kept.items()
    ]
    KEPT.write_text(head + "\n" + "\n".join(rows), encoding="utf-8")


# --- every verb


def below(command: Any, path: tuple[str, ...] = ()) -> list[str]:
    """Every verb, with those below one."""
    inner = getattr(command, "commands", {})
    return [name for each in inner for name in below(inner[each], (*path, each))] or [" ".join(path)]


EVERY = below(typer.main.get_command(app))
SHORT_FOR = {
    "probe run": "probe",
    "quality run": "quality",
    "egress prove": "egress",
    "gateway start": "gateway",
}


def test_every_verb_has_a_line_here() -> None:
    begun = {
        verb for verb in EVERY for line in LINES if f"{line} ".startswith(f"{SHORT_FOR.get(verb, verb)} ")
    }
    assert set(EVERY) - begun == set()
    assert len(LINES) > 100


# --- where it is typed


FIRST = {line.split()[0]: line for line in reversed(LINES) if "--json" not in line}
"""One line of each verb."""


@pytest.mark.parametrize("line", FIRST.values())
def test_a_terminal_of_40_columns_is_told_the_same(
    line: str, somewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TERM", "xterm")
    for stream in (sys.stdout, sys.stderr):
        monkeypatch.setattr(stream, "isatty", lambda: True)
    code = run(typed(line))
    message, hint = said(COLOUR.sub("", capsys.readouterr().err), somewhere)
    kept = LINES[line]
    assert (code, message.split(), hint.split()) == (
        kept["code"],
        kept["error"].split(),
        kept["hint"].split(),
    )


@pytest.mark.parametrize("line", [*FIRST.values(), "size m\xfcll", "probe http://m\xfcll:1/", "down m\xfcll"])
def test_letters_that_an_encoding_lacks_end_no_line(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As under LC_ALL=C and PYTHONIOENCODING=ascii."""
    streams = {
        name: io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors=how)
        for name, how in (("stdout", "strict"), ("stderr", "backslashreplace"))
    }
    for name, stream in streams.items():
        monkeypatch.setattr(sys, name, stream)
    spell_out()
    assert run(typed(line)) in CODES
    streams["stderr"].flush()
    told = streams["stderr"].buffer.getvalue().decode()
    assert "error: " in told
    assert "does not expect" not in told


@pytest.mark.parametrize("verb", EVERY)
def test_a_full_disk_behind_a_pipe_is_one_sentence(
    verb: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    full = open("/dev/full", "w")  # noqa: SIM115 # what closes it writes again
    monkeypatch.setattr(sys, "stdout", full)
    assert run([*verb.split(), "--help"]) == errors.HostError.exit_code
    monkeypatch.undo()
    with suppress(OSError):
        full.close()
    assert capsys.readouterr().err.startswith(
        f"error: This machine refused to write: {os.strerror(errno.ENOSPC)}.\nhint: "
    )


WRITING = [
    "fetch --accept-license llama4 --country US",
    "gateway mine",
    "keys add mine alice",
    "serve mine",
    "up plan.json --target local",
    "provision plan.json --target local",
    "probe http://127.0.0.1:9 --requests 1",
    "size scout --precision int4 --on g5.12xlarge -o /proc/none/plan.json",
    "size scout --precision int4 --on g5.12xlarge --plot /proc/none/plan.svg",
    "export plan.json --to compose -o /proc/none",
    "capacity scout --requests-per-s 1 --on p5.4xlarge -o /proc/none/plan.json",
    "simulate plan.json --requests-per-s 1 --hours 0.01 --plot /proc/none/plan.svg",
    "bundle create plan.json -o /proc/none",
    "engine install",
    "status",
    "status mine",
    "down mine",
    "stop mine",
    "logs mine",
    "config",
    "doctor",
]


@pytest.mark.parametrize("line", WRITING)
def test_a_home_that_cannot_be_written_is_a_sentence_and_no_traceback(
    line: str, somewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Even root can make nothing below /proc."""
    monkeypatch.setenv("CORRAL_HOME", "/proc/none/home")
    monkeypatch.setattr(
        "infra.local_facts.facts", lambda: (_ for _ in ()).throw(errors.HostError("No facts.", "None."))
    )
    before = there(somewhere)
    code = run(typed(line))
    out, err = capsys.readouterr()
    assert code in CODES | {0}
    assert "does not expect" not in out + err
    assert there(somewhere) == before
    if code and "doctor" not in line:
        message, hint = said(err, somewhere)
        assert re.fullmatch(r"[^\n]+", message)
        assert hint


KEPT_WRONG = {
    "a key that is none": "regoin = 'us-east-1'",
    "a newer version": "version = 2\nregion = 'us-east-1'",
    "no TOML": "region =",
    "a value that is none": "region = 'mars'",
    "a secret": "hf_token = 'hf_x'",
}


@pytest.mark.parametrize(
    "line", ["size scout", "up scout", "prices", "capacity scout --requests-per-s 1", "config"]
)
@pytest.mark.parametrize("text", KEPT_WRONG.values(), ids=KEPT_WRONG)
def test_settings_that_cannot_be_meant_are_one_sentence(
    text: str, line: str, somewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("corral.toml").write_text(text)
    before = there(somewhere)
    assert run(typed(line)) == errors.UsageError.exit_code
    message, hint = said(capsys.readouterr().err, somewhere)
    assert message.startswith("corral.toml")
    assert hint
    assert "hf_x" not in message + hint
    assert there(somewhere) == before


@pytest.mark.parametrize("text", KEPT_WRONG.values(), ids=KEPT_WRONG)
def test_settings_that_cannot_be_meant_keep_nobody_from_ending_or_looking(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def of_each() -> list[tuple[int, str]]:
        return [(run(typed(line)), capsys.readouterr().out) for line in ("status", "schema size", "version")]

    without = of_each()
    Path("corral.toml").write_text(text)
    assert of_each() == without


def test_a_name_that_is_a_model_and_a_deployment_is_said_which_is_meant(
    somewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    deployment_for(PLAN, "local", "scout").write(folder("scout") / "deployment.json")
    told: dict[str, str] = {}
    for line in (
        "up scout --on g5.12xlarge --dry-run",
        "simulate scout --requests-per-s 1 --hours 0.01",
        "doctor scout",
    ):
        run(typed(line))
        told[line.split()[0]] = capsys.readouterr().err
    assert {verb: "scout is the" in err for verb, err in told.items()} == {
        "up": True,
        "simulate": True,
        "doctor": True,
    }
