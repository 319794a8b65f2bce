"""PURE: the modules of a model that vLLM adapts, as its keys name them, and what each reads and writes."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from infra.errors import UsageError
from serving.model.families import Family
from serving.model.lora import PACKED, data
from serving.model.models import Architecture
from serving.vllm.versions import Rules


@dataclass(frozen=True, slots=True)
class Module:
    """A module of which an adapter has a part: A is (rank, reads), B is (writes, rank)."""

    reads: int
    writes: int
    kind: str
    """As --lora-target-modules names it."""


@dataclass(frozen=True, slots=True)
class Served:
    """What an adapter is held to."""

    title: str
    family: Family
    architecture: Architecture
    is_nested: bool
    """Whether it has a vision tower, so that its text model is a part."""
    rules: Rules
    largest_rank: int | None = None
    """--max-lora-rank; None where it follows the adapters."""
    target_modules: tuple[str, ...] = ()

    @property
    def modules(self) -> Mapping[str, Module]:
        """All that it has of what can be adapted."""
        return modules_of(self.architecture, self.family.name, text_prefix(self.family, self.is_nested))


def text_prefix(family: Family, is_nested: bool) -> str:
    """What stands before the names of the text model. Raises UsageError for a family of which nobody looked."""
    names = data()["names"].get(family.name)
    if names is None:
        raise UsageError(
            f"How vLLM names the modules of {family.title} for adapters was not looked up.",
            "Leave out --lora.",
        )
    return str(names["nested"]) if is_nested else ""


@cache
def modules_of(a: Architecture, family: str, prefix: str) -> dict[str, Module]:
    """Name -> module, of the whole text model; a vision tower's are not adapted."""
    hidden = a.hidden_size
    found = {
        f"{prefix}model.embed_tokens": Module(a.vocab_size, hidden, "embed_tokens"),
        f"{prefix}lm_head": Module(hidden, a.vocab_size, "lm_head"),
    }
    for layer in range(a.layers):
        of_layer = attention(a) | feed_forward(a, family, layer)
        found |= {f"{prefix}model.layers.{layer}.{name}": module for name, module in of_layer.items()}
    return found


def attention(a: Architecture) -> dict[str, Module]:
    """The projections of a layer's attention."""
    hidden, queries, keys = a.hidden_size, a.attention_heads * a.head_dim, a.kv_heads * a.head_dim
    return {
        "self_attn.q_proj": Module(hidden, queries, "q_proj"),
        "self_attn.k_proj": Module(hidden, keys, "k_proj"),
        "self_attn.v_proj": Module(hidden, keys, "v_proj"),
        "self_attn.o_proj": Module(queries, hidden, "o_proj"),
    }


def feed_forward(a: Architecture, family: str, layer: int) -> dict[str, Module]:
    """A dense layer's one MLP; else the router, the shared expert and each routed one."""
    names, hidden = data()["names"][family], a.hidden_size
    if layer not in a.moe_layers:
        return mlp(names["dense"], hidden, a.dense_intermediate)
    found = {names["router"]: Module(hidden, a.experts, "router")}
    if a.shared_experts:
        found |= mlp(names["shared"], hidden, a.shared_experts * a.expert_intermediate)
    for expert in range(a.experts):
        found |= mlp(f"{names['experts']}.{expert}", hidden, a.expert_intermediate, kind="experts")
    return found


def mlp(name: str, hidden: int, inner: int, kind: str = "") -> dict[str, Module]:
    """The three projections of one."""
    return {
        f"{name}.gate_proj": Module(hidden, inner, kind or "gate_proj"),
        f"{name}.up_proj": Module(hidden, inner, kind or "up_proj"),
        f"{name}.down_proj": Module(inner, hidden, kind or "down_proj"),
    }


def is_targeted(module: Module, target_modules: tuple[str, ...]) -> bool:
    """Whether --lora-target-modules lets a module have an adapter; without any, each has."""
    named = {PACKED.get(name, name) for name in target_modules}
    return not named or PACKED.get(module.kind, module.kind) in named
