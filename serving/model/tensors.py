"""PURE: a checkpoint's tensors as the parts vLLM shards, recognised by their names."""

import re
from collections.abc import Iterable

from serving.model.families import Family
from serving.model.safetensors import Tensor
from serving.model.weights import Part

# transformers' names, the same in every family; `language_model.` in front or not.
SHARED = {
    r"embed_tokens\.": "embedding",
    r"lm_head\.": "lm_head",
    r"self_attn\.(q|o)_proj\.": "attention",
    r"self_attn\.(k|v)_proj\.": "attention_kv",
}
QUANTIZATION_EXTRA = re.compile(r"(scale|zero_point|_shape|g_idx|qzeros)[^.]*$")
NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")
LAYER = re.compile(r"(?<!vision_model\.)model\.layers\.(\d+)\.")


def parts_of(tensors: Iterable[Tensor], family: Family) -> tuple[Part, ...]:
    """One part for each component of each layer.

    What a tensor is, its name says without its numbers: a checkpoint has 100,000 names and hundreds of those.
    """
    patterns = [(re.compile(pattern), name) for pattern, name in (family.tensors | SHARED).items()]
    known: dict[str, str] = {}
    sums: dict[tuple[str, int | None], tuple[int, int]] = {}
    for tensor in tensors:
        unnumbered = NUMBER.sub("N", tensor.name)
        if unnumbered not in known:
            known[unnumbered] = component(unnumbered, patterns)
        key = known[unnumbered], layer(tensor.name)
        params, size = sums.get(key, (0, 0))
        counted = 0 if QUANTIZATION_EXTRA.search(tensor.name) else tensor.params
        sums[key] = (params + counted, size + tensor.bytes)
    return tuple(Part(name, at, params, bytes=size) for (name, at), (params, size) in sums.items())


def component(name: str, patterns: list[tuple[re.Pattern[str], str]]) -> str:
    """The component a tensor belongs to; what we do not recognise is counted on every rank, like a norm."""
    return next((component for pattern, component in patterns if pattern.search(name)), "norm")


def layer(name: str) -> int | None:
    """The transformer layer of a tensor; None outside the text layers."""
    match = LAYER.search(name)
    return int(match[1]) if match and "vision_model" not in name else None
