"""What headers say of the published layouts, against the shipped table: per rank, and parameter by parameter."""

import re
from collections.abc import Callable, Iterator

import pytest

from serving.model import tensors
from serving.model.models import Architecture, model
from serving.model.safetensors import BITS, Tensor
from serving.model.tensors import parts_of
from serving.model.weights import Part, Split, params, parts, rank_bytes

LLAMA4 = model("scout").family
Stored = Callable[[str, tuple[int, ...]], Iterator[Tensor]]


def tensor(name: str, dtype: str, *shape: int) -> Tensor:
    size = BITS[dtype]
    for side in shape:
        size *= side
    return Tensor(name, dtype, shape, size // 8)


def bf16(name: str, shape: tuple[int, ...]) -> Iterator[Tensor]:
    yield tensor(f"{name}.weight", "BF16", *shape)


def fp8(name: str, shape: tuple[int, ...]) -> Iterator[Tensor]:
    """Compressed tensors, a BF16 scale for each output row."""
    yield tensor(f"{name}.weight", "F8_E4M3", *shape)
    yield tensor(f"{name}.weight_scale", "BF16", shape[0], 1)


def int4(name: str, shape: tuple[int, ...]) -> Iterator[Tensor]:
    """Compressed tensors, eight values in an int32, a BF16 scale for 128 of them."""
    yield tensor(f"{name}.weight_packed", "I32", shape[0], shape[1] // 8)
    yield tensor(f"{name}.weight_scale", "BF16", shape[0], shape[1] // 128)
    yield tensor(f"{name}.weight_shape", "I64", 2)


def nvfp4(name: str, shape: tuple[int, ...]) -> Iterator[Tensor]:
    """Compressed tensors, two values in a byte, an FP8 scale for 16 of them."""
    yield tensor(f"{name}.weight_packed", "U8", shape[0], shape[1] // 2)
    yield tensor(f"{name}.weight_scale", "F8_E4M3", shape[0], shape[1] // 16)
    yield tensor(f"{name}.weight_global_scale", "F32", 1)
    yield tensor(f"{name}.input_global_scale", "F32", 1)


def mlp(name: str, hidden: int, intermediate: int, stored: Stored) -> Iterator[Tensor]:
    yield from stored(f"{name}.gate_proj", (intermediate, hidden))
    yield from stored(f"{name}.up_proj", (intermediate, hidden))
    yield from stored(f"{name}.down_proj", (hidden, intermediate))


def layer(a: Architecture, number: int, stored: Stored) -> Iterator[Tensor]:
    name, hidden = f"language_model.model.layers.{number}", a.hidden_size
    queries, keys = a.attention_heads * a.head_dim, a.kv_heads * a.head_dim
    for projection, shape in {
        "q": (queries, hidden),
        "k": (keys, hidden),
        "v": (keys, hidden),
        "o": (hidden, queries),
    }.items():
        yield from bf16(f"{name}.self_attn.{projection}_proj", shape)
    yield from bf16(f"{name}.input_layernorm", (hidden,))
    yield from bf16(f"{name}.post_attention_layernorm", (hidden,))
    if number not in a.moe_layers:
        yield from mlp(f"{name}.feed_forward", hidden, a.dense_intermediate, stored)
        return
    yield from bf16(f"{name}.feed_forward.router", (a.experts, hidden))
    yield from mlp(f"{name}.feed_forward.shared_expert", hidden, a.expert_intermediate, stored)
    for expert in range(a.experts):
        yield from mlp(f"{name}.feed_forward.experts.{expert}", hidden, a.expert_intermediate, stored)


def vision(a: Architecture) -> Iterator[Tensor]:
    v = a.vision
    assert v is not None
    yield tensor("vision_model.class_embedding", "BF16", v.hidden_size)
    patches = (v.image_size // v.patch_size) ** 2
    yield tensor("vision_model.positional_embedding_vlm", "BF16", patches + 1, v.hidden_size)
    yield from bf16("vision_model.patch_embedding.linear", (v.hidden_size, 3 * v.patch_size**2))
    norms = ["vision_model.layernorm_pre", "vision_model.layernorm_post"]
    for number in range(v.layers):
        name = f"vision_model.model.layers.{number}"
        norms += [f"{name}.input_layernorm", f"{name}.post_attention_layernorm"]
        for projection in "qkvo":
            yield from with_bias(f"{name}.self_attn.{projection}_proj", v.hidden_size, v.hidden_size)
        yield from with_bias(f"{name}.mlp.fc1", v.intermediate, v.hidden_size)
        yield from with_bias(f"{name}.mlp.fc2", v.hidden_size, v.intermediate)
    for norm in norms:
        yield from bf16(norm, (v.hidden_size,))
        yield tensor(f"{norm}.bias", "BF16", v.hidden_size)
    yield from bf16("vision_model.vision_adapter.mlp.fc1", (v.projector_input, v.intermediate))
    yield from bf16("vision_model.vision_adapter.mlp.fc2", (v.projector_output, v.projector_input))
    yield from bf16("multi_modal_projector.linear_1", (a.hidden_size, v.projector_output))


def with_bias(name: str, rows: int, columns: int) -> Iterator[Tensor]:
    yield from bf16(name, (rows, columns))
    yield tensor(f"{name}.bias", "BF16", rows)


def checkpoint(a: Architecture, stored: Stored) -> Iterator[Tensor]:
    """Every tensor of a published checkpoint of that architecture."""
    yield from bf16("language_model.model.embed_tokens", (a.vocab_size, a.hidden_size))
    for number in range(a.layers):
        yield from layer(a, number, stored)
    yield from bf16("language_model.model.norm", (a.hidden_size,))
    yield from bf16("language_model.lm_head", (a.vocab_size, a.hidden_size))
    yield from vision(a)


def ranks(weights: tuple[Part, ...], a: Architecture) -> list[float]:
    splits = (Split(1), Split(2), Split(8), Split(8, expert=True), Split(4, data=2, expert=True))
    return [rank_bytes(weights, a, split, text_only)[0] for split in splits for text_only in (False, True)]


@pytest.mark.parametrize("name", ["scout", "maverick"])
@pytest.mark.parametrize("stored", [bf16, fp8, int4, nvfp4])
def test_headers_and_table_agree(name: str, stored: Stored) -> None:
    """The table leaves out what is a byte or two in a million: shapes, global scales."""
    known = model(name)
    a = known.architecture
    read = parts_of(checkpoint(a, stored), LLAMA4)
    assert sum(part.params for part in read) == params(a)
    if name == "maverick" and stored is fp8:
        return  # the table has Meta's own FP8 layout, which quantizes the routed experts only
    precision = {"bf16": "bf16", "fp8": "fp8", "int4": "int4", "nvfp4": "nvfp4"}[stored.__name__]
    table = parts(a, known.checkpoints[precision].scheme)
    assert ranks(read, a) == pytest.approx(ranks(table, a), rel=1e-5)


def test_a_layer_left_in_bf16_is_counted_as_it_is() -> None:
    """Meta's FP8 code skips the last layer; only the headers tell: 16.1 GB, and its scales, on Maverick."""
    a = model("maverick").architecture
    mixed = [
        one for number in range(a.layers) for one in layer(a, number, bf16 if number == a.layers - 1 else fp8)
    ]
    even = [one for number in range(a.layers) for one in layer(a, number, fp8)]
    more = sum(one.bytes for one in mixed) - sum(one.bytes for one in even)
    assert more == 129 * (3 * 5120 * 8192 - 2 * (2 * 8192 + 5120))
    found = {(part.component, part.layer): part.bytes for part in parts_of(mixed, LLAMA4)}
    assert found["routed", 47] > 1.99 * found["routed", 45]


@pytest.mark.parametrize(
    ("name", "component", "number"),
    [
        ("model.embed_tokens.weight", "embedding", None),
        ("lm_head.weight", "lm_head", None),
        ("model.norm.weight", "norm", None),
        ("model.layers.12.self_attn.q_proj.weight", "attention", 12),
        ("language_model.model.layers.3.self_attn.o_proj.weight", "attention", 3),
        ("model.layers.0.self_attn.k_proj.weight", "attention_kv", 0),
        ("model.layers.0.self_attn.v_proj.weight", "attention_kv", 0),
        ("model.layers.0.input_layernorm.weight", "norm", 0),
        ("model.layers.0.feed_forward.router.weight", "router", 0),
        ("model.layers.0.feed_forward.experts.gate_up_proj", "routed", 0),
        ("model.layers.0.feed_forward.shared_expert.up_proj.weight", "shared", 0),
        ("model.layers.0.feed_forward.gate_proj.weight", "dense", 0),
        ("model.layers.0.feed_forward.gate_up_proj.weight", "dense", 0),
        ("vision_model.patch_embedding.linear.weight", "vision", None),
        ("vision_model.positional_embedding_vlm", "vision_replicated", None),
        ("vision_model.layernorm_pre.bias", "vision_replicated", None),
        ("vision_model.model.layers.5.self_attn.o_proj.bias", "vision_replicated", None),
        ("vision_model.model.layers.5.mlp.fc2.bias", "vision_replicated", None),
        ("vision_model.model.layers.5.mlp.fc1.bias", "vision", None),
        ("multi_modal_projector.linear_1.weight", "projector", None),
        ("something.else", "norm", None),
    ],
)
def test_a_tensor_is_known_by_its_name(name: str, component: str, number: int | None) -> None:
    assert parts_of([tensor(name, "BF16", 2, 3)], LLAMA4) == (Part(component, number, 6, bytes=12),)


@pytest.mark.parametrize(
    "end", ["weight_scale", "weight_zero_point", "weight_shape", "weight_g_idx", "qzeros"]
)
def test_what_quantization_adds_takes_bytes_and_holds_no_parameter(end: str) -> None:
    name = "model.layers.0.self_attn.q_proj"
    found = parts_of([tensor(f"{name}.weight", "I8", 4), tensor(f"{name}.{end}", "BF16", 3)], LLAMA4)
    assert found == (Part("attention", 0, 4, bytes=4 + 6),)


def test_what_a_name_says_is_looked_for_once_for_all_its_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint has 100,000 names, of experts in layers."""
    asked: list[str] = []
    component = tensors.component

    def noted(name: str, patterns: list[tuple[re.Pattern[str], str]]) -> str:
        asked.append(name)
        return component(name, patterns)

    monkeypatch.setattr(tensors, "component", noted)
    names = [f"model.layers.{at % 9}.feed_forward.experts.{at}.up_proj.weight" for at in range(1000)]
    names += [f"model.layers.{at}.self_attn.k_proj.weight" for at in range(9)]
    parts = parts_of([tensor(name, "BF16", 2) for name in names], LLAMA4)
    assert {(part.component, part.layer) for part in parts} == {
        (kind, at) for kind in ("routed", "attention_kv") for at in range(9)
    }
    assert asked == [
        "model.layers.N.feed_forward.experts.N.up_proj.weight",
        "model.layers.N.self_attn.k_proj.weight",
    ]
