"""PURE: the memory of LoRA adapters on a GPU: vLLM sets aside every slot, in every module that may have an adapter.

Shapes of vLLM 0.32.0 lora/layers (lora.toml): A is whole on each rank, or split as what it reads is; B likewise.
"""

from functools import cache
from typing import Any

from infra.data import shipped_table
from infra.errors import UsageError
from serving.model.families import Family
from serving.model.models import Architecture
from serving.model.weights import Split, stage_of_layers
from serving.vllm.versions import Rules, number

PACKED = {
    "q_proj": "qkv_proj",
    "k_proj": "qkv_proj",
    "v_proj": "qkv_proj",
    "gate_proj": "gate_up_proj",
    "up_proj": "gate_up_proj",
}
"""What adapters call a part of a module that vLLM has in one."""
MODULES = ("qkv_proj", "o_proj", "gate_up_proj", "down_proj", "experts", "router", "embed_tokens", "lm_head")


@cache
def slots_bytes(a: Architecture, split: Split, slots: int, rank: int, modules: tuple[str, ...] = ()) -> int:
    """Bytes of all slots on the fullest rank; without `modules`, of all there are."""
    kept = {PACKED.get(name, name) for name in modules} or set(MODULES)
    stages = stage_of_layers(a.layers, split.pipeline)
    values = [0] * split.pipeline
    for layer in range(a.layers):
        values[stages[layer]] += sum(size for name, size in layer_values(a, split, layer) if name in kept)
    values[0] += (a.vocab_size + a.hidden_size) * ("embed_tokens" in kept)
    values[-1] += (a.vocab_size + a.hidden_size) * ("lm_head" in kept)
    return max(values) * rank * slots * int(data()["bytes_per_value"])


def layer_values(a: Architecture, split: Split, layer: int) -> list[tuple[str, int]]:
    """What an adapter of rank 1 holds in the modules of a layer, on one rank."""
    hidden, tensor = a.hidden_size, split.tensor
    queries = a.attention_heads * a.head_dim // tensor
    keys = max(1, a.kv_heads // tensor) * a.head_dim
    found = [("qkv_proj", 3 * hidden + queries + 2 * keys), ("o_proj", queries + hidden)]
    if layer not in a.moe_layers:
        return found + mlp_values(hidden, a.dense_intermediate // tensor)
    if a.shared_experts:
        found += mlp_values(hidden, a.shared_experts * a.expert_intermediate // tensor)
    ranks = tensor * split.data
    experts = -(-a.experts // ranks) if split.expert else a.experts
    inner = a.expert_intermediate if split.expert else a.expert_intermediate // ranks
    each = sum(size for _, size in mlp_values(hidden, inner))
    return [*found, ("experts", experts * each), ("router", hidden + a.experts)]


def mlp_values(hidden: int, inner: int) -> list[tuple[str, int]]:
    """The same of one MLP of which a rank has so much: gate and up by themselves, then down."""
    return [("gate_up_proj", 2 * (hidden + inner)), ("down_proj", inner + hidden)]


def check(family: Family, rules: Rules, rank: int, modules: tuple[str, ...]) -> None:
    """Raise UsageError for adapters that vLLM does not have there."""
    if rank not in data()["ranks"]:
        ranks = ", ".join(map(str, data()["ranks"]))
        raise UsageError(f"--max-lora-rank {rank} is none that vLLM takes.", f"One of: {ranks}")
    if unknown := [name for name in modules if name not in (*MODULES, *PACKED)]:
        raise UsageError(
            f"--lora-target-modules {unknown[0]!r} is no module of {family.title}.",
            f"One of: {', '.join((*MODULES, *PACKED))}",
        )
    none_until = data()["none_until"].get(family.name)
    if none_until and number(rules.version) <= number(none_until):
        raise UsageError(
            f"vLLM {rules.version} has no LoRA for {family.title}.",
            f"Leave out --vllm-version {rules.version}.",
        )


def unread(family: Family, rules: Rules) -> str:
    """What of a version is not known about adapters; "" for one that was read."""
    read = data()["read_in"].get(family.name)
    if read and number(rules.version) >= number(read):
        return ""
    said = f"Whether vLLM {rules.version} has LoRA for {family.title} was not looked up"
    return f"{said}; {read} has." if read else f"{said}."


def data() -> dict[str, Any]:
    """What lora.toml holds."""
    return shipped_table("serving.model", "lora.toml")
