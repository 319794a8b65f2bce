"""Every --json output of the tests is held against the schema that `corral schema` gives for its verb."""

import io
import json
import sys
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator

from deploy.cli.printed import printed, schema
from deploy.targets.table import PLACES


def validator(verb: str) -> Draft202012Validator:
    """The check of a verb's output, with the places there are now: a test may add one."""
    return of_places(verb, tuple(PLACES))


@cache
def of_places(verb: str, places: tuple[str, ...]) -> Draft202012Validator:
    """The same while those are the places."""
    found = schema(verb)
    Draft202012Validator.check_schema(found)
    return Draft202012Validator(found)


def verb_of(arguments: Sequence[str]) -> str:
    """The verb of a command line: its longest beginning that is one; "" where there is none."""
    words = [word for word in arguments if word != "--offline"]
    known = (" ".join(words[:count]) for count in (2, 1))
    return next((verb for verb in known if verb in printed()), "")


def check(arguments: Sequence[str], text: str) -> None:
    """Raise unless the text is one JSON document of the verb's schema, or an error. Nothing at all is no document."""
    verb = verb_of(arguments)
    if "--json" not in arguments or not verb or not text:
        return
    said = json.loads(text)
    is_error = isinstance(said, dict) and set(said) == {"error"}
    validator("error" if is_error else verb).validate(said)


class Tee(io.TextIOBase):
    """A stdout that also remembers."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.said = inner, io.StringIO()

    def write(self, text: str) -> int:
        self.said.write(text)
        return int(self.inner.write(text))

    def flush(self) -> None:
        self.inner.flush()

    def fileno(self) -> int:
        return int(self.inner.fileno())


def checked(run: Callable[..., int]) -> Callable[..., int]:
    """`run` of a command line, whose output is checked."""

    def checking(program: Callable[..., Any], arguments: Sequence[str]) -> int:
        if "--json" not in arguments:
            return run(program, arguments)
        inner = sys.stdout
        sys.stdout = tee = Tee(inner)
        try:
            code = run(program, arguments)
        finally:
            sys.stdout = inner
        check(arguments, tee.said.getvalue())
        return code

    return checking
