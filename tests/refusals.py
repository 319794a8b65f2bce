"""What a refused command says, whole: tests/data/refusals.json, by the test that asks.

CORRAL_TEST_KEEP=1 keeps what is said now: read the difference before it is committed.
"""

import json
import os
import re
from pathlib import Path

import pytest

KEPT = Path(__file__).parent / "data" / "refusals.json"
DATED = re.compile(r"(?<=Near it: ).*|[\d.,]+(?= USD/h)")


def hold(said: str, request: pytest.FixtureRequest, folder: Path) -> None:
    """Compare what was said with what is kept, but for the folder and for what changes with the date."""
    name = request.node.nodeid.removeprefix("tests/")
    lines = DATED.sub("...", said.replace(str(folder), "FOLDER")).splitlines()
    kept = json.loads(KEPT.read_text(encoding="utf-8"))
    if os.environ.get("CORRAL_TEST_KEEP"):
        kept = dict(sorted((kept | {name: lines}).items()))
        KEPT.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    assert lines == kept.get(name)
