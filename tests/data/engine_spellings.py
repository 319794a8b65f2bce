# mypy: ignore-errors
"""Ask vLLM's own parser, by the engine's Python, what each line of extra arguments sets: lines in, JSON out."""

import contextlib
import io
import json
import shlex
import sys

from vllm.entrypoints.launchers.cli_args import make_arg_parser
from vllm.utils.argparse_utils import FlexibleArgumentParser

parser = make_arg_parser(FlexibleArgumentParser())


def read(words: list[str]) -> dict[str, object] | str:
    """What differs from no extra arguments; what the parser says when it refuses."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            return dict(vars(parser.parse_args(["the/model", *words])))
    except SystemExit:
        lines = said.getvalue().strip().splitlines()
        return lines[-1].partition("error: ")[2] or "help"
    except (AssertionError, OSError, ValueError, IndexError) as error:
        return type(error).__name__


plain = read([])
assert isinstance(plain, dict)
found: dict[str, list[str] | str] = {}
for line in sys.stdin.read().splitlines():
    given = read(shlex.split(line))
    found[line] = (
        sorted(name for name, value in given.items() if value != plain.get(name))
        if isinstance(given, dict)
        else given
    )
print(json.dumps(found))
