"""Door: the user's own prompts or a trace, one JSON object a line.

    {"prompt": "Why is the sky blue?", "output_tokens": 200}
    {"messages": [{"role": "user", "content": "Hello"}]}
    {"timestamp": 27482, "input_length": 6955, "output_length": 52}

The last form is that of the Mooncake traces, `timestamp` in milliseconds; `time_s` is the same in seconds.
"""

import math
import random
from collections.abc import Iterator
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from infra import bounded_json
from infra.errors import DocumentError, UsageError
from infra.printable import one_line
from serving.probe.apis import APIS, ApiName
from serving.probe.dataset import Composer, Prompt, message
from serving.probe.lengths import MOST_TOKENS, Lengths

LONGEST_LINE_BYTES = 256 * 1024 * 1024
LONGEST_TRACE_S = 30 * 86400.0


class Line:
    """One line, checked."""

    __slots__ = ("input_tokens", "messages", "output_tokens", "time_s")

    def __init__(self, record: dict[str, Any]) -> None:
        self.messages = messages_of(record)
        self.time_s = time_of(record)
        self.input_tokens = tokens_of(record, "input_tokens", "input_length")
        self.output_tokens = tokens_of(record, "output_tokens", "output_length", "max_tokens")
        if not self.messages and self.input_tokens is None:
            raise ValueError("it has neither prompt, messages nor input_tokens")


def read(path: Path) -> list[Line]:
    """The lines of a file of prompts. Raises DocumentError naming the line that is wrong."""
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise DocumentError(
                f"{path} is no regular file, and it is read more than once.", "Write it into a file first."
            )
        with path.open("rb") as file:
            texts = iter(partial(file.readline, LONGEST_LINE_BYTES), b"")
            lines = [parse(text, number, path) for number, text in enumerate(texts, 1) if text.strip()]
    except OSError as error:
        raise DocumentError(
            f"{path} cannot be read: {error.strerror}.", "Give a file of JSON lines."
        ) from None
    if not lines:
        raise DocumentError(
            f"{path} holds no prompts.",
            'One JSON object a line: {"prompt": "Hello"}; to replay with its time: {"time_s": 0.5, "prompt": "Hello"}',
        )
    return lines


def parse(text: bytes, number: int, path: Path) -> Line:
    """One line. Raises DocumentError."""
    try:
        record = bounded_json.load(text, LONGEST_LINE_BYTES)
        if not isinstance(record, dict):
            raise ValueError("it is no JSON object")
        return Line(record)
    except ValueError as error:
        raise DocumentError(
            f"Line {number} of {path} is no prompt: {one_line(str(error))}.",
            'Say, e.g., {"prompt": "Hello", "output_tokens": 64}',
        ) from None


def trace(lines: list[Line], path: Path) -> tuple[float, ...]:
    """The lines' times from the first one on. Raises UsageError when a line has none or they go back."""
    times = [line.time_s for line in lines]
    known = [time_s for time_s in times if time_s is not None]
    if len(known) < len(times) or known != sorted(known):
        raise UsageError(
            f"{path} is no trace: every line needs a time, none before the one above.",
            'Say "time_s" in seconds or "timestamp" in milliseconds.',
        )
    if known[-1] - known[0] > LONGEST_TRACE_S:
        raise UsageError(
            f"{path} lasts {(known[-1] - known[0]) / 86400:.6g} days.",
            'At most 30; "timestamp" is in milliseconds, "time_s" in seconds.',
        )
    return tuple(time_s - known[0] for time_s in known)


def prompts(
    lines: list[Line],
    composer: Composer,
    output_tokens: Lengths,
    rng: random.Random,
    process: int = 0,
    processes: int = 1,
) -> Iterator[Prompt]:
    """One process's lines as prompts, from the first again when they are used up; a length gets a synthetic text."""
    for line in islice(cycle(lines), process, None, processes):
        messages, exact = line.messages, False
        if not messages:
            text, exact = composer.compose(line.input_tokens or 1)
            messages = [message(text)]
        wanted = line.output_tokens or output_tokens.draw(rng)
        yield Prompt(messages, wanted, line.input_tokens if exact else None)


def check_sayable(lines: list[Line], api: ApiName, path: Path) -> None:
    """Raises UsageError for a conversation where the API takes a bare text: a part of it would go unsaid."""
    for number, line in enumerate(lines, 1):
        spoken = line.messages
        if APIS[api].one_text and (len(spoken) > 1 or any(not is_text(each) for each in spoken)):
            raise UsageError(
                f"Prompt {number} of {path} is a conversation; the {api} API takes one text.",
                "Add --api chat.",
            )


def is_text(each: dict[str, Any]) -> bool:
    """Whether a message is the user's and nothing but text."""
    return each["role"] == "user" and isinstance(each.get("content"), str)


def messages_of(record: dict[str, Any]) -> list[dict[str, Any]]:
    """The prompt as messages; empty where the line has none."""
    prompt, messages = record.get("prompt"), record.get("messages", [])
    if isinstance(prompt, str) and prompt:
        return [message(prompt)]
    if not isinstance(messages, list) or not all(
        isinstance(each, dict) and "role" in each for each in messages
    ):
        raise ValueError("its messages are no list of objects with a role")
    if messages and "content" not in messages[-1]:
        raise ValueError("its last message has no content")
    return messages


def time_of(record: dict[str, Any]) -> float | None:
    """When it was sent, in seconds."""
    value = record.get("time_s", record.get("timestamp"))
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"its time is {value!r}")
    return float(value) if "time_s" in record else float(value) / 1000


def tokens_of(record: dict[str, Any], *names: str) -> int | None:
    """The first of those fields that is there."""
    value = next((record[name] for name in names if name in record), None)
    if value is not None and (
        isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST_TOKENS
    ):
        raise ValueError(f"{names[0]} is {value!r}")
    return value
