"""A trace: when requests came, and how long they were, in the forms that public traces have."""

import csv
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from infra import bounded_json
from infra.argument import pasted
from infra.errors import DocumentError
from infra.record import read_text
from serving.probe.lengths import MOST_TOKENS
from serving.sizing.batching import Request

KIND = "trace"
EXAMPLE = '{"time_s": 0.5, "input_tokens": 900, "output_tokens": 120}'
BYTE_ORDER_MARK = "\ufeff"
"""What spreadsheets begin a text with."""
MOST_REQUESTS = 1_000_000
LONGEST_S = 366 * 86400.0


class Columns(NamedTuple):
    """What a form calls the time of arrival and the two lengths, in small letters."""

    time: str
    input_tokens: str
    output_tokens: str
    scale_s: float
    """Of a time that is a number."""


FORMS = (
    Columns("time_s", "input_tokens", "output_tokens", 1.0),
    Columns("timestamp", "contexttokens", "generatedtokens", 1.0),  # Azure's LLM inference traces: dates
    Columns("timestamp", "input_length", "output_length", 0.001),  # Mooncake's
    Columns("timestamp", "request tokens", "response tokens", 1.0),  # BurstGPT's
)


def read(path: Path) -> list[Request]:
    """The requests of a trace, the first at 0 s. Raises DocumentError with the line that is wrong."""
    found: list[Request] = []
    began = last = 0.0
    for number, row in rows(read_text(path, KIND).removeprefix(BYTE_ORDER_MARK), path):
        where = f"line {number:,} of {path}"
        columns = form_of(row, where)
        at_s = seconds(row[columns.time], columns.scale_s, where)
        if not found:
            began = last = at_s
        if at_s < last:
            raise DocumentError(
                f"In {where} time runs backwards.",
                "Sort the trace by its time of arrival, the earliest first.",
            )
        last = at_s
        if len(found) == MOST_REQUESTS or at_s - began > LONGEST_S:
            raise DocumentError(
                f"{path} holds more than {MOST_REQUESTS:,} requests, or more than a year.",
                f"Take a part of it: head -n 100000 {pasted(path)} > part",
            )
        lengths = (tokens(row[name], name, where) for name in columns[1:3])
        found.append(Request(at_s - began, *lengths))
    if not found:
        raise DocumentError(f"{path} holds no request.", f"A line is a request: {EXAMPLE}")
    return found


def rows(text: str, path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The lines of JSON, or of a table with a first line of names, by those names in small letters."""
    if text.lstrip().startswith("{"):
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip():
                yield number, small(json_object(line, f"line {number:,} of {path}"))
        return
    table = csv.DictReader(text.splitlines())
    try:
        for row in table:
            yield table.line_num, small(row)
    except csv.Error as error:
        raise DocumentError(
            f"Line {table.line_num:,} of {path} is no row: {error}.", lines_of(path)
        ) from None


def small(row: dict[Any, Any]) -> dict[str, Any]:
    """The row by its names in small letters."""
    return {str(name).strip().lower(): value for name, value in row.items()}


def json_object(line: str, where: str) -> dict[str, Any]:
    """A line of JSON. Raises DocumentError."""
    try:
        row = bounded_json.load(line.encode())
    except ValueError:
        row = None
    if not isinstance(row, dict):
        raise DocumentError(
            f"{where[:1].upper()}{where[1:]} is no JSON object.", f"A line is a request: {EXAMPLE}"
        )
    return row


def form_of(row: dict[str, Any], where: str) -> Columns:
    """The form whose names the row has. Raises DocumentError."""
    found = next((form for form in FORMS if all(row.get(name) is not None for name in form[:3])), None)
    if found is None:
        known = "; ".join(", ".join(form[:3]) for form in FORMS)
        raise DocumentError(
            f"{where[:1].upper()}{where[1:]} lacks a time or a length.", f"Known names: {known}."
        )
    return found


def seconds(value: Any, scale_s: float, where: str) -> float:
    """A time of arrival: a number, or a date and time, which is UTC where it does not say. Raises DocumentError."""
    try:
        at_s = float(value) * scale_s if not isinstance(value, bool) else float("nan")
    except (TypeError, ValueError):
        try:
            moment = datetime.fromisoformat(str(value))
        except ValueError:
            at_s = float("nan")
        else:
            at_s = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    if not abs(at_s) < 1e12:
        raise DocumentError(
            f"In {where} the time of arrival is neither a number nor a date.",
            "Say seconds (time_s) or 2026-11-29 18:15:46.68.",
        )
    return at_s


def tokens(value: Any, name: str, where: str) -> int:
    """A length. Raises DocumentError."""
    try:
        count = int(value) if not isinstance(value, bool) and float(value) == int(value) else 0
    except (TypeError, ValueError, OverflowError):
        count = 0
    if not 1 <= count <= MOST_TOKENS:
        raise DocumentError(
            f"In {where} {name} is no whole number from 1 to {MOST_TOKENS:,}.",
            "Take out the lines without a prompt or an answer.",
        )
    return count


def lines_of(path: Path) -> str:
    """How to see what is wrong."""
    return f"See what it is: head {pasted(path)}"
