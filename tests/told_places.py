"""What the tests of commands that are told share: which they are, and how those of one place are typed in their order.

tests/data/told_in_their_place.toml says where each is typed that asks somebody.
"""

import os
import shlex
import shutil
import sys
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import pytest
import tutorials
from test_readme import FENCED, NOT_READ, PAGES, to_paste, typed

from deploy import keep_open
from deploy.cli.flags import examples
from infra.errors import Interrupted, UsageError

KEPT = tomllib.loads((tutorials.ROOT / "tests/data/told_in_their_place.toml").read_text(encoding="utf-8"))
PLACES: dict[str, list[str]] = KEPT["place"]
TYPED: dict[str, list[str]] = KEPT["typed"]
"""By the file of tests in which it is typed."""
SESSIONS = [tutorials.ROOT / f"docs/tutorials/{name}.md" for name in ("aws-afternoon", "bank")]
"""Pages whose volatile blocks are gone through by tests of their own."""
NOTHING: Mapping[str, Any] = {}


def lines_told() -> set[str]:
    """Every line that is told, but for those that scripts/readme runs and those without a verb."""
    lines = {line for page in PAGES for line in to_paste(page)}
    return lines.union(*examples().values()) - NOT_READ


def plain(line: str) -> str:
    """A command without `corral`, quoted in one way."""
    return shlex.join(shlex.split(line.removeprefix("corral ")))


def in_sessions() -> set[str]:
    """Those of the pages that are gone through as a whole, but for a probe of a server that is a stand-in there."""
    found = set()
    for page in SESSIONS:
        for treated, _, _, text in FENCED.findall(page.read_text(encoding="utf-8")):
            lines = text.replace("\\\n", " ").splitlines() if treated == "volatile" else []
            shown = [line[2:] for line in map(str.strip, lines) if line.startswith("$ corral ")]
            found |= {plain(each) for line in shown for each in typed(line)}
    return {line for line in found if not line.startswith("probe ")}


def told(line: str) -> list[str]:
    """The words of a line that a test types itself; tests/data/told_in_their_place.toml names its file."""
    assert line in lines_of(TYPED)
    return shlex.split(line)


def lines_of(table: Mapping[str, list[str]]) -> list[str]:
    """All lines of a table."""
    return [line for lines in table.values() for line in lines]


PROMISED = {"fetch --accept-license llama4 --country DE": UsageError.exit_code}
"""Lines whose pages show that they are refused."""


def is_answer(words: list[str], code: int) -> bool:
    """Whether a command ended as its help says: 0; of a look at what is missing what `up` would end with."""
    if words[0] == "connect":
        return code == Interrupted.exit_code  # it goes on until Ctrl-C
    return code == 0 or (words[0] == "doctor" and code > UsageError.exit_code)


def faults(
    place: str,
    monkeypatch: pytest.MonkeyPatch,
    before: Mapping[str, Callable[[], object]] = NOTHING,
    here: Callable[[list[str]], list[str]] = list,
    says: str = "y\n",
) -> dict[str, tuple[int, str]]:
    """Each command of a place that ended in another way, with its exit code and what it said.

    `before` is done before a command; `here` puts in an address or a folder of the test's own. Who is asked `says` so.
    """
    found = {}
    for line in PLACES[place]:
        before.get(line, str)()
        words = here([os.path.expanduser(word) for word in shlex.split(line)])
        monkeypatch.setattr(sys, "stdin", tutorials.Person(says))
        code, said = tutorials.screen(words)
        if code != PROMISED[line] if line in PROMISED else not is_answer(words, code):
            found[line] = (code, said)
    return found


def in_place_of(words_here: Mapping[str, str]) -> Callable[[list[str]], list[str]]:
    """A line with those words in place of a page's."""
    return lambda words: [words_here.get(word, word) for word in words]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Somebody's home, where what they type is; Ctrl-C comes where it is waited for, and a shell is not opened."""
    monkeypatch.setenv("CORRAL_HOME", str(tmp_path / ".corral"))

    def ctrl_c(seconds: float) -> NoReturn:
        raise KeyboardInterrupt

    keep = keep_open.keep
    monkeypatch.setattr(
        keep_open, "keep", lambda deployment, opened, say, sleep: keep(deployment, opened, say, ctrl_c)
    )
    monkeypatch.setattr(os, "execvp", lambda file, words: shutil.which(file) or sys.exit(1))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path
