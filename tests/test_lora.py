"""LoRA and weights in the RAM: what they take of a GPU, what a step takes longer, and how vLLM is told."""

from pathlib import Path

import pytest
import refusals

from deploy.cli.main import run
from infra.hardware import GIB
from serving.model.lora import slots_bytes, unread
from serving.model.models import model
from serving.model.weights import Split
from serving.sizing.plan import Plan
from serving.sizing.plan_again import asked_for
from serving.sizing.size import on, plan
from serving.sizing.size_options import Options
from serving.sizing.sized_model import named
from serving.vllm.serve_options import argv
from serving.vllm.versions import rules

SCOUT, MAVERICK = model("scout").architecture, model("maverick").architecture

# One slot of rank 16 on one of eight GPUs, as vLLM 0.32.0's layers make the tensors: A (rank, in) and B (out, rank).
ATTENTION = 3 * (16 * 5120) + (640 + 128 + 128) * 16 + 16 * 640 + 5120 * 16
SHARED = 2 * (16 * 5120) + 2 * (1024 * 16) + 16 * 1024 + 5120 * 16
ROUTER = 16 * 5120 + 16 * 16
EXPERTS = 16 * (2 * (16 * 5120) + 2 * (1024 * 16) + 16 * 1024 + 5120 * 16)
EMBEDDING = HEAD = 202_048 * 16 + 5120 * 16


def test_every_slot_is_as_large_as_the_modules_it_serves() -> None:
    layer = ATTENTION + SHARED + ROUTER + EXPERTS
    assert slots_bytes(SCOUT, Split(8), 1, 16) == 2 * (48 * layer + EMBEDDING + HEAD)
    assert slots_bytes(SCOUT, Split(8), 4, 64) == 16 * slots_bytes(SCOUT, Split(8), 1, 16)
    assert slots_bytes(SCOUT, Split(8), 1, 16, ("q_proj", "v_proj", "o_proj")) == 2 * 48 * ATTENTION
    assert slots_bytes(SCOUT, Split(8), 1, 16, ("experts",)) == 2 * 48 * EXPERTS
    assert slots_bytes(SCOUT, Split(8, 2), 1, 16) == 2 * (24 * layer + EMBEDDING)


def test_of_which_versions_it_was_read_is_said() -> None:
    family = model("scout").family
    other = family.model_copy(update={"name": "other", "title": "Other"})
    assert [unread(family, rules(version)) for version in ("0.31.0", "0.32.0", "0.33.0")] == [
        "Whether vLLM 0.31.0 has LoRA for Llama 4 was not looked up; 0.32.0 has.", "", "",
    ]  # fmt: skip
    assert unread(other, rules("0.33.0")) == "Whether vLLM 0.33.0 has LoRA for Other was not looked up."


def test_experts_are_whole_or_in_slices_as_the_weights_are() -> None:
    """Of 128 experts in 24 layers a rank has 16 whole ones, or an eighth of each."""
    sliced = slots_bytes(MAVERICK, Split(8), 1, 16, ("experts",))
    whole = slots_bytes(MAVERICK, Split(8, expert=True), 1, 16, ("experts",))
    assert sliced == 2 * 24 * 128 * 16 * 3 * (5120 + 1024)
    assert whole == 2 * 24 * 16 * 16 * 3 * (5120 + 8192)


def sized(**asked: object) -> Plan:
    return plan(named("scout", "fp8"), on("8xH100"), Options.model_validate(asked), with_curve=True)


def test_slots_are_taken_from_the_kv_cache_and_said_to_vllm() -> None:
    bare, made = sized(), sized(enable_lora=True, max_loras=8, max_lora_rank=32)
    gib = slots_bytes(SCOUT, Split(8), 8, 32) / GIB
    assert bare.memory.lora_gib == 0.0
    assert made.memory.lora_gib == pytest.approx(gib, abs=0.001)
    assert bare.memory.kv_cache_gib - made.memory.kv_cache_gib == pytest.approx(gib, abs=0.002)
    assert [term.name for term in made.terms if term not in bare.terms] == ["lora"]
    assert bare.throughput
    assert made.throughput
    reading = gib * GIB / (3350e9 * 0.8)
    assert made.throughput.tpot_s - bare.throughput.tpot_s == pytest.approx(reading, rel=0.02)
    assert (made.throughput.band, made.throughput.basis) == (
        2.0,
        "modelled, not validated: no figure of Llama 4 with LoRA is public",
    )
    words = ("--enable-lora", "--max-loras", "8", "--max-lora-rank", "32")
    assert (bare.serve.extra_args, made.serve.extra_args) == ((), words)
    assert argv(made.serve)[-5:] == words
    assert asked_for(made) == Options(enable_lora=True, max_loras=8, max_lora_rank=32)


def test_weights_in_the_ram_leave_the_gpu_and_are_read_in_each_step() -> None:
    bare = plan(named("scout", "fp8"), on("1xH100"), Options())
    made = plan(named("scout", "fp8"), on("1xH100"), Options(cpu_offload_gb=50))
    assert (bare.fits, made.fits) == (False, True)
    assert bare.memory.weights_gib - made.memory.weights_gib == pytest.approx(50, abs=0.001)
    assert made.throughput
    assert made.throughput.tpot_s == pytest.approx(50 * GIB / 48e9, rel=0.05)
    assert made.serve.extra_args == ("--cpu-offload-gb", "50")
    older, newer = (
        plan(named("scout", "int4"), on(name), Options(cpu_offload_gb=20, concurrency=1)).throughput
        for name in ("1xA100-80GB", "1xH100")
    )
    assert older
    assert newer
    assert older.tpot_s - newer.tpot_s == pytest.approx(20 * GIB / 24e9 - 20 * GIB / 48e9, rel=0.05)


def test_no_more_than_the_layers_leaves_the_gpu() -> None:
    made = plan(named("scout", "fp8"), on("1xH100"), Options(cpu_offload_gb=1000))
    beside = 2 * (2 * 202_048 * 5120 + 851e6 + 21e6) / GIB  # embedding and LM head, tower and projector
    assert made.memory.weights_gib == pytest.approx(beside, rel=0.01)


@pytest.mark.parametrize(
    "asked", ["--enable-lora --max-lora-rank 12", "--images-per-request 1 --language-model-only"]
)
def test_what_cannot_be_meant_is_refused_of_every_machine_too(
    asked: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["size", "scout", *asked.split()]) == 2
    assert capsys.readouterr().out == ""


def test_modules_and_the_ram_are_said_to_vllm_after_the_slots() -> None:
    made = sized(enable_lora=True, lora_target_modules=("o_proj", "experts"), cpu_offload_gb=1.5)
    assert made.serve.extra_args[5:] == (
        *("--lora-target-modules", "o_proj", "experts"),
        *("--cpu-offload-gb", "1.5"),
    )


@pytest.mark.parametrize(
    "asked",
    [
        "--max-loras 4",
        "--max-lora-rank 8",
        "--lora-target-modules experts",
        "--enable-lora --max-lora-rank 12",
        "--enable-lora --lora-target-modules mixer",
        "--enable-lora --max-loras 0",
        "--enable-lora --vllm-version 0.9.2",
        "--cpu-offload-gb -1",
        "--cpu-offload-gb nan",
        "--cpu-offload-gb 256 --on p5.48xlarge",
        "--enable-lora --on local",
        "--cpu-offload-gb 4 --on local",
    ],
)
def test_what_cannot_be_meant_is_refused(
    asked: str, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    where = [] if "--on" in asked else ["--on", "8xH100"]
    words = ["size", "scout", *where, *asked.split()]
    assert run(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    refusals.hold(err, request, tmp_path, words)
