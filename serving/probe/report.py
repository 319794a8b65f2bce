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
    """Of all of them."""
    p50: float
    """Half are no longer."""
    p90: float
    """Nine in ten are no longer."""
    p95: float
    """Nineteen in twenty are no longer."""
    p99: float
    """All but one in a hundred are no longer."""
    max: float | None = None
    """The longest; null in reports of an older corral."""
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
    """The longest that a chunk lay unread."""
    p50_lag_s: float = 0.0
    """Half of the chunks were read by then."""
    p99_lag_s: float = 0.0
    """All but one in a hundred were read by then."""
    stamps: Literal["kernel", "user"] = "user"
    """Who says when a chunk came: the kernel, or the probe as it read it."""
    reader: Literal["c", "python"] = "python"
    """What read the sockets: the compiled reader, or Python's where it could not be had."""
    uncertain_fraction: float = 0.0
    """Share of chunks that came in one read with a later one, so that their stamp is an upper bound."""
    late_fraction: float = 0.0
    """Of all chunks, those uncertain because the probe itself read them late."""
    late_sends_p99_s: float = 0.0
    """From the moment a request was due to its sending."""
    late_sends_max_s: float = 0.0
    """The furthest that a request was sent behind its schedule."""
    cpu_us_per_event: float = 0.0
    """Of the probe's own processor time for each chunk, in microseconds."""
    processes: int = 1
    """That sent and read."""
    connections: int = 0
    """That were opened."""
    reconnects: int = 0
    """Requests sent again on a new connection, since the kept one died before a byte of an answer."""
    connect_p50_s: float = 0.0
    """Half of these were open by then."""


class Interval(Record):
    """A 95 % confidence interval, from the spread between blocks of the run."""

    low: float
    """Its lower end."""
    high: float
    """Its upper end."""


class Steady(Record):
    """The part of the run between warm-up and drain."""

    rule: str
    """How that part is found, in words."""
    start_s: float
    """After the first request."""
    end_s: float
    """After the first request."""
    output_tokens_per_s: float
    """In that part."""
    total_tokens_per_s: float
    """Input and output, in that part."""
    request_per_s: float
    """Answered whole, in that part."""
    ttft_s: Summary | None = None
    """Of the requests sent in it; so are the other two."""
    tpot_s: Summary | None = None
    """Of the requests in that part; null where none has two tokens."""
    e2e_s: Summary | None = None
    """Of the requests in that part; null where none was answered."""


class OfModel(Record):
    """One model's part of a load that several share; latencies as in the whole report."""

    sent: int
    """Requests for it."""
    succeeded: int
    """Of these, answered whole."""
    input_tokens: int
    """All of them together."""
    output_tokens: int
    """All of them together."""
    output_tokens_per_s: float
    """Over the whole run."""
    request_per_s: float
    """Answered whole, over the whole run."""
    ttft_s: Summary | None
    """To the first token; null where none was answered."""
    tpot_s: Summary | None
    """Between two tokens of an answer; null where none has two."""
    e2e_s: Summary | None
    """From asking to the last token; null where none was answered."""


class Stalls(Record):
    """Gaps far above the usual one: more than `threshold_s`, which is five medians and at least 50 ms."""

    threshold_s: float
    """From which a gap counts."""
    count: int
    """How many gaps."""
    longest_s: float
    """Of these."""


class ServerSide(Record):
    """What the server's own counters say of the same run."""

    version: str | None = None
    """Of the server; null where it does not say."""
    generation_tokens: float | None = None
    """Counted during the run; null without /metrics."""
    prompt_tokens: float | None = None
    """Counted during the run; null without /metrics."""
    requests_finished: float | None = None
    """Counted during the run; null without /metrics."""
    prefix_cache_hit_rate: float | None = None
    """Share of prompt tokens found there, 0 to 1; null where it is not counted."""
    preemptions: float | None = None
    """Requests that had to begin again for want of KV cache; null without /metrics."""
    ttft_mean_s: float | None = None
    """As the server measures it; null without /metrics."""
    queue_mean_s: float | None = None
    """Before a request runs; null without /metrics."""
    most_running: float | None = None
    """Of the samples taken beside the load, as are the next two; their whole course is in the results."""
    most_waiting: float | None = None
    """Requests in its queue in one sample; null without /metrics."""
    most_kv_cache_usage: float | None = None
    """0 to 1."""


class Gpus(Record):
    """What the GPUs drew and held beside the load, all together, by NVML or a DCGM exporter; of samples."""

    mean_power_w: float
    """Over the samples."""
    most_power_w: float
    """In one sample."""
    most_memory_mib: float | None = None
    """In one sample; null where it is not reported."""
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
    """Where it was asked."""
    model: str
    """That was asked for; of several the first."""
    machine: Line | None = Field(default=None, exclude_if=lambda name: name is None)
    """That the probed deployment was planned for; absent where only a URL was known. So is the other."""
    precision: Line | None = Field(default=None, exclude_if=lambda name: name is None)
    """Of the weights, as the user said; null where nobody did."""
    servers: int = Field(default=1, ge=1, exclude_if=lambda count: count == 1)
    """How many equal servers answered behind one address, all of whose tokens are counted; absent for one."""
    started_at: str
    """When the first request was due (UTC)."""
    load: dict[str, object]
    """How the requests came, as it was asked for."""
    sent: int
    """Requests, without those of the warm-up."""
    succeeded: int
    """Of these, answered whole."""
    errors: dict[str, int]
    """Kind of failure -> how many requests ended so."""
    duration_s: float
    """From the first request to the end of the last."""
    input_tokens: int
    """Of all answered requests together, as the server counts them."""
    output_tokens: int
    """Of all answered requests together, as the server counts them."""
    output_tokens_per_s: float
    """Over the whole run, ramp and drain included."""
    total_tokens_per_s: float
    """Input and output, over the whole run."""
    request_per_s: float
    """Answered whole, over the whole run."""
    ttft_s: Summary | None
    """To the first token; null where none was answered."""
    tpot_s: Summary | None
    """Between two tokens of an answer, a mean for each request; null where none has two."""
    itl_s: Summary | None
    """Between two chunks of an answer, each gap by itself; null where there is none."""
    e2e_s: Summary | None
    """From asking to the last token; null where none was answered."""
    goodput: dict[str, object]
    """Share of the requests within the promise, and how many a second; empty without a promise."""
    client: Client
    """How far the probe's own clock can be trusted."""
    valid: bool
    """Whether the figures may be used; `invalid_because` says why not."""
    warnings: tuple[str, ...]
    """What must be read with the figures, a sentence each."""

    by_model: dict[str, OfModel] = Field(default={}, exclude_if=lambda models: not models)
    """Where several models share the load; absent where there is one."""
    latency_from: Literal["send", "schedule"] = "send"
    """Whether a request's time begins when it was sent, or when it was due."""
    from_send: dict[str, Summary] = {}
    """The same latencies from the sending, where they are from the schedule; else empty."""
    itl_per_token_s: Summary | None = None
    """Where chunks hold several tokens: the gap shared among its tokens."""
    peak_output_tokens_per_s: float = 0.0
    """The best whole second."""
    steady: Steady | None = None
    """The part of the run without ramp and drain; null where there is none."""
    confidence: dict[str, Interval] = {}
    """By figure: `output_tokens_per_s` is the steady one; latencies as `ttft_s.p50`, where 20 values lie beyond it."""
    stalls: Stalls | None = None
    """Gaps far above the usual one; null where there are too few to tell."""
    chunks: int = 0
    """Of all answers together, those that carry text."""
    empty_chunks: int = 0
    """Of all answers together, those that carry none."""
    buffered_fraction: float | None = None
    """Of the answers long enough to tell, those whose text came in one or few bursts; None where none is."""
    cached_input_tokens: int | None = None
    """That the server says it had in its prefix cache; null where it does not say."""
    failed_output_chunks: int = 0
    """Chunks of requests that failed; in no other figure."""
    short_outputs: int = 0
    """Succeeded requests with fewer tokens than asked."""
    finish_reasons: dict[str, int] = {}
    """In the server's words -> how many answers ended so."""
    error_examples: dict[str, str] = {}
    """Kind of failure -> one of them in the server's words."""
    exact_input_fraction: float | None = None
    """Share of prompts whose length the server reported just as asked."""
    output_characters: int = 0
    """Of all answers together."""
    server: ServerSide = ServerSide()
    """What the server's own counters say of the run."""
    gpus: Gpus | None = Field(default=None, exclude_if=lambda gpus: gpus is None)
    """Absent where nobody tells of them."""
    interrupted: bool = False
    """Whether Ctrl-C ended it."""
    unfinished: int = 0
    """Requests that were cut off at its end."""
    results_lost: bool = False
    """The disk did not take all results, so this report cannot be made again from them."""
    invalid_because: tuple[str, ...] = ()
    """A word each; empty where it is valid."""
    spoiled_by: tuple[Cause, ...] = ()
    """What kind each of those reasons is of."""
    notes: tuple[str, ...] = ()
    """What is worth knowing and makes nothing doubtful, a sentence each."""
