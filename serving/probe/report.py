"""What a probe says: a pure function of its load and its raw results, so any report can be made again."""

from typing import ClassVar, Literal

from pydantic import Field

from infra.record import Document, Line, Record
from serving.probe.spoiled import Cause

PERCENTILES = (50, 90, 95, 99)
FEW = 5
"""A percentile beyond which fewer values lie is marked, and is no figure of a run that others are held against."""


class Summary(Record):
    """A distribution in seconds: its mean and percentiles over the raw values."""

    mean: float
    p50: float
    p90: float
    p95: float
    p99: float
    max: float | None = None
    count: int | None = Field(default=None, exclude_if=lambda count: count is None)
    """How many values it is of, where they count alike: the p99 of three is their largest."""


class Client(Record):
    """How busy and how late the probe itself was.

    `lag`: from the kernel's receive stamp to our reading it. With kernel stamps it does not enter the figures;
    without them it does, and `stamps` says "user".
    """

    cpu_fraction: float
    """Of one core, of the busiest process."""
    max_lag_s: float
    p50_lag_s: float = 0.0
    p99_lag_s: float = 0.0
    stamps: Literal["kernel", "user"] = "user"
    reader: Literal["c", "python"] = "python"
    """What read the sockets: the compiled reader, or Python's where it could not be had."""
    uncertain_fraction: float = 0.0
    """Share of chunks that came in one read with a later one, so that their stamp is an upper bound."""
    late_fraction: float = 0.0
    """Of all chunks, those uncertain because the probe itself read them late."""
    late_sends_p99_s: float = 0.0
    """From the moment a request was due to its sending."""
    late_sends_max_s: float = 0.0
    cpu_us_per_event: float = 0.0
    processes: int = 1
    connections: int = 0
    reconnects: int = 0
    """Requests sent again on a new connection, since the kept one died before a byte of an answer."""
    connect_p50_s: float = 0.0


class Interval(Record):
    """A 95 % confidence interval, from the spread between blocks of the run."""

    low: float
    high: float


class Steady(Record):
    """The part of the run between warm-up and drain."""

    rule: str
    start_s: float
    end_s: float
    output_tokens_per_s: float
    total_tokens_per_s: float
    request_per_s: float
    ttft_s: Summary | None = None
    """Of the requests sent in it; so are the other two."""
    tpot_s: Summary | None = None
    e2e_s: Summary | None = None


class OfModel(Record):
    """One model's part of a load that several share; latencies as in the whole report."""

    sent: int
    succeeded: int
    input_tokens: int
    output_tokens: int
    output_tokens_per_s: float
    request_per_s: float
    ttft_s: Summary | None
    tpot_s: Summary | None
    e2e_s: Summary | None


class Stalls(Record):
    """Gaps far above the usual one: more than `threshold_s`, which is five medians and at least 50 ms."""

    threshold_s: float
    count: int
    longest_s: float


class ServerSide(Record):
    """What the server's own counters say of the same run."""

    version: str | None = None
    generation_tokens: float | None = None
    prompt_tokens: float | None = None
    requests_finished: float | None = None
    prefix_cache_hit_rate: float | None = None
    preemptions: float | None = None
    ttft_mean_s: float | None = None
    queue_mean_s: float | None = None
    most_running: float | None = None
    """Of the samples taken beside the load, as are the next two; their whole course is in the results."""
    most_waiting: float | None = None
    most_kv_cache_usage: float | None = None
    """0 to 1."""


class Gpus(Record):
    """What the GPUs drew and held beside the load, all together, by NVML or a DCGM exporter; of samples."""

    mean_power_w: float
    most_power_w: float
    most_memory_mib: float | None = None
    joules_per_output_token: float | None = None
    """Mean power times the run's duration, a token."""


class ProbeReport(Document):
    """The figures of one probe run, recomputable from its results.jsonl.

    Latencies are of succeeded requests. In an open loop they start at the scheduled time, so that a late client
    cannot hide a slow server; `from_send` has them from the actual sending. `e2e_s` ends with the last token.
    `tpot_s`: (e2e - ttft) / (output tokens - 1) per request. `itl_s`: gaps between successive chunks.
    Throughput is of the whole run, ramp and drain included, as other tools say it; `steady` leaves those out.
    """

    kind: ClassVar[str] = "probe report"
    document: Literal["probe"] = "probe"
    schema_version: Literal[1] = 1

    url: str
    model: str
    machine: Line | None = Field(default=None, exclude_if=lambda name: name is None)
    """That the probed deployment was planned for; absent where only a URL was known. So is the other."""
    precision: Line | None = Field(default=None, exclude_if=lambda name: name is None)
    servers: int = Field(default=1, ge=1, exclude_if=lambda count: count == 1)
    """How many equal servers answered behind one address, all of whose tokens are counted; absent for one."""
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

    by_model: dict[str, OfModel] = Field(default={}, exclude_if=lambda models: not models)
    """Where several models share the load; absent where there is one."""
    latency_from: Literal["send", "schedule"] = "send"
    from_send: dict[str, Summary] = {}
    itl_per_token_s: Summary | None = None
    """Where chunks hold several tokens: the gap shared among its tokens."""
    peak_output_tokens_per_s: float = 0.0
    """The best whole second."""
    steady: Steady | None = None
    confidence: dict[str, Interval] = {}
    """By figure: `output_tokens_per_s` is the steady one; latencies as `ttft_s.p50`, where 20 values lie beyond it."""
    stalls: Stalls | None = None
    chunks: int = 0
    empty_chunks: int = 0
    buffered_fraction: float | None = None
    """Of the answers long enough to tell, those whose text came in one or few bursts; None where none is."""
    cached_input_tokens: int | None = None
    failed_output_chunks: int = 0
    """Chunks of requests that failed; in no other figure."""
    short_outputs: int = 0
    """Succeeded requests with fewer tokens than asked."""
    finish_reasons: dict[str, int] = {}
    error_examples: dict[str, str] = {}
    exact_input_fraction: float | None = None
    """Share of prompts whose length the server reported just as asked."""
    output_characters: int = 0
    server: ServerSide = ServerSide()
    gpus: Gpus | None = Field(default=None, exclude_if=lambda gpus: gpus is None)
    """Absent where nobody tells of them."""
    interrupted: bool = False
    unfinished: int = 0
    results_lost: bool = False
    """The disk did not take all results, so this report cannot be made again from them."""
    invalid_because: tuple[str, ...] = ()
    spoiled_by: tuple[Cause, ...] = ()
    """What kind each of those reasons is of."""
    notes: tuple[str, ...] = ()
