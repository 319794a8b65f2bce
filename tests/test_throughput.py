"""The throughput model against published figures, and its arithmetic."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from deploy.plan import Throughput
from deploy.sizing.fit import Options
from deploy.sizing.size import on, plan
from deploy.sizing.subject import named
from infra.catalog import gpus
from infra.hardware import Gpu
from serving.models import model
from serving.throughput import Engine, Load, distinct_experts, moe_layer_s, speed, step_s
from serving.vllm_versions import rules
from serving.weights import Split

CELLS = tomllib.loads((Path(__file__).parent / "data" / "throughput_cells.toml").read_text())


def engine(gpu: Gpu, name: str, precision: str, tensor: int, version: str = "0.33.0") -> Engine:
    known = model(name)
    return Engine(
        gpu=gpu,
        architecture=known.architecture,
        scheme=known.checkpoints[precision].scheme,
        split=Split(tensor),
        rules=rules(version),
        kv_bytes_per_value=2,
        max_num_batched_tokens=8192,
        host_gb_per_s=50,
    )


def predicted(name: str, precision: str, machine: str, **options: object) -> Throughput:
    found = plan(named(name, precision), on(machine), Options.model_validate(options)).throughput
    assert found is not None
    return found


@pytest.mark.parametrize(
    "cell", CELLS["kernel"], ids=lambda c: f"{c['gpu']}-{c['model']}-tp{c['tensor']}-{c['tokens']}"
)
def test_moe_layer_times_within_15_percent(cell: dict[str, Any]) -> None:
    one = engine(gpus()[cell["gpu"]], cell["model"], "bf16", cell["tensor"])
    touched = min(one.architecture.experts, cell["tokens"])
    assert moe_layer_s(one, cell["tokens"], touched) * 1000 == pytest.approx(cell["ms"], rel=0.15)


@pytest.mark.parametrize("cell", CELLS["vllm"], ids=lambda c: f"{c['machine']}-{c['model']}")
def test_vllms_published_figures_within_25_percent(cell: dict[str, Any]) -> None:
    found = predicted(cell["model"], cell["precision"], cell["machine"], vllm_version="0.8.3", concurrency=64)
    assert found.output_tokens_per_s == pytest.approx(cell["tokens_per_s"], rel=0.25)


@pytest.mark.parametrize(
    "cell", CELLS["tensorrt"], ids=lambda c: f"{c['machine']}-{c['input']}-{c['output']}"
)
def test_tensorrts_figures_lie_inside_the_printed_band(cell: dict[str, Any]) -> None:
    found = predicted(
        "scout",
        cell["precision"],
        cell["machine"],
        input_tokens=cell["input"],
        output_tokens=cell["output"],
        concurrency=1024,
        max_num_seqs=1024,
        max_model_len=max(4096, cell["input"] + cell["output"]),
    )
    ratio = found.output_tokens_per_s / cell["tokens_per_s"]
    assert 1 / found.band <= ratio <= found.band


def test_a_single_request_on_mi300x_lies_inside_the_band() -> None:
    gpu = gpus()["H200"].model_copy(update={"memory_gb_per_s": CELLS["mi300x"]["memory_gb_per_s"]})
    found = speed(engine(gpu, "maverick", "fp8", 8, "0.24.0"), Load(1000, 1000, 1), 1)
    low, high = CELLS["mi300x"]["tpot_ms"]
    assert low / found.band <= found.tpot_s * 1000 <= high * found.band


def test_a_step_is_never_faster_than_reading_the_weights_once() -> None:
    """Scout BF16 on 8xH100 with every expert touched: 25.2 GiB a GPU at 3.35 TB/s."""
    everything = step_s(engine(gpus()["H100"], "scout", "bf16", 8), 512, 1500)
    assert everything >= (217_283_587_072 - 1_743_864_832 - 2 * 1_034_485_760) / 8 / 3.35e12


def test_expected_distinct_experts() -> None:
    assert distinct_experts(16, 1) == pytest.approx(1.0)
    assert distinct_experts(16, 64) == pytest.approx(15.743, abs=0.001)
    assert distinct_experts(128, 64) == pytest.approx(50.51, abs=0.01)


def test_what_was_never_measured_says_so() -> None:
    assert predicted("scout", "int4", "g5.12xlarge").basis.startswith("modelled, not validated")
    assert predicted("scout", "fp8", "p4de.24xlarge").basis.startswith("modelled, not validated")


@pytest.mark.parametrize(
    ("options", "doubt"),
    [
        ({}, None),
        ({"input_tokens": 30_000}, "no figure beyond 20,000 tokens of input is public"),
        (
            {"tensor_parallel_size": 4, "pipeline_parallel_size": 2},
            "with pipeline or data parallelism is public",
        ),
    ],
)
def test_validated_only_where_figures_are(options: dict[str, object], doubt: str | None) -> None:
    found = predicted("scout", "bf16", "8xH100", **options)
    assert found.basis.startswith("modelled, not validated") == (doubt is not None)
    assert (doubt or "published Llama 4 figures") in found.basis
    assert found.band == (2.0 if doubt else 1.6)


def test_a_very_slow_prediction_is_not_zero() -> None:
    found = predicted("scout", "bf16", "8xH200", input_tokens=9_000_000, max_model_len=10_485_760)
    assert 0 < found.output_tokens_per_s < 1


def test_requests_beyond_the_kv_cache_wait() -> None:
    few = predicted("scout", "int4", "1xH100", concurrency=4, input_tokens=8000)
    many = predicted("scout", "int4", "1xH100", concurrency=200, input_tokens=8000)
    assert few.running == 4
    assert many.running == 4
    assert many.ttft_s > 10 * few.ttft_s
