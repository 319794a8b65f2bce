"""corral.toml and CORRAL_ variables: what need not be typed, where it comes from, and what is refused."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from test_help import COMMANDS, reading

from deploy.cli.main import run
from deploy.cli.settings import FIELDS, TAKEN_BY
from deploy.targets import wishes
from infra.asked import flag_names
from infra.command_line import before_the_verb


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a user who works there, with a home beside it; and what a command line sets is put back."""
    for name in ("CORRAL_OFFLINE", "CORRAL_QUIET", "AWS_PROFILE"):
        monkeypatch.setenv(name, "")
    (tmp_path / "corral-home").mkdir(mode=0o700)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def keep(text: str, place: Path = Path()) -> Path:
    path = place / "corral.toml"
    path.write_text(text)
    return path


def config(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, tuple[Any, str]]:
    """What is not the default, and where it comes from."""
    assert run([*words, "config", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["settings"]
    assert [each["key"] for each in found] == list(FIELDS)
    return {each["key"]: (each["value"], each["source"]) for each in found if each["source"] != "default"}


def values(line: str) -> dict[str, Any]:
    """What a verb is given of what may be kept, by flag."""
    context = reading(line)
    given = {each.opts[0][2:]: context.params[each.name] for each in context.command.params if each.opts}
    return {key: given[key] for key in FIELDS if given.get(key) not in (None, [], (), "12h", "1h")}


def test_each_place_comes_before_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    at_home = keep(
        "name = 'of-home'\nttl = '2h'\nidle = '2h'\ntag = ['a=home', 'b=home']", tmp_path / "corral-home"
    )
    keep("name = 'of-here'\nttl = '3h'\nmax-usd-per-hour = 20\ntag = 'a=here'")
    monkeypatch.setenv("CORRAL_NAME", "of-variable")
    monkeypatch.setenv("CORRAL_HOST", "ops@gpu1 ops@gpu2")
    assert config(capsys) == {
        "name": ("of-variable", "CORRAL_NAME"),
        "host": (["ops@gpu1", "ops@gpu2"], "CORRAL_HOST"),
        "tag": (["a=here"], "corral.toml"),
        "ttl": ("3h", "corral.toml"),
        "idle": ("2h", str(at_home)),
        "max-usd-per-hour": ("20", "corral.toml"),
    }
    assert values("corral up plan.json --ttl 4h") == {
        "name": "of-variable",
        "host": ["ops@gpu1", "ops@gpu2"],
        "tag": ["a=here"],
        "ttl": "4h",
        "idle": "2h",
        "max-usd-per-hour": "20",
    }
    assert values("corral provision plan.json --name typed --tag t=1")["name"] == "typed"
    assert values("corral provision plan.json --name typed --tag t=1")["tag"] == ["t=1"]


def test_corrals_own_switches_are_kept_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    keep("offline = true\nquiet = true\nprofile = 'work'")
    kept = {
        "profile": ("work", "corral.toml"),
        "offline": (True, "corral.toml"),
        "quiet": (True, "corral.toml"),
    }
    assert config(capsys) == kept
    assert config(capsys, "--profile", "other") == kept | {"profile": ("other", "flag")}
    monkeypatch.setenv("CORRAL_OFFLINE", "")
    assert run(["prices", "g5.12xlarge", "--refresh"]) == 2
    assert capsys.readouterr().err.startswith("error: This would ask AWS, and --offline forbids it.")
    assert (os.environ["AWS_PROFILE"], os.environ["CORRAL_QUIET"]) == ("work", "1")


def test_a_flag_that_takes_one_takes_the_first_of_several() -> None:
    keep("region = ['eu-central-1', 'eu-west-1']")
    assert values("corral size scout") == {"region": "eu-central-1"}
    assert values("corral up scout") == {"region": ["eu-central-1", "eu-west-1"]}


def test_what_is_kept_for_one_place_is_no_obstacle_to_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = str(tmp_path / "plan.json")
    assert run(["size", "scout", "--on", "g5.12xlarge", "--precision", "int4", "-o", plan]) == 0
    keep(
        "host = 'ops@gpu1'\nregion = 'us-east-1'\npermissions-boundary = 'arn:aws:iam::123456789012:policy/b'"
    )
    capsys.readouterr()
    assert run(["provision", plan, "--target", "ec2", "--dry-run", "--json"]) == 0
    assert "arn:aws:iam::123456789012:policy/b" in capsys.readouterr().out
    assert run(["provision", plan, "--dry-run"]) == 0  # here, where there are neither hosts nor regions
    assert run(["provision", plan, "--dry-run", "--host", "ops@gpu1"]) == 2  # typed, it is refused as ever
    assert capsys.readouterr().err.startswith("error: --host names a machine of yours")


@pytest.mark.parametrize(
    ("text", "variable"), [("region = []", ""), ("", " ")], ids=["an empty list", "a variable of blanks"]
)
def test_several_that_are_none_are_as_good_as_not_kept(
    text: str, variable: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    keep(text)
    monkeypatch.setenv("CORRAL_REGION", variable)
    for line in ("corral prices", "corral up scout"):
        assert values(line) == {}
    assert [value for value, _ in config(capsys).values()] == [[]]


@pytest.mark.parametrize(
    "line",
    ["corral down scout", "corral reap", "corral export plan.json --to compose -o x", "corral egress scout"],
)
def test_what_ends_or_proves_something_means_what_is_typed(line: str) -> None:
    keep("region = 'eu-central-1'\ntarget = 'ec2'\nname = 'scout'")
    assert values(line) == {}


TEXT_OR_LIST = "Give it what --region takes, as text or a number, or a list of such."
BAD = {
    "region == 'x'": ("corral.toml is no TOML: Invalid value (at line 1, column 9).", "Mend that line."),
    "regoin = 'us-east-1'": ("corral.toml holds 'regoin', which is no setting.", "Did you mean region?"),
    "max_usd_per_hour = 3": (
        "corral.toml holds 'max_usd_per_hour', which is no setting.",
        "Did you mean max-usd-per-hour?",
    ),
    "zzz = 1": ("corral.toml holds 'zzz', which is no setting.", f"There are: {', '.join(FIELDS)}"),
    "hf_token = 'hf_SECRET'": (
        "corral.toml holds 'hf_token', and no secrets are taken from there.",
        "Remove it, and give a secret through the environment or a file that only you read: HF_TOKEN, "
        "--hf-token-file, --api-key-file.",
    ),
    "version = 2\nfuture = 1": (
        "corral.toml is of version 2; this corral reads version 1.",
        "Use the corral that it was written for, or move it away: mv corral.toml corral.toml.old",
    ),
    "name = true": ("corral.toml: name cannot be True.", "Give it what --name takes, as text or a number."),
    "name = ['a']": ("corral.toml: name cannot be ['a'].", "Give it what --name takes, as text or a number."),
    "ttl = 2026-01-01": (
        "corral.toml: ttl cannot be datetime.date(2026, 1, 1).",
        "Give it what --ttl takes, as text or a number.",
    ),
    "region = {a = 1}": (
        "corral.toml: region cannot be {'a': 1}.",
        TEXT_OR_LIST,
    ),
    "region = [['a']]": (
        "corral.toml: region cannot be [['a']].",
        TEXT_OR_LIST,
    ),
    "profile = ''": ("corral.toml: profile cannot be ''.", "For example: profile = 'work'"),
    "offline = 'perhaps'": (
        "corral.toml: offline cannot be 'perhaps'.",
        "For example: offline = true",
    ),
    "region = 'eu-cenral-1'": (
        "corral.toml: 'eu-cenral-1' is not a region of AWS.",
        "Did you mean eu-central-1 or me-central-1 or eu-central-2?",
    ),
    "max-usd-per-hour = -1": (
        "corral.toml: max-usd-per-hour -1 is not above 0.",
        "For example: max-usd-per-hour = 10",
    ),
    "tag = [1, 2]": ("corral.toml: tag '1' has no '='.", "For example: tag = 'team=ml-platform'"),
    "target = 'moon'": ("corral.toml: 'moon' is no target.", "Use one of: local, ec2, ssh"),
}


@pytest.mark.parametrize("text", BAD, ids=lambda text: text.splitlines()[0])
def test_a_file_that_cannot_be_meant_is_one_sentence(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    keep(text)
    assert run(["config"]) == 2
    message, hint = BAD[text]
    assert capsys.readouterr() == ("", f"error: {message}\n" + (f"hint: {hint}\n" if hint else ""))
    assert "SECRET" not in message + hint


def test_a_file_that_is_no_text_is_said_to_be_none(capsys: pytest.CaptureFixture[str]) -> None:
    Path("corral.toml").write_bytes(b"region = '\xff'")
    assert run(["config"]) == 2
    said = "error: corral.toml is no text in UTF-8.\nhint: See what it is: file corral.toml\n"
    assert capsys.readouterr() == ("", said)


def test_a_bad_file_keeps_nobody_from_help_completion_or_an_end(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    helps = [["--help"], ["up", "--help"], ["capacity-block", "list", "-h"], ["--version"]]
    ends = [["down", "scout"], ["status"], ["version"]]
    said = []
    for words in (*helps, *ends):
        said.append((run(words), capsys.readouterr()))
    keep("x = 1\nregion = 'nowhere'")
    for words, (code, before) in zip((*helps, *ends), said, strict=True):
        warned = "" if words in helps else "warning: corral.toml holds 'x', which is no setting.\n"
        assert (run(words), capsys.readouterr()) == (code, (before.out, warned + before.err)), words
    assert run(["size", "scout"]) == 2
    monkeypatch.setenv("_CORRAL_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "corral up --reg")
    monkeypatch.setenv("COMP_CWORD", "2")
    capsys.readouterr()
    run([])
    assert capsys.readouterr() == ("--region\n", "")


@pytest.mark.parametrize(
    ("text", "name", "value", "warned"),
    [
        ("profile = ''", "CORRAL_PROFILE", "", "corral.toml: profile cannot be ''."),
        ("", "CORRAL_PROFILE", " ", "CORRAL_PROFILE: profile cannot be ' '."),
        ("", "CORRAL_OFFLINE", "2", "CORRAL_OFFLINE: offline cannot be '2'."),
        ("", "CORRAL_QUIET", "loud", "CORRAL_QUIET: quiet cannot be 'loud'."),
        ("x = 1", "CORRAL_NAME", "", "corral.toml holds 'x', which is no setting."),
    ],
)
def test_a_bad_value_is_told_to_what_ends_things_and_hides_no_other(
    text: str,
    name: str,
    value: str,
    warned: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def given(file: str, variables: dict[str, str]) -> None:
        keep(file)
        for each, kept in variables.items():
            monkeypatch.setenv(each, kept)

    others = {"CORRAL_PROFILE": "work", "CORRAL_OFFLINE": "yes", "AWS_PROFILE": ""}
    for words in (["down", "scout"], ["stop", "scout"], ["status"]):
        given("", others | {name: ""})
        code, before = run(words), capsys.readouterr()
        given(text, others | {name: value})
        assert (run(words), capsys.readouterr()) == (code, (before.out, f"warning: {warned}\n{before.err}"))
        assert os.environ["CORRAL_OFFLINE"] == ("2" if name == "CORRAL_OFFLINE" else "1")
        assert os.environ["AWS_PROFILE"] == ("" if "profile" in warned else "work")
    assert run(["prices", "g5.12xlarge"]) == 2
    assert capsys.readouterr().err.startswith(f"error: {warned}\nhint: ")


def test_a_switch_of_the_environment_that_is_none_is_named_with_what_it_may_be(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CORRAL_QUIET", "2")
    assert run(["prices", "g5.12xlarge"]) == 2
    hint = "For example: CORRAL_QUIET=true"
    assert capsys.readouterr().err == f"error: CORRAL_QUIET: quiet cannot be '2'.\nhint: {hint}\n"
    assert run(["--quiet", "prices", "g5.12xlarge"]) == 0  # what is typed comes before it


def test_what_others_can_write_or_nobody_can_read_is_not_taken(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keep("region = 'us-east-1'").chmod(0o666)
    hint = "Read it; then make it yours (chown) and yours alone to write (chmod go-w), its folder too."
    refusal = f"error: corral.toml is not taken: corral.toml may be written by others.\nhint: {hint}\n"
    assert (run(["config"]), capsys.readouterr().err) == (2, refusal)
    Path("corral.toml").unlink()
    Path("corral.toml").mkdir()
    assert run(["config"]) == 2
    assert capsys.readouterr().err.startswith("error: corral.toml cannot be read: ")
    Path("corral.toml").rmdir()
    os.mkfifo("corral.toml", 0o600)  # which would be read without an end
    assert run(["config"]) == 2
    assert capsys.readouterr().err.startswith("error: corral.toml cannot be read: it is no regular file.")


def test_no_folder_above_is_looked_into(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    keep("x = 1")
    (folder / "below").mkdir()
    monkeypatch.chdir(folder / "below")
    assert config(capsys) == {}


def test_every_setting_is_a_flag_that_is_said_the_same_everywhere() -> None:
    """Of the record that checks it, and of the verbs that take it."""
    for key, (path, field) in FIELDS.items():
        assert not path or flag_names(wishes.record(path), field)[0] == f"--{key}"
    flags = {
        option.opts[0][2:]
        for verb, command in COMMANDS.items()
        if verb.split()[0] in TAKEN_BY
        for option in command.params
        if option.opts
    }
    assert set(FIELDS) - flags == {"profile", "offline", "quiet"}


def test_the_verbs_that_take_them_are_told_with_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["config"]) == 0
    told = capsys.readouterr().out.splitlines()[-1]
    assert told == f"{', '.join(TAKEN_BY)} take them; every verb takes profile, offline and quiet."


def test_a_printed_command_does_not_repeat_what_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    keep("quiet = true")
    assert run(["config"]) == 0
    assert before_the_verb == []


def test_what_else_is_read_is_told_by_name_and_never_by_value(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_CANARY")
    monkeypatch.delenv("CORRAL_ALLOW_REMOTE", raising=False)
    assert run(["config"]) == 0
    short = capsys.readouterr().out
    assert run(["config", "--all"]) == 0
    whole = capsys.readouterr().out
    assert run(["config", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    found = [
        [name for name in ("HF_TOKEN", "CORRAL_ALLOW_REMOTE", "PATH") if f"\n  {name} " in text]
        for text in (short, whole)
    ]
    assert found == [["HF_TOKEN"], ["HF_TOKEN", "CORRAL_ALLOW_REMOTE", "PATH"]]
    assert {each["name"]: each["is_set"] for each in told["variables"]}["CORRAL_ALLOW_REMOTE"] is False
    assert "CANARY" not in short + whole + json.dumps(told)
