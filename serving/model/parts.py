"""PURE: a checkpoint's tensors as the parts vLLM shards, recognised by their names."""

import re
from collections.abc import Iterable

from serving.model.safetensors import Tensor
from serving.model.weights import Part

# First match wins; names as in the released checkpoints, `language_model.` in front or not.
COMPONENTS = (
    (r"vision_model\.patch_embedding", "vision"),
    (r"vision_model\..*(layernorm|embedding|\.norm)", "vision_replicated"),
    (r"vision_model\..*(o_proj|fc2)\.bias", "vision_replicated"),
    (r"vision_model\.", "vision"),
    (r"multi_modal_projector\.", "projector"),
    (r"embed_tokens\.", "embedding"),
    (r"lm_head\.", "lm_head"),
    (r"self_attn\.(q|o)_proj\.", "attention"),
    (r"self_attn\.(k|v)_proj\.", "attention_kv"),
    (r"feed_forward\.router\.", "router"),
    (r"feed_forward\.experts\.", "routed"),
    (r"feed_forward\.shared_expert\.", "shared"),
    (r"feed_forward\.(gate|up|down|gate_up)_proj\.", "dense"),
)
QUANTIZATION_EXTRA = re.compile(r"(scale|zero_point|_shape|g_idx|qzeros)[^.]*$")


def parts_of(tensors: Iterable[Tensor]) -> tuple[Part, ...]:
    """One part for each component of each layer."""
    sums: dict[tuple[str, int | None], tuple[int, int]] = {}
    for tensor in tensors:
        key = component(tensor.name), layer(tensor.name)
        params, size = sums.get(key, (0, 0))
        counted = 0 if QUANTIZATION_EXTRA.search(tensor.name) else tensor.params
        sums[key] = (params + counted, size + tensor.bytes)
    return tuple(Part(name, at, params, bytes=size) for (name, at), (params, size) in sums.items())


def component(name: str) -> str:
    """The component a tensor belongs to; what we do not recognise is counted on every rank, like a norm."""
    return next((what for pattern, what in COMPONENTS if re.search(pattern, name)), "norm")


def layer(name: str) -> int | None:
    """The transformer layer of a tensor; None outside the text layers."""
    match = re.search(r"(?<!vision_model\.)model\.layers\.(\d+)\.", name)
    return int(match[1]) if match and "vision_model" not in name else None
