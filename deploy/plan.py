"""The plan: what one model needs on one machine, and how vLLM is to be started there."""

from datetime import date
from typing import ClassVar, Literal

from deploy.costs.money import Usd
from infra.record import Document, Record
from serving.options import ServeOptions

Precision = Literal["bf16", "fp8", "int4", "nvfp4"]
Verdict = Literal["fits", "tight", "does not fit"]


class PlanMachine(Record):
    """The machine a plan is for: an EC2 type, a COUNTxGPU shape, or `local`."""

    name: str
    gpu: str
    """The GPU's name in the catalogue, or `cpu`."""
    gpu_count: int
    hosts: int = 1
    instance_type: str | None = None
    """The EC2 type, for a machine that EC2 rents out."""


class Parallel(Record):
    """How the model is split; the product is the number of GPUs used."""

    tensor: int
    pipeline: int
    data: int
    expert: bool = False


class Memory(Record):
    """GiB per GPU, as vLLM counts them. `usable_gib` = total as torch sees it x gpu_memory_utilization."""

    total_gib: float
    usable_gib: float
    weights_gib: float
    rope_table_gib: float
    activation_gib: float
    cuda_graphs_gib: float
    non_torch_gib: float
    block_tables_gib: float
    """Allocated after the profile, outside the budget."""
    kv_cache_gib: float
    total_error_gib: float = 0.0
    """How far off `usable_gib` may be either way: what torch will see is not always known exactly."""
    kv_cache_less_gib: float = 0.0
    """How much smaller the KV cache gets if every term is at its worst at once."""
    kv_cache_more_gib: float = 0.0


class Term(Record):
    """One user of a GPU's memory, its error either way, and where the figure is from."""

    name: str
    gib: float
    less_gib: float
    more_gib: float
    source: str


class Kv(Record):
    """The KV cache as vLLM's own planner would lay it out, per GPU."""

    bytes_per_block: int
    num_blocks: int
    blocks_per_request: int
    tokens: int
    """As vLLM's "KV cache size" line will say it."""
    max_concurrency: float
    """Requests of max_model_len at once, as vLLM's "Maximum concurrency" line will say it."""
    max_context_tokens: int
    """The longest single request this KV cache can hold, no more than the model's own limit."""
    block_size: int = 16


class Throughput(Record):
    """Predicted speed at one concurrency; `basis` says how far it may be trusted."""

    output_tokens_per_s: float
    total_tokens_per_s: float
    ttft_s: float
    tpot_s: float
    concurrency: int
    basis: str
    running: int = 0
    """Requests that run at once; the rest of the concurrency waits."""
    band: float = 0.0
    """The truth is thought to lie within this factor either way; 0 when nobody said."""


class CurvePoint(Record):
    """Predicted speed at another concurrency of the same workload."""

    concurrency: int
    output_tokens_per_s: float
    ttft_s: float
    tpot_s: float


class Price(Record):
    """What the machine costs, where, how it is bought, and where that figure is from."""

    usd_per_hour: Usd
    region: str
    purchase: str
    checked_on: date
    source: str


class Workload(Record):
    """The requests a plan is judged by."""

    input_tokens: int
    output_tokens: int
    concurrency: int


class Plan(Document):
    """One model at one precision on one machine. Printed by `corral size --on M --json`, read by every later step."""

    kind: ClassVar[str] = "plan"
    document: Literal["plan"] = "plan"
    schema_version: Literal[1] = 1

    model: str
    precision: str
    machine: PlanMachine
    vllm_version: str
    workload: Workload
    fits: bool
    verdict: Verdict
    reason: str
    parallel: Parallel
    memory: Memory
    kv: Kv
    throughput: Throughput | None
    price: Price | None
    usd_per_mtok: Usd | None
    serve: ServeOptions
    notes: tuple[str, ...]
    terms: tuple[Term, ...] = ()
    """The memory terms behind `memory`, each with its error and source."""
    curve: tuple[CurvePoint, ...] = ()
    """The prediction against concurrency; empty in rankings and where no speed is predicted."""
    saturation_concurrency: int | None = None
    """Beyond it more requests at once bring little, or only wait."""
    weights_bytes: int = 0
    """The whole checkpoint: what is downloaded and kept on disk."""
