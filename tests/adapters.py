"""What the tests of adapters share: an all-dense tiny Llama 4, which vLLM's CPU build adapts, and adapters of it."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.model import tiny

HEADER = "base_model.model."
MLP = 2 * tiny.EXPERT_SIZE
SHAPES = {
    "self_attn.q_proj": (tiny.HIDDEN, tiny.HEADS * tiny.HEAD_DIM),
    "self_attn.k_proj": (tiny.HIDDEN, tiny.KV_HEADS * tiny.HEAD_DIM),
    "self_attn.v_proj": (tiny.HIDDEN, tiny.KV_HEADS * tiny.HEAD_DIM),
    "self_attn.o_proj": (tiny.HEADS * tiny.HEAD_DIM, tiny.HIDDEN),
    "feed_forward.gate_proj": (tiny.HIDDEN, MLP),
    "feed_forward.up_proj": (tiny.HIDDEN, MLP),
    "feed_forward.down_proj": (MLP, tiny.HIDDEN),
}
"""Module of a layer -> what it reads, what it writes."""


def dense(folder: Path) -> Path:
    """A tiny Llama 4 without experts: the toy's own attention, and one MLP in each layer."""
    tiny.make(folder)
    config = tiny.text_config() | {"interleave_moe_layer_step": tiny.LAYERS + 1}
    tiny.write_json(folder / "config.json", config)
    random = np.random.default_rng(7)
    kept = {
        name: tensor
        for name, tensor in tiny.text_tensors("", np.random.default_rng(1))
        if "feed_forward" not in name
    }
    for layer in range(tiny.LAYERS):
        for name, (reads, writes) in SHAPES.items():
            if name.startswith("feed_forward"):
                kept[f"model.layers.{layer}.{name}.weight"] = tiny.normal(random, writes, reads)
    tiny.write_safetensors(folder / "model.safetensors", kept)
    return folder


def tensors(
    modules: Iterable[str] = ("self_attn.v_proj", "self_attn.o_proj"),
    rank: int = 8,
    prefix: str = f"{HEADER}model.",
    layers: int = tiny.LAYERS,
) -> dict[str, NDArray[np.uint16]]:
    """A and B of those modules in every layer, under peft's names."""
    random = np.random.default_rng(3)
    found = {}
    for layer in range(layers):
        for module in modules:
            reads, writes = SHAPES[module]
            place = f"{prefix}layers.{layer}.{module}"
            found[f"{place}.lora_A.weight"] = tiny.normal(random, rank, reads)
            found[f"{place}.lora_B.weight"] = tiny.normal(random, writes, rank)
    return found


def config(**changed: Any) -> dict[str, Any]:
    """adapter_config.json as peft writes it, with some of it changed; None leaves a field out."""
    said = {
        "peft_type": "LORA",
        "base_model_name_or_path": "somebody/tiny-dense",
        "r": 8,
        "lora_alpha": 16,
        "target_modules": ["v_proj", "o_proj"],
        "bias": "none",
        "use_dora": False,
        "use_rslora": False,
        "modules_to_save": None,
        "init_lora_weights": True,
        "rank_pattern": {},
        "alpha_pattern": {},
        "task_type": "CAUSAL_LM",
    } | changed
    return {field: value for field, value in said.items() if value is not None or field == "modules_to_save"}


def adapter(
    folder: Path, held: Mapping[str, NDArray[np.uint16]] | None = None, said: dict[str, Any] | None = None
) -> Path:
    """The folder of an adapter."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps(config() if said is None else said))
    tiny.write_safetensors(folder / "adapter_model.safetensors", tensors() if held is None else held)
    return folder
