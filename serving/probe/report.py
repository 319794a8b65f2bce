"""What a probe says: a pure function of its load and its raw results, so any report can be made again."""

from typing import ClassVar, Literal

from infra.record import Document, Record


class Summary(Record):
    """A distribution in seconds: its mean and percentiles over the raw values."""

    mean: float
    p50: float
    p90: float
    p95: float
    p99: float


class Client(Record):
    """How busy and how late the probe itself was."""

    cpu_fraction: float
    max_lag_s: float


class ProbeReport(Document):
    """The figures of one probe run, recomputable from its results.jsonl.

    `tpot_s`: (e2e - ttft) / (output tokens - 1) per request. `itl_s`: gaps between successive chunks.
    """

    kind: ClassVar[str] = "probe report"
    document: Literal["probe"] = "probe"
    schema_version: Literal[1] = 1

    url: str
    model: str
    started_at: str
    load: dict[str, object]
    sent: int
    succeeded: int
    errors: dict[str, int]
    duration_s: float
    input_tokens: int
    output_tokens: int
    output_tokens_per_s: float
    total_tokens_per_s: float
    request_per_s: float
    ttft_s: Summary | None
    tpot_s: Summary | None
    itl_s: Summary | None
    e2e_s: Summary | None
    goodput: dict[str, object]
    client: Client
    valid: bool
    warnings: tuple[str, ...]
