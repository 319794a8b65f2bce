"""The pages of the verbs, from the table of verbs and what their parser is made of."""

import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from documentation import json_pages
from documentation.markdown import cell, page, paragraphs, stacked, table

from deploy.cli.flags import examples, records_of
from deploy.cli.main import app
from deploy.cli.settings import FIELDS, TAKEN_BY, variable
from deploy.cli.verbs import FILES, WORK, command_of
from infra.asked import bounds, literals

FOLDER = "reference/verbs"
SIGNS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
OF_NO_MATTER = 20
"""A limit of so many letters is the machine's."""
COLUMNS = ("option", "default", "")


def pages() -> dict[str, str]:
    """Place in the site -> a verb's page; the first lists them."""
    names = (name for verbs in WORK.values() for name in verbs)
    return {f"{FOLDER}/index.md": overview(), **{f"{FOLDER}/{name}.md": of_verb(name) for name in names}}


def navigation() -> list[Any]:
    """The verbs, in the order of the work."""
    groups = [{work: [{name: f"{FOLDER}/{name}.md"} for name in verbs]} for work, verbs in WORK.items()]
    return [f"{FOLDER}/index.md", *groups]


def overview() -> str:
    """Every verb and what it is for; the options of all of them."""
    import typer

    own: Any = typer.main.get_command(app)
    parts = ["# Verbs", "Every option stands on its verb's page, as `corral VERB --help` shows it."]
    for work, verbs in WORK.items():
        parts.append(f"## {work}")
        parts.append(
            table(("verb", ""), ((f"[`{name}`]({name}.md)", cell(line)) for name, line in verbs.items()))
        )
    rows = (row("", each, None) for each in own.params if not each.hidden)
    parts += ["## Options of every verb", "They may stand anywhere on the line.", stacked(COLUMNS, rows)]
    return page(*parts)


def of_verb(name: str) -> str:
    """A verb's page; those below it one after the other."""
    command = command_of(name)
    below = getattr(command, "commands", None)
    if below is None:
        return page(f"# corral {name}", *described((name,), command, function_of(name)))
    parts = [f"# corral {name}", paragraphs(command.help or "")]
    for word, each in below.items():
        parts += [f"## corral {name} {word}", *described((name, word), each, function_of(name, word))]
    return page(*parts)


def function_of(name: str, below: str = "") -> Any:
    """The function behind a verb, as it is written."""
    word = name.replace("-", "_")
    file = import_module(f"deploy.cli.{FILES.get(name, word)}")
    if not below:
        return getattr(file, word)
    return next(inspect.unwrap(info.callback) for info in file.app.registered_commands if info.name == below)


def described(words: tuple[str, ...], command: Any, function: Any) -> Iterator[str]:
    """The parts of a verb's description: how it is called, what it does, each argument and option, examples."""
    line, level = " ".join(words), "#" * (1 + len(words))
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    options = [each for each in command.params if each.param_type_name == "option" and not each.hidden]
    usage = ("corral", line, "[OPTIONS]" if options else "", *map(called, arguments))
    yield f"```\n{' '.join(filter(None, usage))}\n```"
    yield paragraphs(command.help or "")
    if pasted := examples().get(line):
        yield "```\n" + "\n".join(pasted) + "\n```"
    if line in json_pages.described():
        yield f"With `--json` it prints [these fields](../json/{json_pages.slug(line)}.md)."
    if arguments:
        yield f"{level} Arguments"
        yield table(("argument", ""), ((f"`{called(each)}`", cell(each.help or "")) for each in arguments))
    fields = fields_of(function)
    for heading in dict.fromkeys(each.rich_help_panel or "Options" for each in options):
        yield f"{level} {heading}"
        under = (each for each in options if (each.rich_help_panel or "Options") == heading)
        yield stacked(COLUMNS, (row(words[0], each, fields.get(each.name)) for each in under))


def fields_of(function: Any) -> dict[str, Any]:
    """Name of a parameter -> the field of the record that checks it."""
    return {
        field: info
        for parameter in inspect.signature(function, eval_str=True).parameters.values()
        for record in records_of(parameter.annotation).values()
        for field, info in record.model_fields.items()
    }


def row(verb: str, option: Any, info: Any) -> tuple[str, str, str]:
    """An option in its table: how it is typed, what it is where nobody says it, what it means and may be."""
    names = [*option.opts, *option.secondary_opts]
    value = "" if option.is_flag else f" {option.metavar or option.display_type(None)}"
    said = [cell(option.help or ""), may_be(info) if info else ""]
    key = option.opts[0].removeprefix("--")
    if verb in TAKEN_BY and key in FIELDS:
        said.append(f"Also `{variable(key)}`, or [kept](../settings.md).")
    return f"`{', '.join(names) + value}`", default_of(option), " ".join(filter(None, said))


def may_be(info: Any) -> str:
    """The choices or the limits of a field, as a sentence."""
    choices = [str(each) for each in literals(info.annotation) if each is not None]
    if choices and all(re.fullmatch(r"[\w.-]+", each) for each in choices):
        return f"One of {', '.join(f'`{each}`' for each in choices)}."
    limits = " and ".join(
        f"{SIGNS[name]} {limit}" for name, limit in bounds(info).items() if len(limit) < OF_NO_MATTER
    )
    return f"{limits[:1].upper()}{limits[1:]}." if limits else ""


def default_of(option: Any) -> str:
    """What holds where nobody says it."""
    if option.required:
        return "must be given"
    if option.is_flag:
        return f"`{option.opts[0]}`" if option.default and option.secondary_opts else ""
    return "" if option.default in (None, "", (), []) else f"`{option.default}`"


def called(argument: Any) -> str:
    """An argument as a usage line has it."""
    name = argument.metavar or argument.name.upper()
    return name if argument.required else f"[{name}]"
