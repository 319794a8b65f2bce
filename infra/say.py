"""What a command says: results on stdout, progress on stderr, an error as one sentence and a hint.

Much of it is in others' words, so all of it is made printable here, whether a terminal reads it or not: what goes to a
pipe ends at one as often (`| less`, `| grep`).
"""

import codecs
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from infra.errors import CorralError
from infra.fitted import fitted
from infra.printable import as_number, printable, printable_json, refusal, sentence
from infra.terminal import is_terminal, painted

STYLES = {
    "error": "bold red",
    "failed": "bold red",
    "warning": "bold yellow",
    "hint": "bold cyan",
    "ok": "green",
}


def spell_out() -> None:
    """Have stdout write a letter that its encoding lacks by its number, as JSON does: nothing is lost or fails."""

    def spelled(error: UnicodeError) -> tuple[str, int]:
        if not isinstance(error, UnicodeEncodeError):
            raise error
        return "".join(map(as_number, error.object[error.start : error.end])), error.end

    codecs.register_error("spelled", spelled)
    out: Any = sys.stdout
    if out:  # None where the caller closed it
        out.reconfigure(errors="spelled")


QUIET = "CORRAL_QUIET"
only_looking: ContextVar[bool] = ContextVar("only_looking", default=False)


def say(text: str, as_it_is: bool = False) -> None:
    """Print a result for a person; as it is where a program is to read it, or a shell."""
    print(printable(text) if as_it_is else fitted(printable(text), sys.stdout))


def is_quiet() -> bool:
    """Whether the user wants no word on the way: --quiet, or CORRAL_QUIET=1."""
    return os.environ.get(QUIET) == "1"


def progress(text: str, label: str = "") -> None:
    """Print progress, unless it is to be quiet; what is done does not depend on its being read."""
    if not is_quiet():
        notice(text, label)


def notice(text: str, label: str = "") -> None:
    """Print beside the results what is to be read even where it is quiet: a question's matter, a warning, an error.

    The label before it has its colour on a terminal.
    """
    if sys.stderr is None:  # the caller closed it; print would use stdout
        return
    try:
        before = painted(label, STYLES[label.strip(": ")], sys.stderr) if label else ""
        print(before + fitted(printable(text), sys.stderr, len(label)), file=sys.stderr, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def is_somebody_there() -> bool:
    """Whether a question would be answered: stdin is a terminal (and not closed, which Python shows as None)."""
    return not only_looking.get() and is_terminal(sys.stdin)


@contextmanager
def no_questions() -> Iterator[None]:
    """What only looks asks nobody to agree to anything."""
    before = only_looking.set(True)
    try:
        yield
    finally:
        only_looking.reset(before)


def warn(text: str) -> None:
    """Say on stderr what does not stop us; nothing for an empty text."""
    if text:
        notice(sentence(text), "warning: ")


def emit(record: Any, text: str, as_json: bool, as_it_is: bool = False) -> None:
    """Print a record as JSON, or the given text, which begins with the answer; as it is where it is a file's.

    A reader that went away (`| head`) leaves the verb to its end: its exit code is the answer too.
    """
    text = printable(text)
    answer, *rest = (text if as_it_is else fitted(text, sys.stdout)).split("\n")
    said = "\n".join([painted(answer, "bold", sys.stdout), *rest])
    try:
        print(printable(printable_json(record.model_dump_json(indent=2))) if as_json else said, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class Told(int):
    """An exit code whose reason was said already, after a result: so that --json prints one object and no more."""


def fail(error: CorralError, as_json: bool) -> int:
    """Say an error and return its exit code. With --json the error is also an object on stdout."""
    notice(refusal(error.message), "error: ")
    if error.hint:
        notice(refusal(error.hint), "hint: ")
    try:
        if as_json:
            print(as_object(error))
        if sys.stdout:  # None where the caller closed it
            sys.stdout.flush()
    except OSError:  # a full disk or a reader that went: the sentence is out, and the exit must not try again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return error.exit_code


def as_object(error: CorralError) -> str:
    """An error as JSON."""
    said = {
        "type": type(error).__name__,
        "message": error.message,
        "hint": error.hint,
        "exit_code": error.exit_code,
    }
    return json.dumps({"error": said}, indent=2)
