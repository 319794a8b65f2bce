"""PURE: a draft, which proposes tokens: what it holds on a GPU, its layers of the KV cache, what a pass of it reads.

As vLLM 0.32.0 builds it (model_executor/models/llama_eagle3.py, llama_eagle.py, llama4_eagle.py and v1/spec_decode): it
is split as the model is, but for `fc`, which is whole on each GPU; it takes the model's own embedding and head where it
brings none, and all of it is in the last stage of a pipeline.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import ValidationError

from infra.errors import DocumentError
from infra.record import first_problem
from serving.model.kv import MoreLayers
from serving.model.loaders import table_of
from serving.model.models import Architecture
from serving.model.speculation import Speculation, data
from serving.model.weights import BYTES_BF16, Part, Split, fraction

if TYPE_CHECKING:  # a draft of the table needs nothing that reads checkpoints
    from serving.model.safetensors import Tensor

SHAPE = {
    "hidden_size": "hidden_size",
    "layers": "num_hidden_layers",
    "attention_heads": "num_attention_heads",
    "vocab_size": "vocab_size",
    "dense_intermediate": "intermediate_size",
}
"""Our field = the one of a draft's config.json."""
NAMES = {
    r"(^|\.)t2d$": None,  # the words that it may propose, which vLLM does not load
    r"embed_tokens\.": "embedding",
    r"lm_head\.": "lm_head",
    r"\.(q|o)_proj\.": "attention",
    r"\.(k|v)_proj\.": "attention_kv",
    r"\.(gate|up|down|gate_up)_proj\.": "dense",
}
"""What a tensor is, by its name; of any other each GPU has all."""
WIDE = ("F32", "F64")
"""What vLLM stores in the 16 bits that it computes in."""
ROPE_BYTES = 2
AUXILIARY = 3
"""Hidden states of the model that EAGLE-3 reads, unless its config says otherwise."""


@dataclass(frozen=True, eq=False, slots=True)
class Draft:
    """What proposes tokens beside a model, and how many of them are taken to be accepted."""

    speculation: Speculation
    repo: str
    """What vLLM is given; empty where nothing is loaded."""
    revision: str | None
    architecture: Architecture | None
    """None where nothing is loaded."""
    parts: tuple[Part, ...]
    auxiliary: int
    """Hidden states of the model that it reads for each token."""
    weights_source: str
    accepted: float
    """Tokens that a request gets of a step on average: those accepted, and the one that is sampled in any case."""
    accepted_as: str
    """Where that figure is from, as a sentence."""
    positions: int = 0
    """Of its own rotary table."""
    target_width: int = 0
    """Of the hidden states that it reads."""

    @property
    def weights_bytes(self) -> int:
        """All of it."""
        return round(sum(part.bytes for part in self.parts))

    @property
    def has_embedding(self) -> bool:
        """Whether it brings one of its own."""
        return any(part.component == "embedding" for part in self.parts)

    @property
    def more_layers(self) -> MoreLayers | None:
        """What it adds to the KV cache."""
        a = self.architecture
        return MoreLayers(a.layers, a.kv_heads, a.head_dim) if a else None


class Held(NamedTuple):
    """Bytes on a GPU, and how far off they may be."""

    bytes: float
    less: float
    more: float


def architecture_of(config: dict[str, Any], where: str) -> Architecture:
    """The draft's own shape. Raises DocumentError for a config that has none.

    A config of the speculators library has it in `transformer_layer_config`, an older one of EAGLE in `model`.
    """
    inner = (
        table_of(config, "transformer_layer_config")
        or table_of(config, "model")
        or table_of(config, "text_config")
        or config
    )
    try:
        fields = {ours: inner[theirs] for ours, theirs in SHAPE.items()}
        heads = int(fields["attention_heads"])
        return Architecture(
            **fields,
            kv_heads=inner.get("num_key_value_heads") or heads,
            head_dim=inner.get("head_dim") or int(fields["hidden_size"]) // heads,
            global_layers=tuple(range(int(fields["layers"]))),
            moe_layers=(),
            max_position_embeddings=inner.get("max_position_embeddings") or 1,
        )
    except KeyError as error:
        problem = f"it lacks {error}"
    except ValidationError as error:
        problem = first_problem(error)
    except (TypeError, ValueError, ZeroDivisionError):
        problem = "its sizes are no numbers"
    raise DocumentError(
        f"config.json of the draft {where} cannot be used: {problem}.", "Compare it with the published one."
    )


def draft_words(config: dict[str, Any], a: Architecture) -> int:
    """How many words it can propose."""
    inner = table_of(config, "transformer_layer_config") or config
    found = config.get("draft_vocab_size") or inner.get("draft_vocab_size") or a.vocab_size
    return found if type(found) is int and found > 0 else a.vocab_size


def target_width(config: dict[str, Any], a: Architecture) -> int:
    """The width of the model whose hidden states it reads."""
    inner = table_of(config, "transformer_layer_config") or config
    found = config.get("target_hidden_size") or inner.get("target_hidden_size") or a.hidden_size
    return found if type(found) is int else a.hidden_size


def auxiliary_of(config: dict[str, Any], speculation: Speculation) -> int:
    """How many hidden states of the model it reads for each token."""
    if speculation.method != "eagle3":
        return int(speculation.is_eagle)
    inner = table_of(config, "eagle_config") or {}
    layers = config.get("eagle_aux_hidden_state_layer_ids") or inner.get("eagle_aux_hidden_state_layer_ids")
    return len(layers) if isinstance(layers, list) and layers else AUXILIARY


def parts_of(tensors: Iterable["Tensor"]) -> tuple[Part, ...]:
    """The draft's weights, by component."""
    sums: dict[str, tuple[int, float]] = {}
    for tensor in tensors:
        pattern = next((each for each in NAMES if re.search(each, tensor.name)), None)
        component = NAMES[pattern] if pattern else "norm"
        if component is None:
            continue
        size = tensor.params * BYTES_BF16 if tensor.dtype in WIDE else tensor.bytes
        params, bytes_ = sums.get(component, (0, 0.0))
        sums[component] = params + tensor.params, bytes_ + size
    return tuple(Part(name, None, params, bytes=size) for name, (params, size) in sums.items())


def shaped(config: dict[str, Any], a: Architecture, words: int) -> tuple[Part, ...]:
    """The weights of an EAGLE-3 head without an embedding of its own; its first layer reads twice the width."""
    hidden, wide = a.hidden_size, 2 * a.hidden_size
    heads, keys = a.attention_heads * a.head_dim, a.kv_heads * a.head_dim
    later = a.layers - 1
    sizes = {
        "attention": wide * heads + heads * hidden + later * 2 * hidden * heads,
        "attention_kv": 2 * wide * keys + later * 2 * hidden * keys,
        "dense": a.layers * 3 * hidden * a.dense_intermediate,
        "lm_head": words * hidden,
        "norm": AUXILIARY * hidden * hidden + (3 * a.layers + 1) * hidden,
    }
    table = Part("norm", None, words, bytes=8.0 * words) if words != a.vocab_size else None
    made = tuple(Part(name, None, count, bytes=float(count * BYTES_BF16)) for name, count in sizes.items())
    return (*made, table) if table else made


@cache
def held_by_draft(draft: Draft, split: Split, length: int, batched_tokens: int, hidden_size: int) -> Held:
    """Weights, rotary table, and what is kept for each token of a step; on one GPU of the last stage."""
    a = draft.architecture
    if a is None:
        return Held(0.0, 0.0, 0.0)
    shares = [(part.component, part.bytes * fraction(part.component, a, split)) for part in draft.parts]
    positions = max(draft.positions, length) if draft.speculation.is_eagle else draft.positions
    tokens = batched_tokens * (
        2 * a.hidden_size * BYTES_BF16
        + draft.auxiliary * hidden_size * BYTES_BF16
        + data()["tables_bytes_per_token"]
    )
    beside = tokens + positions * a.head_dim * ROPE_BYTES
    error = beside * data()["error"]["beside_fraction"]
    # An embedding or a head that turns out to be the model's own is not kept twice, which headers do not tell.
    compared = ("embedding", "lm_head") if draft.speculation.is_eagle and draft.has_embedding else ()
    same = sum(size for name, size in shares if name in compared)
    return Held(sum(size for _, size in shares) + beside, error + same, error)


@dataclass(frozen=True, slots=True)
class Drafting:
    """What a step takes longer by drafts, on one GPU."""

    tokens: int
    """Proposed in a step to each request."""
    accepted: float
    """Tokens that a request gets of a step."""
    passes: int
    """Of the draft in each step; 0 where proposals are looked up."""
    pass_bytes: float = 0.0
    """Weights that a pass reads, but for the head."""
    pass_params: float = 0.0
    """Parameters that a token is multiplied with in a pass, but for the head."""
    head_bytes: float = 0.0
    """Of its head, or of the model's, which serves a draft without one."""
    layers: int = 0
    kv_values_per_token: int = 0
    """Keys and values of a token in its layers."""


@cache
def drafting(draft: Draft, split: Split, models_head_bytes: float) -> Drafting:
    """How a draft drafts on each GPU of a split."""
    a, tokens = draft.architecture, draft.speculation.tokens
    if a is None:
        return Drafting(tokens, draft.accepted, 0)
    shares = [(part, fraction(part.component, a, split)) for part in draft.parts]
    read = [(part, share) for part, share in shares if part.component not in ("embedding", "lm_head")]
    head = [part.bytes * share for part, share in shares if part.component == "lm_head"]
    return Drafting(
        tokens=tokens,
        accepted=draft.accepted,
        passes=tokens,
        pass_bytes=sum(part.bytes * share for part, share in read),
        pass_params=sum(part.params * share for part, share in read),
        head_bytes=sum(head) if head else models_head_bytes / split.tensor,
        layers=a.layers,
        kv_values_per_token=2 * max(1, a.kv_heads // split.tensor) * a.head_dim * a.layers,
    )
