"""The KV cache against answers of vLLM's own planner."""

import json
from pathlib import Path

import pytest

from serving.model.kv import Layout, group_size, grouped, held_tokens, layers_of, layout, most_on_a_stage
from serving.model.models import model
from serving.model.weights import Split
from serving.vllm.versions import rules

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


# By hand


PLAN = Layout(
    bytes_per_block=100, block_size=16, full_groups=2, local_groups=3, local_tokens=40, log="blocks"
)


def test_what_a_request_reserves_and_whether_it_fits() -> None:
    """Two groups hold all of it in blocks of 16, three hold no more than 40 tokens of it."""
    assert [PLAN.blocks_per_request(length) for length in (1, 16, 17, 40, 100)] == [
        5,
        5,
        10,
        15,
        2 * 7 + 3 * 3,
    ]
    assert [PLAN.fits(100, blocks) for blocks in (23, 24)] == [False, True]
    assert PLAN.max_concurrency(100, 46) == 2.0
    assert [PLAN.longest(blocks, 100) for blocks in (5, 6, 24, 1000)] == [0, 16, 112 - 12, 100]
    assert [PLAN.blocks(size) for size in (-1.0, 0.0, 199.9, 200.0)] == [0, 0, 1, 2]


@pytest.mark.parametrize(
    ("log", "tokens"), [("blocks", 46 * 16), ("blocks-per-group", 46 // 5 * 16), ("concurrency", 200)]
)
def test_what_the_log_line_counts(log: str, tokens: int) -> None:
    plan = Layout(bytes_per_block=100, block_size=16, full_groups=2, local_groups=3, local_tokens=40, log=log)
    assert plan.tokens(100, 46) == tokens


@pytest.mark.parametrize(("log", "blocks_a_group"), [("blocks", 1), ("blocks-per-group", 5)])
def test_the_memory_of_what_the_log_line_counts(log: str, blocks_a_group: int) -> None:
    """Whole blocks of 16 tokens, 2 MiB each."""
    plan = Layout(2**21, 16, 2, 3, 40, log)
    assert [plan.gib_of(tokens) for tokens in (0, 15, 16, 16 * 512 + 3)] == [
        0, 0, blocks_a_group / 512, blocks_a_group,
    ]  # fmt: skip


def test_layers_are_dealt_out_to_groups() -> None:
    assert [group_size(*sizes) for sizes in ((12, 36), (36, 12), (4, 5), (4, 6), (5, 5))] == [12, 12, 5, 4, 5]
    assert grouped((0, 1, 2, 4, 5), 2) == ((0, 4), (1, 5), (2,))
    assert most_on_a_stage((0, 1, 2, 5), 6, 2) == 3


EIGHT = SCOUT.model_copy(update={"layers": 8, "global_layers": (3, 7), "attention_chunk_size": 100})


@pytest.mark.parametrize(
    ("changes", "hybrid", "cpu", "pipeline", "expected"),
    [
        ({}, True, False, 1, (2, 16, 1, 3, 100 + 2 * 50)),
        ({}, True, False, 2, (1, 16, 1, 3, 100 + 3 * 50)),
        ({}, True, True, 1, (2, 128, 1, 3, 100 + 50)),
        ({}, False, False, 1, (8, 16, 1, 0, 100 + 2 * 50)),
        ({}, False, False, 2, (4, 16, 1, 0, 100 + 3 * 50)),
        ({"global_layers": ()}, True, False, 1, (8, 16, 0, 1, 100 + 2 * 50)),
        ({"attention_chunk_size": None}, True, False, 1, (8, 16, 1, 0, 2 * 50)),
    ],
    ids=["hybrid", "over stages", "cpu", "one kind", "one kind over stages", "all local", "no chunks"],
)
def test_a_layout_by_hand(
    changes: dict[str, object], hybrid: bool, cpu: bool, pipeline: int, expected: tuple[int, ...]
) -> None:
    """Two global layers of eight: groups of two, in blocks of 2 x 4 heads x 128 values x 2 bytes a token."""
    plan = layout(
        EIGHT.model_copy(update=changes),
        rules("0.33.0"),
        Split(2, pipeline),
        hybrid=hybrid,
        bytes_per_value=2,
        max_num_batched_tokens=50,
        cpu=cpu,
    )
    layers, block, full, local, tokens = expected
    assert plan == Layout(layers * block * 2 * 4 * 128 * 2, block, full, local, tokens, "concurrency")


def test_a_local_layer_really_holds_half_a_chunk() -> None:
    assert layers_of(EIGHT) == ((3, 7), (0, 1, 2, 4, 5, 6))
    assert [held_tokens(EIGHT, length) for length in (100, 101, 400)] == [
        100.0,
        (2 * 101 + 6 * 50) / 8,
        (2 * 400 + 6 * 50) / 8,
    ]
    assert held_tokens(EIGHT.model_copy(update={"attention_chunk_size": None}), 400) == 400.0


@pytest.mark.parametrize(("full", "local"), [(1, 0), (0, 1), (1, 3), (2, 1)])
@pytest.mark.parametrize("local_tokens", [1, 16, 17, 8192])
def test_the_longest_request_fits_and_one_token_more_does_not(
    full: int, local: int, local_tokens: int
) -> None:
    kv = Layout(1, 16, full, local, local_tokens, "blocks")
    for blocks in (0, 1, 2, 3, 4, 5, 8, 9, 511, 512, 513, 2048, 2049, 2053, 4000):
        longest = kv.longest(blocks, 100_000)
        assert longest == 0 or kv.fits(longest, blocks)
        assert longest == 100_000 or not kv.fits(longest + 1, blocks)
