"""What corral says of itself: its helps, their examples, its version, and what a shell completes."""

import inspect
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import typer

from deploy.cli.flags import asked, examples
from deploy.cli.main import app, fronted, run
from deploy.cli.verbs import FILES, VERBS, WORK

GROUPS = ("bundle", "capacity-block", "egress", "engine", "hosts", "probe", "quality", "weights")


def commands(group: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Each verb that can be run, by its words."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*words, name))
        else:
            yield " ".join((*words, name)), command


def function_of(words: list[str]) -> Any:
    """The function behind a verb, as it is written."""
    verb = words[0].replace("-", "_")
    file = import_module(f"deploy.cli.{FILES.get(words[0], verb)}")
    if len(words) == 1:
        return getattr(file, verb)
    found = next(info for info in file.app.registered_commands if info.name == words[1])
    return inspect.unwrap(found.callback)


def reading(line: str) -> Any:
    """The context in which its verb is run. Raises what the parser raises."""
    home = f"{Path.home()}/"  # a shell's doing
    front, words = fronted([re.sub("^~/", home, word) for word in shlex.split(line)][1:])
    command, context = PROGRAM, PROGRAM.make_context("corral", [*front, *words])
    while hasattr(command, "commands"):
        name, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        context = command.make_context(name, rest, parent=context)
    return context


PROGRAM: Any = typer.main.get_command(app)
COMMANDS = dict(commands(PROGRAM))


def test_every_verb_has_examples_of_its_own_that_fit_the_terminal() -> None:
    table = examples()
    assert set(table) == set(COMMANDS)
    lines = [line for each in table.values() for line in each]
    assert len(set(lines)) == len(lines)
    assert [line for line in lines if len(line) > 78] == []
    assert [verb for verb, each in table.items() if len(each) < 2] == ["ssh", "version"], (
        "they take no options"
    )
    assert {
        verb: {" ".join(reading(line).command_path.split()[1:]) for line in each}
        for verb, each in table.items()
    } == {verb: {verb} for verb in COMMANDS}


@pytest.mark.usefixtures("own_key")
@pytest.mark.parametrize("line", [line for each in examples().values() for line in each])
def test_an_example_is_read_by_the_parser_and_the_records_of_its_verb(line: str) -> None:
    check_read(line)


def check_read(line: str) -> None:
    """Raise what its verb's parser or records raise of a line to paste."""
    context = reading(line)
    verb = context.command_path.split()[1:]
    parameters = inspect.signature(function_of(verb), eval_str=True).parameters
    for name, each in parameters.items():
        if each.annotation is not typer.Context:
            asked(each.annotation, name, context.params)


@pytest.mark.parametrize("verb", COMMANDS)
def test_every_option_says_what_it_is_and_what_it_is_when_nobody_says(verb: str) -> None:
    """And a dozen at most stand under no heading of their own."""
    options = [each for each in COMMANDS[verb].params if each.param_type_name == "option" and not each.hidden]
    assert [each.opts[0] for each in options if not each.help] == []
    given = [each for each in options if each.default not in (None, False, ())]
    assert [each.opts[0] for each in given if not each.show_default] == []
    assert sum(each.rich_help_panel in (None, "Options") for each in options) <= 12


def test_an_example_ends_a_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["hosts", "adopt", "--help"]) == 0
    own = "corral hosts adopt ops@gpu1 scout"
    assert capsys.readouterr().out.endswith(f"\n\nExamples:\n  {own}\n  {own} --yes\n")
    assert run(["hosts", "--help"]) == 0
    assert capsys.readouterr().out.endswith(
        f"\n\nExamples:\n  corral hosts show ops@gpu1 ops@gpu2\n  {own}\n"
    )


@pytest.mark.parametrize(
    "words", [[], *([group] for group in GROUPS)], ids=lambda words: " ".join(words) or "corral"
)
def test_nothing_said_is_a_wish_for_help(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(words) == 0
    alone = capsys.readouterr()
    assert run([*words, "--help"]) == 0
    help_ = capsys.readouterr()
    assert run([*words, "-h"]) == 0
    assert alone == help_ == capsys.readouterr()
    assert (alone.out.startswith(f"Usage: {' '.join(['corral', *words])} [OPTIONS] COMMAND"), alone.err) == (
        True,
        "",
    )


@pytest.mark.parametrize(("group", "first"), [("egress", "prove"), ("gateway", "start"), ("probe", "run")])
def test_a_group_whose_verb_may_be_left_out_shows_what_the_line_without_it_takes(
    group: str, first: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([group, first, "--help"]) == 0
    own = capsys.readouterr().out
    assert run([group, "--help"]) == 0
    said = f"\n\nWhat `corral {group}` takes where none of them is named, as `{first}` does:\n\n"
    assert capsys.readouterr().out.partition(said)[2] == own[own.index("Arguments:\n") :]


def test_the_verbs_stand_in_the_order_of_the_work(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    first = lines.index(f"{next(iter(WORK))}:")
    shown = [line.split()[0] for line in lines[first:] if line.startswith("  ")]
    assert shown == list(VERBS)
    assert [line.rstrip(":") for line in lines[first:] if line and not line.startswith(" ")] == list(WORK)


def test_the_version_is_told_both_ways(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["version"]) == 0
    told = capsys.readouterr().out
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == told


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """Where three deployments are, and a corral on the PATH."""
    for name in ("scout-a", "scout-b", "other"):
        (tmp_path / "home" / name).mkdir(parents=True)
        (tmp_path / "home" / name / "deployment.json").write_text("{}")
    program = tmp_path / "bin" / "corral"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -c "from deploy.cli.start import main; main()" "$@"\n'
    )
    program.chmod(0o755)
    return {
        **os.environ,
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(Path(__file__).parent.parent),
        "CORRAL_HOME": str(tmp_path / "home"),
        "HOME": str(tmp_path),
        "LANG": "C.UTF-8",
    }


BASH = """
eval "$(corral --show-completion bash)"
for line; do
    COMP_WORDS=($line); COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    _corral_completion corral; echo "${COMPREPLY[@]}"
done
"""
ZSH = """
compdef() { :; }
_arguments() { print -r -- "$@"; }
eval "$(corral --show-completion zsh)"
for line; do words=(${=line}); CURRENT=$#words; _corral_completion; done
"""
FISH = """
corral --show-completion fish | source
for line in $argv; string join -- " " (complete -C $line | string split --fields 1 \\t); end
"""
SHELLS = {"bash": (BASH, ["bash"]), "zsh": (ZSH, ["zsh"]), "fish": (FISH, [])}
SAID = {
    "corral capa": ["capacity", "capacity-block"],
    "corral size --prec": ["--precision"],
    "corral probe --request-": ["--request-rate"],
    "corral logs scout-": ["scout-a", "scout-b"],
    "corral egress scout-": ["scout-a", "scout-b"],
    "corral fetch --verify scout-": ["scout-a", "scout-b"],
    "corral egress verify r.json --deployment scout-": ["scout-a", "scout-b"],
    "corral doctor scout-": ["scout-a", "scout-b"],
}


def test_a_flag_that_takes_a_name_completes_it_and_what_may_be_a_path_those(
    home: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CORRAL_HOME", home["CORRAL_HOME"])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scout-folder").mkdir()
    (tmp_path / "scout-[1].json").touch()
    monkeypatch.setenv("_CORRAL_COMPLETE", "complete_fish")
    monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "get-args")
    names, paths = "scout-a\nscout-b\n", "scout-[1].json\nscout-folder/\n"
    for line, said in (
        ("egress verify r.json --deployment scout-", names),
        ("fetch --verify scout-", names + paths),
        ("report scout-", names + paths),
        ("report scout-[", "scout-[1].json\n"),
    ):
        monkeypatch.setenv("_TYPER_COMPLETE_ARGS", f"corral {line}")
        run([])
        assert (line, capsys.readouterr().out) == (line, said)


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_completes_verbs_flags_and_names(shell: str, home: dict[str, str], need: Any) -> None:
    if not shutil.which(shell):
        need(shell, "it is not installed")
    script, zeroth = SHELLS[shell]
    done = subprocess.run(
        [shell, "-c", script, *zeroth, *SAID], env=home, capture_output=True, text=True, check=True
    )
    answers = [
        re.findall(r'"([a-z-]+)"(?:$|[: )])', line) or line.split() for line in done.stdout.splitlines()
    ]
    assert (done.stderr, answers) == ("", list(SAID.values()))


def words_of(parameter: Any) -> list[str]:
    """What may stand for its value, as a help says it."""
    return (parameter.metavar or "").split("|")


def arguments(command: Any) -> list[Any]:
    return [each for each in command.params if each.param_type_name == "argument"]


def takes_a_name(command: Any) -> bool:
    """Whether a verb's first word may be the name of a deployment."""
    return any({"NAME", "A"} & set(words_of(first)) for first in arguments(command)[:1])


NAMED = sorted(verb for verb, command in COMMANDS.items() if takes_a_name(command))


def test_what_takes_a_plan_or_a_run_takes_the_name_of_a_deployment() -> None:
    asked = [
        (verb, words_of(each))
        for verb, command in COMMANDS.items()
        for each in arguments(command)
        if {"PLAN", "PROBE", "RESULTS"} & set(words_of(each))
    ]
    assert [verb for verb, words in asked if "NAME" not in words] == []
    assert {"size", "capacity"} & {verb for verb, _ in asked} == set()
    assert {"up", "provision", "doctor", "simulate", "fetch", "bundle create", "upgrade", "roll", "export", "serve",
            "calibrate", "probe report", "probe diff"} == {verb for verb, _ in asked}  # fmt: skip


def test_the_line_goes_by_name() -> None:
    line = {
        "serve",
        "status",
        "logs",
        "connect",
        "ssh",
        "egress prove",
        "upgrade",
        "roll",
        "stop",
        "extend",
        "down",
    }
    line |= {"quality run", "calibrate", "compare", "report", "export"}
    assert line - set(NAMED) == set()


@pytest.mark.parametrize("verb", [*NAMED, "probe", "probe run", "probe sweep", "quality", "egress"])
def test_each_verb_of_the_line_completes_a_name(
    verb: str, home: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CORRAL_HOME", home["CORRAL_HOME"])
    monkeypatch.setenv("_CORRAL_COMPLETE", "complete_fish")
    monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "get-args")
    monkeypatch.setenv("_TYPER_COMPLETE_ARGS", f"corral {verb} scout-")
    run([])
    assert capsys.readouterr() == ("scout-a\nscout-b\n", "")


@pytest.mark.parametrize(("line", "code"), [("corral logs scout-", 0), ("corral hosts show ", 1)])
def test_a_shell_that_asks_whether_there_is_a_completion_is_told_by_the_code(
    line: str,
    code: int,
    home: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("CORRAL_HOME", home["CORRAL_HOME"])
    monkeypatch.setenv("_CORRAL_COMPLETE", "complete_fish")
    monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "is-args")
    monkeypatch.setenv("_TYPER_COMPLETE_ARGS", line)
    assert run([]) == code
    assert capsys.readouterr() == ("", "")
