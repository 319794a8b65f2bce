"""Fuzzing by count and fixed seeds: odd values put into valid JSON, bytes changed where that reaches new lines.

Every run counts the lines of ours that it goes through: what needs far more than its input can be worth is endless.
"""

import copy
import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NamedTuple

import orjson

from infra.errors import CorralError

ROOT = str(Path(__file__).parent.parent)
OURS = tuple(f"{ROOT}/{floor}/" for floor in ("infra", "serving", "deploy"))
MOST_LINES = 400_000
"""Of ours in one run; the inputs here have a few thousand bytes."""

ODD: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 7, 2**31, 2**53 + 1, 2**63, -(2**63), 2**64, 10**30, 1.5, 1e18, 1e300, -1e300, 5e-324,
    "", " ", "x", "nan", "1e999", "-1", "a\nb", "\x1b[2J\x07", "\u202e\u2066", "\x00", "é" * 300, "9" * 400,
    "/etc/passwd",
    "../..",
    "--trust-remote-code", "$(id)`id`'\"", "2026-11-24", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00+23:59",
    "http://[::1", "[", [], {}, [None], [[]], [{}], {"a": None}, {"": {}}, [1] * 50, ["x"] * 50, [[[[[[]]]]]],
)  # fmt: skip
TOKENS = (
    b"{", b"}", b"[", b"]", b'"', b"\\", b":", b",", b"\n", b"\r\n", b"\0", b" ", b"-", b"e", b".", b"NaN", b"1e999",
    b"9" * 40,
    b"\xff", b"\xc3\x28", b"\xed\xa0\x80", b"\x1b[2J", "\u2028\u202e".encode(), b"data: ", b"HTTP/1.1 200 OK\r\n",
    b"content-length: 99999999999999999999\r\n", b"transfer-encoding: chunked\r\n\r\n", b"ffffffffffffffff\r\n",
    b"[" * 300,
    b'{"a":' * 300, b"{" + b'"a":1,' * 50 + b'"a":1}', b"null", b"true", b"=", b"/", b"%", b"{}", b"{0.__class__}",
    b"#",
)  # fmt: skip


NUMBERS = (b"0", b"-1", b"1e999", b"9" * 25, b"18446744073709551616")


class Target(NamedTuple):
    """What is fuzzed: from valid seeds, with so many fields replaced and bytes changed."""

    act: Callable[[bytes], object]
    seeds: list[bytes]
    typed: tuple[type[Exception], ...] = (CorralError,)
    fields: int = 0
    changes: int = 300


def text(data: bytes) -> str:
    """As a door decodes it."""
    return data.decode(errors="replace")


class Endless(Exception):
    """A run went through more lines than its input can be worth."""


@dataclass
class Tracer:
    """The lines of ours that were reached, and how many were gone through since the run began."""

    reached: set[tuple[CodeType, int]] = field(default_factory=set)
    lines: int = 0
    most_lines: int = MOST_LINES

    def run(self, act: Callable[[bytes], object], data: bytes) -> bool:
        """Act; whether it reached a line for the first time. Raises what it raises, and Endless."""
        known, self.lines, self.most_lines = len(self.reached), 0, MOST_LINES + len(data)
        before = sys.gettrace()
        sys.settrace(self._enter)
        try:
            act(data)
        finally:
            sys.settrace(before)
            new = len(self.reached) > known
        return new

    def _enter(self, frame: FrameType, event: str, argument: object) -> Any:
        return self._line if frame.f_code.co_filename.startswith(OURS) else None

    def _line(self, frame: FrameType, event: str, argument: object) -> Any:
        if event == "line":
            self.lines += 1
            self.reached.add((frame.f_code, frame.f_lineno))
            if self.lines > self.most_lines:
                raise Endless
        return self._line


@dataclass
class Outcome:
    """How often something was run, and what came out that is of no documented kind."""

    runs: int = 0
    found: dict[str, bytes] = field(default_factory=dict)
    """The kind and place of what came out -> the shortest input."""

    def note(self, error: BaseException, data: bytes) -> None:
        """Keep it under where it was raised."""
        place = where(error)
        if place not in self.found or len(data) < len(self.found[place]):
            self.found[place] = data


def where(error: BaseException) -> str:
    """The kind of an error and the last line of ours on its way."""
    place, step = "?", error.__traceback__
    while step is not None:
        if step.tb_frame.f_code.co_filename.startswith(OURS):
            place = f"{step.tb_frame.f_code.co_filename.removeprefix(ROOT)}:{step.tb_lineno}"
        step = step.tb_next
    return f"{type(error).__name__} at {place}: {str(error)[:100]}"


def attempt(
    act: Callable[[bytes], object], data: bytes, typed: tuple[type[Exception], ...], outcome: Outcome
) -> None:
    """One run."""
    outcome.runs += 1
    try:
        act(data)
    except typed:
        pass
    except Exception as error:
        outcome.note(error, data)


def known(
    act: Callable[[bytes], object], kept: dict[str, bytes], typed: tuple[type[Exception], ...]
) -> Outcome:
    """A run of each of those inputs, in the order of their names; what is endless ends."""
    outcome, tracer = Outcome(), Tracer()
    for _, data in sorted(kept.items()):
        attempt(lambda each: tracer.run(act, each), data, typed, outcome)
    return outcome


def fuzz(
    act: Callable[[bytes], object],
    seeds: list[bytes],
    typed: tuple[type[Exception], ...],
    fields: int,
    changes: int,
    seed: str,
) -> Outcome:
    """`fields` runs with a field of a JSON seed replaced, `changes` with changed bytes, led by what they reach."""
    rng, outcome, tracer = random.Random(seed), Outcome(), Tracer()
    traced = lambda data: tracer.run(act, data)  # noqa: E731
    for data in (*seeds, *replaced(seeds, fields, rng)):
        attempt(act, data, typed, outcome)
    pool = list(seeds)
    for _ in range(changes):
        data, known = changed(rng.choice(pool), pool, rng), len(tracer.reached)
        attempt(traced, data, typed, outcome)
        if len(tracer.reached) > known and len(data) < 20_000:
            pool.append(data)
    return outcome


def replaced(seeds: list[bytes], count: int, rng: random.Random) -> Iterator[bytes]:
    """Variants of the seeds that are JSON, each with one or two fields replaced by odd values, left out or added."""
    values = [value for seed in seeds if (value := parsed(seed)) is not None]
    places = [(value, path) for value in values for path in paths(value)]
    wanted = [(value, path, odd) for value, path in places for odd in range(len(ODD) + 2)]
    for value, path, odd in rng.sample(wanted, min(count, len(wanted))):
        variant = copy.deepcopy(value)
        put(variant, path, odd)
        if rng.random() < 0.2:
            put(
                variant,
                rng.choice([other for whole, other in places if whole is value]),
                rng.randrange(len(ODD)),
            )
        yield json(variant)


def parsed(seed: bytes) -> Any:
    """The seed as JSON; None where it is none."""
    try:
        return orjson.loads(seed)
    except ValueError:
        return None


def json(value: Any) -> bytes:
    """As Python writes it, big numbers too."""
    import json as plain

    return plain.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


def paths(value: Any, here: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in it, of long lists the first ones."""
    inner = (
        value.items() if isinstance(value, dict) else enumerate(value[:4]) if isinstance(value, list) else ()
    )
    for key, each in inner:
        yield (*here, key)
        yield from paths(each, (*here, key))


def put(value: Any, path: tuple[Any, ...], odd: int) -> None:
    """Put an odd value there; beyond them, leave the field out or add one beside it."""
    *way, last = path
    for key in way:
        if not has(value, key):
            return
        value = value[key]
    if not has(value, last):
        return
    if odd < len(ODD):
        value[last] = copy.deepcopy(ODD[odd])
    elif odd == len(ODD):
        del value[last]
    elif isinstance(value, dict):
        value["no\x1b[2Jfield"] = 1


def has(value: Any, key: Any) -> bool:
    """Whether there is something under that key or number."""
    if isinstance(value, dict):
        return key in value
    return isinstance(value, list) and isinstance(key, int) and key < len(value)


def changed(data: bytes, pool: list[bytes], rng: random.Random) -> bytes:
    """The bytes with one to four changes."""
    for _ in range(rng.randint(1, 4)):
        at, to = sorted((rng.randint(0, len(data)), rng.randint(0, len(data))))
        match rng.randrange(8):
            case 0:
                data = data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]
            case 1:
                data = data[:at] + rng.choice(TOKENS) + data[at:]
            case 2:
                data = data[:at] + rng.choice(TOKENS) + data[at + rng.randint(1, 9) :]
            case 3:
                data = data[:at] + data[at + rng.randint(1, 20) :]
            case 4:
                data = data[:at]
            case 5:
                data = data[:to] + data[at : min(to, at + 400)] * rng.randint(1, 5) + data[to:]
            case 6:
                other = rng.choice(pool)
                cut = rng.randint(0, len(other))
                data = data[:at] + other[cut : cut + 300] + data[at:]
            case _:
                digits = [place for place in range(len(data)) if data[place : place + 1].isdigit()]
                if digits:
                    place = rng.choice(digits)
                    data = (
                        data[:place]
                        + rng.choice((b"0", b"-1", b"1e999", b"9" * 25, b"18446744073709551616"))
                        + data[place + 1 :]
                    )
    return data
