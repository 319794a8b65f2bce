"""PURE: a roofline of a model on vLLM: what a step and a prefill take.

Each component takes the longer of reading its weights and multiplying by them. Efficiencies and overheads, their
sources and what they were fitted to are in throughput.toml.
"""

from dataclasses import dataclass
from functools import cache, cached_property
from math import ceil, floor
from typing import Any

from infra.data import shipped_table
from infra.hardware import Gpu
from serving.model.draft import Drafting
from serving.model.families import Family
from serving.model.kv import held_tokens, layers_of
from serving.model.models import Architecture, Scheme
from serving.model.speculation import data as of_drafts
from serving.model.weights import Split, parts
from serving.vllm.versions import Rules, number

GEMMS = ("attention", "attention_kv", "shared", "dense", "router")
ALL_REDUCES_PER_LAYER = 2
BYTES_BF16 = 2
NATIVE_FP8 = 8.9
NATIVE_FP4 = 10.0


@dataclass(frozen=True)
class Engine:
    """One model, split over equal GPUs, served by one version of vLLM."""

    gpu: Gpu
    family: Family
    architecture: Architecture
    scheme: Scheme
    split: Split
    rules: Rules
    kv_bytes_per_value: int
    max_num_batched_tokens: int
    host_gb_per_s: float
    """Between hosts, for the hand-over of pipeline stages."""
    tiles: int = 0
    """Of the images that each request brings."""
    prefix_hits: float = 0.0
    """The share of a prompt that is in the KV cache already."""
    lora_bytes: int = 0
    """Of adapters' slots on a GPU; all of them are taken to be in use."""
    offloaded_bytes: float = 0.0
    """Of a GPU's weights, which are read over PCIe in each step."""
    is_relinked: bool = False
    """Its GPUs reach each other in another way than their kind usually does."""
    drafting: Drafting | None = None
    """None where no tokens are proposed."""

    @property
    def verified(self) -> int:
        """Tokens of each request that decodes in a step: those that are proposed, and the sampled one."""
        return 1 + (self.drafting.tokens if self.drafting else 0)

    @property
    def accepted(self) -> float:
        """Tokens that such a request gets of a step on average."""
        return self.drafting.accepted if self.drafting else 1.0

    @cached_property
    def totals(self) -> dict[str, tuple[float, int]]:
        """Bytes and parameters of each component over all layers."""
        return totals(self.architecture, self.scheme)

    @cached_property
    def layers(self) -> tuple[int, int]:
        """How many layers see everything, and how many a chunk."""
        full, local = layers_of(self.architecture)
        return len(full), len(local)


def fresh(engine: Engine, tokens: int) -> int:
    """Of a prompt the tokens that are computed: those that no prefix cache holds, and always the last."""
    return uncached(tokens, engine.prefix_hits)


def uncached(tokens: int, hits: float) -> int:
    """The same of a prompt of which that share is in the cache."""
    return max(1, tokens - floor(round(tokens * hits, 6))) if hits else tokens


def scores_s(engine: Engine, tokens: int) -> float:
    """Attention scores of what of a prompt is computed, over all that stands before it."""
    cached = tokens - fresh(engine, tokens)
    return attention_s(engine, tokens) - (attention_s(engine, cached) if cached else 0.0)


def encoder_s(engine: Engine) -> float:
    """The vision tower on the images of one request: its matrices for each patch, and the scores within each tile."""
    v = engine.architecture.vision
    if not engine.tiles or v is None:
        return 0.0
    patches = (v.image_size // v.patch_size) ** 2 + 1
    matrices = 2 * engine.totals["vision"][1] * patches
    flops = engine.tiles * (matrices + 4 * patches**2 * v.hidden_size * v.layers) / engine.split.tensor
    return float(flops / (engine.gpu.bf16_tflops * 1e12 * data()["dense"]["compute_fraction"]))


def step_s(engine: Engine, batch: int, context: float, prefilled: int = 0) -> float:
    """The kernels of one step: every running request gets its tokens, and so many tokens of prompts are prefilled.

    `prefilled` is by rank of data parallelism and stage.
    """
    here = ceil(batch / engine.split.data / engine.split.pipeline)
    everywhere = ceil(batch / engine.split.pipeline)
    rows = engine.verified
    forward = forward_s(engine, here * rows + prefilled, everywhere * rows + prefilled * engine.split.data)
    read = lm_head_s(engine, here * rows) + kv_read_s(engine, here, context)
    return forward + read + drafts_s(engine, here, context, prefilled)


def drafts_s(engine: Engine, batch: int, context: float, prefilled: int) -> float:
    """What a step takes longer by drafts: their passes one after the other, the first over all tokens of the step."""
    drafts, figure = engine.drafting, of_drafts()["overhead"]
    if drafts is None:
        return 0.0
    own = (figure["step_ms"] + drafts.passes * figure["pass_ms"]) / 1e3 * host_factor(engine.gpu)
    if not drafts.passes:
        return float(own)
    first = pass_s(engine, batch * engine.verified + prefilled)
    kept = batch * context * drafts.kv_values_per_token * engine.kv_bytes_per_value
    read = drafts.head_bytes / data()["dense"]["bandwidth_fraction"]
    read += kept / data()["kv_read"]["bandwidth_fraction"]
    each = drafts.passes * read / (engine.gpu.memory_gb_per_s * 1e9)
    return float(own + first + (drafts.passes - 1) * pass_s(engine, batch) + each)


def pass_s(engine: Engine, tokens: int) -> float:
    """The layers of the draft for so many tokens."""
    drafts, figure, gpu = engine.drafting, data()["dense"], engine.gpu
    if drafts is None or not drafts.passes:
        return 0.0
    read = drafts.pass_bytes / (gpu.memory_gb_per_s * 1e9 * figure["bandwidth_fraction"])
    multiply = 2 * drafts.pass_params * tokens / (gpu.bf16_tflops * 1e12 * figure["compute_fraction"])
    joined = all_reduce_s(engine, tokens) / engine.architecture.layers * drafts.layers
    return float(max(read, multiply) + joined)


def least_step_s(gpu: Gpu, a: Architecture, scheme: Scheme, split: Split) -> float:
    """No decode step is shorter: one token's weights read once, at the full memory bandwidth, and nothing else."""
    size = totals(a, scheme)
    dense = sum(size.get(name, (0.0, 0))[0] for name in (*GEMMS, "lm_head")) / split.tensor
    experts = size.get("routed", (0.0, 0))[0] / (split.tensor * split.data)
    routed = experts * a.experts_per_token / max(1, a.experts)
    return (dense + routed) / (gpu.memory_gb_per_s * 1e9)


def prefill_s(engine: Engine, tokens: int) -> float:
    """One prompt by itself, in chunks of max_num_batched_tokens, without the step overhead decode already pays."""
    computed = fresh(engine, tokens)
    chunk = min(computed, engine.max_num_batched_tokens)
    forward = (forward_s(engine, chunk, chunk) + pass_s(engine, chunk)) * computed / chunk
    return forward + scores_s(engine, tokens) + encoder_s(engine)


def forward_s(engine: Engine, tokens: int, expert_tokens: int) -> float:
    """All layers for that many tokens, attention scores excluded."""
    layers = len(engine.architecture.moe_layers)
    moe = layers * moe_layer_s(engine, expert_tokens) if layers else 0.0
    joined = all_reduce_s(engine, tokens) + hand_over_s(engine, tokens)
    return dense_s(engine, tokens) + moe + joined + beside_s(engine)


def beside_s(engine: Engine) -> float:
    """What is read beside the weights on a GPU: the adapters, and over PCIe those weights that stay in the RAM."""
    if not (engine.lora_bytes or engine.offloaded_bytes):
        return 0.0
    pcie, dense = data()["offload"], data()["dense"]
    newer = engine.gpu.compute_capability >= pcie["newer_from_capability"]
    host = float(pcie["newer_gb_per_s"] if newer else pcie["gb_per_s"])
    adapters = engine.lora_bytes / (engine.gpu.memory_gb_per_s * dense["bandwidth_fraction"])
    return float(adapters + engine.offloaded_bytes / host) / 1e9


def moe_layer_s(engine: Engine, tokens: int, touched: float | None = None) -> float:
    """The routed experts of one layer: launch, then those touched are read (or dequantised), or multiplied.

    Without `touched`, as many as so many picks are expected to touch.
    """
    figure, a = kernel(engine), engine.architecture
    size, count = engine.totals["routed"]
    layers, ranks = len(a.moe_layers), engine.split.tensor * engine.split.data
    if touched is None:
        touched = distinct_experts(a.experts, tokens * a.experts_per_token)
    share = touched / a.experts / layers / ranks
    read = share * size / (engine.gpu.memory_gb_per_s * 1e9 * figure["bandwidth_fraction"])
    if is_weight_only(engine, "routed"):
        read = max(read, share * count / (data()["weight_only"]["gparams_per_s"] * 1e9))
    flops = 2 * count / layers / a.experts * a.experts_per_token * tokens / ranks
    multiply = flops / (tflops(engine, "routed") * 1e12 * figure["compute_fraction"])
    return float(figure["launch_ms"] / 1e3 + max(read, multiply))


def distinct_experts(experts: int, picks: int) -> float:
    """Expected number of different experts that many independent picks touch, of shares that are not even.

    Nobody published Llama 4's shares: each division of the picks among the experts is taken to be as likely as any
    other (a flat Dirichlet distribution: so many picks leave one out with chance (E - 1) / (E - 1 + picks)). Of 16
    experts 28 picks touch 10 so, 13 with even shares; docs/explanation/where-the-speed-comes-from.md says what speaks
    for it.
    """
    return experts * picks / (experts + picks - 1)


def dense_s(engine: Engine, tokens: int) -> float:
    """Every weight matrix that each token is multiplied with, except the LM head."""
    return sum(gemm_s(engine, name, tokens) for name in GEMMS)


def lm_head_s(engine: Engine, tokens: int) -> float:
    """Logits, for the last token of each request only."""
    return gemm_s(engine, "lm_head", tokens)


def gemm_s(engine: Engine, component: str, tokens: int) -> float:
    """One component over all layers: the longer of reading and multiplying."""
    figure = data()["dense"]
    size, count = engine.totals.get(component, (0.0, 0))
    share = 1 if component == "router" else engine.split.tensor
    read = size / share / (engine.gpu.memory_gb_per_s * 1e9 * figure["bandwidth_fraction"])
    multiply = 2 * count * tokens / share / (tflops(engine, component) * 1e12 * figure["compute_fraction"])
    return float(max(read, multiply))


def attention_s(engine: Engine, tokens: int) -> float:
    """Attention scores of a prompt: quadratic in the global layers, within chunks in the local ones."""
    a = engine.architecture
    full, local = engine.layers
    seen = full * tokens / 2 + local * min(tokens, a.attention_chunk_size or tokens) / 2
    flops = 4 * tokens * seen * a.attention_heads * a.head_dim / engine.split.tensor
    return float(flops / (engine.gpu.bf16_tflops * 1e12 * data()["dense"]["compute_fraction"]))


def kv_read_s(engine: Engine, batch: int, context: float) -> float:
    """Reading the KV cache of the batch once."""
    a = engine.architecture
    heads = max(1, a.kv_heads // engine.split.tensor)
    per_token = 2 * heads * a.head_dim * engine.kv_bytes_per_value * a.layers
    size = batch * held_tokens(a, round(context)) * per_token
    return float(size / (engine.gpu.memory_gb_per_s * 1e9 * data()["kv_read"]["bandwidth_fraction"]))


def all_reduce_s(engine: Engine, tokens: int) -> float:
    """Two ring all-reduces a layer over the link of the host; the bandwidth term needs its share of peers."""
    tensor, figure = engine.split.tensor, data()["all_reduce"]
    if tensor == 1:
        return 0.0
    size = tokens * engine.architecture.hidden_size * BYTES_BF16
    moved = 2 * (tensor - 1) / tensor * size / (engine.gpu.link_gb_per_s * 1e9 * figure["bandwidth_fraction"])
    latency = figure[f"{engine.gpu.link}_latency_us"] * 1e-6
    return float(ALL_REDUCES_PER_LAYER * engine.architecture.layers * (latency + moved))


def hand_over_s(engine: Engine, tokens: int) -> float:
    """Activations from one pipeline stage to the next."""
    size = tokens * engine.architecture.hidden_size * BYTES_BF16
    return (engine.split.pipeline - 1) * size / (engine.host_gb_per_s * 1e9)


def overhead_s(engine: Engine) -> float:
    """What a step of that version takes beside the kernels, whatever its batch."""
    return float(generation(engine.rules)["overhead_ms"]) / 1e3 * host_factor(engine.gpu)


def request_s(engine: Engine) -> float:
    """What the engine's own work on one request adds to a step, where it is not done while the GPU works."""
    hidden_from = number(data()["async_scheduling"]["from"])
    in_turn = engine.drafting is not None and not engine.drafting.passes  # vLLM plans no step ahead then
    if number(engine.rules.version) >= hidden_from and not is_older(engine.gpu) and not in_turn:
        return 0.0
    return float(generation(engine.rules)["request_ms"]) / 1e3 * host_factor(engine.gpu)


def generation(rules: Rules) -> dict[str, Any]:
    """The overheads of that version."""
    steps: list[dict[str, Any]] = data()["step"]
    return [step for step in steps if number(step["from"]) <= number(rules.version)][-1]


def host_factor(gpu: Gpu) -> float:
    """How much longer the hosts of older GPUs take for what no GPU does."""
    return float(data()["older_hosts"]["factor"]) if is_older(gpu) else 1.0


def is_older(gpu: Gpu) -> bool:
    """Whether the GPU is of a generation whose hosts are older, too."""
    return gpu.compute_capability < float(data()["older_hosts"]["below_capability"])


def tflops(engine: Engine, component: str) -> float:
    """The peak rate a component is multiplied at: weight-only schemes compute in BF16, dequantised on the way."""
    if component not in engine.scheme.quantized:
        return engine.gpu.bf16_tflops
    if own := native_tflops(engine):
        return own
    return float(engine.gpu.bf16_tflops * data()["weight_only"]["compute_fraction"])


def native_tflops(engine: Engine) -> float | None:
    """The rate of the GPU's own units for what the quantised weights are; None where it has none."""
    gpu, scheme = engine.gpu, engine.scheme
    if scheme.name.startswith("fp8") and gpu.compute_capability >= NATIVE_FP8:
        return gpu.fp8_tflops
    if scheme.name.startswith("nvfp4") and gpu.compute_capability >= NATIVE_FP4:
        return gpu.fp4_tflops
    return None


def is_weight_only(engine: Engine, component: str) -> bool:
    """Whether a component is dequantised on the way to units of BF16."""
    return component in engine.scheme.quantized and not native_tflops(engine)


def kernel(engine: Engine) -> dict[str, Any]:
    """The MoE kernel's efficiencies on that GPU, or one of its family, for how the experts are stored."""
    kernels: dict[str, dict[str, Any]] = data()["kernel"]
    found = kernels.get(engine.gpu.family, kernels["other"])
    is_fp8 = engine.scheme.name.startswith("fp8") and not is_weight_only(engine, "routed")
    return found | found.get("fp8", {}) if is_fp8 else found


@cache
def totals(a: Architecture, scheme: Scheme) -> dict[str, tuple[float, int]]:
    """Bytes and parameters of each component over all layers."""
    sums: dict[str, tuple[float, int]] = {}
    for part in parts(a, scheme):
        size, count = sums.get(part.component, (0.0, 0))
        sums[part.component] = (size + part.bytes, count + part.params)
    return sums


def data() -> dict[str, Any]:
    """What throughput.toml holds."""
    return shipped_table("serving.model", "throughput.toml")
