"""What a refused command says, whole: tests/data/refusals.json, by the test that asks; and where its hint leads.

CORRAL_TEST_KEEP=1 keeps what is said now: read the difference before it is committed.
"""

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import following
import pytest

KEPT = Path(__file__).parent / "data" / "refusals.json"
DATED = re.compile(r"(?<=Near it: ).*|[\d.,]+(?= USD/h)")
NONE: Mapping[str, str] = {}


def hold(
    said: str,
    request: pytest.FixtureRequest,
    folder: Path,
    line: Sequence[str] = (),
    kept_as: Mapping[str, str] = NONE,
) -> None:
    """Compare what was said with what is kept, but for the folder, for what changes with the date, and for `kept_as`.

    Then follow what it leads to, in the folder: commands as they stand, flags and values in the `line` refused.
    """
    name = request.node.nodeid.removeprefix("tests/")
    there = said.replace(str(folder), "FOLDER")
    for text, stands_for_it in kept_as.items():
        there = there.replace(text, stands_for_it)
    lines = DATED.sub("...", there).splitlines()
    kept = json.loads(KEPT.read_text(encoding="utf-8"))
    if os.environ.get("CORRAL_TEST_KEEP"):
        kept = dict(sorted((kept | {name: lines}).items()))
        KEPT.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    assert lines == kept.get(name)
    found = following.faults(said, folder, line)
    assert found == {}
