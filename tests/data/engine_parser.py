# mypy: ignore-errors
"""vLLM's own parser, asked by tests/conftest.py in the engine's Python: words in, a line each, JSON out.

What was set is told as a dict, a refusal in the parser's words as a string; of no words, every flag there is.
"""

import contextlib
import io
import json
import sys

from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
from vllm.utils.argparse_utils import FlexibleArgumentParser

parser = make_arg_parser(FlexibleArgumentParser())


def read(words: list[str]) -> dict[str, object] | str:
    """What `vllm serve` would go by."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            parsed = parser.parse_args(words)
            validate_parsed_serve_args(parsed)
            return dict(vars(parsed))
    except SystemExit:
        lines = said.getvalue().strip().splitlines()
        return lines[-1].partition("error: ")[2] or "help"
    except (AssertionError, OSError, ValueError, IndexError) as error:
        return type(error).__name__


def flags() -> dict[str, str]:
    """Each flag, and whether it takes a value."""
    return {
        name: "switch" if action.nargs == 0 else "value"
        for action in parser._actions
        for name in action.option_strings
        if name.startswith("--")
    }


for line in sys.stdin:
    words = json.loads(line)
    answer = read(words) if words else flags()
    print("answer", json.dumps(answer, default=repr), flush=True)
