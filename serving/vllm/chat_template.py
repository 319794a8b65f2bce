"""A plan's chat template: the text itself, or a file; and which file of this machine may be sent somewhere as one."""

import os
import stat
from pathlib import Path

from infra.errors import UsageError
from serving.vllm.serve_options import ServeOptions

# What vLLM takes for a template and no path, when it cannot open it.
OF_A_TEMPLATE = "{}\n"
LARGEST_BYTES = 2**20
LONGEST_ARGUMENT_BYTES = 100_000
"""Of a template that is part of a command; Linux takes an argument of 128 KiB."""
ELSEWHERE = "Keep it beside the plan, or in the model's folder, and plan with that path."
SAYS_WHAT_IS_ASKED = "messages"


def file_here(template: str | None) -> Path | None:
    """The file of this machine that is meant; None for a text, or for a path that is not here."""
    if not template or is_text(template) or not os.path.lexists(template):
        return None
    return Path(template).absolute()


def is_text(template: str) -> bool:
    """Whether it is the template itself, and no path."""
    return any(char in template for char in OF_A_TEMPLATE)


def text_of(template: str | None) -> str | None:
    """The template itself, for a command that is run where its file is not: vLLM takes either.

    Raises UsageError for a file that is not here or is none, and for one that is too long for a command.
    """
    here = file_here(template)
    text = read(here) if here else template
    if text and not is_text(text):
        raise UsageError(f"The plan's chat template is not here: {text}.", ELSEWHERE)
    if text and len(text.encode()) > LONGEST_ARGUMENT_BYTES:
        raise UsageError(
            f"The plan's chat template has more than {LONGEST_ARGUMENT_BYTES:,} bytes, too many for a command.",
            "Put it into the folder of the weights as chat_template.jinja, and plan without it.",
        )
    return text


def check_place(path: Path, folders: tuple[Path, ...]) -> None:
    """Raise UsageError for a template that lies, links followed, in none of the folders, or is hidden there."""
    target = path.resolve()
    for folder in map(Path.resolve, folders):
        within = target.relative_to(folder).parts if target.is_relative_to(folder) else (".",)
        if not any(part.startswith(".") for part in within):
            return
    raise UsageError(
        f"The chat template {path} lies neither below the plan's folder nor below the model's.", ELSEWHERE
    )


def check_planned(serve: ServeOptions, beside: Path) -> None:
    """Raise UsageError for a template of this machine that a plan in that folder may not take along."""
    if template := file_here(serve.chat_template):
        model = Path(serve.model)
        check_place(template, (beside, model) if model.exists() else (beside,))


def read(path: Path) -> str:
    """The text of a template. Raises UsageError for what vLLM could not read as one: it is not sent either."""
    try:
        # Not waited for: a pipe or a terminal would never end.
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise no_template(path, "it is no regular file")
            data = file.read(LARGEST_BYTES + 1)
    except OSError as error:
        raise no_template(path, f"it cannot be read: {error.strerror}") from None
    if len(data) > LARGEST_BYTES:
        raise no_template(path, f"it has more than {LARGEST_BYTES // 2**20} MiB")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise no_template(path, "it is no text") from None
    if "\0" in text:
        raise no_template(path, "it is no text")
    if not is_template(text):
        raise no_template(path, "it is no Jinja template that reads the messages")
    return text


def is_template(text: str) -> bool:
    """Whether Jinja can read it, with what transformers adds to it, and it says the messages of a chat."""
    from jinja2 import Environment, TemplateSyntaxError
    from jinja2.ext import Extension
    from jinja2.meta import find_undeclared_variables
    from jinja2.nodes import Node
    from jinja2.parser import Parser

    class Generation(Extension):
        """Marks what the assistant says, for those who train."""

        tags = {"generation"}

        def parse(self, parser: Parser) -> list[Node]:
            """What it encloses."""
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    try:
        read = Environment(extensions=["jinja2.ext.loopcontrols", Generation]).parse(text)
        return SAYS_WHAT_IS_ASKED in find_undeclared_variables(read)
    except (TemplateSyntaxError, RecursionError):
        return False


def no_template(path: Path, why: str) -> UsageError:
    """What to say of a file that is none."""
    return UsageError(f"{path} is no chat template: {why}.", "Correct the plan's chat_template.")
