"""What the audit of a gateway comes to: requests and tokens by month and key.

Standard library only: it runs with a host's own Python.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

COUNTED = (
    "requests", "refused", "input_tokens", "output_tokens", "estimated_output_tokens", "bytes_in", "bytes_out"
)  # fmt: skip
LONGEST = 65536
"""Of a line in bytes: HAProxy's own are shorter."""

Sums = dict[str, dict[str, dict[str, int]]]
"""Month ("2026-11", UTC) -> key -> what is counted."""


def sums(audit: Path) -> Sums:
    """Of all lines; what is cut off or no line of a request is passed over. Raises OSError, but for want of a file."""
    try:
        with audit.open("rb") as file:
            return reckoned(file)
    except FileNotFoundError:
        return {}


def reckoned(lines: Iterable[bytes]) -> Sums:
    """PURE: the same of these. A stream that does not tell its tokens is one for each of its events, estimated."""
    found: Sums = {}
    for line in lines:
        said = read(line)
        if said is None:
            continue
        of_key = found.setdefault(str(said["time"])[:7], {}).setdefault(
            str(said.get("key", "-")), dict.fromkeys(COUNTED, 0)
        )
        output = number(said, "output_tokens")
        for name, value in (
            ("requests", 1),
            ("refused", int(said.get("server") == "<NOSRV>")),
            ("input_tokens", number(said, "input_tokens")),
            ("output_tokens", output),
            ("estimated_output_tokens", 0 if output else number(said, "events")),
            ("bytes_in", number(said, "bytes_in")),
            ("bytes_out", number(said, "bytes_out")),
        ):
            of_key[name] += value
    return found


def read(line: bytes) -> dict[str, Any] | None:
    """A line's fields; None for what is no line of a request."""
    if len(line) > LONGEST or not line.startswith(b"{"):
        return None
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return said if isinstance(said, dict) and isinstance(said.get("time"), str) else None


def number(line: dict[str, Any], name: str) -> int:
    """A count of a line; 0 where it has none."""
    value = line.get(name)
    return value if isinstance(value, int) else 0


def tokens(of_key: dict[str, int]) -> int:
    """What counts against a budget."""
    return of_key["input_tokens"] + of_key["output_tokens"] + of_key["estimated_output_tokens"]


def spent(found: Sums, month: str) -> str:
    """What the budgets of a month start from, as HAProxy reads it."""
    of_month = found.get(month, {})
    return "".join(f"{key} {month} {tokens(of_month[key])}\n" for key in sorted(of_month))
