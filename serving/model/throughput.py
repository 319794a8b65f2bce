"""PURE: a roofline of a model on vLLM: what a decode step and a prefill take, and the speed at some concurrency.

Each component takes the longer of reading its weights and multiplying by them; efficiencies, their sources and what
they were validated on are in throughput.toml.
"""

from dataclasses import dataclass
from functools import cache
from math import ceil
from typing import Any

from infra.data import shipped_table
from infra.hardware import Gpu
from serving.model.families import Family
from serving.model.kv import held_tokens, layers_of
from serving.model.models import Architecture, Scheme
from serving.model.weights import Split, parts
from serving.vllm.versions import Rules, number

GEMMS = ("attention", "attention_kv", "shared", "dense", "router")
ALL_REDUCES_PER_LAYER = 2
BYTES_BF16 = 2
NATIVE_FP8 = 8.9
NATIVE_FP4 = 10.0


@dataclass(frozen=True, slots=True)
class Load:
    """Equal requests, so many at once."""

    input_tokens: int
    output_tokens: int
    concurrency: int


@dataclass(frozen=True, slots=True)
class Speed:
    """What the machine delivers at that load; the truth is thought to lie within `band` as a factor either way."""

    output_tokens_per_s: float
    total_tokens_per_s: float
    ttft_s: float
    tpot_s: float
    running: int
    band: float
    basis: str


@dataclass(frozen=True, slots=True)
class Fit:
    """How the model is bent for one machine: the kernels' time, the overhead of a step, the prefill of a prompt."""

    kernels: float
    overhead_s: float
    prefill: float
    band: float
    basis: str


@dataclass(frozen=True, slots=True)
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


def speed(engine: Engine, load: Load, at_most: int, fit: Fit | None = None) -> Speed:
    """The steady state of `load`, with no more than `at_most` requests running (KV cache, max_num_seqs)."""
    bent = fit or unfitted(engine, load)
    running = max(1, min(load.concurrency, at_most))
    tpot = bent.kernels * kernels_s(engine, load, running) + bent.overhead_s
    rounds_waited = max(0.0, load.concurrency / running - 1)
    output = running / tpot
    return Speed(
        output_tokens_per_s=output,
        total_tokens_per_s=output * (1 + load.input_tokens / load.output_tokens),
        ttft_s=first_token_s(engine, load.input_tokens, bent, tpot)
        + rounds_waited * load.output_tokens * tpot,
        tpot_s=tpot,
        running=running,
        band=bent.band,
        basis=bent.basis,
    )


def unfitted(engine: Engine, load: Load) -> Fit:
    """The shipped figures as they are."""
    doubt = not_validated(engine, load)
    if doubt:
        widest = data()["kernel"]["other"]["band"]
        return Fit(1.0, overhead_s(engine.rules), 1.0, widest, f"modelled, not validated: {doubt}")
    figure = kernel(engine.gpu)
    return Fit(1.0, overhead_s(engine.rules), 1.0, figure["band"], figure["basis"])


def not_validated(engine: Engine, load: Load) -> str | None:
    """Why no published figure stands behind a prediction; None when some do."""
    stored, family = engine.scheme.name.split("-")[0], engine.family
    if family.name != data()["validated_family"]:
        return f"corral has no figure of {family.title}"
    if stored not in kernel(engine.gpu)["validated"]:
        return f"no {stored} figure of {family.title} on {engine.gpu.name} is public"
    if engine.split.pipeline > 1 or engine.split.data > 1:
        return f"no figure of {family.title} with pipeline or data parallelism is public"
    longest = data()["validated_input_tokens"]
    return f"no figure beyond {longest:,} tokens of input is public" if load.input_tokens > longest else None


def kernels_s(engine: Engine, load: Load, running: int) -> float:
    """Kernel time behind one output token: a decode step, and the step's share of the prompts that ride along."""
    context = load.input_tokens + load.output_tokens / 2
    prefills = running * prefill_share_s(engine, load.input_tokens) / load.output_tokens
    return step_s(engine, running, context) + prefills


def first_token_s(engine: Engine, input_tokens: int, bent: Fit, tpot: float) -> float:
    """A prompt waits for the step in progress, then is prefilled."""
    return tpot + bent.prefill * prefill_s(engine, input_tokens)


def step_s(engine: Engine, batch: int, context: float) -> float:
    """The kernels of one decode step: every running request gets one token."""
    here = ceil(batch / engine.split.data / engine.split.pipeline)
    everywhere = ceil(batch / engine.split.pipeline)
    forward = forward_s(engine, here, everywhere) + lm_head_s(engine, here)
    return forward + kv_read_s(engine, here, context)


def least_step_s(gpu: Gpu, a: Architecture, scheme: Scheme, split: Split) -> float:
    """No decode step is shorter: one token's weights read once, at the full memory bandwidth, and nothing else."""
    size = totals(a, scheme)
    dense = sum(size.get(name, (0.0, 0))[0] for name in (*GEMMS, "lm_head")) / split.tensor
    experts = size.get("routed", (0.0, 0))[0] / (split.tensor * split.data)
    routed = experts * a.experts_per_token / max(1, a.experts)
    return (dense + routed) / (gpu.memory_gb_per_s * 1e9)


def prefill_s(engine: Engine, tokens: int) -> float:
    """One prompt by itself, in chunks of max_num_batched_tokens, without the step overhead decode already pays."""
    chunk = min(tokens, engine.max_num_batched_tokens)
    return forward_s(engine, chunk, chunk) * tokens / chunk + attention_s(engine, tokens)


def prefill_share_s(engine: Engine, tokens: int) -> float:
    """What a prompt adds to the steps it rides along with: its share of a full batch, the weights being read anyway."""
    chunk = engine.max_num_batched_tokens
    return forward_s(engine, chunk, chunk) * tokens / chunk + attention_s(engine, tokens)


def forward_s(engine: Engine, tokens: int, expert_tokens: int) -> float:
    """All layers for that many tokens, attention scores excluded."""
    layers = len(engine.architecture.moe_layers)
    moe = layers * moe_layer_s(engine, expert_tokens) if layers else 0.0
    return dense_s(engine, tokens) + moe + all_reduce_s(engine, tokens) + hand_over_s(engine, tokens)


def moe_layer_s(engine: Engine, tokens: int, touched: float | None = None) -> float:
    """The routed experts of one layer: launch, then the experts touched are read, or multiplied.

    Without `touched`, as many as independent, even routing is expected to touch.
    """
    figure, a = kernel(engine.gpu), engine.architecture
    size, count = totals(a, engine.scheme)["routed"]
    layers, ranks = len(a.moe_layers), engine.split.tensor * engine.split.data
    if touched is None:
        touched = distinct_experts(a.experts, tokens * a.experts_per_token)
    read = (
        size
        / layers
        / ranks
        * touched
        / a.experts
        / (engine.gpu.memory_gb_per_s * 1e9 * figure["bandwidth_fraction"])
    )
    flops = 2 * count / layers / a.experts * a.experts_per_token * tokens / ranks
    multiply = flops / (tflops(engine, "routed") * 1e12 * figure["compute_fraction"])
    return float(figure["launch_ms"] / 1e3 + max(read, multiply))


def distinct_experts(experts: int, picks: int) -> float:
    """Expected number of different experts that many independent, even picks touch."""
    return float(experts * (1 - (1 - 1 / experts) ** picks))


def dense_s(engine: Engine, tokens: int) -> float:
    """Every weight matrix that each token is multiplied with, except the LM head."""
    return sum(gemm_s(engine, name, tokens) for name in GEMMS)


def lm_head_s(engine: Engine, tokens: int) -> float:
    """Logits, for the last token of each request only."""
    return gemm_s(engine, "lm_head", tokens)


def gemm_s(engine: Engine, component: str, tokens: int) -> float:
    """One component over all layers: the longer of reading and multiplying."""
    figure = data()["dense"]
    size, count = totals(engine.architecture, engine.scheme).get(component, (0.0, 0))
    share = 1 if component == "router" else engine.split.tensor
    read = size / share / (engine.gpu.memory_gb_per_s * 1e9 * figure["bandwidth_fraction"])
    multiply = 2 * count * tokens / share / (tflops(engine, component) * 1e12 * figure["compute_fraction"])
    return float(max(read, multiply))


def attention_s(engine: Engine, tokens: int) -> float:
    """Attention scores of a prompt: quadratic in the global layers, within chunks in the local ones."""
    a = engine.architecture
    full, local = layers_of(a)
    seen = len(full) * tokens / 2 + len(local) * min(tokens, a.attention_chunk_size or tokens) / 2
    flops = 4 * tokens * seen * a.attention_heads * a.head_dim / engine.split.tensor
    return float(flops / (engine.gpu.bf16_tflops * 1e12 * data()["dense"]["compute_fraction"]))


def kv_read_s(engine: Engine, batch: int, context: float) -> float:
    """Reading the KV cache of the batch once."""
    a = engine.architecture
    heads = max(1, a.kv_heads // engine.split.tensor)
    per_token = 2 * heads * a.head_dim * engine.kv_bytes_per_value * a.layers
    size = batch * held_tokens(a, round(context)) * per_token
    return float(size / (engine.gpu.memory_gb_per_s * 1e9 * data()["dense"]["bandwidth_fraction"]))


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


def overhead_s(rules: Rules) -> float:
    """What a step of that version takes beside the kernels."""
    steps = [step for step in data()["step"] if number(step["from"]) <= number(rules.version)]
    return float(steps[-1]["overhead_ms"]) / 1e3


def tflops(engine: Engine, component: str) -> float:
    """The peak rate a component is multiplied at: weight-only schemes compute in BF16, dequantised on the way."""
    gpu, scheme = engine.gpu, engine.scheme
    if component not in scheme.quantized:
        return gpu.bf16_tflops
    if scheme.name.startswith("fp8") and gpu.fp8_tflops and gpu.compute_capability >= NATIVE_FP8:
        return gpu.fp8_tflops
    if scheme.name.startswith("nvfp4") and gpu.fp4_tflops and gpu.compute_capability >= NATIVE_FP4:
        return gpu.fp4_tflops
    return float(gpu.bf16_tflops * data()["weight_only"]["compute_fraction"])


def kernel(gpu: Gpu) -> dict[str, Any]:
    """The MoE kernel's efficiencies on that GPU."""
    kernels: dict[str, dict[str, Any]] = data()["kernel"]
    return kernels.get(gpu.name, kernels["other"])


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
