"""Door: the user's own texts, on which two endpoints are compared."""

from pathlib import Path
from typing import Any

from infra import bounded_json
from infra.errors import DocumentError
from infra.printable import one_line
from infra.record import read_bytes

MOST_BYTES = 64 * 1024 * 1024
MOST_TEXTS = 10_000
JSON_LINES = (".jsonl", ".ndjson")
HINT = 'A plain file with an empty line between two texts, or .jsonl with {"text": "..."} in each line.'


def read_texts(path: Path) -> tuple[str, ...]:
    """The texts of a file, each once, in its order.

    Raises DocumentError for a file that cannot be read, is not UTF-8, or holds no text or too many.
    """
    whole = decoded(path, read_bytes(path, HINT, MOST_BYTES, is_named=True))
    found = from_lines(path, whole) if path.suffix in JSON_LINES else paragraphs(whole)
    # A text that comes twice says nothing new, and would make an interval narrower than it is.
    texts = tuple(dict.fromkeys(found))
    if not texts:
        raise DocumentError(f"{path} holds no text.", HINT)
    if len(texts) > MOST_TEXTS:
        raise DocumentError(
            f"{path} holds {len(texts):,} texts; {MOST_TEXTS:,} are the most.", "Draw some of them."
        )
    return texts


def decoded(path: Path, data: bytes) -> str:
    """The file as text. Raises DocumentError."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DocumentError(
            f"{path} is not UTF-8: byte {error.start:,} is 0x{data[error.start]:02x}.",
            "Convert it: iconv -f WINDOWS-1252 -t UTF-8 OLD > NEW, or whatever it is written in.",
        ) from None


def paragraphs(whole: str) -> list[str]:
    """What stands between empty lines."""
    parts: list[list[str]] = [[]]
    for line in whole.splitlines():
        if line.strip():
            parts[-1].append(line)
        elif parts[-1]:
            parts.append([])
    return ["\n".join(part) for part in parts if part]


def from_lines(path: Path, whole: str) -> list[str]:
    """The text of each line. Raises DocumentError naming the line that is wrong."""
    return [text_of(path, number, line) for number, line in enumerate(whole.split("\n"), 1) if line.strip()]


def text_of(path: Path, number: int, line: str) -> str:
    """The text of one JSON object. Raises DocumentError."""
    try:
        record: Any = bounded_json.load(line.encode(), MOST_BYTES)
        said = record.get("text", record.get("prompt")) if isinstance(record, dict) else None
        if not isinstance(said, str) or not said.strip():
            raise ValueError("it has neither text nor prompt")
    except ValueError as error:
        raise DocumentError(
            f"Line {number:,} of {path} is no text: {one_line(str(error))}.", 'Say, e.g., {"text": "Hello"}'
        ) from None
    return said
