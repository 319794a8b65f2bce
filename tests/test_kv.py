"""The KV cache against answers of vLLM's own planner."""

import json
from pathlib import Path

import pytest

from serving.kv import layout
from serving.models import model
from serving.vllm_versions import rules
from serving.weights import Split

VECTORS = json.loads((Path(__file__).parent / "data" / "vllm033_kv_vectors.json").read_text())
SCOUT = model("scout").architecture


def answer(vector: dict[str, int]) -> dict[str, object]:
    """Our answer in the form of a vector. The reserve is set by hand: the vectors vary it, versions fix it."""
    version = rules("0.33.0" if vector["max_concurrent_batches"] == 2 else "0.24.0")
    plan = layout(
        SCOUT,
        version,
        Split(tensor=vector["tp"]),
        hybrid=bool(vector["hybrid"]),
        bytes_per_value=vector["kv_dtype_bytes"],
        max_num_batched_tokens=vector["max_num_batched_tokens"],
    )
    blocks, length = plan.blocks(vector["available_bytes"]), vector["max_model_len"]
    return {
        "bytes_per_block": plan.bytes_per_block,
        "num_blocks": blocks,
        "blocks_per_req": plan.blocks_per_request(length),
        "max_concurrency": round(plan.max_concurrency(length, blocks), 3),
        "kv_tokens": plan.tokens(length, blocks),
        "max_len_fit": plan.longest(blocks, 50_000_000),
        "n_groups": plan.full_groups + plan.local_groups,
    }


def test_there_are_96_vectors() -> None:
    assert len(VECTORS) == 96


@pytest.mark.parametrize(
    "vector", VECTORS, ids=lambda v: f"tp{v['tp']}-{v['kv_dtype_bytes']}B-{v['max_model_len']}"
)
def test_every_answer_of_vllms_own_planner(vector: dict[str, int]) -> None:
    got = answer(vector)
    assert got == {key: vector[key] for key in got}


def test_twenty_gib_at_tensor_parallel_eight() -> None:
    """The two rows everybody asks about: 131,072 tokens, 8,192 batched, with the hybrid manager and without."""

    def found(hybrid: bool) -> tuple[int, int, float, int, int]:
        plan = layout(
            SCOUT, rules("0.33.0"), Split(8), hybrid=hybrid, bytes_per_value=2, max_num_batched_tokens=8192
        )
        blocks = plan.blocks(20 << 30)
        concurrency = round(plan.max_concurrency(131072, blocks), 3)
        request, longest = plan.blocks_per_request(131072), plan.longest(blocks, 50_000_000)
        return blocks, request, concurrency, plan.tokens(131072, blocks), longest

    assert found(True) == (218_453, 12_800, 17.067, 2_236_958, 3_421_504)
    assert found(False) == (54_613, 8_192, 6.667, 873_808, 873_792)


@pytest.mark.parametrize(("tensor", "size"), [(1, 786_432), (2, 393_216), (4, 196_608), (8, 98_304)])
def test_bytes_a_block_and_a_token(tensor: int, size: int) -> None:
    """Below a chunk a token costs 196,608 bytes over all GPUs: no saving from the hybrid manager."""
    plan = layout(
        SCOUT, rules("0.33.0"), Split(tensor), hybrid=True, bytes_per_value=2, max_num_batched_tokens=8192
    )
    assert plan.bytes_per_block == size
    assert plan.blocks_per_request(8192) * size * tensor == 8192 * 196_608
