"""The table of acceptance checks (serving/CHECKS.md): each of the 48 has a state, and what shows it is there."""

import re
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
TABLE = (TESTS.parent / "serving/CHECKS.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in TABLE.splitlines()
    if re.match(r"\| \d", line)
]
STATES = {"pass", "partly", "not yet", "no", "GPU"}
NAMED = re.compile(r"`((?:fleet/)?test_\w+\.py)::(test_\w+)`")


@cache
def defined(file: str) -> frozenset[str]:
    """The tests of a file."""
    return frozenset(
        re.findall(r"^(?:async )?def (test_\w+)", (TESTS / file).read_text(encoding="utf-8"), re.M)
    )


def test_each_check_is_there_once_with_a_state() -> None:
    assert [row[0] for row in ROWS] == [str(number) for number in range(1, 49)]
    assert {row[2] for row in ROWS} <= STATES
    assert all(len(row) == 4 and row[3] for row in ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_what_shows_it_is_there(row: list[str]) -> None:
    _, _, state, shown = row
    named = NAMED.findall(shown)
    assert [f"{file}::{test}" for file, test in named if test not in defined(file)] == []
    # No test is named in another form, where a lost one would not be noticed.
    assert len(named) == shown.count("::")
    assert named or state in ("not yet", "no")
    assert ("missing: " in shown) is (state == "partly")
