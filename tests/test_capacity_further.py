"""Images, prefix hits, LoRA and weights in the RAM in a capacity question: what they take, and where they are said."""

import json
from pathlib import Path
from typing import Any

import pytest
import refusals

from deploy.cli.main import run
from serving.sizing.capacity import Capacity, Question
from serving.sizing.capacity_search import capacity
from serving.sizing.size_options import FurtherOptions
from serving.sizing.traffic import Promise
from serving.sizing.traffic_options import TrafficOptions

ASKED = "capacity scout --requests-per-s 20 --ttft 5 --tpot 0.2 --precision fp8 --on 4xH100"


def answered(further: str, capsys: pytest.CaptureFixture[str], asked: str = ASKED) -> Capacity:
    """The answer to a question with that at its end."""
    assert run([*asked.split(), *further.split(), "--json"]) == 0
    return Capacity.parse(capsys.readouterr().out, "stdout")


@pytest.fixture(scope="module")
def bare() -> Capacity:
    """Without any of it."""
    traffic, promise = TrafficOptions(requests_per_s=20).traffic, Promise(ttft_s=5.0, tpot_s=0.2)
    asked = Question(model="scout", traffic=traffic, promise=promise, precision="fp8", machines=("4xH100",))
    return capacity(asked)


@pytest.mark.parametrize(
    ("further", "said", "note"),
    [
        (
            "--images-per-request 2@1024x768",
            {"images_per_request": "2@1024x768"},
            "Of a request's 4,774 input tokens 3,774 are of images (2 x 1,887, 13 tiles each).",
        ),
        (
            "--prefix-cache-hit-rate 0.5",
            {"prefix_cache_hit_rate": 0.5},
            "50% of each prompt is taken to be in the prefix cache, as you say.",
        ),
        (
            "--enable-lora --max-loras 4 --lora-target-modules experts",
            {"enable_lora": True, "max_loras": 4, "lora_target_modules": ("experts",)},
            "LoRA: 4 x rank 16 in experts is set aside at the start.",
        ),
        (
            "--cpu-offload-gb 2",
            {"cpu_offload_gb": 2.0},
            "2 GiB of each GPU's weights, or all of its layers, stay in the machine's RAM,",
        ),
    ],
    ids=["images", "hits", "lora", "offload"],
)
def test_what_is_asked_beside_the_traffic_is_planned_for_and_said(
    further: str, said: dict[str, Any], note: str, bare: Capacity, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the answer, its plan, its notes and the command that serves it."""
    found, asked = answered(further, capsys), FurtherOptions.model_validate(said)
    assert found.plan
    assert bare.plan
    assert (bare.further, found.further, found.plan.further) == (None, asked, asked)
    assert found.choices[0].basis.startswith("modelled, not validated: no figure of Llama 4 ")
    slower = found.choices[0].requests_per_s < bare.choices[0].requests_per_s
    assert slower == ("hit" not in further)
    assert run([*ASKED.split(), *further.split()]) == 0
    out = capsys.readouterr().out
    assert note in " ".join(out.split())
    assert f"Next: corral {ASKED} {further} -o plan.json && corral up plan.json " in out


def test_images_are_in_the_prompts_the_context_and_the_servers_flags(
    bare: Capacity, capsys: pytest.CaptureFixture[str]
) -> None:
    found = answered("--images-per-request 2@1024x768", capsys)
    assert found.plan
    assert found.plan.images
    assert bare.plan
    assert found.traffic == bare.traffic.with_longer_prompts(2 * 1887)
    assert found.plan.carried
    assert found.plan.carried.traffic == found.traffic
    assert (found.plan.workload.input_tokens, found.plan.serve.max_model_len) == (1000 + 2 * 1887, 5120)
    assert found.plan.serve.limit_mm_per_prompt == {"image": 2}
    assert found.choices[0].tail
    assert bare.choices[0].tail
    assert found.choices[0].tail.ttft_s > bare.choices[0].tail.ttft_s


def test_images_come_with_the_requests_of_each_class(capsys: pytest.CaptureFixture[str]) -> None:
    asked = f"{ASKED} --class chat=50%,1k-2k/300 --class rag=50%,8k~100/500 --images-per-request 1@336x336"
    assert [str(each) for each in answered("", capsys, asked).traffic.classes] == [
        "chat=50%,1147-2147/300",
        "rag=50%,8147~100/500",
    ]


def test_slots_and_the_ram_are_in_the_servers_flags(capsys: pytest.CaptureFixture[str]) -> None:
    found = answered("--enable-lora --max-lora-rank 32 --cpu-offload-gb 2", capsys)
    assert found.plan
    told = ("--enable-lora", "--max-loras", "1", "--max-lora-rank", "32", "--cpu-offload-gb", "2")
    assert found.plan.serve.extra_args == told


def test_machines_that_are_there_say_what_was_not_measured(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["capacity", "scout", "--requests-per-s", "1", "--have", "4xH100=1", "--cpu-offload-gb", "2"]
    assert run(asked) == 0
    assert "over PCIe in each step: assumed, not measured." in " ".join(capsys.readouterr().out.split())


def test_a_machine_whose_ram_does_not_hold_it_is_no_choice(capsys: pytest.CaptureFixture[str]) -> None:
    asked = "capacity scout --requests-per-s 1 --precision int4 --on g6.12xlarge --cpu-offload-gb 60 --json"
    assert run(asked.split()) == 3
    (choice,) = Capacity.parse(capsys.readouterr().out, "stdout").choices
    assert (choice.verdict, choice.why) == (
        "does not fit",
        "--cpu-offload-gb 60 is 240 GiB for 4 GPUs; g6.12xlarge has 192 GiB of RAM",
    )


def test_hits_are_simulated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One request at a time: what is computed of its prompt is the less."""
    coming = "--on 4xH100 --requests-per-s 0.5 --hours 0.05 --input-tokens 8000 --json"
    found = []
    for further in ("", "--prefix-cache-hit-rate 0.9"):
        assert run(["simulate", "scout", "--precision", "fp8", *coming.split(), *further.split()]) == 0
        found.append(json.loads(capsys.readouterr().out))
    bare, hits = found
    assert hits["input_tokens"] == bare["input_tokens"] == 8000.0
    assert hits["ttft_s"]["p50"] < bare["ttft_s"]["p50"] / 2
    assert hits["basis"].endswith("with hits in the prefix cache is public")


@pytest.mark.parametrize(
    "further",
    [
        "--max-loras 4",
        "--enable-lora --max-lora-rank 12",
        "--enable-lora --lora-target-modules mixer",
        "--enable-lora --vllm-version 0.9.2",
        "--images-per-request many",
        "--images-per-request 9 --context 4k",
        "--images-per-request 1 --requests-per-s 0",
        "--prefix-cache-hit-rate 1",
        "--cpu-offload-gb -1",
    ],
)
def test_what_cannot_be_meant_is_refused(
    further: str, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    assert run([*ASKED.split(), *further.split()]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    refusals.hold(err, request, tmp_path)


def test_tokens_a_month_do_not_say_how_many_are_of_images(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["capacity", "scout", "--tokens-per-month", "2e9", "--images-per-request", "1"]) == 2
    assert capsys.readouterr().err == (
        "error: --tokens-per-month does not say whether those of images are among them.\n"
        "hint: Say how many requests there are: --requests-per-month 5M\n"
    )
