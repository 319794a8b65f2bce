"""The plan: what one model needs on one machine, and how vLLM is to be started there."""

from datetime import date
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from infra.errors import UsageError
from infra.money import Usd, reckonable
from infra.record import Document, Line, Record
from serving.model.memory import Term
from serving.sizing.carried import Carried
from serving.sizing.size_options import FurtherOptions
from serving.vllm.serve_options import Count, Ranks, ServeOptions

Verdict = Literal["fits", "tight", "does not fit"]

Positive = Annotated[float, Field(gt=0), AfterValidator(reckonable)]
Dollars = Annotated[Usd, Field(ge=0), AfterValidator(reckonable)]


class PlanMachine(Record):
    """The machine a plan is for: an EC2 type, a COUNTxGPU shape, or `local`."""

    name: Line
    gpu: Line
    """The GPU's name in the catalogue, or `cpu`."""
    gpu_count: int = Field(ge=0, le=4096, strict=True)
    hosts: Ranks = 1
    instance_type: Line | None = None
    """The EC2 type, for a machine that EC2 rents out."""


class Parallel(Record):
    """How the model is split; the product is the number of GPUs used."""

    tensor: Ranks
    pipeline: Ranks
    data: Ranks
    expert: bool = False


class Memory(Record):
    """GiB per GPU, as vLLM counts them. `usable_gib` = total as torch sees it x gpu_memory_utilization."""

    total_gib: float = Field(ge=0)
    usable_gib: float = Field(ge=0)
    weights_gib: float = Field(ge=0)
    rope_table_gib: float
    activation_gib: float
    cuda_graphs_gib: float
    non_torch_gib: float
    block_tables_gib: float
    """Allocated after the profile, outside the budget."""
    kv_cache_gib: float = Field(ge=0)
    lora_gib: float = Field(default=0.0, exclude_if=lambda gib: not gib)
    """Slots of adapters; absent without any."""
    draft_gib: float = Field(default=0.0, exclude_if=lambda gib: not gib)
    """A draft: its weights, and what it keeps for each token of a step; absent without one."""
    draft_logits_gib: float = Field(default=0.0, exclude_if=lambda gib: not gib)
    """Logits of proposed tokens, which are verified outside the budget; absent where none are."""
    total_error_gib: float = 0.0
    """How far off `usable_gib` may be either way: what torch will see is not always known exactly."""
    kv_cache_less_gib: float = 0.0
    """How much smaller the KV cache gets if every term is at its worst at once."""
    kv_cache_more_gib: float = 0.0


class Kv(Record):
    """The KV cache as vLLM's own planner would lay it out, per GPU."""

    bytes_per_block: Count
    num_blocks: int
    blocks_per_request: Count
    tokens: int
    """As vLLM's "KV cache size" line will say it."""
    max_concurrency: float
    """Requests of max_model_len at once, as vLLM's "Maximum concurrency" line will say it."""
    max_context_tokens: int
    """The longest single request this KV cache can hold, no more than the model's own limit."""
    block_size: Count = 16


class Throughput(Record):
    """Predicted speed at one concurrency; `basis` says how far it may be trusted."""

    output_tokens_per_s: Positive
    total_tokens_per_s: Positive
    ttft_s: Positive
    tpot_s: Positive
    concurrency: Count
    basis: Line
    running: int = 0
    """Requests that run at once; the rest of the concurrency waits."""
    band: float = 0.0
    """The truth is thought to lie within this factor either way; 0 when nobody said."""


class CurvePoint(Record):
    """Predicted speed at another concurrency of the same workload."""

    concurrency: Count
    output_tokens_per_s: Positive
    ttft_s: Positive
    tpot_s: Positive


class OneRequest(Record):
    """What one request of the workload takes and costs: with the machine to itself, and among the others."""

    ttft_s: Positive
    """With the machine to itself, from asking; no step is in progress then."""
    tpot_s: Positive
    """With the machine to itself: no prompt rides along."""
    alone_s: Positive
    """All of it, with the machine to itself."""
    alone_usd: Dollars | None
    """The machine for that time; null without a price."""
    at_load_s: Positive
    """All of it, among as many as the workload has at once."""
    at_load_usd: Dollars | None
    """Its share of the machine there."""


class Images(Record):
    """The images of a request, which are among its input tokens."""

    per_request: Count
    tiles_each: Count
    tokens_each: Count
    encoder_s: Positive
    """The vision tower for those of one request."""


class Drafts(Record):
    """How tokens are proposed beside the model, and what of them is taken to be accepted."""

    method: Line
    model: Line | None
    """Null where they are looked up in what was said already."""
    tokens: Count
    """Proposed to each request in a step."""
    acceptance_length: Annotated[float, Field(ge=1)]
    """Tokens that a request gets of a step on average: those accepted, and the one that is sampled in any case."""
    acceptance: Line
    """Where that is from."""
    weights_bytes: int = Field(default=0, ge=0)
    weights_source: Line | None = None
    kv_layers: int = Field(default=0, ge=0)
    """What it adds to the KV cache; each keeps the whole context."""


class Price(Record):
    """What the machine costs, where, how it is bought, and where that figure is from."""

    usd_per_hour: Dollars
    region: Line
    purchase: Line
    checked_on: date
    source: Line


class Workload(Record):
    """The requests a plan is judged by."""

    input_tokens: Count
    output_tokens: Count
    concurrency: Count


class Plan(Document):
    """One model at one precision on one machine. Printed by `corral size --on M --json`, read by every later step."""

    kind: ClassVar[str] = "plan"
    document: Literal["plan"] = "plan"
    schema_version: Literal[1] = 1

    model: Line
    precision: Line
    machine: PlanMachine
    vllm_version: str = Field(pattern=r"^v?[0-9]{1,4}\.[0-9]{1,4}[a-z0-9.+]{0,80}$")
    """A public version, or a local one: pip is asked for it by name, and takes what has a slash for a folder."""
    workload: Workload
    fits: bool
    verdict: Verdict
    reason: Line
    parallel: Parallel
    memory: Memory
    kv: Kv
    throughput: Throughput | None
    price: Price | None
    usd_per_mtok: Dollars | None
    serve: ServeOptions
    notes: tuple[Line, ...]
    terms: tuple[Term, ...] = ()
    """The memory terms behind `memory`, each with its error and source."""
    curve: tuple[CurvePoint, ...] = ()
    """The prediction against concurrency; empty in rankings and where no speed is predicted."""
    region: Line | None = None
    """The AWS region that was asked for; a price has one even where none was."""
    saturation_concurrency: int | None = None
    """Beyond it more requests at once bring little, or only wait."""
    weights_bytes: int = Field(default=0, ge=0)
    """The whole checkpoint: what is downloaded and kept on disk."""
    one_request: OneRequest | None = Field(default=None, exclude_if=lambda value: value is None)
    """Absent in rankings and where no speed is predicted."""
    images: Images | None = Field(default=None, exclude_if=lambda value: value is None)
    """Absent where none were asked for."""
    drafts: Drafts | None = Field(default=None, exclude_if=lambda value: value is None)
    """Absent where no tokens are proposed."""
    further: FurtherOptions | None = Field(default=None, exclude_if=lambda value: value is None)
    """What else was asked of the requests and of the engine; absent where nothing was."""
    carried: Carried | None = Field(default=None, exclude_if=lambda value: value is None)
    """The traffic it was planned for, and all machines that carry that; absent where the plan is of one server."""


def check_probed(plan: Plan, model: str) -> None:
    """Raise UsageError for a probe of another model than the plan serves."""
    if model not in (plan.serve.served_model_name, plan.serve.model, *plan.serve.adapters):
        raise UsageError(
            f"The probe asked {model}, the plan serves {plan.serve.served_model_name}.",
            "Give the plan of the server that was probed, or probe the server of this plan.",
        )
