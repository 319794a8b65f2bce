"""Door: the user's own prompts or a trace, one JSON object a line; or all of them in one JSON array.

    {"prompt": "Why is the sky blue?", "output_tokens": 200}
    {"messages": [{"role": "user", "content": "Hello"}]}
    {"timestamp": 27482, "input_length": 6955, "output_length": 52}

The last form is that of the Mooncake traces, `timestamp` in milliseconds; `time_s` is the same in seconds. With
`hash_ids` it names its blocks of `--hash-block-tokens` tokens each: equal ids, equal blocks of text. A record with
`conversations` is one of ShareGPT's: its first question is asked, for an answer as long as the one there.
"""

import json
import math
import random
import re
from collections.abc import Iterator
from functools import lru_cache, partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any, BinaryIO

from infra import bounded_json
from infra.errors import DocumentError, UsageError
from infra.printable import one_line
from serving.probe.apis import APIS, ApiName
from serving.probe.dataset import Composer, Prompt, message
from serving.probe.lengths import MOST_TOKENS
from serving.probe.sharegpt import NoExchange, exchange
from serving.probe.spec import Workload

LONGEST_LINE_BYTES = 256 * 1024 * 1024
LONGEST_TRACE_S = 30 * 86400.0
LARGEST_ARRAY_BYTES = 1024 * 1024 * 1024
DECODER = json.JSONDecoder()
BETWEEN = re.compile(r"\s*,?\s*")
EXAMPLE = 'Say, e.g., {"prompt": "Hello", "output_tokens": 64}'


class Line:
    """One line, checked. Raises ValueError, and NoExchange."""

    __slots__ = ("hash_ids", "input_tokens", "messages", "output_tokens", "reply", "time_s")

    def __init__(self, record: dict[str, Any]) -> None:
        talk = exchange(record["conversations"]) if "conversations" in record else None
        self.messages = [message(talk[0])] if talk else messages_of(record)
        self.reply = talk[1] if talk else None
        self.hash_ids = ids_of(record)
        self.time_s = time_of(record)
        self.input_tokens = tokens_of(record, "input_tokens", "input_length")
        self.output_tokens = tokens_of(record, "output_tokens", "output_length", "max_tokens")
        if not self.messages and self.input_tokens is None:
            raise ValueError("it has neither prompt, messages nor input_tokens")


class Lines(list[Line]):
    """Those of a file."""

    left_out = 0
    """Conversations without a question and its answer."""


def read(path: Path) -> Lines:
    """The lines of a file of prompts. Raises DocumentError naming the line that is wrong."""
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise DocumentError(
                f"{path} is no regular file, and it is read more than once.", "Write it into a file first."
            )
        state = path.stat()
        return read_once(path, state.st_mtime_ns, state.st_size)
    except OSError as error:
        raise DocumentError(
            f"{path} cannot be read: {error.strerror}.", "Give a file of JSON lines."
        ) from None


@lru_cache(maxsize=1)
def read_once(path: Path, mtime_ns: int, size: int) -> Lines:
    """The same of a file in that state: one of ShareGPT's takes ten seconds. Raises OSError and DocumentError."""
    lines = Lines()
    with path.open("rb") as file:
        for where, record in (array_in if is_array(file) else lines_in)(file, path):
            try:
                lines.append(checked(record, where, path))
            except NoExchange:
                lines.left_out += 1
    if not lines:
        raise DocumentError(
            f"{path} holds no prompts.",
            'One JSON object a line: {"prompt": "Hello"}; to replay with its time: {"time_s": 0.5, "prompt": "Hello"}',
        )
    return lines


def is_array(file: BinaryIO) -> bool:
    """Whether a file holds one JSON array."""
    start = file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()
    file.seek(0)
    return start.startswith(b"[")


def array_in(file: BinaryIO, path: Path) -> Iterator[tuple[str, Any]]:
    """The records of an array, one after the other, each with where it stands. Raises DocumentError."""
    number, at = 1, 0
    try:
        text = file.read(LARGEST_ARRAY_BYTES + 1)
        if len(text) > LARGEST_ARRAY_BYTES:
            raise ValueError("it is larger than 1 GiB; write one object a line")
        array = text.decode("utf-8-sig")
        at = array.index("[") + 1
        while (found := BETWEEN.match(array, at)) and array[found.end() : found.end() + 1] != "]":
            record, at = DECODER.raw_decode(array, found.end())
            yield f"Entry {number}", record
            number += 1
        if not found or array[found.end() + 1 :].strip():
            raise ValueError("it does not end as an array does")
    except (ValueError, RecursionError) as error:
        raise no_prompt(f"Entry {number}", path, error) from None


def lines_in(file: BinaryIO, path: Path) -> Iterator[tuple[str, Any]]:
    """The records of lines, each with where it stands. Raises DocumentError."""
    for number, text in enumerate(iter(partial(file.readline, LONGEST_LINE_BYTES), b""), 1):
        if text.strip():
            try:
                yield f"Line {number}", bounded_json.load(text, LONGEST_LINE_BYTES)
            except ValueError as error:
                raise no_prompt(f"Line {number}", path, error) from None


def checked(record: Any, where: str, path: Path) -> Line:
    """One record as a line. Raises DocumentError."""
    try:
        if not isinstance(record, dict):
            raise ValueError("it is no JSON object")
        return Line(record)
    except ValueError as error:
        raise no_prompt(where, path, error) from None


def no_prompt(where: str, path: Path, error: ValueError | RecursionError) -> DocumentError:
    """What to say of a record that is none."""
    return DocumentError(f"{where} of {path} is no prompt: {one_line(str(error))}.", EXAMPLE)


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
    workload: Workload,
    rng: random.Random,
    process: int = 0,
    processes: int = 1,
) -> Iterator[Prompt]:
    """One process's lines as prompts, from the first again when they are used up; a length gets a synthetic text."""
    for line in islice(cycle(lines), process, None, processes):
        messages, exact = line.messages, False
        if not messages:
            names = [f"{workload.seed}/{each}" for each in line.hash_ids]
            tokens = line.input_tokens or 1
            text, exact = (
                composer.of_blocks(names, tokens, workload.hash_block_tokens)
                if names
                else composer.compose(tokens)
            )
            messages = [message(text)]
        told = line.output_tokens or (line.reply and composer.tokens_of(line.reply))
        wanted = told or workload.output_tokens.draw(rng)
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


def check_blocks(lines: list[Line], block_tokens: int, path: Path) -> None:
    """Raises UsageError where a line's hash_ids are not the blocks that its length makes."""
    for number, line in enumerate(lines, 1):
        ids, tokens = len(line.hash_ids), line.input_tokens or 0
        if ids and not line.messages and ids != -(-tokens // block_tokens):
            likely = 2 ** max(0, math.ceil(math.log2(tokens / ids)))
            raise UsageError(
                f"Prompt {number} of {path} has {ids} hash_ids for {tokens} tokens; blocks of {block_tokens} are"
                f" {-(-tokens // block_tokens)}.",
                f"Say how long a block is: --hash-block-tokens {likely}"
                if ids == -(-tokens // likely)
                else "Each id stands for a block, the last one for the rest.",
            )


def file_notes(lines: Lines, tokenizer: Path | None) -> tuple[str, ...]:
    """What was made of a file that is more than prompts."""
    blocks = any(line.hash_ids and not line.messages for line in lines)
    talks = sum(line.reply is not None for line in lines)
    by = f"the tokenizer in {tokenizer}" if tokenizer else "4/3 tokens a word, an estimate"
    out = f"; {lines.left_out} without one are left out" if lines.left_out else ""
    return (
        *(("prompts share the blocks of text that the trace's hash_ids name",) if blocks else ()),
        *(
            (f"ShareGPT: the first question of {talks} conversations, for as long an answer, by {by}{out}",)
            if talks
            else ()
        ),
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


def ids_of(record: dict[str, Any]) -> list[int]:
    """The blocks of a trace's line; empty where it names none."""
    ids = record.get("hash_ids") or []
    if not isinstance(ids, list) or any(type(each) is not int for each in ids):
        raise ValueError("its hash_ids are no list of whole numbers")
    return ids


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
