"""A tiny Llama 4 with random weights: the real architecture, tensor names and files, in about a second and 3 MB.

It answers nonsense; what it is for is that everything around a model (the engine, the planner, the probe) is real.
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from infra.home import make_folder
from serving.model import tiny_tokenizer

Layout = Literal["text", "multimodal"]
Tensor = NDArray[np.uint16]

HIDDEN, LAYERS, HEADS, KV_HEADS, HEAD_DIM = 128, 4, 4, 2, 32
EXPERTS, EXPERT_SIZE, CHUNK, CONTEXT = 4, 128, 256, 16384
VISION_HIDDEN, VISION_LAYERS, PATCH, IMAGE = 64, 2, 14, 56
VISION_MLP = 4 * VISION_HIDDEN  # as in the real tower: also the width after pixel shuffle joins 2x2 patches
SPREAD = 0.15


def make(folder: Path, layout: Layout = "text", seed: int = 1) -> Path:
    """Write a tiny checkpoint into `folder`, replacing what is there; equal seeds give equal bytes.

    `text` is Llama4ForCausalLM in one shard; `multimodal` is Llama4ForConditionalGeneration in two, with an index.
    """
    shutil.rmtree(folder, ignore_errors=True)
    make_folder(folder)
    tiny_tokenizer.write(folder)
    write_json(folder / "config.json", text_config() if layout == "text" else multimodal_config())
    write_json(folder / "generation_config.json", generation_config())
    if layout == "multimodal":
        write_json(folder / "preprocessor_config.json", image_processor())
        write_json(
            folder / "processor_config.json", {"processor_class": "Llama4Processor", "patch_size": PATCH}
        )
    write_weights(folder, layout, np.random.default_rng(seed))
    return folder


def text_config() -> dict[str, Any]:
    """config.json of the text layout: Scout's shape in small, three chunked layers to one global without RoPE."""
    ids = tiny_tokenizer.token_ids()
    return {
        "architectures": ["Llama4ForCausalLM"],
        "model_type": "llama4_text",
        "torch_dtype": "bfloat16",
        "vocab_size": len(ids),
        "hidden_size": HIDDEN,
        "intermediate_size": EXPERT_SIZE,
        "intermediate_size_mlp": 2 * EXPERT_SIZE,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "head_dim": HEAD_DIM,
        "hidden_act": "silu",
        "max_position_embeddings": CONTEXT,
        "rms_norm_eps": 1e-5,
        "rope_theta": 500000.0,
        "attention_chunk_size": CHUNK,
        "no_rope_layers": [int((layer + 1) % 4 != 0) for layer in range(LAYERS)],
        "interleave_moe_layer_step": 1,
        "num_local_experts": EXPERTS,
        "num_experts_per_tok": 1,
        "use_qk_norm": True,
        "attn_temperature_tuning": True,
        "tie_word_embeddings": False,
        "bos_token_id": ids["<|begin_of_text|>"],
        "eos_token_id": [ids["<|end_of_text|>"], ids["<|eom|>"], ids["<|eot|>"]],
        "pad_token_id": ids["<|finetune_right_pad|>"],
    }


def multimodal_config() -> dict[str, Any]:
    """config.json of the layout of the published checkpoints: the text part and a vision tower."""
    ids = tiny_tokenizer.token_ids()
    text = text_config()
    del text["architectures"]
    return {
        "architectures": ["Llama4ForConditionalGeneration"],
        "model_type": "llama4",
        "torch_dtype": "bfloat16",
        "tie_word_embeddings": False,
        "boi_token_index": ids["<|image_start|>"],
        "eoi_token_index": ids["<|image_end|>"],
        "image_token_index": ids["<|patch|>"],
        "text_config": text,
        "vision_config": {
            "model_type": "llama4_vision_model",
            "hidden_size": VISION_HIDDEN,
            "num_hidden_layers": VISION_LAYERS,
            "num_attention_heads": 4,
            "intermediate_size": VISION_MLP,
            "image_size": IMAGE,
            "patch_size": PATCH,
            "num_channels": 3,
            "pixel_shuffle_ratio": 0.5,
            "projector_input_dim": HIDDEN,
            "projector_output_dim": HIDDEN,
            "vision_output_dim": HIDDEN,
            "rope_theta": 10000,
        },
    }


def generation_config() -> dict[str, Any]:
    """generation_config.json, with Llama 4's published sampling."""
    ids = text_config()["eos_token_id"]
    return {"do_sample": True, "eos_token_id": ids, "temperature": 0.6, "top_p": 0.9}


def image_processor() -> dict[str, Any]:
    """preprocessor_config.json: images in tiles of the tower's size."""
    return {
        "image_processor_type": "Llama4ImageProcessorFast",
        "processor_class": "Llama4Processor",
        "size": {"height": IMAGE, "width": IMAGE},
        "max_patches": 4,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    }


def write_weights(folder: Path, layout: Layout, random: np.random.Generator) -> None:
    """Write the tensors: one shard for the text layout, two and their index for the multimodal one."""
    if layout == "text":
        write_safetensors(folder / "model.safetensors", dict(text_tensors("", random)))
        return
    shards = {
        "model-00001-of-00002.safetensors": dict(text_tensors("language_model.", random)),
        "model-00002-of-00002.safetensors": dict(vision_tensors(random)),
    }
    for name, tensors in shards.items():
        write_safetensors(folder / name, tensors)
    size = sum(tensor.nbytes for tensors in shards.values() for tensor in tensors.values())
    places = {tensor: name for name, tensors in shards.items() for tensor in tensors}
    write_json(
        folder / "model.safetensors.index.json", {"metadata": {"total_size": size}, "weight_map": places}
    )


def text_tensors(prefix: str, random: np.random.Generator) -> Iterator[tuple[str, Tensor]]:
    """The language model's tensors, under the real names."""
    ids = tiny_tokenizer.token_ids()
    yield f"{prefix}model.embed_tokens.weight", normal(random, len(ids), HIDDEN)
    for layer in range(LAYERS):
        for name, tensor in layer_tensors(random):
            yield f"{prefix}model.layers.{layer}.{name}", tensor
    yield f"{prefix}model.norm.weight", ones(HIDDEN)
    yield f"{prefix}lm_head.weight", output_head(ids, random)


def layer_tensors(random: np.random.Generator) -> Iterator[tuple[str, Tensor]]:
    """One decoder layer: attention, the routed experts (fused, [experts, in, out]) and the shared one."""
    yield "input_layernorm.weight", ones(HIDDEN)
    yield "post_attention_layernorm.weight", ones(HIDDEN)
    yield "self_attn.q_proj.weight", normal(random, HEADS * HEAD_DIM, HIDDEN)
    yield "self_attn.k_proj.weight", normal(random, KV_HEADS * HEAD_DIM, HIDDEN)
    yield "self_attn.v_proj.weight", normal(random, KV_HEADS * HEAD_DIM, HIDDEN)
    yield "self_attn.o_proj.weight", normal(random, HIDDEN, HEADS * HEAD_DIM)
    yield "feed_forward.router.weight", normal(random, EXPERTS, HIDDEN)
    yield "feed_forward.experts.gate_up_proj", normal(random, EXPERTS, HIDDEN, 2 * EXPERT_SIZE)
    yield "feed_forward.experts.down_proj", normal(random, EXPERTS, EXPERT_SIZE, HIDDEN)
    yield "feed_forward.shared_expert.gate_proj.weight", normal(random, EXPERT_SIZE, HIDDEN)
    yield "feed_forward.shared_expert.up_proj.weight", normal(random, EXPERT_SIZE, HIDDEN)
    yield "feed_forward.shared_expert.down_proj.weight", normal(random, HIDDEN, EXPERT_SIZE)


def output_head(ids: Mapping[str, int], random: np.random.Generator) -> Tensor:
    """The output head, with small rows for bytes and special tokens: the toy then speaks in words, and goes on."""
    words = [
        number for token, number in ids.items() if len(token) > 2 and token not in tiny_tokenizer.SPECIAL
    ]
    rows = np.full((len(ids), 1), 0.02, dtype=np.float32)
    rows[words] = SPREAD
    return bfloat16(random.standard_normal((len(ids), HIDDEN), dtype=np.float32) * rows)


def vision_tensors(random: np.random.Generator) -> Iterator[tuple[str, Tensor]]:
    """The vision tower's tensors and the projector's, under the real names."""
    patches = (IMAGE // PATCH) ** 2
    yield "vision_model.patch_embedding.linear.weight", normal(random, VISION_HIDDEN, 3 * PATCH * PATCH)
    yield "vision_model.class_embedding", normal(random, VISION_HIDDEN)
    yield "vision_model.positional_embedding_vlm", normal(random, patches + 1, VISION_HIDDEN)
    for norm in ("layernorm_pre", "layernorm_post"):
        yield from with_bias(f"vision_model.{norm}", ones(VISION_HIDDEN))
    for layer in range(VISION_LAYERS):
        yield from vision_layer_tensors(f"vision_model.model.layers.{layer}", random)
    yield "vision_model.vision_adapter.mlp.fc1.weight", normal(random, HIDDEN, VISION_MLP)
    yield "vision_model.vision_adapter.mlp.fc2.weight", normal(random, HIDDEN, HIDDEN)
    yield "multi_modal_projector.linear_1.weight", normal(random, HIDDEN, HIDDEN)


def vision_layer_tensors(prefix: str, random: np.random.Generator) -> Iterator[tuple[str, Tensor]]:
    """One layer of the vision tower; all its projections carry a bias."""
    for norm in ("input_layernorm", "post_attention_layernorm"):
        yield from with_bias(f"{prefix}.{norm}", ones(VISION_HIDDEN))
    for projection in ("q_proj", "k_proj", "v_proj", "o_proj"):
        yield from with_bias(f"{prefix}.self_attn.{projection}", normal(random, VISION_HIDDEN, VISION_HIDDEN))
    yield from with_bias(f"{prefix}.mlp.fc1", normal(random, VISION_MLP, VISION_HIDDEN))
    yield from with_bias(f"{prefix}.mlp.fc2", normal(random, VISION_HIDDEN, VISION_MLP))


def with_bias(name: str, weight: Tensor) -> Iterator[tuple[str, Tensor]]:
    """A weight and a bias of zeros, one for each of its rows."""
    yield f"{name}.weight", weight
    yield f"{name}.bias", np.zeros(weight.shape[0], dtype=np.uint16)


def normal(random: np.random.Generator, *shape: int) -> Tensor:
    """Random weights."""
    return bfloat16(random.standard_normal(shape, dtype=np.float32) * np.float32(SPREAD))


def ones(size: int) -> Tensor:
    """A normalisation that changes nothing."""
    return bfloat16(np.ones(size, dtype=np.float32))


def bfloat16(values: NDArray[np.float32]) -> Tensor:
    """The upper halves of the floats: bfloat16, which numpy has no type for."""
    return (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)


def write_safetensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors in the safetensors format: an 8-byte length, a JSON header, the bytes."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, tensor in tensors.items():
        start, end = end, end + tensor.nbytes
        header[name] = {"dtype": "BF16", "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for tensor in tensors.values():
            file.write(tensor.tobytes())


def write_json(path: Path, value: Any) -> None:
    """Write one JSON file of the checkpoint."""
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
