"""Running one command line: the one place where an error becomes a sentence and an exit code."""

import errno
import os
import select
import shlex
import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, TextIO

import typer

from deploy.cli.meant import meant
from deploy.cli.verbs import VERBS
from infra import placeholder
from infra.errors import CorralError, HostError, Interrupted, UsageError
from infra.say import Told, fail

PLAN = "--plan"
"""How some verbs are told a plan, which others take as their argument."""
REFUSALS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}


def run(program: Callable[..., Any], arguments: Sequence[str]) -> int:
    """Run one command line; return its exit code. Never raises for anything a user can cause."""
    as_json = "--json" in arguments
    code: object = 0
    try:
        code = program(args=list(arguments), prog_name="corral", standalone_mode=False)
        if sys.stdout:  # None where the caller closed it
            sys.stdout.flush()
        if code == Interrupted.exit_code and not isinstance(code, Told):  # what typer makes of Ctrl-C
            raise Interrupted("Interrupted.")
        return code if isinstance(code, int) else 0
    except CorralError as error:
        error.hint = placeholder.hint(arguments, error.message, error.hint)
        return fail(error, as_json)
    except typer.TyperException as error:
        wrong = usage_error(error, arguments)
        wrong.hint = meant(error, arguments) + wrong.hint
        return fail(wrong, as_json)
    except (KeyboardInterrupt, typer.Abort):
        return fail(Interrupted("Interrupted."), as_json)
    except (BrokenPipeError, SystemExit) as error:  # the parser exits for the first, with 1
        if isinstance(error, SystemExit) and not error.__context__:  # a completion is told, or there is none
            return int(bool(error.code))
        if not (has_left(sys.stdout) or has_left(sys.stderr)):
            return fail(unexpected(error.__context__ or error), as_json)
        # The reader of our output went away (`corral ... | head`); not our failure.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return code if isinstance(code, int) else 0  # the answer is what it is, whoever reads it
    except OSError as error:
        return fail(refused(error) if error.errno in REFUSALS else unexpected(error), as_json)
    except Exception as error:
        return fail(unexpected(error), as_json)


def has_left(stream: TextIO | None) -> bool:
    """Whether the reader of a stream of ours went away. Any other pipe breaks with the same error."""
    try:
        number = stream.fileno() if stream else None
    except (OSError, ValueError):  # it is closed, or none of the system's
        number = None
    if number is None:
        return False
    ready = select.poll()
    ready.register(number, 0)  # what went wrong with it is told unasked
    return bool(ready.poll(0))


def usage_error(error: typer.TyperException, arguments: Sequence[str]) -> UsageError:
    """Turn the parser's complaint into our one sentence and hint; it does not always say of which verb."""
    if sentence := why_not(error.__cause__):
        error.message = sentence
    message = error.format_message() if hasattr(error, "format_message") else str(error)
    context = getattr(error, "ctx", None)
    option = getattr(error, "option_name", None)
    if option and context is not None and context.parent is None and (moved := after_its_verb(arguments)):
        return UsageError(f"{option} is an option of a verb, and stands before the verb.", moved)
    if context is not None and option == PLAN and takes_a_plan(context.command):
        return UsageError(
            message, f"The plan stands in the model's place: {context.command_path} {plan_of(arguments)}"
        )
    verb = next((word for word in arguments if not word.startswith("-")), "")
    of_verb = f"corral {verb}" if verb in VERBS else "corral"
    command = context.command_path if context is not None else of_verb
    return UsageError(message, f"See: {command} --help")


def takes_a_plan(command: Any) -> bool:
    """Whether a verb takes a plan's file where it takes a model."""
    return any(
        "PLAN" in (each.metavar or "") for each in command.params if each.param_type_name == "argument"
    )


def plan_of(arguments: Sequence[str]) -> str:
    """The file that was named as an option's value; an example where none was."""
    joined = next((word for word in arguments if word.startswith(f"{PLAN}=")), "")
    after = [later for word, later in pairwise(arguments) if word == PLAN]
    named = joined.partition("=")[2] or next((word for word in after if not word.startswith("-")), "")
    return shlex.quote(named or "plan.json")


def after_its_verb(arguments: Sequence[str]) -> str:
    """How a line is typed whose options stand before its verb; empty where there is no verb."""
    at = next((at for at, word in enumerate(arguments) if word in VERBS), 0)
    moved = (arguments[at], *arguments[at + 1 :], *arguments[:at])
    return f"Put it behind: corral {' '.join(map(shlex.quote, moved))}" if at else ""


def why_not(cause: BaseException | None) -> str:
    """What is wrong with a value that the parser's validator refused, in place of that library's own words."""
    from pydantic import ValidationError

    if not isinstance(cause, ValidationError):
        return ""
    problem = cause.errors(include_url=False)[0]
    return f"{problem['input']!r}: {problem['msg'][:1].lower()}{problem['msg'][1:]}."


def refused(error: OSError) -> HostError:
    """A disk that is full or not ours, met where no step has a better sentence for it."""
    where = f" {error.filename}" if error.filename else ""
    return HostError(
        f"This machine refused to write{where}: {error.strerror}.",
        "Check the free space and the owner of that place: df -h, ls -ld",
    )


def unexpected(error: BaseException) -> CorralError:
    """A bug of ours: keep the traceback in a file that can be sent to us, and say one sentence."""
    import tempfile
    import traceback

    sentence = f"Something went wrong that corral does not expect: {type(error).__name__}: {error}."
    try:
        with tempfile.NamedTemporaryFile("w", prefix="corral-crash-", suffix=".log", delete=False) as file:
            traceback.print_exception(error, file=file)
    except OSError as full:
        return CorralError(
            sentence, f"The details could not be kept ({full.strerror}); make room and try again."
        )
    return CorralError(sentence, f"The details are in {file.name}; please report them.")
