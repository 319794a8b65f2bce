"""PURE: what a Llama 4 config.json says, in our words."""

from typing import Any

from pydantic import ValidationError

from infra.errors import DocumentError
from infra.record import first_problem
from serving.model.models import Architecture, Vision, every

TEXT, MULTIMODAL = "Llama4ForCausalLM", "Llama4ForConditionalGeneration"
GONE = {"bitsandbytes": "out of its tree by 0.28.0", "gguf": "out of its tree by 0.24.0"}
NOPE_INTERVAL = 4
"""transformers' default when `no_rope_layers` is empty: every fourth layer has no rotary embedding."""


def architecture_of(config: dict[str, Any], where: str) -> Architecture:
    """The architecture of a config. Raises DocumentError when it is not Llama 4 or lacks a field."""
    named = config.get("architectures") or []
    if not set(named) & {TEXT, MULTIMODAL}:
        found = ", ".join(map(str, named)) or "no architecture"
        raise DocumentError(
            f"{where} is not a Llama 4 checkpoint: its config.json names {found}.",
            f"corral sizes {TEXT} and {MULTIMODAL}.",
        )
    try:
        return text_architecture(config.get("text_config") or config, vision_of(config.get("vision_config")))
    except KeyError as error:
        raise DocumentError(
            f"config.json of {where} lacks {error}.", "Compare it with the published one."
        ) from None
    except ValidationError as error:
        problem = first_problem(error)
    except (TypeError, ValueError, ZeroDivisionError) as error:
        problem = str(error)
    raise DocumentError(
        f"config.json of {where} cannot be used: {problem}.", "Compare it with the published one."
    )


def text_architecture(text: dict[str, Any], vision: Vision | None) -> Architecture:
    """The text model's fields, with transformers' defaults where the released files leave them out."""
    layers = int(text["num_hidden_layers"])
    return Architecture(
        hidden_size=text["hidden_size"],
        layers=layers,
        attention_heads=text["num_attention_heads"],
        kv_heads=text["num_key_value_heads"],
        head_dim=text.get("head_dim") or text["hidden_size"] // text["num_attention_heads"],
        expert_intermediate=text["intermediate_size"],
        dense_intermediate=text.get("intermediate_size_mlp", text["intermediate_size"]),
        experts=text["num_local_experts"],
        experts_per_token=text.get("num_experts_per_tok", 1),
        shared_experts=1,
        vocab_size=text["vocab_size"],
        attention_chunk_size=text.get("attention_chunk_size"),
        global_layers=global_layers(text, layers),
        moe_layers=tuple(text.get("moe_layers") or every(layers, text.get("interleave_moe_layer_step", 1))),
        max_position_embeddings=text["max_position_embeddings"],
        tied_embeddings=text.get("tie_word_embeddings", False),
        vision=vision,
    )


def global_layers(text: dict[str, Any], layers: int) -> tuple[int, ...]:
    """The layers without rotary embedding, which attend to the whole context."""
    flags = text.get("no_rope_layers") or []
    if not flags:
        return every(layers, int(text.get("no_rope_layer_interval") or NOPE_INTERVAL))
    return tuple(layer for layer, rotary in enumerate(flags) if not rotary)


def vision_of(vision: dict[str, Any] | None) -> Vision | None:
    """The vision tower's fields."""
    if not vision:
        return None
    return Vision(
        hidden_size=vision["hidden_size"],
        layers=vision["num_hidden_layers"],
        heads=vision["num_attention_heads"],
        intermediate=vision["intermediate_size"],
        patch_size=vision["patch_size"],
        image_size=vision["image_size"],
        projector_input=vision["projector_input_dim"],
        projector_output=vision["projector_output_dim"],
        pixel_shuffle_ratio=vision.get("pixel_shuffle_ratio", 0.5),
    )


def dtype_of(config: dict[str, Any]) -> str:
    """The dtype vLLM computes in with --dtype auto: the config's, but BF16 for an FP32 checkpoint."""
    text = config.get("text_config") or {}
    said = config.get("dtype") or config.get("torch_dtype") or text.get("dtype") or text.get("torch_dtype")
    return str(said) if said in ("bfloat16", "float16") else "bfloat16"


def precision_of(config: dict[str, Any]) -> str:
    """bf16, or what quantization_config says the weights are."""
    quantization = config.get("quantization_config")
    if not isinstance(quantization, dict):
        return "bf16"
    said = str(quantization).lower()
    method = str(quantization.get("quant_method"))
    if method in GONE:
        raise DocumentError(
            f"The checkpoint is stored with {method}, which vLLM no longer loads ({GONE[method]}).",
            "Use a compressed-tensors checkpoint: corral size scout --precision int4",
        )
    if "nvfp4" in said:
        return "nvfp4"
    return "int4" if "'num_bits': 4" in said or "awq" in said or "gptq" in said else "fp8"
