"""PURE: JSON from elsewhere, within bounds: bytes, values, depth; numbers are finite. The one loader of it."""

from typing import Any

import orjson

MOST_BYTES = 100_000_000
MOST_VALUES = 3_000_000
"""A list or an object of nothing takes one byte there and sixty here."""
DEEPEST = 64
"""What is nested deeper was made to exhaust a stack."""


def load(text: bytes, most_bytes: int = MOST_BYTES) -> Any:
    """The value. Raises ValueError for what is no JSON, not UTF-8, too large, too deep, or holds no finite number.

    Integers beyond 64 bits become floats; of a key said twice the last counts.
    """
    if len(text) > most_bytes:
        raise ValueError(f"it is larger than {most_bytes:,} bytes")
    opened = text.count(b"[") + text.count(b"{")
    if opened + text.count(b",") > MOST_VALUES:
        raise ValueError(f"it holds more than {MOST_VALUES:,} values")
    value = orjson.loads(text)
    if opened > DEEPEST and is_deeper(value, DEEPEST):
        raise ValueError(f"it is nested deeper than {DEEPEST} levels")
    return value


def is_deeper(value: Any, levels: int) -> bool:
    """Whether lists and objects lie in each other more often than that."""
    level = [value] if type(value) in (list, dict) else []
    for _ in range(levels):
        if not level:
            return False
        level = [
            inner
            for each in level
            for inner in (each.values() if type(each) is dict else each)
            if type(inner) in (list, dict)
        ]
    return bool(level)
