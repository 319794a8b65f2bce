"""What a gateway's audit comes to: each line counted to its month and key, and what is no line to none."""

import json
from pathlib import Path
from typing import Any

from infra.onhost import audit


def line(**fields: Any) -> bytes:
    return json.dumps({"time": "2026-11-30T00:00:00Z"} | fields).encode() + b"\n"


def test_each_line_counts_to_its_month_and_key() -> None:
    found: audit.Sums = {}
    for each in (
        line(key="ann", server="a", input_tokens=10, output_tokens=5, events=7, bytes_in=100, bytes_out=900),
        line(key="ann", server="<NOSRV>", bytes_in=1),
        line(key="ann", server="b", input_tokens=1, events=7, bytes_out=2),
        line(input_tokens="3", output_tokens=None),
        line(key="bob", time="2026-12-01T00:00:00Z", output_tokens=4),
        b'{"time": 5}\n',
        b'["time"]\n',
        b'{"time": "2026-11-30", "key": "ann"',
        b"nonsense\n",
        b'{"a":' * 20_000,
        line(key="x" * 70_000),
    ):
        audit.count(found, each)
    assert found == {
        "2026-11": {
            "ann": {
                "requests": 3,
                "refused": 1,
                "input_tokens": 11,
                "output_tokens": 5,
                "estimated_output_tokens": 7,
                "bytes_in": 101,
                "bytes_out": 902,
            },
            "-": dict.fromkeys(audit.COUNTED, 0) | {"requests": 1},
        },
        "2026-12": {"bob": dict.fromkeys(audit.COUNTED, 0) | {"requests": 1, "output_tokens": 4}},
    }
    assert audit.tokens(found["2026-11"]["ann"]) == 23
    assert audit.spent(found, "2026-11") == "- 2026-11 0\nann 2026-11 23\n"
    assert audit.spent(found, "2026-10") == ""


def test_a_line_of_the_longest_that_haproxy_writes_counts() -> None:
    whole = line(key="x" * 65_492)
    assert len(whole) == 65_536
    assert audit.read(whole) is not None
    assert audit.read(line(key="x" * 65_493)) is None


def test_of_no_file_there_is_nothing(tmp_path: Path) -> None:
    assert audit.sums(tmp_path / "none", tmp_path / "kept") == {}
    (tmp_path / "audit").write_bytes(line(key="ann"))
    assert audit.sums(tmp_path / "audit", tmp_path / "kept")["2026-11"]["ann"]["requests"] == 1
