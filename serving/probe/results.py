"""Raw results: one JSON line for the run, one a request, one for its end. Every figure is computed from them.

Times are whole microseconds from the start of the run. `gaps_us` holds the time of each chunk with tokens as the
distance from the one before it, the first from `sent_us`; so 10 million chunks take about 70 MB.
"""

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from infra import bounded_json
from infra.errors import DocumentError, HostError, UsageError
from infra.home import make_folder
from infra.record import where_to_look
from serving.probe.run_records import ClientSide, Ending, Refused, Result, Run

# A link of that name leads to something that is no result.
NEW = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
RESULTS, REPORT = "results.jsonl", "probe.json"
LONGEST_FIRST_BYTES = 64 * 1024 * 1024
LONGEST_US = 40 * 86400 * 1_000_000
MOST_TOKENS = 2**42
"""Of one request, and more than the microseconds it may take to connect."""
LONGEST_LINE_BYTES = 256 * 1024 * 1024
ROOM_BYTES = 4096
"""A disk that does not take this much before the first request is called full."""


class Writer:
    """Writes results as they come. When the disk refuses, `failure` says so and what follows is kept in memory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.failure: str | None = None
        self.kept: list[Result | Ending] = []
        self._results = 0
        try:
            folders = (path.parent, *path.parent.parents)
            self._made = [folder for folder in folders if not folder.exists()]
            make_folder(path.parent)
            self._file = os.fdopen(os.open(path, NEW, 0o644), "wb", buffering=0)
        except OSError as error:
            raise unwritable(path, error) from None

    def run(self, run: Run) -> None:
        """Write the first line. Raises HostError: without it no other line can be read."""
        if not self._write(run.model_dump_json().encode() + b"\n"):
            raise HostError(f"The results cannot be written to {self.failure}.", "Free some space: df -h")

    def give_up(self) -> None:
        """Keep what was measured; where nothing was, leave nothing behind."""
        if self._results:
            self._file.close()
        else:
            self.abandon()

    def abandon(self) -> None:
        """Leave nothing behind."""
        self._file.close()
        self.path.unlink(missing_ok=True)
        with suppress(OSError):
            for folder in self._made:
                folder.rmdir()

    def try_room(self) -> None:
        """Write something and take it back. Raises HostError where there is no room, and leaves nothing behind."""
        try:
            if self._file.write(bytes(ROOM_BYTES)) != ROOM_BYTES:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._file.truncate(0)
            self._file.seek(0)
        except OSError as error:
            self.abandon()
            raise unwritable(self.path, error) from None

    def result(self, result: Result) -> None:
        """Write one request's line."""
        self._results += 1
        if not self._write(orjson.dumps(shortened(result)) + b"\n"):
            self.kept.append(result)

    def take(self, part: Path) -> None:
        """Append another writer's whole lines, where it wrote any, and remove its file."""
        with suppress(FileNotFoundError), part.open("rb") as lines:
            for line in lines:
                self._results += 1
                if line.endswith(b"\n") and not self._write(line):
                    self.kept.append(Result(**orjson.loads(line)))
        part.unlink(missing_ok=True)

    def close(self, ending: Ending) -> None:
        """Write the last line."""
        if not self._write(orjson.dumps({"end": asdict(ending)}) + b"\n"):
            self.kept.append(ending)
        self._file.close()

    def _write(self, line: bytes) -> bool:
        """Write all of it or, when the disk refuses, none."""
        if self.failure:
            return False
        start = self._file.tell()
        try:
            written = self._file.write(line)
            if written != len(line):  # the disk took a part: the next try says why it takes no more
                self._file.write(line[written:])
        except OSError as error:
            self.failure = f"{self.path}: {error.strerror or error}"
            self._file.truncate(start)
            return False
        return True


def new_writer(folder: Path) -> Writer:
    """A writer in that folder, tried out.

    Raises UsageError for a folder that holds results already, HostError when nothing can be written there.
    """
    refuse_old(folder)
    writer = Writer(folder / RESULTS)
    writer.try_room()
    return writer


def refuse_old(folder: Path) -> None:
    """Raises UsageError where results lie already: a measurement is not written over."""
    try:
        old = next((name for name in (RESULTS, REPORT) if (folder / name).exists()), None)
    except OSError as error:
        raise unwritable(folder, error) from None
    if old is not None:
        raise UsageError(
            f"{folder} holds an earlier probe's {old}, which is not overwritten.",
            "Choose another folder, or leave --output out for a new one with the date.",
        )


def unwritable(path: Path, error: OSError) -> HostError:
    """The folder for the results is no place to write."""
    return HostError(
        f"{path} cannot be written: {error.strerror or error}.", "Choose another folder: --output ~/probe"
    )


def shortened(result: Result) -> dict[str, Any]:
    """The fields that differ from their default."""
    line = {}
    for name, default in DEFAULTS.items():
        value = getattr(result, name)
        if value != default:
            line[name] = value
    return line


DEFAULTS: dict[str, Any] = {
    each.name: [] if each.name == "gaps_us" else each.default if each.name != "index" else None
    for each in fields(Result)
    if each.name != "refused"
}


def results_path(path: Path) -> Path:
    """The file itself, where its folder or the probe.json beside it was given."""
    if path.name == REPORT:
        return path.with_name(RESULTS)
    return path / RESULTS if path.is_dir() else path


def read(path: Path, kept: Sequence[Result | Ending] = ()) -> tuple[Run, Iterator[Result | Ending]]:
    """The run, and its results as an iterator ending with the Ending. Raises DocumentError.

    `kept` are those that the disk did not take.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise DocumentError(
            f"There are no probe results at {path}: {error.strerror or error}.",
            where_to_look(path)
            if isinstance(error, FileNotFoundError)
            else "Give the results.jsonl of a probe.",
        ) from None
    try:
        run = first_line(file, path)
    except DocumentError:
        file.close()
        raise
    return run, lines(file, path, kept)


def first_line(file: BinaryIO, path: Path) -> Run:
    """What the file's first line says of the run. Raises DocumentError."""
    first = file.readline(LONGEST_FIRST_BYTES)
    if first.strip() == b"{":
        raise DocumentError(
            f"{path} is a report or another document, not raw results.",
            f"Give the {RESULTS} of that run, or its folder.",
        )
    return Run.parse(first, str(path))


def lines(file: BinaryIO, path: Path, kept: Sequence[Result | Ending] = ()) -> Iterator[Result | Ending]:
    """The lines after the first. The file of a probe that was killed is read as far as it goes."""
    last, cut = 0, False
    with file:
        for number, line in enumerate(iter(partial(file.readline, LONGEST_LINE_BYTES), b""), 2):
            try:
                record = bounded_json.load(line, LONGEST_LINE_BYTES)
                if "end" in record:
                    yield ending(record["end"])
                    return
                result = checked(Result(**record))
            except (ValueError, TypeError, KeyError):
                if not line.endswith(b"\n"):
                    cut = True
                    break
                raise DocumentError(
                    f"Line {number} of {path} is not a result of a probe.",
                    f"Look at it: sed -n {number}p {path}",
                ) from None
            last = max(last, result.done_us)
            yield result
    yield from kept
    if kept and isinstance(kept[-1], Ending):
        return
    yield Ending(duration_us=last, clients=[], interrupted=True, cut=cut)


def checked(result: Result) -> Result:
    """The result, when figures can be made of it. Raises ValueError."""
    check_kinds(result)
    times_us = (result.scheduled_us, result.sent_us, result.done_us, result.sent_us + sum(result.gaps_us))
    if not all(abs(each) < LONGEST_US for each in (*times_us, *extremes(result.gaps_us))):
        raise ValueError("a time that is none")
    if result.ok and not result.gaps_us:
        raise ValueError("an answer without a token")
    counts = (*(getattr(result, name) or 0 for name in COUNTS), *extremes(result.chunk_tokens or []))
    if not all(0 <= each < MOST_TOKENS for each in counts):
        raise ValueError("a count that is none")
    if result.hidden_tokens > (result.output_tokens or 0):
        raise ValueError("more tokens hidden than there were")
    if result.chunk_tokens is not None and len(result.chunk_tokens) != len(result.gaps_us):
        raise ValueError("tokens of other chunks")
    return result


def extremes(numbers: list[int]) -> tuple[int, ...]:
    """The smallest and the largest, where there are any."""
    return (min(numbers), max(numbers)) if numbers else ()


def ending(record: dict[str, Any]) -> Ending:
    """The Ending in its stored form. Raises ValueError, TypeError or KeyError."""
    made = Ending(**(record | {"clients": [ClientSide(**client) for client in record["clients"]]}))
    check_kinds(made)
    for client in made.clients:
        check_kinds(client)
    if not 0 <= made.duration_us < LONGEST_US:
        raise ValueError("a duration that is none")
    return made


def check_kinds(record: Result | Ending | ClientSide) -> None:
    """Raise ValueError where a field holds something else than it is for."""
    for each in fields(record):
        if not KINDS[each.type](getattr(record, each.name)):
            raise ValueError(f"{each.name} is something else")


def is_whole(value: object) -> bool:
    """A whole number that any array takes."""
    return type(value) is int and abs(value) < 2**53


def is_number(value: object) -> bool:
    """A finite number."""
    return type(value) in (int, float) and abs(value) < 2.0**53  # type: ignore[arg-type]


def are_whole(value: object) -> bool:
    """A list of whole numbers; their size is judged as a whole."""
    return isinstance(value, list) and set(map(type, value)) <= {int}


def are_numbers(value: object) -> bool:
    """Finite numbers under names."""
    return isinstance(value, dict) and all(map(is_number, value.values()))


def are_samples(value: object) -> bool:
    """Pairs of a moment and a value under names."""
    return isinstance(value, dict) and all(
        isinstance(pairs, list)
        and all(isinstance(pair, list) and len(pair) == 2 and all(map(is_number, pair)) for pair in pairs)
        for pairs in value.values()
    )


KINDS: dict[Any, Callable[[object], bool]] = {
    int: is_whole,
    int | None: lambda value: value is None or is_whole(value),
    float: is_number,
    bool: lambda value: isinstance(value, bool),
    str: lambda value: isinstance(value, str),
    str | None: lambda value: value is None or isinstance(value, str),
    list[int]: are_whole,
    list[int] | None: lambda value: value is None or are_whole(value),
    dict[str, float]: are_numbers,
    dict[str, list[list[float]]]: are_samples,
    list[ClientSide]: lambda value: True,  # each is checked by itself
    Refused | None: lambda value: value is None,  # it is not stored
}
"""What a field of that kind may hold, in a file that anybody may have written."""
COUNTS = (
    "index", "connect_us", "status", "input_asked", "input_tokens", "output_asked", "output_tokens", "hidden_tokens",
    "cached_tokens", "output_chars", "uncertain", "empty_chunks", "cuts", "unwatched_us", "process",
)  # fmt: skip
