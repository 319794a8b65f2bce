"""The one loader of others' JSON: what it takes, and what would exhaust a stack, a memory or a clock."""

import re
from pathlib import Path
from typing import Any

import pytest

from infra.bounded_json import DEEPEST, MOST_VALUES, load


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b'{"a": [1, 2.5, null, true, "\\u00e9"]}', {"a": [1, 2.5, None, True, "é"]}),
        (b"18446744073709551615", 2**64 - 1),
        (b"18446744073709551616", float(2**64)),
        (b'{"a": 1, "a": 2}', {"a": 2}),
        (b"1e-999", 0.0),
    ],
)
def test_what_it_takes(text: bytes, value: Any) -> None:
    assert load(text) == value


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"NaN", b"[Infinity]", b"-Infinity", b"1e999", b"-1e999", b"9" * 5000, b"\xff", b"\xef\xbb\xbf{}",
     b'"\\ud800"', b"[1,]", b"{'a': 1}", b"[" * 100_000, b"[" * 900 + b"]" * 900, b'{"a":' * 99 + b"1" + b"}" * 99,
     b"\0", "[]".encode("utf-16"), b"[1] x", b"0x10", b"01", b"+1", b'"a\nb"'],
)  # fmt: skip
def test_what_it_refuses(text: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        load(text)


def test_its_bounds() -> None:
    assert load(b"[" * DEEPEST + b"]" * DEEPEST) is not None
    with pytest.raises(ValueError, match="deeper than 64 levels"):
        load(b"[" * (DEEPEST + 1) + b"]" * (DEEPEST + 1))
    with pytest.raises(ValueError, match="more than 3,000,000 values"):
        load(b"[" + b"[]," * MOST_VALUES + b"[]]")
    assert load(b"[1, 2]", most_bytes=6) == [1, 2]
    with pytest.raises(ValueError, match="larger than 5 bytes"):
        load(b"[1, 2]", most_bytes=5)


def test_many_short_lists_are_not_deep() -> None:
    assert load(b"[" + b"[]," * 999 + b"[[]]]")[-1] == [[]]


# What reads JSON without it: a probe's events on their way, its own workers' lines, what corral wrote a line before,
# what pip wrote of corral itself, the user data of an order of its own. A host's bare Python has nothing of ours but
# what fetches.
BY_THEMSELVES = {
    "serving/probe/exchange.py": 3,
    "serving/probe/results.py": 1,
    "infra/aws/ledger.py": 1,
    "infra/cloud_init.py": 1,
    "infra/fetch/listing.py": 1,
    "deploy/bundle/wheels.py": 1,
}


def test_all_else_is_loaded_by_it() -> None:
    root = Path(__file__).parent.parent
    found = {
        path.relative_to(root).as_posix(): len(calls)
        for floor in ("infra", "serving", "deploy")
        for path in sorted((root / floor).rglob("*.py"))
        if (
            calls := re.findall(
                r"\b(?<!tomllib\.)loads\(|\bjson\.load\(|safe_load\(", path.read_text(encoding="utf-8")
            )
        )
        and "onhost" not in path.parts
        and path.name != "bounded_json.py"
    }
    assert found == BY_THEMSELVES
