"""What a simulation says: what came, what requests waited for, the queue, what was lost, what it costs."""

from typing import ClassVar, Literal

from pydantic import Field

from infra.money import Usd
from infra.record import Document, Record
from serving.probe.report import Summary
from serving.simulation.as_planned import Said
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
    """The upper end of the same."""


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
    """Requests that ran at once in all engines."""
    engine_busy: float
    """Share of the time."""
    api_busy: float
    """Of the API process, one core."""


class Kept(Record):
    """The promise: what share of the requests that came keeps it."""

    ttft_s: float | None
    """To the first token; null where it is not promised."""
    tpot_s: float | None
    """Between two tokens of an answer; null where it is not promised."""
    percentile: float
    """Of a hundred requests so many must keep it."""
    ttft_share: float
    """That keep the first, 0 to 1."""
    tpot_share: float
    """That keep the second, 0 to 1."""
    goodput_share: float
    """All that is promised at once."""
    goodput_requests_per_s: float
    """That keep both."""
    kept: bool
    """Whether enough do."""
    kept_at_worst: bool
    """When every step takes its band longer."""


class Hour(Record):
    """One hour; times are those of the percentile."""

    hour: int
    """Of the simulated time, from 0."""
    requests_per_s: float
    """That came, on average."""
    lost: int
    """Requests that were never answered."""
    ttft_s: float | None
    """To the first token; null where none was answered."""
    tpot_s: float | None
    """Between two tokens of an answer; null where none was answered."""
    longest_pause_s: float | None
    """Between two tokens of one answer; null where none was answered."""
    waiting_mean: float
    """Requests that waited before the engines, on average."""
    overloaded: bool
    """At its end more wait than chance leaves."""


class Part(Record):
    """How much of it was simulated, request by request; the rest is as that part."""

    requests: int
    """That were simulated."""
    replicas: int
    """That were simulated together."""
    share_of_time: float
    """Of the hours that were asked for, 0 to 1."""
    passes: int
    """How often it was simulated, each with other random numbers."""


class Simulation(Document):
    """What comes of a traffic on replicas of a plan."""

    kind: ClassVar[str] = "simulation"
    document: Literal["simulation"] = "simulation"
    schema_version: Literal[1] = 1

    model: str
    """As the plan calls it."""
    precision: str
    """Of the weights."""
    machine: PlanMachine
    """That each replica has, or shares."""
    parallel: Parallel
    """How the model is split in each replica."""
    machines: int
    """That serve."""
    replicas: int
    """That serve."""
    router: Router
    """How requests are given out."""
    max_model_len: int
    """Tokens of the longest request that is taken."""
    max_num_seqs: int
    """Requests that run at once in a replica, at most."""
    hours: float
    """That were simulated."""
    seed: int
    """Of all that is drawn: the same gives the same."""
    died_at_h: float | None
    """When a replica died; null for never."""
    percentile: float
    """That the hours are told by, and `asked`."""
    band: float
    """The factor that the time of a step is thought to be right within."""
    basis: str
    """What the speed of a step is taken from."""
    api_basis: str
    """What the time before and after the engine is taken from."""
    simulated: Part
    """How much of it was simulated, request by request."""

    arrived: int
    """Requests that came."""
    served: int
    """Of these, answered whole."""
    lost: int
    """By a death, or because no replica was there."""
    refused: int
    """Longer than --max-model-len."""
    requests_per_s: float
    """That came, on average."""
    peak_requests_per_s: float
    """Of the busiest hour."""
    input_tokens: float
    """Of a request, on average."""
    output_tokens: float
    """Of all answers together."""
    output_tokens_per_s: float
    """Over the whole time."""
    ttft_s: Spread | None
    """To the first token; null where none was answered."""
    tpot_s: Spread | None
    """Of answers of more than one token."""
    longest_pause_s: Spread | None
    """Between two tokens of one answer; null where none was answered."""
    queue: Queue | None
    """Before the engines and in them; null where nothing was simulated."""
    promise: Kept | None
    """Whether it is kept; null where nothing is promised."""
    usd: Usd | None
    """For the hours that are simulated."""
    usd_per_mtok: Usd | None
    """Of output."""
    hourly: tuple[Hour, ...]
    """Each hour by itself."""
    of_plan: tuple[Said, ...] = Field(default=(), exclude_if=lambda said: not said)
    """What of the question was not typed, and is the plan's."""
    peak_of_day_requests_per_s: float | None = Field(default=None, exclude_if=lambda value: value is None)
    """Of the busiest hour of the day that was asked for, where the hours simulated end before it; else absent."""
    replicas_there: int | None = Field(default=None, exclude_if=lambda value: value is None)
    """On the machines of that kind; absent where the plan does not count on several kinds."""
    further: FurtherOptions | None = Field(default=None, exclude_if=lambda value: value is None)
    """What requests bring and the engine does beside; absent where nothing. Images are among the input tokens."""
