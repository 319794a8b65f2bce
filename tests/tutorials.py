"""Sessions that a page of docs shows, gone through again: what is printed is held against the page, whole.

CORRAL_TEST_KEEP=1 puts what is printed now into the page: read the difference before it is committed.
"""

import difflib
import io
import os
import re
import shlex
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import Any

from deploy.cli.main import run
from serving.vllm.startup_log import PHASES

ROOT = Path(__file__).parent.parent
sys.path.append(str(ROOT / "scripts"))
blocks: Any = import_module("readme")
"""scripts/readme.py, which knows a page's blocks."""

COLUMNS = blocks.COLUMNS
LOADING = "|".join(re.escape(re.sub(r"{\d}", "VALUE", words)).replace("VALUE", r"\S+") for _, words in PHASES)
VARIES = {
    # What is said of a wait only where somebody looks at that very moment.
    rf"(?m)^\S+: ({LOADING}|\w+ [\d.]+ of about [\d.]+ GiB)\n": "",
    r"20\d\d-\d\d-\d\d[T ]\d\d:\d\d:\d\d(Z| UTC)": "TIME",
    r"(?<=\(GetProducts\), )20\d\d-\d\d-\d\d": "TODAY",
    r"\b(i|sg|ami|vol)-[0-9a-f]{8,}": r"\1-ID",
    r"[\d.]+ GiB free|[\d.]+ of [\d.]+ GiB( RAM)? available": "ROOM",
    r"\b\d+ (CPUs|cores?)\b": "CORES",
    r"Python 3\.\d+\.\d+": "PYTHON",
    r"OpenSSH_\S+, .*": "OPENSSH",
    r"Linux \d+\.\d+": "LINUX",
    r"[-+\d.]+ s against this machine": "CLOCK",
    r"\$[\d.]+ so far": "SO FAR",
    r"127\.0\.0\.1:\d+": "ENDPOINT",
    r"\b\d+ of at most": "N of at most",
    r"\b[0-9a-f]{64}\b|\b[0-9a-f]{12}\b": "DIGEST",
    r"SHA256:\S+": "KEY",
    r"loopback \d+": "loopback N",
}
"""What is another each time, or on another machine -> what stands for it where two sessions are compared."""


class Person(io.StringIO):
    """Somebody at a terminal, where what is typed is seen."""

    def isatty(self) -> bool:
        return True

    def readline(self, size: int = -1, /) -> str:  # type: ignore[override]
        line = super().readline(size)
        sys.stderr.write(line)
        return line


def screen(words: list[str]) -> tuple[int, str]:
    """A command's exit code, and what it prints, both streams as a terminal shows them."""
    said = io.StringIO()
    with redirect_stdout(said), redirect_stderr(said):
        code = run(words)
    return code, "\n".join(line.rstrip() for line in said.getvalue().rstrip().splitlines())


def replayed(page: Path, printed: Callable[[list[str]], str | None]) -> str:
    """The page, each command in its volatile blocks with what is printed; what gives None stays as it is shown."""

    def block(match: re.Match[str]) -> str:
        if match["treated"] != "volatile":
            return match[0]
        said = []
        for command in blocks.commands(match["text"]):
            text = printed(shlex.split(command.replace("\\\n", " "))[1:])
            if text is None:
                return match[0]
            said.append(f"$ {command}\n{text}\n")
        return match[0].replace(match["text"], "\n".join(said))

    return str(blocks.BLOCK.sub(block, page.read_text(encoding="utf-8")))


def hold(page: Path, now: str) -> None:
    """Compare with the page, but for what varies."""
    if os.environ.get("CORRAL_TEST_KEEP"):
        page.write_text(now, encoding="utf-8")
    shown, printed = (alike(text).splitlines() for text in (page.read_text(encoding="utf-8"), now))
    if difference := [*difflib.unified_diff(shown, printed, page.name, "printed now", n=1, lineterm="")]:
        raise AssertionError("\n".join(difference))


def alike(text: str) -> str:
    """A session without what varies."""
    for pattern, name in VARIES.items():
        text = re.sub(pattern, name, text)
    return text
