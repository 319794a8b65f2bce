"""Why a plan fits or does not, and what its reader should know: every sentence, over models, machines and wishes."""

from pathlib import Path

import pytest
import refusals

from infra.errors import CorralError
from serving.sizing.size import answer_for
from serving.sizing.size_options import Options

MODELS = (("scout", "bf16"), ("scout", "int4"), ("maverick", "bf16"), ("maverick", "fp8"))
MACHINES = (
    "1xA10G",
    "4xL4",
    "1xA100-40GB",
    "2xA100-80GB",
    "4xA100-40GB",
    "1xH100",
    "4xH100",
    "8xH200",
    "8xB200",
    "g5.12xlarge",
    "g6e.12xlarge",
    "p4d.24xlarge",
    "p5.48xlarge",
    "2xp5.48xlarge",
)
WISHES = {
    "as it comes": Options(),
    "a million tokens": Options(max_model_len=1_000_000),
    "half of the memory": Options(gpu_memory_utilization=0.5),
    "40 GiB of KV cache": Options(kv_cache_memory_bytes=40 * 2**30),
    "a GiB of KV cache": Options(kv_cache_memory_bytes=2**30, max_model_len=4096),
    "a split of two": Options(tensor_parallel_size=2),
    "an FP8 cache": Options(kv_cache_dtype="fp8"),
    "an FP8 cache by its format": Options(kv_cache_dtype="fp8_e4m3"),
    "an FP8 cache by its other format": Options(kv_cache_dtype="fp8_e5m2"),
    "a cache in bfloat16": Options(kv_cache_dtype="bfloat16"),
    "short requests": Options(input_tokens=200, output_tokens=100),
    "an older vLLM": Options(vllm_version="0.24.0"),
    "another region": Options(region="eu-central-1"),
}


@pytest.fixture(autouse=True)
def the_day_the_sentences_were_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """2026-11-28: some say how old a price is."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1795824000")


def told(model: str, precision: str, machine: str, wish: Options) -> list[str]:
    """The verdict with its reason, and the notes; or the refusal."""
    try:
        plan = answer_for(model, precision, machine, wish)
    except CorralError as error:
        return [f"{model} {precision} on {machine}: {error.message} {error.hint}"]
    return [
        f"{model} {precision} on {machine}: {plan.verdict}: {plan.reason}",
        *(f"  {note}" for note in plan.notes),
    ]


@pytest.mark.parametrize("machine", MACHINES)
def test_every_model_on_a_machine(machine: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    lines = [line for model in MODELS for line in told(*model, machine, Options())]
    refusals.hold("\n".join(lines), request, tmp_path)


@pytest.mark.parametrize("wish", WISHES)
def test_every_wish(wish: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    lines = [
        line
        for machine in ("g5.12xlarge", "8xH100", "2xA100-80GB")
        for line in told("scout", "int4" if machine[0] == "g" else "bf16", machine, WISHES[wish])
    ]
    refusals.hold("\n".join(lines), request, tmp_path)
