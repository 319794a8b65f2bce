"""Raw results: one JSON line for the run, one a request, one for its end. Every figure is computed from them.

Times are whole microseconds from the start of the run. `gaps_us` holds the time of each chunk with tokens as the
distance from the one before it, the first from `sent_us`; so 10 million chunks take about 70 MB.
"""

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Literal, NamedTuple

import orjson

from infra.errors import DocumentError, HostError, UsageError
from infra.record import Document, Record
from serving.probe.spec import Load, Slo, Target, Workload

RESULTS, REPORT = "results.jsonl", "probe.json"
LONGEST_FIRST_BYTES = 64 * 1024 * 1024
LONGEST_US = 40 * 86400 * 1_000_000
ROOM_BYTES = 4096
"""A disk that does not take this much before the first request is called full."""


class ServerFacts(Record):
    """What the server said about itself."""

    is_vllm: bool = False
    version: str | None = None
    max_model_len: int | None = None
    exact_lengths: bool = False
    """Whether the prompts were counted by the server's own tokenizer."""


class Run(Document):
    """The first line: what was asked of whom, and when."""

    kind: ClassVar[str] = "file of probe results"
    document: Literal["probe-results"] = "probe-results"
    schema_version: Literal[1] = 1

    target: Target
    model: str
    load: Load
    workload: Workload
    slo: Slo
    server: ServerFacts
    started_at: str
    notes: tuple[str, ...] = ()
    """What the user must know about how the requests were made."""


class Refused(NamedTuple):
    """What an HTTP answer that is no stream says: its words, and the headers that tell what to do about it."""

    words: str
    retry_after: str | None = None
    redirects_to: str | None = None

    @property
    def message(self) -> str:
        """All of it in one sentence."""
        if self.redirects_to is not None:
            return f"it redirects to {self.redirects_to}"
        return self.words if self.retry_after is None else f"{self.words} (Retry-After: {self.retry_after})"


@dataclass(slots=True)
class Result:
    """What became of one request. A failure is data: `error` is its class, `message` what was said."""

    index: int
    scheduled_us: int
    """When it was meant to be sent; equal to sent_us in a closed loop."""
    sent_us: int
    done_us: int
    connect_us: int | None = None
    """The time to open its connection, where that fell into the run."""
    status: int = 0
    error: str | None = None
    message: str | None = None
    gaps_us: list[int] = field(default_factory=list)
    chunk_tokens: list[int] | None = None
    """Tokens of each chunk, where the server said them."""
    input_asked: int | None = None
    input_tokens: int | None = None
    output_asked: int = 0
    output_tokens: int | None = None
    cached_tokens: int | None = None
    output_chars: int = 0
    finish_reason: str | None = None
    uncertain: int = 0
    """Chunks that shared a read with a later one: their stamp is an upper bound."""
    empty_chunks: int = 0
    process: int = 0
    refused: Refused | None = field(default=None, compare=False)
    """The answer behind `message`, for as long as the result is not stored."""

    @property
    def ok(self) -> bool:
        """Whether it ended as it should."""
        return self.error is None


@dataclass(slots=True)
class ClientSide:
    """What one process of the probe says about itself."""

    process: int = 0
    kernel_stamps: bool = False
    reader: str = "python"
    """What read the sockets: "c", the compiled reader, or "python"."""
    not_compiled: str | None = None
    """Why it was not the compiled one."""
    wall_s: float = 0.0
    cpu_s: float = 0.0
    reads: int = 0
    events: int = 0
    uncertain: int = 0
    late_uncertain: int = 0
    """Of the uncertain ones, those read more than a millisecond after they came: the probe's own doing."""
    unstamped: int = 0
    """Reads the kernel gave no stamp for."""
    lag_us: dict[str, float] = field(default_factory=dict)
    """From the kernel's stamp to our reading it: mean, p50, p99, max."""
    late_us: dict[str, float] = field(default_factory=dict)
    """From the moment a request should have been sent to its sending: p50, p99, max."""
    gave_up: bool = False
    """The server had fallen silent towards everybody, so the rest was not sent."""
    connections: int = 0
    reconnects: int = 0
    connect_us: dict[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class Ending:
    """The last line: how the run ended."""

    duration_us: int
    clients: list[ClientSide]
    interrupted: bool = False
    unfinished: int = 0
    """Requests that were on their way when the run was stopped."""
    counters: dict[str, float] = field(default_factory=dict)
    """How the server's own counters moved during the run."""
    cut: bool = False
    """Made when reading: the file ends in the middle of a line."""


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
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("wb", buffering=0)
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
        f"{path} cannot be written: {error.strerror or error}.", "Choose another folder: --output DIR"
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
            "Give the results.jsonl of a probe.",
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
        for number, line in enumerate(file, 2):
            try:
                record = orjson.loads(line)
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
    """The result, when figures can be made of it. Raises ValueError or TypeError."""
    times_us = (result.scheduled_us, result.sent_us, result.done_us, result.sent_us + sum(result.gaps_us))
    if not all(isinstance(each, int) and abs(each) < LONGEST_US for each in times_us):
        raise ValueError("a time that is none")
    if result.ok and not result.gaps_us:
        raise ValueError("an answer without a token")
    return result


def ending(record: dict[str, Any]) -> Ending:
    """The Ending in its stored form. Raises ValueError or TypeError."""
    if not isinstance(record["duration_us"], int):
        raise ValueError("a duration that is none")
    return Ending(**(record | {"clients": [ClientSide(**client) for client in record["clients"]]}))
