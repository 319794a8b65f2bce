"""PURE: a checkpoint's weights as parts, and what one rank holds of them under TP, PP and EP as vLLM shards.

Parameter formulas: facts of the released architectures (models.toml). Sharding: vLLM 0.33.0
model_executor/models/{llama4,mllama4}.py, whose linear layers are those of every model, and the FusedMoE layer.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from math import ceil

from serving.model.models import Architecture, Scheme, Vision

BYTES_BF16 = 2
VOCAB_PADDING = 64
TOWER = ("vision", "vision_replicated", "projector")


@dataclass(frozen=True, slots=True)
class Part:
    """The parameters of one component in one layer. `rows` are output rows, which per-channel scales count."""

    component: str
    layer: int | None
    params: int
    rows: int = 0
    bytes: float = 0.0


@dataclass(frozen=True, slots=True)
class Split:
    """How a model is spread over GPUs. `data` ranks with MoE layers share the experts among them."""

    tensor: int = 1
    pipeline: int = 1
    data: int = 1
    expert: bool = False

    @property
    def gpus(self) -> int:
        """GPUs the split uses."""
        return self.tensor * self.pipeline * self.data


@cache
def parts(architecture: Architecture, scheme: Scheme) -> tuple[Part, ...]:
    """Every part of a checkpoint of that architecture stored by that scheme."""
    return tuple(stored(part, scheme) for part in shapes(architecture))


def shapes(a: Architecture) -> Iterable[Part]:
    """Every part with its parameters, in the order of the model."""
    yield Part("embedding", None, a.vocab_size * a.hidden_size)
    for layer in range(a.layers):
        yield from layer_parts(a, layer)
    yield Part("norm", a.layers - 1, a.hidden_size)
    if not a.tied_embeddings:
        yield Part("lm_head", None, a.vocab_size * a.hidden_size)
    if a.vision:
        yield from tower(a.vision, a.hidden_size)


def layer_parts(a: Architecture, layer: int) -> Iterable[Part]:
    """The parts of one transformer layer."""
    hidden, heads = a.hidden_size, a.attention_heads * a.head_dim
    yield Part("attention", layer, 2 * hidden * heads)
    yield Part("attention_kv", layer, 2 * hidden * a.kv_heads * a.head_dim)
    yield Part("norm", layer, 2 * hidden + (2 * a.head_dim if a.qk_norm else 0))
    if layer not in a.moe_layers:
        yield mlp("dense", layer, hidden, a.dense_intermediate, 1)
        return
    yield Part("router", layer, a.experts * hidden)
    yield mlp("routed", layer, hidden, a.expert_intermediate, a.experts)
    if a.shared_experts:
        yield mlp("shared", layer, hidden, a.expert_intermediate, a.shared_experts)


def mlp(component: str, layer: int, hidden: int, intermediate: int, count: int) -> Part:
    """Gate, up and down projection of `count` equal MLPs."""
    return Part(component, layer, 3 * hidden * intermediate * count, (2 * intermediate + hidden) * count)


def tower(v: Vision, hidden_size: int) -> Iterable[Part]:
    """The vision tower with its adapter, and the projector into the text model."""
    patches = (v.image_size // v.patch_size) ** 2
    linear = 4 * v.hidden_size**2 + 2 * v.hidden_size * v.intermediate
    sharded_biases = 3 * v.hidden_size + v.intermediate
    replicated = 4 * v.hidden_size + 2 * v.hidden_size  # two norms; the biases of what is split by rows
    shuffled = int(v.hidden_size / v.pixel_shuffle_ratio**2)
    adapter = shuffled * v.projector_input + v.projector_input * v.projector_output
    patch_embedding = 3 * v.patch_size**2 * v.hidden_size
    yield Part("vision", None, v.layers * (linear + sharded_biases) + adapter + patch_embedding)
    yield Part(
        "vision_replicated",
        None,
        v.layers * replicated + 4 * v.hidden_size + (patches + 2) * v.hidden_size,
    )
    yield Part("projector", None, v.projector_output * hidden_size)


def stored(part: Part, scheme: Scheme) -> Part:
    """The part with its bytes on disk, which are also its bytes on the GPUs."""
    quantized = part.component in scheme.quantized
    size = part.params * scheme.bytes_per_param + part.rows * scheme.bytes_per_row
    return Part(
        part.component, part.layer, part.params, part.rows, size if quantized else part.params * BYTES_BF16
    )


def params(architecture: Architecture) -> int:
    """All parameters, the vision tower included."""
    return sum(part.params for part in shapes(architecture))


def total_bytes(weights: Iterable[Part]) -> float:
    """Bytes of the whole checkpoint."""
    return sum(part.bytes for part in weights)


def rank_bytes(weights: Iterable[Part], a: Architecture, split: Split, text_only: bool) -> tuple[float, ...]:
    """Bytes of weights on one GPU of each pipeline stage."""
    stages = stage_of_layers(a.layers, split.pipeline)
    totals = [0.0] * split.pipeline
    for part in weights:
        if text_only and part.component in TOWER:
            continue
        share = part.bytes * fraction(part.component, a, split)
        for stage in stages_of(part, stages, a):
            totals[stage] += share
    return tuple(totals)


def stages_of(part: Part, stages: tuple[int, ...], a: Architecture) -> tuple[int, ...]:
    """The pipeline stages that hold a part; every stage builds the vision tower."""
    first, last = 0, stages[-1]
    if part.component == "embedding":
        return tuple(sorted({first, last})) if a.tied_embeddings else (first,)
    if part.component == "lm_head":
        return (last,)
    if part.layer is None:
        return tuple(range(last + 1))
    return (stages[part.layer],)


def fraction(component: str, a: Architecture, split: Split) -> float:
    """The share of a component that one rank of its stage holds, padding included."""
    tensor = split.tensor
    if component in ("norm", "router", "vision_replicated"):
        return 1.0
    if component in ("embedding", "lm_head"):
        return ceil(a.vocab_size / VOCAB_PADDING) * VOCAB_PADDING / a.vocab_size / tensor
    if component == "attention_kv":
        return max(1, a.kv_heads // tensor) / a.kv_heads
    if component == "shared" and split.expert and split.tensor > 1 and split.data > 1:
        return 1.0  # sequence-parallel MoE: each rank runs the whole shared expert on its share of the tokens
    if component == "routed":
        return routed_fraction(a.experts, split)
    return 1.0 / tensor


def routed_fraction(experts: int, split: Split) -> float:
    """Routed experts: whole experts per rank with EP, else a slice of each, over TP and DP ranks alike."""
    ranks = split.tensor * split.data
    return ceil(experts / ranks) / experts if split.expert else 1.0 / ranks


@cache
def stage_of_layers(layers: int, pipeline: int) -> tuple[int, ...]:
    """The pipeline stage of each layer: even, and what is left over goes to the stages before the last."""
    sizes = [layers // pipeline] * pipeline
    for index in range(layers % pipeline):
        sizes[pipeline - 2 - index] += 1
    return tuple(stage for stage, size in enumerate(sizes) for _ in range(size))
