"""From records to flags: a verb is a function whose parameters are records of what is asked, or typer's own."""

import inspect
from collections.abc import Callable
from glob import escape, glob
from os.path import isdir
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import typer
from typer.core import TyperCommand, TyperGroup

from deploy.cli.narrow import Line


def deployed(incomplete: str) -> list[str]:
    """The deployments whose names begin so, for a shell that completes."""
    from deploy.targets.deployment import names

    return [name for name in names() if name.startswith(incomplete)]


def deployed_or_path(incomplete: str) -> list[str]:
    """The same, and the files and folders whose names begin so."""
    found = sorted(glob(f"{escape(incomplete)}*"))
    return [*deployed(incomplete), *(f"{path}/" if isdir(path) else path for path in found)]


Planned = Annotated[
    str,
    typer.Argument(
        metavar="PLAN|NAME",
        help="A plan.json, from corral size ... -o plan.json; or a deployment, whose plan it is.",
        autocompletion=deployed_or_path,
    ),
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The deployment's name.", autocompletion=deployed)]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before spending, sending or taking over.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
All = Annotated[bool, typer.Option("--all", help="Show all that was looked at, and not the answer alone.")]
COMPLETED = {"NAME": deployed, "NAME|FOLDER": deployed_or_path}
"""What stands for the value of a flag in a help -> what it may begin with."""
Now = Annotated[bool, typer.Option("--now", help="Wait for no request that runs.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show what would be done.")]

NUMBERS = (int, float)
"""What the help names, and the record reads, as people write them; so it reads all that is no switch."""


class Command(TyperCommand):
    """A command whose help lists the flags of each record under its heading, which typer keeps as `rich_help_panel`.

    What settings keep is as good as typed, for the verbs that take them.
    """

    context_class = Line

    def make_context(self, info_name: Any, args: Any, parent: Any = None, **extra: Any) -> Any:
        """The context of a line; nothing kept is read before a value is asked for, so a help never needs it."""
        from deploy.cli.settings import TAKEN_BY, defaults

        is_there = parent is not None and not extra.get("resilient_parsing")
        if is_there and (verb_of(parent) or info_name) in TAKEN_BY:
            extra["default_map"] = defaults(self.params)
        return super().make_context(info_name, args, parent, **extra)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """What was typed; a wish for help is one behind a flag that takes a value, too: none is called so."""
        own = args[: args.index("--")] if "--" in args else args
        is_wished = not ctx.resilient_parsing and {*ctx.help_option_names} & {*own}
        return super().parse_args(ctx, ["--help"] if is_wished else args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help, which is the same wherever it is asked for."""
        ctx.default_map = None
        super().format_help(ctx, formatter)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the sections in the order of the verb's parameters."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            if line := parameter.get_help_record(ctx):
                option = parameter.param_type_name == "option"
                heading = getattr(parameter, "rich_help_panel", None) or "Options" if option else "Arguments"
                sections.setdefault(heading, []).append(line)
        for heading, lines in sections.items():
            with formatter.section(heading):
                formatter.write_dl(lines)
        if pasted := examples().get(ctx.command_path.removeprefix("corral ")):
            with formatter.section("Examples"):
                formatter.write("".join(f"  {line}\n" for line in pasted))


def examples() -> dict[str, list[str]]:
    """Verb -> lines to paste."""
    from infra.data import shipped_table

    return shipped_table("deploy.cli", "examples.toml")


class Group(TyperGroup):
    """Verbs below one: said alone, it shows them."""

    context_class = Line

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """What was typed; nothing is as good as the wish for help."""
        return super().parse_args(ctx, args or ["--help"])

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """End with an example of each verb."""
        table, path = examples(), ctx.command_path.removeprefix("corral ")
        with formatter.section("Examples"):
            formatter.write("".join(f"  {table[f'{path} {name}'][0]}\n" for name in self.commands))


class FirstVerb(Group):
    """A group whose first verb may be left out: `corral probe URL` is `corral probe run URL`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the verb in where it was left out."""
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = [next(iter(self.commands)), *args]
        return super().parse_args(ctx, args)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """End with the options and examples of the first verb, which are those of the line without it."""
        first: Any = next(iter(self.commands.values()))
        below = first.make_context(first.name, [], parent=ctx, resilient_parsing=True)
        formatter.write_paragraph()
        formatter.write_text(
            f"What `{ctx.command_path}` takes where none of them is named, as `{first.name}` does:"
        )
        first.format_options(below, formatter)

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        """The verbs, and what the first one may begin with, its flags among it."""
        first: Any = next(iter(self.commands.values()))
        below = first.make_context(first.name, [], parent=ctx, resilient_parsing=True)
        begins = first if incomplete.startswith("-") else first.get_params(below)[0]
        return [*super().shell_complete(ctx, incomplete), *begins.shell_complete(below, incomplete)]


def verb(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function as typer takes it: a flag for each field of a record, the record made of what was typed.

    Raises UsageError, under the flag's name, for a value that its record refuses.
    """
    parameters = inspect.signature(function, eval_str=True).parameters
    flags: dict[str, inspect.Parameter] = {}
    for parameter in parameters.values():
        for flag in flags_of(parameter):
            flags[flag.name] = shared(flags[flag.name], flag) if flag.name in flags else flag

    line = next((name for name, each in parameters.items() if each.annotation is typer.Context), "_line")
    flags[line] = inspect.Parameter(line, inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)

    def command(**typed: Any) -> Any:
        from deploy.cli.settings import heed

        heed(verb_of(typed[line]), typed[line].find_root().params.get("profile"))
        kept = frozenset(name for name in flags if source(typed[line], name) == "DEFAULT_MAP")
        return function(
            **{name: asked(each.annotation, name, typed, kept) for name, each in parameters.items()}
        )

    command.__name__, command.__doc__ = function.__name__, function.__doc__
    command.__signature__ = inspect.Signature(list(flags.values()))  # type: ignore[attr-defined]
    command.__annotations__ = {name: flag.annotation for name, flag in flags.items()}
    command.__wrapped__ = function  # type: ignore[attr-defined]
    return command


def verb_of(context: Any) -> str:
    """The verb of a line; of one below a verb, that one. Empty for the program itself."""
    return "".join(context.command_path.split()[1:2])


def source(context: Any, name: str) -> str:
    """Where the value of a parameter comes from, in the parser's words."""
    return getattr(context.get_parameter_source(name), "name", "")


def is_typed(context: Any, name: str) -> bool:
    """Whether a parameter was given on the line."""
    return source(context, name) == "COMMANDLINE"


def flags_of(parameter: inspect.Parameter) -> list[inspect.Parameter]:
    """What typer reads for a parameter: a flag for each field of its records, or itself."""
    records = records_of(parameter.annotation)
    if not records:
        return [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)]
    return [flag for record in records.values() for flag in options(record)]


def records_of(annotation: Any) -> dict[str, Any]:
    """The records of a parameter: the one that it is, those that it is made of by name, or none."""
    from infra.asked import Asked

    if isinstance(annotation, type) and issubclass(annotation, Asked):
        return {"": annotation}
    return annotation.records() if hasattr(annotation, "records") else {}


def asked(annotation: Any, name: str, typed: dict[str, Any], kept: frozenset[str] = frozenset()) -> Any:
    """The value of a parameter, from what was typed, or kept and so as good as typed. Raises UsageError."""
    records = records_of(annotation)
    given = {
        key: {
            field: typed[field]
            for field in record.model_fields
            if field not in record.not_asked and typed[field] is not None
        }
        for key, record in records.items()
    }
    if not records:
        return typed[name]
    return annotation(given, kept) if hasattr(annotation, "records") else annotation.of(given[""])


def shared(flag: inspect.Parameter, other: inspect.Parameter) -> inspect.Parameter:
    """One flag for two records that have a field of the same name; its help is what each of them says."""
    typed, option = get_args(flag.annotation)
    option.help = f"{option.help.rstrip('.')}; {get_args(other.annotation)[1].help}"
    return flag.replace(annotation=Annotated[typed, option])


def options(record: Any) -> list[inspect.Parameter]:
    """The fields of a record as parameters that typer reads; its own before those of a record that it extends."""
    from infra.asked import described, flag, flag_names

    declared_by = {
        field: kind for kind in reversed(record.__mro__) for field in vars(kind).get("__annotations__", ())
    }
    flagged = (item for item in record.model_fields.items() if item[0] not in record.not_asked)
    fields = sorted(flagged, key=lambda item: record.__mro__.index(declared_by[item[0]]))
    return [
        inspect.Parameter(
            field,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if info.is_required() else shown_default(info.default),
            annotation=Annotated[
                typed_as(info.annotation),
                typer.Option(
                    *flag_names(record, field),
                    help=described(info),
                    metavar=flag(info).metavar or metavar(info),
                    hidden=flag(info).hidden,
                    autocompletion=COMPLETED.get(flag(info).metavar or ""),
                    rich_help_panel=declared_by[field].heading,
                ),
            ],
        )
        for field, info in fields
    ]


def shown_default(default: Any) -> Any:
    """A default as the help shows it; a flag that may be repeated says its own in its help."""
    if isinstance(default, tuple):
        return None
    return default if default is None or isinstance(default, bool) else str(default)


def typed_as(annotation: Any) -> Any:
    """What the parser reads for a field's type: a switch, or text; a list of it for a tuple."""
    if get_origin(annotation) is tuple:
        return list[str] | None
    kind = bool if bool in (annotation, *get_args(annotation)) else str
    return kind | None if type(None) in get_args(annotation) else kind


def metavar(info: Any) -> str | None:
    """What stands for the value in a help, where the parser, which reads text, does not say it right."""
    from infra.asked import flag, number_kind

    if is_path(info.annotation):
        return "<path>"
    kind = flag(info).kind or number_kind(info)
    if kind not in NUMBERS:
        return None
    return f"<list[{kind.__name__}]>" if get_origin(info.annotation) is tuple else f"<{kind.__name__}>"


def is_path(annotation: Any) -> bool:
    """Whether a field is a file or folder."""
    return Path in (annotation, *get_args(annotation))
