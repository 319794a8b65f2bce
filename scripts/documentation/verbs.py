"""The pages of the verbs, from the table of verbs and what their parser is made of."""

import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from deploy.cli.flags import examples, records_of
from deploy.cli.settings import FIELDS, TAKEN_BY
from deploy.cli.verbs import FILES, WORK, command_of
from infra.asked import bounds, literals

FOLDER = "reference/verbs"


def pages() -> dict[str, str]:
    """Place in the site -> a verb's page; the first lists them."""
    return {
        f"{FOLDER}/index.md": overview(),
        **{f"{FOLDER}/{name}.md": page(name) for verbs in WORK.values() for name in verbs},
    }


def navigation() -> list[Any]:
    """The verbs, in the order of the work."""
    groups = [{work: [{name: f"{FOLDER}/{name}.md"} for name in verbs]} for work, verbs in WORK.items()]
    return [f"{FOLDER}/index.md", *groups]


def overview() -> str:
    """Every verb and what it is for."""
    parts = ["# Verbs", "Every option stands on its verb's page, as `corral VERB --help` shows it."]
    for work, verbs in WORK.items():
        rows = "\n".join(f"| [`{name}`]({name}.md) | {line} |" for name, line in verbs.items())
        parts.append(f"## {work}\n\n| verb | |\n|---|---|\n{rows}")
    return "\n\n".join(parts) + "\n"


def page(name: str) -> str:
    """A verb's page; those below it one after the other."""
    command = command_of(name)
    below = getattr(command, "commands", None)
    if below is None:
        return f"# corral {name}\n\n" + "\n\n".join(described((name,), command, function_of(name)))
    parts = [f"# corral {name}", paragraphs(command.help or "")]
    for word, each in below.items():
        parts += [f"## corral {name} {word}", *described((name, word), each, function_of(name, word))]
    return "\n\n".join(parts) + "\n"


def function_of(name: str, below: str = "") -> Any:
    """The function behind a verb, as it is written."""
    word = name.replace("-", "_")
    file = import_module(f"deploy.cli.{FILES.get(name, word)}")
    if not below:
        return getattr(file, word)
    return next(inspect.unwrap(info.callback) for info in file.app.registered_commands if info.name == below)


def described(words: tuple[str, ...], command: Any, function: Any) -> Iterator[str]:
    """The parts of a verb's description: how it is called, what it does, each argument and option, examples."""
    line = " ".join(words)
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    options = [each for each in command.params if each.param_type_name == "option" and not each.hidden]
    named = " ".join(map(called, arguments))
    yield f"```\ncorral {line} {named}".rstrip() + (" [OPTIONS]\n```" if options else "\n```")
    yield paragraphs(command.help or "")
    if arguments:
        yield "**Arguments**"
        rows = (f"| `{code(called(each))}` | {cell(each.help or '')} |" for each in arguments)
        yield "\n".join(["| argument | |", "|---|---|", *rows])
    fields = fields_of(function)
    headings = dict.fromkeys(each.rich_help_panel or "Options" for each in options)
    for heading in headings:
        yield f"**{heading}**"
        under = [each for each in options if (each.rich_help_panel or "Options") == heading]
        rows = (row(words[0], each, fields.get(each.name)) for each in under)
        yield "\n".join(["| option | value | default | |", "|---|---|---|---|", *rows])
    if pasted := examples().get(line):
        yield "**Examples**"
        yield "```\n" + "\n".join(pasted) + "\n```"


def fields_of(function: Any) -> dict[str, Any]:
    """Name of a parameter -> the field of the record that checks it."""
    return {
        field: info
        for parameter in inspect.signature(function, eval_str=True).parameters.values()
        for record in records_of(parameter.annotation).values()
        for field, info in record.model_fields.items()
    }


def row(verb: str, option: Any, info: Any) -> str:
    """An option in its table."""
    names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    key = option.opts[0].removeprefix("--")
    kept = verb in TAKEN_BY and key in FIELDS
    variable = f" May be [kept](../settings.md), or `CORRAL_{key.upper().replace('-', '_')}`." if kept else ""
    return (
        f"| {names} | {value_of(option, info)} | {default_of(option)} | {cell(option.help or '')}{variable} |"
    )


def value_of(option: Any, info: Any) -> str:
    """What is typed after an option: its choices, or its kind and limits."""
    if option.is_flag:
        return ""
    choices = [str(each) for each in literals(info.annotation) if each is not None] if info else []
    if choices and all(re.fullmatch(r"[\w.-]+", each) for each in choices):
        return ", ".join(f"`{each}`" for each in choices)
    kind = f"`{code(option.metavar or option.display_type(None))}`"
    limits = bounds(info) if info else {}
    said = " and ".join(f"{SIGNS[name]} {limit}" for name, limit in limits.items())
    return f"{kind}, {said}" if said else kind


SIGNS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}


def default_of(option: Any) -> str:
    """What holds where nobody says it."""
    if option.required:
        return "required"
    if option.is_flag:
        return "" if not option.default else f"`{option.opts[0]}`"
    return "" if option.default in (None, (), []) else f"`{code(str(option.default))}`"


def paragraphs(text: str) -> str:
    """A help as Markdown: its paragraphs, with nothing in them that Markdown would take for its own."""
    return escaped(inspect.cleandoc(text))


def called(argument: Any) -> str:
    """An argument as a usage line has it."""
    name = argument.metavar or argument.name.upper()
    return name if argument.required else f"[{name}]"


def code(text: str) -> str:
    """A text as it stands between backticks in one cell of a table."""
    return text.replace("|", "\\|")


def cell(text: str) -> str:
    """A text as it stands in one cell of a table."""
    return escaped(" ".join(text.split())).replace("|", "\\|")


def escaped(text: str) -> str:
    """A text in which Markdown finds nothing of its own."""
    return re.sub(r"([\\*_<>\[\]#])", r"\\\1", text)
