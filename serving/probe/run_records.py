"""What is kept of a run: what was asked of whom, what became of each request, how it ended.

Times are whole microseconds from the start of the run.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, ClassVar, Literal, NamedTuple

from pydantic import AfterValidator

from infra.record import Document, Record
from serving.probe.spec import Load, Slo, Target, Workload


class ServerFacts(Record):
    """What the server said about itself."""

    is_vllm: bool = False
    """Whether it answers as vLLM does."""
    version: str | None = None
    """Null where it does not say."""
    max_model_len: int | None = None
    """Tokens of the longest request; null where it does not say."""
    exact_lengths: bool = False
    """Whether the prompts were counted by the server's own tokenizer."""


def a_time(text: str) -> str:
    """The text of a time, as it is. Raises ValueError for any other."""
    datetime.fromisoformat(text)
    return text


class Run(Document):
    """The first line: what was asked of whom, and when."""

    kind: ClassVar[str] = "file of probe results"
    document: Literal["probe-results"] = "probe-results"
    schema_version: Literal[1] = 1

    target: Target
    """At whom."""
    model: str
    """That was asked for; of several the first."""
    load: Load
    """How fast."""
    workload: Workload
    """Which requests."""
    slo: Slo
    """The promise that goodput is counted by."""
    server: ServerFacts
    """What the server said about itself."""
    started_at: Annotated[str, AfterValidator(a_time)]
    """When the first request was due (UTC)."""
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
    hidden_tokens: int = 0
    """Of the output, the reasoning that the server counted and did not send."""
    disbelieved: bool = False
    """The server counted 0 output tokens of a text, so that nobody knows how many there were."""
    unclear_counts: bool = False
    """Nothing tells whether the counts that came with the chunks are totals, as they are taken, or each chunk's own."""
    cached_tokens: int | None = None
    output_chars: int = 0
    finish_reason: str | None = None
    uncertain: int = 0
    """Chunks that shared a read with a later one: their stamp is an upper bound."""
    empty_chunks: int = 0
    cuts: int = 0
    """Reads of several chunks that ended in the middle of an event, whose rest came later."""
    unwatched_us: int = 0
    """How long before a read of several chunks the sockets had last been looked at: the chunks came within it."""
    resent: bool = False
    """Sent again on a new connection, since the kept one died before a byte of an answer; its times are from the first
    sending."""
    process: int = 0
    model: str | None = None
    """Whom it asked, where several models share the load."""
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
    """Requests sent again on a new connection, since the kept one died before a byte of an answer."""
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
    """How the server's own counters moved during the run, as they were read."""
    sampled: dict[str, list[list[float]]] = field(default_factory=dict)
    """What was looked at beside the load (serving/probe/server_metrics.py): moments in seconds, and values."""
    cut: bool = False
    """Made when reading: the file ends in the middle of a line."""

    @property
    def fell(self) -> bool:
        """Whether a counter did: the server began anew, or several servers answer there, each with its own."""
        return any(moved < 0 for moved in self.counters.values())

    @property
    def counted(self) -> dict[str, float]:
        """How the counters moved; nothing where one fell, since then none can be believed."""
        return {} if self.fell else self.counters
