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
    """As --on takes it."""
    gpu: Line
    """The GPU's name in the catalogue, or `cpu`."""
    gpu_count: int = Field(ge=0, le=4096, strict=True)
    """Of one machine, or of all hosts together; 0 without a GPU."""
    hosts: Ranks = 1
    """Machines that one engine runs on."""
    instance_type: Line | None = None
    """The EC2 type, for a machine that EC2 rents out."""


class Parallel(Record):
    """How the model is split; the product is the number of GPUs used."""

    tensor: Ranks
    """GPUs that share each layer."""
    pipeline: Ranks
    """Stages of layers."""
    data: Ranks
    """Engines beside each other, each with all of the attention."""
    expert: bool = False
    """Whether experts are spread over the engines instead of split."""


class Memory(Record):
    """GiB per GPU, as vLLM counts them. `usable_gib` = total as torch sees it x gpu_memory_utilization."""

    total_gib: float = Field(ge=0)
    """As torch sees it; without a GPU the RAM."""
    usable_gib: float = Field(ge=0)
    """What vLLM may use."""
    weights_gib: float = Field(ge=0)
    """The checkpoint's part on this GPU."""
    rope_table_gib: float
    """The rotary table, as long as the model's own limit."""
    activation_gib: float
    """At their peak, in the profile that vLLM runs."""
    cuda_graphs_gib: float
    """0 where none are captured."""
    non_torch_gib: float
    """The CUDA context, NCCL and what else torch does not count."""
    block_tables_gib: float
    """Allocated after the profile, outside the budget."""
    kv_cache_gib: float = Field(ge=0)
    """What is left for it."""
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
    """How much larger it gets if every term is at its best at once."""


class Kv(Record):
    """The KV cache as vLLM's own planner would lay it out, per GPU."""

    bytes_per_block: Count
    """On each GPU, all its layers together."""
    num_blocks: int
    """On each GPU."""
    blocks_per_request: Count
    """That a request of max_model_len reserves."""
    tokens: int
    """As vLLM's "KV cache size" line will say it."""
    max_concurrency: float
    """Requests of max_model_len at once, as vLLM's "Maximum concurrency" line will say it."""
    max_context_tokens: int
    """The longest single request that is planned for on that machine, no more than the model's own limit."""
    max_context_args: tuple[Line, ...] = Field(default=(), exclude_if=lambda args: not args)
    """What that takes beside --max-model-len, where this plan has it otherwise; absent where it takes nothing else."""
    block_size: Count = 16
    """Tokens of a block."""


class Throughput(Record):
    """Predicted speed at one concurrency; `basis` says how far it may be trusted."""

    output_tokens_per_s: Positive
    """All requests together."""
    total_tokens_per_s: Positive
    """Input and output, all requests together."""
    ttft_s: Positive
    """To the first token, on average."""
    tpot_s: Positive
    """Between two tokens of an answer, on average."""
    concurrency: Count
    """Requests at once."""
    basis: Line
    """What was measured of such a server, if anything."""
    running: int = 0
    """Requests that run at once; the rest of the concurrency waits."""
    band: float = 0.0
    """The truth is thought to lie within this factor either way; 0 when nobody said."""


class CurvePoint(Record):
    """Predicted speed at another concurrency of the same workload."""

    concurrency: Count
    """Requests at once."""
    output_tokens_per_s: Positive
    """All of them together."""
    ttft_s: Positive
    """To the first token."""
    tpot_s: Positive
    """Between two tokens of an answer."""


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


class AtWorst(Record):
    """The workload where the KV cache is as small as its error allows, and fewer requests run at once."""

    kv_cache_gib: float
    """Of one GPU, with every memory term at its worst."""
    num_blocks: int
    """Of that, on each GPU."""
    running: int = Field(ge=0)
    """Requests that run at once; 0 where a server with so little does not start."""
    ttft_s: Positive | None
    """To the first token, the wait of those among it that find no room; null where it does not start."""
    output_tokens_per_s: Positive | None
    """All requests together; null where it does not start."""


class Images(Record):
    """The images of a request, which are among its input tokens."""

    per_request: Count
    """How many."""
    tiles_each: Count
    """That each is cut into."""
    tokens_each: Count
    """That each takes of the prompt."""
    encoder_s: Positive
    """The vision tower for those of one request."""


class Drafts(Record):
    """How tokens are proposed beside the model, and what of them is taken to be accepted."""

    method: Line
    """As vLLM calls it: ngram, eagle."""
    model: Line | None
    """Null where they are looked up in what was said already."""
    tokens: Count
    """Proposed to each request in a step."""
    acceptance_length: Annotated[float, Field(ge=1)]
    """Tokens that a request gets of a step on average: those accepted, and the one that is sampled in any case."""
    acceptance: Line
    """Where that is from."""
    weights_bytes: int = Field(default=0, ge=0)
    """Of the draft's checkpoint; 0 without one."""
    weights_source: Line | None = None
    """Where that size is from; null without a checkpoint."""
    kv_layers: int = Field(default=0, ge=0)
    """What it adds to the KV cache; each keeps the whole context."""


class Price(Record):
    """What the machine costs, where, how it is bought, and where that figure is from."""

    usd_per_hour: Dollars
    """All its hosts together."""
    region: Line
    """Where."""
    purchase: Line
    """on-demand, or capacity-block, which is paid ahead."""
    checked_on: date
    """When it was read."""
    source: Line
    """Where it was read."""


class Workload(Record):
    """The requests a plan is judged by."""

    input_tokens: Count
    """Of a request."""
    output_tokens: Count
    """Of a request."""
    concurrency: Count
    """Requests at once."""


class Plan(Document):
    """One model at one precision on one machine. Printed by `corral size --on M --json`, read by every later step."""

    kind: ClassVar[str] = "plan"
    document: Literal["plan"] = "plan"
    schema_version: Literal[1] = 1

    model: Line
    """scout, maverick, or what a checkpoint is called."""
    precision: Line
    """Of its weights: bf16, fp8, int4, nvfp4."""
    machine: PlanMachine
    """That it is for."""
    vllm_version: str = Field(pattern=r"^v?[0-9]{1,4}\.[0-9]{1,4}[a-z0-9.+]{0,80}$")
    """A public version, or a local one: pip is asked for it by name, and takes what has a slash for a folder."""
    workload: Workload
    """That its speed is predicted for."""
    fits: bool
    """Whether it may be served there: it fits, or fits tightly."""
    verdict: Verdict
    """`tight` where the doubt is larger than the room that is left."""
    reason: Line
    """The verdict as a sentence, with its figures."""
    parallel: Parallel
    """How the model is split there."""
    memory: Memory
    """Of one GPU, term by term."""
    kv: Kv
    """What the KV cache holds."""
    throughput: Throughput | None
    """At that workload; null where it does not fit, or no speed is known of the GPU."""
    price: Price | None
    """Of the machine; null for one that nobody rents out, or where none is known."""
    usd_per_mtok: Dollars | None
    """A million output tokens at that speed, the machine never idle; null without a price or a speed."""
    serve: ServeOptions
    """How vLLM is started."""
    notes: tuple[Line, ...]
    """What is worth knowing before it is used, a sentence or two each."""
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
    at_worst: AtWorst | None = Field(default=None, exclude_if=lambda value: value is None)
    """Absent where as many run at once with the KV cache at its worst, in rankings, and where no speed is predicted."""
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
