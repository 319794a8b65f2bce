"""Safetensors headers: what they say of each tensor, and every lie in one sentence."""

import json
from typing import Any

import pytest

from infra.errors import DocumentError
from serving.model import safetensors
from serving.model.safetensors import Tensor, header_length, parse

HINT = "Download it again, or copy it again."


def header(**rows: Any) -> bytes:
    return json.dumps(rows).encode()


def row(dtype: str, shape: list[int], start: int, end: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def test_every_tensor_of_a_header() -> None:
    text = header(__metadata__={"format": "pt"}, a=row("BF16", [2, 3], 0, 12), b=row("F4", [4], 12, 14))
    assert parse(text, 8 + len(text) + 14, "x") == (
        Tensor("a", "BF16", (2, 3), 12),
        Tensor("b", "F4", (4,), 2),
    )
    assert parse(b"{}", 10, "x") == ()


@pytest.mark.parametrize(
    ("name", "dtype", "params"),
    [
        ("a.weight", "BF16", 6),
        ("a.weight", "I32", 6),
        ("a.weight_packed", "I32", 48),
        ("a.weight_packed", "U8", 12),
        ("a.weight_packed", "BF16", 6),
        ("experts.down_proj", "U8", 12),
        ("q_proj.weight", "U8", 12),
        ("q_proj.weight_scale", "U8", 6),
    ],
)
def test_how_many_values_a_tensor_holds(name: str, dtype: str, params: int) -> None:
    assert Tensor(name, dtype, (2, 3), 0).params == params


@pytest.mark.parametrize(
    ("dtype", "bits"),
    [("F64", 64), ("I64", 64), ("U64", 64), ("F32", 32), ("I32", 32), ("U32", 32), ("F16", 16), ("BF16", 16),
     ("I16", 16), ("U16", 16), ("F8_E4M3", 8), ("F8_E5M2", 8), ("F8_E8M0", 8), ("I8", 8), ("U8", 8), ("BOOL", 8),
     ("F4", 4)],
)  # fmt: skip
def test_the_bits_of_a_value(dtype: str, bits: int) -> None:
    text = header(a=row(dtype, [2], 0, bits // 4))
    assert parse(text, 8 + len(text) + bits // 4, "x") == (Tensor("a", dtype, (2,), bits // 4),)


@pytest.mark.parametrize(
    "text",
    [
        b"{",
        b"[]",
        b'{"a": 5}',
        header(a={"dtype": "BF16", "shape": [2]}),
        header(a=row("Q7", [2], 0, 4)),
        header(a=row("BF16", [2], 0, 5)),
        header(a=row("BF16", [-2], 4, 0)),
        header(a=row("BF16", [2], -4, 0)),
        header(a=row("BF16", [-1, -2], 0, 4)),
        header(a={"dtype": "BF16", "shape": [2], "data_offsets": [0]}),
        b"[" * 100_000,
        b'{"a":' * 80 + b"5" + b"}" * 80,
        b'{"a": {"dtype": "BF16", "shape": [1e999], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "BF16", "shape": [NaN], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "BF16", "shape": [%s], "data_offsets": [0, 4]}}' % (b"9" * 5000),
        b'{"a": {"dtype": "BF16", "shape": [], "data_offsets": [0, %d]}}' % 2**64,
        header(a=row("BF16", [2**63], 0, 2**64 - 1)),
        header(a=row("BF16", [2**62, 0, 2**62], 0, 4)),
        header(a=row("BF16", [2] * 500_000, 0, 4)),
        header(a=row("BF16", [1] * 32 + [2], 0, 4)),
        header(a={"dtype": "BF16", "shape": "22", "data_offsets": [0, 4]}),
        header(a={"dtype": "BF16", "shape": [True, 2], "data_offsets": [0, 4]}),
        header(a={"dtype": "BF16", "shape": [2.0], "data_offsets": [0, 4]}),
        header(a={"dtype": "BF16", "shape": {"2": 1}, "data_offsets": [0, 4]}),
        header(a={"dtype": "BF16", "shape": [2], "data_offsets": {"0": 0, "4": 0}}),
        header(a={"dtype": "BF16", "shape": [2], "data_offsets": [0, 4, 4]}),
        header(a={"dtype": "BF16", "shape": [2], "data_offsets": 4}),
        header(a={"dtype": ["BF16"], "shape": [2], "data_offsets": [0, 4]}),
        header(a={"dtype": None, "shape": [2], "data_offsets": [0, 4]}),
        header(a=None),
        header(a="BF16"),
        header(**{"vision_model." * 130_000: row("BF16", [2], 0, 4)}),
        header(**{"a" * 513: row("BF16", [2], 0, 4)}),
        b'{"a": [' + b"[]," * 3_000_000 + b"[]]}",
        b'{"\\ud800": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}',
        b"\xff{}",
        b"",
    ],
)
def test_a_header_that_is_none(text: bytes) -> None:
    with pytest.raises(DocumentError) as caught:
        parse(text, 8 + len(text) + 4, "x")
    assert caught.value.message == (
        "x is not a complete safetensors file: its header is not readable JSON of tensors."
    )
    assert caught.value.hint == HINT


def test_a_header_of_more_tensors_than_any_is_not_gone_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safetensors, "MOST_TENSORS", 1)
    monkeypatch.setattr(safetensors, "tensor", None)
    text = header(a=row("BF16", [2], 0, 4), b=row("BF16", [2], 4, 8))
    with pytest.raises(DocumentError) as caught:
        parse(text, 8 + len(text) + 8, "x")
    assert caught.value.message == (
        "x is not a complete safetensors file: its header names more than 1 tensors."
    )


@pytest.mark.parametrize(
    ("text", "at"),
    [
        (header(a=row("BF16", [2], 0, 4), b=row("BF16", [2], 0, 4)), 4),
        (header(a=row("BF16", [2], 0, 4), b=row("BF16", [2], 2, 6)), 4),
        (header(a=row("BF16", [2], 0, 4), b=row("BF16", [2], 8, 12)), 4),
        (header(a=row("BF16", [2], 4, 8)), 0),
        (header(a=row("BF16", [2], 2**62, 2**62 + 4)), 0),
        (b'{"a": %s, "a": %s}' % (header(**row("BF16", [2], 0, 4)), header(**row("BF16", [2], 4, 8))), 0),
    ],
)
def test_tensors_that_lie_over_each_other_or_leave_a_gap(text: bytes, at: int) -> None:
    """Two under one name among them: of those the last counts, and the first one's place is a gap."""
    with pytest.raises(DocumentError) as caught:
        parse(text, 8 + len(text) + 12, "x")
    assert caught.value.message == (
        f"x is not a complete safetensors file: its header leaves a gap, or has two tensors in one place, at byte {at}."
    )


def test_tensors_in_any_order_and_empty_ones() -> None:
    text = header(
        b=row("BF16", [2], 4, 8), none=row("BF16", [0], 4, 4), a=row("BF16", [2], 0, 4), c=row("U8", [], 8, 9)
    )
    names = [tensor.name for tensor in parse(text, 8 + len(text) + 9, "x")]
    assert names == ["b", "none", "a", "c"]


@pytest.mark.parametrize("more", [-1, 1])
def test_a_file_of_another_length_than_its_header_promises(more: int) -> None:
    text = header(a=row("BF16", [600], 0, 1200))
    size = 8 + len(text) + 1200
    with pytest.raises(DocumentError) as caught:
        parse(text, size + more, "x")
    assert caught.value.message == (
        f"x is not a complete safetensors file: its header promises {size:,} bytes and it has {size + more:,}."
    )


@pytest.mark.parametrize("length", [2, 1000, 100_000_000])
def test_the_length_of_a_header(length: int) -> None:
    assert header_length(length.to_bytes(8, "little") + b"more", length + 8, "x") == length


@pytest.mark.parametrize(("length", "size"), [(1, 1000), (993, 1000), (100_000_001, 2**40), (2**60, 2**40)])
def test_a_length_that_cannot_be(length: int, size: int) -> None:
    with pytest.raises(DocumentError) as caught:
        header_length(length.to_bytes(8, "little"), size, "x")
    assert caught.value.message == (
        f"x is not a complete safetensors file: its header claims {length:,} bytes in a file of {size:,}."
    )


def test_a_file_shorter_than_a_length() -> None:
    with pytest.raises(DocumentError) as caught:
        header_length(b"1234567", 7, "x")
    assert caught.value.message == (
        "x is not a complete safetensors file: it is 7 bytes long, shorter than a safetensors header."
    )
