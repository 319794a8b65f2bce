"""What a simulation says: what came, what requests waited for, the queue, what was lost, what it costs."""

from typing import ClassVar, Literal

from pydantic import Field

from infra.money import Usd
from infra.record import Document, Record
from serving.probe.report import Summary
from serving.simulation.router import Router
from serving.sizing.plan import Parallel, PlanMachine
from serving.sizing.size_options import FurtherOptions


class Spread(Summary):
    """A distribution in seconds, over the requests that were answered."""

    asked: float
    """The percentile that was asked for."""
    low: float
    """And the least and the most of it over all passes: other draws, and steps at both ends of their band."""
    high: float


class Queue(Record):
    """Before the engines, and in them."""

    waited_s: Summary
    """Before the engine began with a prompt."""
    waiting_mean: float
    """Requests of the whole fleet."""
    waiting_most: int
    """Of one replica."""
    running_mean: float
    """Of one replica."""
    running_most: int
    engine_busy: float
    """Share of the time."""
    api_busy: float
    """Of the API process, one core."""


class Kept(Record):
    """The promise: what share of the requests that came keeps it."""

    ttft_s: float | None
    tpot_s: float | None
    percentile: float
    ttft_share: float
    tpot_share: float
    goodput_share: float
    """All that is promised at once."""
    goodput_requests_per_s: float
    kept: bool
    kept_at_worst: bool
    """When every step takes its band longer."""


class Hour(Record):
    """One hour; times are those of the percentile."""

    hour: int
    requests_per_s: float
    lost: int
    ttft_s: float | None
    tpot_s: float | None
    longest_pause_s: float | None
    waiting_mean: float
    overloaded: bool
    """At its end more wait than chance leaves."""


class Part(Record):
    """How much of it was simulated, request by request; the rest is as that part."""

    requests: int
    replicas: int
    share_of_time: float
    passes: int


class Simulation(Document):
    """What comes of a traffic on replicas of a plan."""

    kind: ClassVar[str] = "simulation"
    document: Literal["simulation"] = "simulation"
    schema_version: Literal[1] = 1

    model: str
    precision: str
    machine: PlanMachine
    parallel: Parallel
    machines: int
    replicas: int
    router: Router
    max_model_len: int
    max_num_seqs: int
    hours: float
    seed: int
    died_at_h: float | None
    percentile: float
    """That the hours are told by, and `asked`."""
    band: float
    """The factor that the time of a step is thought to be right within."""
    basis: str
    api_basis: str
    simulated: Part

    arrived: int
    served: int
    lost: int
    """By a death, or because no replica was there."""
    refused: int
    """Longer than --max-model-len."""
    requests_per_s: float
    peak_requests_per_s: float
    """Of the busiest hour."""
    input_tokens: float
    """Of a request, on average."""
    output_tokens: float
    output_tokens_per_s: float
    ttft_s: Spread | None
    tpot_s: Spread | None
    """Of answers of more than one token."""
    longest_pause_s: Spread | None
    queue: Queue | None
    promise: Kept | None
    usd: Usd | None
    """For the hours that are simulated."""
    usd_per_mtok: Usd | None
    """Of output."""
    hourly: tuple[Hour, ...]
    further: FurtherOptions | None = Field(default=None, exclude_if=lambda value: value is None)
    """What requests bring and the engine does beside; absent where nothing. Images are among the input tokens."""
