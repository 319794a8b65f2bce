"""PURE: what a config.json says, in our words; its family says under which names."""

from typing import Any

from pydantic import ValidationError

from infra.errors import DocumentError
from infra.printable import one_line
from infra.record import first_problem
from serving.model import families
from serving.model.families import Family
from serving.model.loaders import table_of
from serving.model.models import Architecture, Vision, architecture

TRANSFORMERS = {
    "hidden_size": "hidden_size",
    "layers": "num_hidden_layers",
    "attention_heads": "num_attention_heads",
    "kv_heads": "num_key_value_heads",
    "vocab_size": "vocab_size",
    "max_position_embeddings": "max_position_embeddings",
}
"""Our field = the one of config.json, the same in every family and never left out."""
NEVER_LEFT_OUT = ("expert_intermediate", "experts")
"""Of the fields that a family names itself."""


def family_of(config: dict[str, Any], where: str) -> Family:
    """The family of a config. Raises DocumentError when it is none that corral sizes."""
    listed = config.get("architectures")
    names = [name for name in listed if isinstance(name, str)] if isinstance(listed, list) else []
    family = families.family_of(names)
    if family is None:
        raise DocumentError(
            f"{where} is not a {families.titles()} checkpoint: its config.json names "
            f"{one_line(', '.join(names)) or 'no architecture'}.",
            f"corral sizes {families.architectures()}.",
        )
    return family


def architecture_of(config: dict[str, Any], where: str) -> Architecture:
    """The architecture of a config. Raises DocumentError when it is of no family of ours or lacks a field."""
    family = family_of(config, where)
    try:
        text = text_fields(table_of(config, "text_config") or config, family)
        return architecture(text | {"vision": vision_of(table_of(config, "vision_config"))})
    except KeyError as error:
        raise DocumentError(
            f"config.json of {where} lacks {error}.", "Compare it with the published one."
        ) from None
    except ValidationError as error:
        problem = first_problem(error)
    except (TypeError, ValueError, ZeroDivisionError) as error:
        problem = one_line(str(error))
    raise DocumentError(
        f"config.json of {where} cannot be used: {problem}.", "Compare it with the published one."
    )


def text_fields(text: dict[str, Any], family: Family) -> dict[str, Any]:
    """The text model's fields in our words, with the family's defaults where the released files leave them out."""
    fields = {ours: text[theirs] for ours, theirs in TRANSFORMERS.items()}
    fields |= {
        "layers": int(fields["layers"]),
        "head_dim": text.get("head_dim") or int(fields["hidden_size"]) // int(fields["attention_heads"]),
        "tied_embeddings": text.get("tie_word_embeddings", False),
    }
    fields |= family.otherwise | {
        ours: text[theirs]
        for ours, theirs in family.config.items()
        if ours in NEVER_LEFT_OUT or text.get(theirs) not in (None, [])
    }
    if "dense_intermediate" not in fields:
        fields["dense_intermediate"] = text["intermediate_size"]
    if rotary := fields.get("rotary_layers"):
        fields["global_layers"] = tuple(layer for layer, flag in enumerate(rotary) if not flag)
    return fields


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
    text = table_of(config, "text_config")
    said = config.get("dtype") or config.get("torch_dtype") or text.get("dtype") or text.get("torch_dtype")
    return str(said) if said in ("bfloat16", "float16") else "bfloat16"
