"""What a probe is asked: at whom, which load, which requests."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from infra.record import Line, Record
from serving.probe.apis import ApiName
from serving.probe.lengths import Lengths
from serving.vllm.unix_url import shown

Shape = Literal["concurrency", "constant", "poisson", "gamma", "ramp", "burst", "replay"]


# A vLLM that compiles may be silent for a minute. Whoever lets one request wait far longer expects a slow server.
SILENT_S, SILENT_SHARE = 66.0, 0.55


class Share(Record):
    """One of several models that share a load, adapters among them."""

    model: str
    """As the server names it."""
    share: float = 1.0
    """Of the requests, next to the others' shares."""


class Target(Record):
    """At whom. The key itself is never part of a record, nor is the value of a header."""

    base_url: str
    """Without the /v1, e.g. http://127.0.0.1:8000"""
    path: str | None = Field(default=None, exclude_if=lambda path: path is None)
    """Where requests go, with its query, where the URL says another place than the API's own below `base_url`."""
    api: ApiName = "completions"
    """Which of the APIs is spoken."""
    model: str | None = None
    """None: the first one the server lists."""
    models: tuple[Share, ...] = Field(default=(), exclude_if=lambda models: not models)
    """All of them, where several share the load."""
    headers: tuple[str, ...] = Field(default=(), exclude_if=lambda headers: not headers)
    """Sent with every request, as they were typed, NAME:VALUE; in results their names alone."""
    metrics_urls: tuple[str, ...] = Field(default=(), exclude_if=lambda urls: not urls)
    """Pages of metrics to sample beside the load, in place of the server's own."""
    api_key_file: Path | None = None
    """The file that holds the key; null for none, or for one of the environment's."""
    api_key_variable: str | None = None
    """The environment variable that holds the key, where no file is given."""
    ca_file: Path | None = None
    """The certificates to trust, in PEM, instead of the system's."""
    machine: Line | None = Field(default=None, exclude_if=lambda name: name is None)
    """That a deployment was planned for, where its name was given; so is the other."""
    precision: Line | None = Field(default=None, exclude_if=lambda name: name is None)
    """Of the weights, as the user said; null where nobody did."""
    servers: int = Field(default=1, ge=1, exclude_if=lambda count: count == 1)
    """How many equal servers stand behind that address; absent for one."""

    @property
    def url(self) -> str:
        """The base as a user writes it."""
        return shown(self.base_url)


class Load(Record):
    """How fast. Closed loop: `concurrency` requests at any time. Open loop: by schedule, whatever the server does."""

    shape: Shape
    """How requests come."""
    requests: int | None = None
    """To be sent; null where a time ends it."""
    duration_s: float | None = None
    """Stop sending after this long; `requests` or this or both must be given."""
    concurrency: int | None = None
    """Requests at any time; of a schedule the most at once, null for no bound."""
    request_rate: float | None = None
    """Requests per second; with a ramp the rate at its start."""
    end_request_rate: float | None = None
    """Requests a second at the end of a ramp; null for any other shape."""
    burstiness: float = 1.0
    """The gamma shape: 1 is Poisson, below 1 burstier, above 1 more even."""
    trace: tuple[float, ...] = ()
    """Replay: the send times in seconds."""
    seed: int = 0
    """Of the times that are drawn."""
    warmup_requests: int = 0
    """Sent and awaited before the clock starts; not part of the result."""
    timeout_s: float = 600.0
    """For one request, from its sending to its end."""
    stall_timeout_s: float = 120.0
    """For one request, without a single byte."""
    processes: int = 1
    """That send and read."""
    kernel_stamps: bool = True
    """Whether the kernel's times of arrival are taken where it gives any."""
    compiled_reader: bool = True
    """Whether the reader in C is used where it can be built."""
    new_connections: bool = False
    """Each request has a connection of its own."""

    @property
    def silence_limit_s(self) -> float:
        """How long all requests together may get no byte; then the server is taken for hung, and the run ends."""
        return min(self.stall_timeout_s, max(SILENT_S, SILENT_SHARE * self.stall_timeout_s))

    @property
    def is_open(self) -> bool:
        """Whether requests are sent by schedule rather than one after another."""
        return self.shape != "concurrency"


class Workload(Record):
    """Which requests."""

    input_tokens: Lengths
    """Lengths of prompts, in tokens."""
    output_tokens: Lengths
    """Lengths of answers, in tokens."""
    prefix_tokens: int = 0
    """Tokens at the start that all prompts share."""
    turns: int = 1
    """Of a conversation: each later turn carries the answers before it."""
    images: int = 0
    """Synthetic images in each request; chat only."""
    image_size: tuple[int, int] = (512, 512)
    """Width and height of each image, in pixels."""
    prompts_file: Path | None = None
    """The user's own prompts, one JSON object a line, in place of synthetic ones."""
    hash_block_tokens: int = 512
    """Of each block that a trace names by one of its hash_ids."""
    tokenizer: Path | None = None
    """The model's own, to count by where the server does not count."""
    seed: int = 0
    """Of texts and lengths."""
    ignore_eos: bool | None = None
    """None: where the server is vLLM."""
    per_chunk_usage: bool = False
    """Ask vLLM to say the tokens of each chunk (continuous_usage_stats)."""
    extra_body: dict[str, object] = {}
    """Laid over every request's body; null removes a field."""


class Slo(Record):
    """What a request must meet to count as good; None is no limit."""

    ttft_s: float | None = None
    """To the first token."""
    tpot_s: float | None = None
    """Between two tokens of an answer."""
    itl_s: float | None = None
    """The worst gap of the request."""
    e2e_s: float | None = None
    """From asking to the last token."""
