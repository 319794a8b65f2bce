"""The program itself: exit codes, the error form, and what --help costs."""

import errno
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from deploy.cli import run as running
from deploy.cli.main import run
from deploy.cli.verbs import VERBS
from infra import errors
from infra.say import fail

ROOT = Path(__file__).parent.parent


def test_an_unknown_verb_is_one_sentence_and_a_hint(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["nope"]) == 2
    assert capsys.readouterr() == ("", "error: No such command 'nope'.\nhint: See: corral --help\n")


def test_with_json_the_error_is_an_object_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["version", "--json"]) == 2
    assert json.loads(capsys.readouterr().out) == {
        "error": {
            "type": "UsageError",
            "message": "No such option: --json",
            "hint": "See: corral version --help",
            "exit_code": 2,
        }
    }


def test_an_error_has_its_exit_code_where_nobody_can_be_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever started it closed both."""
    monkeypatch.setattr("sys.stdout", None)
    assert fail(errors.HostError("No disk.", "Buy one."), as_json=False) == 11


def test_every_file_of_a_verb_is_a_verb() -> None:
    files = {path.stem.replace("_", "-") for path in (ROOT / "deploy" / "cli").glob("*.py")}
    assert (
        files
        - {"--init--", "flags", "main", "meant", "narrow", "printed", "run", "settings", "start", "verbs"}
        - set(VERBS)
        == set()
    )


def test_help_imports_no_slow_module() -> None:
    """`corral --help` must stay instant: what is slow to import is imported by the verb that uses it."""
    code = (
        "import sys\nfrom deploy.cli.main import run\nrun(['--help'])\n"
        "slow = {'boto3', 'matplotlib', 'huggingface_hub', 'httpx2', 'uvloop', 'jinja2', 'pydantic', 'vllm'}\n"
        "print(sorted(slow & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"


def test_every_error_has_its_own_documented_exit_code() -> None:
    classes: list[type[errors.CorralError]] = [errors.CorralError, *errors.CorralError.__subclasses__()]
    lines = [
        line.replace("├──", "").replace("└──", "").split() for line in (errors.__doc__ or "").splitlines()
    ]
    documented = {words[0]: int(words[1]) for words in lines if len(words) > 1 and words[1].isdigit()}
    assert {cls.__name__: cls.exit_code for cls in classes} == documented


@pytest.mark.parametrize(
    ("stdout", "code", "says"),
    [
        (">&-", 0, ""),
        ("> /dev/full", 11, "error: This machine refused to write: No space left on device.\nhint: "),
    ],
)
def test_a_stdout_that_takes_nothing_is_no_traceback(stdout: str, code: int, says: str) -> None:
    program = f"{sys.executable} -c 'from deploy.cli.start import main; main()' size scout --json {stdout}"
    done = subprocess.run(["sh", "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, "Traceback" in done.stderr, "Exception ignored" in done.stderr) == (
        code,
        False,
        False,
    )
    assert done.stderr.startswith(says)
    assert done.stderr.count("error:") == (1 if code else 0)


@pytest.mark.parametrize("stdout", [">&-", "> /dev/full"])
def test_an_error_is_told_where_stdout_takes_nothing(stdout: str) -> None:
    program = f"{sys.executable} -c 'from deploy.cli.start import main; main()' nope --json {stdout}"
    done = subprocess.run(["sh", "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (
        2,
        "error: No such command 'nope'.\nhint: See: corral --help\n",
    )


def test_a_reader_that_went_away_changes_no_exit_code() -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    verb = ["size", "maverick", "--precision", "fp8", "--on", "8xA100-40GB"]
    program = [sys.executable, "-c", "from deploy.cli.start import main; main()", *verb]
    done = subprocess.run(program, stdout=theirs, stderr=subprocess.PIPE, text=True, check=False)
    os.close(theirs)
    assert (done.returncode, done.stderr) == (3, "")


def test_a_reader_that_went_away_is_no_failure() -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    program = [sys.executable, "-c", "from deploy.cli.start import main; main()", "size", "scout", "--json"]
    done = subprocess.run(program, stdout=theirs, stderr=subprocess.PIPE, text=True, check=False)
    os.close(theirs)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("exits", [False, True], ids=["as it is", "as the parser ends it"])
def test_a_pipe_that_is_not_our_output_breaks_with_a_sentence(
    exits: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A helper of ours that died, say: a command that did nothing has not succeeded."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)

    def verb(**_: object) -> None:
        try:
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
        except OSError:
            if exits:
                sys.exit(1)
            raise

    assert running.run(verb, []) == 1
    (kept,) = tmp_path.iterdir()
    assert capsys.readouterr().err == (
        "error: Something went wrong that corral does not expect: BrokenPipeError: [Errno 32] Broken pipe.\n"
        f"hint: The details are in {kept}; please report them.\n"
    )


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_whose_reader_left_is_seen_at_the_stream_itself(stream: str, monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    with open(writing, "w") as ours:
        monkeypatch.setattr(sys, stream, ours)
        assert not running.has_left(ours)
        os.close(reading)
        assert running.has_left(ours)
    assert not running.has_left(ours)  # closed by us
    assert not running.has_left(None)


@pytest.mark.parametrize(
    ("line", "moved"),
    [
        (["--region", "us-east-1", "size", "scout", "-o", "a b"], "size scout -o 'a b' --region us-east-1"),
        (["--dry-run", "up", "scout"], "up scout --dry-run"),
    ],
)
def test_an_option_before_its_verb_is_told_where_it_stands(
    line: list[str], moved: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(line) == 2
    assert capsys.readouterr() == (
        "",
        f"error: {line[0]} is an option of a verb, and stands before the verb.\nhint: Put it behind: corral {moved}\n",
    )
