"""A config.json of Llama 4 in our words: every field, what stands in for a missing one, and what is none of ours."""

from typing import Any

import pytest
from pydantic import ValidationError

from infra.errors import DocumentError
from serving.model import models
from serving.model.config import architecture_of, dtype_of
from serving.model.loaders import precision_of
from serving.model.models import Architecture, Vision

TEXT: dict[str, Any] = {
    "hidden_size": 8,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 3,
    "intermediate_size": 16,
    "intermediate_size_mlp": 32,
    "num_local_experts": 5,
    "num_experts_per_tok": 2,
    "vocab_size": 64,
    "attention_chunk_size": 10,
    "no_rope_layers": [1, 1, 0, 1, 1, 0],
    "moe_layers": [1, 4],
    "max_position_embeddings": 100,
    "tie_word_embeddings": True,
}
VISION: dict[str, Any] = {
    "hidden_size": 20,
    "num_hidden_layers": 21,
    "num_attention_heads": 22,
    "intermediate_size": 23,
    "patch_size": 24,
    "image_size": 25,
    "projector_input_dim": 26,
    "projector_output_dim": 27,
    "pixel_shuffle_ratio": 0.25,
}


def repr_of(value: object) -> str:
    return repr(value)[:12]


WHOLE = Architecture(
    hidden_size=8,
    layers=6,
    attention_heads=4,
    kv_heads=2,
    head_dim=3,
    expert_intermediate=16,
    dense_intermediate=32,
    experts=5,
    experts_per_token=2,
    shared_experts=1,
    vocab_size=64,
    attention_chunk_size=10,
    global_layers=(2, 5),
    moe_layers=(1, 4),
    max_position_embeddings=100,
    tied_embeddings=True,
    vision=Vision(
        hidden_size=20,
        layers=21,
        heads=22,
        intermediate=23,
        patch_size=24,
        image_size=25,
        projector_input=26,
        projector_output=27,
        pixel_shuffle_ratio=0.25,
    ),
)


def multimodal(text: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    whole = {"text_config": TEXT if text is None else text, "vision_config": VISION}
    return {"architectures": ["Llama4ForConditionalGeneration"]} | whole | changes


def without(config: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in config.items() if name not in names}


def test_every_field() -> None:
    assert architecture_of(multimodal(), "x") == WHOLE
    flat = {"architectures": ["Llama4ForCausalLM"]} | TEXT
    assert architecture_of(flat, "x") == WHOLE.model_copy(update={"vision": None})


def test_what_the_released_files_leave_out() -> None:
    optional = (
        "head_dim",
        "intermediate_size_mlp",
        "num_experts_per_tok",
        "attention_chunk_size",
        "moe_layers",
    )
    short = without(TEXT, *optional, "no_rope_layers", "tie_word_embeddings")
    bare = multimodal(short, vision_config=without(VISION, "pixel_shuffle_ratio"))
    assert WHOLE.vision is not None
    assert architecture_of(bare, "x") == WHOLE.model_copy(
        update={
            "head_dim": 2,
            "dense_intermediate": 16,
            "experts_per_token": 1,
            "attention_chunk_size": None,
            "global_layers": (3,),
            "moe_layers": (0, 1, 2, 3, 4, 5),
            "tied_embeddings": False,
            "vision": WHOLE.vision.model_copy(update={"pixel_shuffle_ratio": 0.5}),
        }
    )
    stepped = short | {"no_rope_layers": [], "no_rope_layer_interval": 3, "interleave_moe_layer_step": 2}
    found = architecture_of(multimodal(stepped), "x")
    assert (found.global_layers, found.moe_layers) == ((2, 5), (1, 3, 5))


@pytest.mark.parametrize(
    ("config", "message", "hint"),
    [
        (
            {"architectures": ["LlamaForCausalLM", "Other"]},
            "x is not a Llama 4 checkpoint: its config.json names LlamaForCausalLM, Other.",
            "corral sizes Llama4ForCausalLM and Llama4ForConditionalGeneration.",
        ),
        (
            {},
            "x is not a Llama 4 checkpoint: its config.json names no architecture.",
            "corral sizes Llama4ForCausalLM and Llama4ForConditionalGeneration.",
        ),
        (
            multimodal(without(TEXT, "vocab_size")),
            "config.json of x lacks 'vocab_size'.",
            "Compare it with the published one.",
        ),
        (
            multimodal(TEXT | {"vocab_size": "many"}),
            "config.json of x cannot be used: vocab_size: Input should be a valid integer, unable to parse string as an"
            " integer.",
            "Compare it with the published one.",
        ),
        (
            multimodal(TEXT | {"num_hidden_layers": "x"}),
            "config.json of x cannot be used: invalid literal for int() with base 10: 'x'.",
            "Compare it with the published one.",
        ),
    ],
)
def test_a_config_that_is_none_of_llama_4(config: dict[str, Any], message: str, hint: str) -> None:
    with pytest.raises(DocumentError) as caught:
        architecture_of(config, "x")
    assert (caught.value.message, caught.value.hint) == (message, hint)


@pytest.mark.parametrize(
    ("config", "dtype"),
    [
        ({}, "bfloat16"),
        ({"dtype": "float16"}, "float16"),
        ({"torch_dtype": "float16"}, "float16"),
        ({"text_config": {"dtype": "float16"}}, "float16"),
        ({"text_config": {"torch_dtype": "float16"}}, "float16"),
        ({"dtype": "bfloat16", "torch_dtype": "float16"}, "bfloat16"),
        ({"torch_dtype": "float32"}, "bfloat16"),
    ],
)
def test_what_vllm_computes_in(config: dict[str, Any], dtype: str) -> None:
    assert dtype_of(config) == dtype


@pytest.mark.parametrize(
    ("quantization", "precision"),
    [
        (None, "bf16"),
        ("none", "bf16"),
        ({"quant_method": "fbgemm_fp8"}, "fp8"),
        ({"quant_method": "compressed-tensors", "format": "NVFP4-pack-quantized"}, "nvfp4"),
        ({"quant_method": "compressed-tensors", "weights": {"num_bits": 4}}, "int4"),
        ({"quant_method": "compressed-tensors", "weights": {"num_bits": 8}}, "fp8"),
        ({"quant_method": "AWQ"}, "int4"),
        ({"quant_method": "gptq"}, "int4"),
    ],
)
def test_how_the_weights_are_stored(quantization: object, precision: str) -> None:
    assert precision_of({"quantization_config": quantization}) == precision


@pytest.mark.parametrize(("method", "since"), [("bitsandbytes", "0.28.0"), ("gguf", "0.24.0")])
def test_what_vllm_no_longer_loads(method: str, since: str) -> None:
    with pytest.raises(DocumentError) as caught:
        precision_of({"quantization_config": {"quant_method": method}})
    assert caught.value.message == (
        f"The checkpoint is stored with {method}, which vLLM no longer loads (out of its tree by {since})."
    )
    assert caught.value.hint == "Use a compressed-tensors checkpoint: corral size scout --precision int4"


NUMBERS = [key for key, value in TEXT.items() if type(value) is int]


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize(
    "value",
    [2**31, 2**63, -1, 1e300, 1e18, 0.5, "many", "9" * 5000, [3], {}, True, [[[]]], None],
    ids=repr_of,
)
def test_a_number_that_is_none_of_a_model_is_one_sentence_or_no_different(name: str, value: Any) -> None:
    """Each ends at once: 2**31 layers are not gone through first."""
    said = said_of({**TEXT, name: value})
    assert said == "" or said.startswith("config.json of x ")
    assert (said.isprintable(), len(said) < 500) == (True, True)


# The least and the most that a model may have; what is reckoned of them stays what a float can hold.
BOUNDS = (
    dict.fromkeys(("hidden_size", "attention_heads", "kv_heads", "head_dim", "vocab_size"), (1, 2**24))
    | dict.fromkeys(
        ("expert_intermediate", "dense_intermediate", "experts", "experts_per_token", "shared_experts"),
        (0, 2**24),
    )
    | dict.fromkeys(("attention_chunk_size", "max_position_embeddings"), (1, 2**31))
    | {"layers": (1, 4096)}
)


def test_every_number_of_a_model_has_a_least_and_a_most() -> None:
    given = architecture_of({"architectures": ["Llama4ForCausalLM"], **TEXT}, "x").model_dump()
    given |= {"global_layers": (), "moe_layers": ()}
    numbers = {name for name, field in Architecture.model_fields.items() if "int" in str(field.annotation)}
    assert BOUNDS.keys() == numbers - {"global_layers", "moe_layers"}
    for name, (least, most) in BOUNDS.items():
        for taken in (least, most):
            assert getattr(Architecture.model_validate(given | {name: taken}), name) == taken
        for refused in (least - 1, most + 1):
            with pytest.raises(ValidationError, match=name):
                Architecture.model_validate(given | {name: refused})


@pytest.mark.parametrize("field", ["global_layers", "moe_layers"])
def test_no_list_of_layers_is_longer_or_beyond_the_most_there_may_be(field: str) -> None:
    given = architecture_of({"architectures": ["Llama4ForCausalLM"], **TEXT}, "x").model_dump()
    for wrong in ([4096], [-1], [0] * 4097):
        with pytest.raises(ValidationError, match=field):
            Architecture.model_validate(given | {"layers": 4096, field: wrong})


def said_of(config: dict[str, Any]) -> str:
    """What is said against a config; "" for one that can be used, with no more layers than can be gone through."""
    try:
        assert architecture_of({"architectures": ["Llama4ForCausalLM"], **config}, "x").layers <= 4096
    except DocumentError as error:
        return error.message
    return ""


@pytest.mark.parametrize(
    "architectures", [3, None, "Llama4ForCausalLM", {}, [3], [["Llama4ForCausalLM"]], [{}], ["\x1b[2J"]]
)
def test_architectures_that_are_none_of_ours(architectures: object) -> None:
    with pytest.raises(DocumentError) as caught:
        architecture_of({**TEXT, "architectures": architectures}, "x")
    assert caught.value.message.startswith("x is not a Llama 4")
    assert caught.value.message.isprintable()


@pytest.mark.parametrize(
    "name", ["text_config", "vision_config", "no_rope_layers", "moe_layers", "quantization_config"]
)
@pytest.mark.parametrize(
    "value", [5, "a", [5], [2**63], {"a": 5}, [[]], True, 1e18, [-1], [0] * 100_000], ids=repr_of
)
def test_a_table_or_list_that_is_none(name: str, value: Any) -> None:
    config = {"architectures": ["Llama4ForCausalLM"], **TEXT, name: value}
    assert dtype_of(config) == "bfloat16"
    if (name, value) == ("quantization_config", {"a": 5}):
        with pytest.raises(DocumentError, match="is stored with a quantization without a name"):
            precision_of(config)
    else:
        assert precision_of(config) == "bf16"
    said = said_of(config)
    assert said == "" or said.startswith("config.json of x ")


def test_no_more_layers_are_gone_through_than_there_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def every(layers: int, step: int) -> tuple[int, ...]:
        asked.append(layers)
        return (0,)

    monkeypatch.setattr(models, "every", every)
    said = said_of({**TEXT, "num_hidden_layers": 2**31})
    assert said.startswith("config.json of x cannot be used: layers: ")
    assert asked == [4096, 4096]
