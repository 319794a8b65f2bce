"""Images and prefix hits: what they make of a prompt, of its time, and of the plan that is handed on."""

import json
from pathlib import Path
from typing import Any

import pytest
import refusals

from deploy.cli.main import run
from serving.model.image_tokens import Image, image_of, tiles_of
from serving.model.models import model
from serving.sizing.plan import Images, Plan
from serving.sizing.plan_again import asked_for, size_again
from serving.sizing.size import on, plan, ranking
from serving.sizing.size_options import Options
from serving.sizing.sized_model import named

# What get_best_fit of transformers (the engine's, vLLM 0.32.0) lays on tiles of 336, up to 16: run 2026-11-29, where
# 4,000 more sizes came out alike.
TILES = {
    (336, 336): 1,
    (1, 1): 1,
    (337, 336): 2,
    (1024, 768): 12,
    (768, 1024): 12,
    (1920, 1080): 15,
    (4032, 3024): 12,
    (672, 672): 4,
    (5376, 336): 16,
    (99, 5000): 15,
}


@pytest.mark.parametrize(("width", "height"), list(TILES))
def test_an_image_is_cut_as_its_processor_cuts_it(width: int, height: int) -> None:
    assert tiles_of(width, height, 336, 16) == TILES[width, height]


def test_tiles_become_tokens_with_what_stands_between_them() -> None:
    """One tile: start, mark, 144 and end. More: each with a separator, then the same of a view of the whole."""
    vision = model("scout").architecture.vision
    assert vision
    assert image_of(vision, 16, (336, 336)) == Image(1, 147)
    assert image_of(vision, 16, (672, 672)) == Image(5, 4 * 145 + 147)
    assert image_of(vision, 16) == Image(17, 16 * 145 + 147)


def sized(**asked: object) -> Plan:
    return plan(named("scout", "fp8"), on("4xH100"), Options.model_validate(asked), with_curve=True)


def test_images_are_in_the_prompt_the_time_the_flags_and_the_question_of_the_next_plan() -> None:
    bare, made = sized(), sized(images_per_request="2@1024x768")
    longer = sized(input_tokens=1000 + 2 * 1887)
    assert made.images
    assert made.images.model_copy(update={"encoder_s": 1.0}) == Images(
        per_request=2, tiles_each=13, tokens_each=1887, encoder_s=1.0
    )
    # 26 tiles of 577 patches: 851 M parameters, and scores of 34 layers; four GPUs at 55 % of 989 TFLOP/s
    assert made.images.encoder_s == pytest.approx(26 * 1.05e12 / 4 / (989e12 * 0.55), rel=0.03)
    assert made.workload == longer.workload
    assert made.kv.max_concurrency == longer.kv.max_concurrency
    assert bare.throughput
    assert made.throughput
    assert longer.throughput
    assert made.throughput.ttft_s > longer.throughput.ttft_s > bare.throughput.ttft_s
    assert made.one_request
    assert longer.one_request
    assert made.one_request.ttft_s - longer.one_request.ttft_s == pytest.approx(
        made.images.encoder_s, rel=0.01
    )
    assert (made.throughput.band, made.throughput.basis) == (
        2.0,
        "modelled, not validated: no figure of Llama 4 with images is public",
    )
    assert (bare.serve.limit_mm_per_prompt, made.serve.limit_mm_per_prompt) == ({"image": 5}, {"image": 2})
    assert not made.serve.language_model_only
    assert asked_for(made) == Options(images_per_request="2@1024x768")
    assert size_again(made, "4xH100").endswith("--on 4xH100 --images-per-request 2@1024x768")


def test_no_images_are_given_up_for_room_where_some_are_asked_for() -> None:
    """g5.12xlarge holds Scout in 4 bits by leaving out the tower."""
    squeezed = plan(named("scout", "int4"), on("g5.12xlarge"), Options())
    kept = plan(named("scout", "int4"), on("g5.12xlarge"), Options(images_per_request="1"))
    assert squeezed.serve.language_model_only
    assert (kept.serve.language_model_only, kept.serve.limit_mm_per_prompt) == (False, {"image": 1})


def test_every_machine_is_ranked_with_the_images() -> None:
    found = ranking("scout", "fp8", Options(images_per_request="1"))
    assert found.workload.input_tokens == 1000 + 2467
    assert {each.workload.input_tokens for each in found.machines} == {3467}


def test_hits_in_the_prefix_cache_save_time_and_no_memory() -> None:
    bare, made = sized(input_tokens=8000), sized(input_tokens=8000, prefix_cache_hit_rate=0.75)
    assert (made.kv, made.memory) == (bare.kv, bare.memory)
    assert bare.one_request
    assert made.one_request
    saved = (bare.one_request.ttft_s - 0.01) / (made.one_request.ttft_s - 0.01)
    assert 3 < saved < 4  # the last quarter sees all that stands before it
    assert made.one_request.tpot_s == bare.one_request.tpot_s
    assert made.throughput
    assert made.throughput.basis.endswith("no figure of Llama 4 with hits in the prefix cache is public")
    assert asked_for(made).prefix_cache_hit_rate == 0.75


@pytest.mark.parametrize(
    "asked",
    [
        "--images-per-request 0",
        "--images-per-request 2@0x5",
        "--images-per-request many",
        "--images-per-request 1 --language-model-only",
        "--images-per-request 999",
        "--prefix-cache-hit-rate 1",
        "--prefix-cache-hit-rate -0.1",
    ],
)
def test_what_cannot_be_meant_is_refused(
    asked: str, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    words = ["size", "maverick", "--on", "8xH100", *asked.split()]
    assert run(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    refusals.hold(err, request, tmp_path, words)


def simulated(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    capsys.readouterr()
    assert run(["simulate", *words, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_images_are_simulated_beside_the_words_of_a_prompt_and_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whether the plan is made for it, is one of size, or one of capacity, whose traffic has them already."""
    asked = ["scout", "--precision", "fp8", "--on", "4xH100", "--images-per-request", "1"]
    sized, carrying = str(tmp_path / "sized.json"), str(tmp_path / "carrying.json")
    assert run(["size", *asked, "-o", sized]) == 0
    assert run(["capacity", *asked, "--requests-per-s", "0.2", "-o", carrying]) == 0
    coming = ["--requests-per-s", "0.2", "--hours", "0.03"]
    for words in ([*asked, *coming], [sized, *coming], [carrying, *coming], [carrying, "--hours", "0.2"]):
        found = simulated(capsys, *words)
        assert (found["input_tokens"], found["refused"]) == (1000 + 2467, 0)
        assert found["further"]["images_per_request"] == "1"
        assert found["basis"].endswith("no figure of Llama 4 with images is public")
    assert run(["simulate", *asked, *coming]) == 0
    assert ", 3,467 tokens in, images included, 300 out\n" in capsys.readouterr().out


def test_alone_a_request_with_images_waits_as_long_as_size_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = tmp_path / "trace.jsonl"
    trace.write_text('{"time_s": 0, "input_tokens": 500, "output_tokens": 40}\n', encoding="utf-8")
    asked = ["scout", "--precision", "fp8", "--on", "4xH100", "--images-per-request", "2@1024x768"]
    found = simulated(capsys, *asked, "--trace", str(trace))
    assert found["input_tokens"] == 500 + 2 * 1887
    assert run(["size", *asked, "--input-tokens", "500", "--output-tokens", "40", "--json"]) == 0
    planned = Plan.parse(capsys.readouterr().out, "stdout")
    assert planned.one_request
    assert found["ttft_s"]["p50"] == pytest.approx(planned.one_request.ttft_s, rel=0.02)


@pytest.mark.parametrize(
    "further", ["--images-per-request 999", "--images-per-request 1 --language-model-only"]
)
def test_what_cannot_be_simulated_is_refused(
    further: str, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    words = ["simulate", "maverick", "--on", "8xH100", "--requests-per-s", "1", *further.split()]
    assert run(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    refusals.hold(err, request, tmp_path, words)


def test_a_document_with_more_tokens_of_images_than_tokens_asks_for_one() -> None:
    made = sized(images_per_request="1")
    assert made.images
    forged = made.model_copy(update={"images": made.images.model_copy(update={"tokens_each": 2**50})})
    assert asked_for(forged).input_tokens == 1
