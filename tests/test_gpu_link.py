"""--gpu-link: how the GPUs of an own machine reach each other, and what that makes of a step and of the memory."""

from pathlib import Path

import pytest
import refusals

from deploy.cli.main import run
from infra.catalog import gpus
from infra.hardware import linked, owned
from serving.sizing.plan_again import asked_for
from serving.sizing.size import on, plan
from serving.sizing.size_options import Options
from serving.sizing.sized_model import named


@pytest.mark.parametrize(
    ("count", "name", "link", "gb_per_s"),
    [
        (4, "A100-80GB", "pcie", 24.0),
        (8, "H100", "pcie", 48.0),
        (2, "RTX-A6000", "nvlink", 56.0),
        (2, "A100-PCIE-80GB", "nvlink", 300.0),
        (8, "H100", "nvlink", 450.0),
        (8, "L40S", "pcie", 24.0),
    ],
)
def test_gpus_are_joined_as_the_user_says(count: int, name: str, link: str, gb_per_s: float) -> None:
    gpu = linked(owned(gpus()[name], count), link).gpu  # type: ignore[arg-type]
    assert gpu
    assert (gpu.link, gpu.link_gb_per_s) == (link, gb_per_s)
    assert gpu == gpus()[name].model_copy(update={"link": link, "link_gb_per_s": gb_per_s})


def test_a_slower_link_takes_longer_is_less_sure_and_is_said() -> None:
    usual, slow = (
        plan(named("scout", "bf16"), on("8xH100"), Options(gpu_link=link)) for link in (None, "pcie")
    )
    assert usual.throughput
    assert slow.throughput
    # 96 all-reduces of 16 requests, and of the 16 tokens of prompts that ride along: 28 us more of latency each
    assert slow.throughput.tpot_s - usual.throughput.tpot_s > 96 * 28e-6
    assert (usual.throughput.band, slow.throughput.band) == (1.25, 2.0)
    assert slow.throughput.basis.endswith("no figure of Llama 4 on H100 joined so is public")
    said = (
        "The GPUs reach each other over PCIe, as you say: 48 GB/s each way are taken for that, which nobody measured "
        "here."
    )
    assert [note for note in slow.notes if note not in usual.notes] == [said]
    assert slow.memory.kv_cache_less_gib - usual.memory.kv_cache_less_gib == pytest.approx(0.5, abs=0.01)
    assert asked_for(slow) == Options(gpu_link="pcie")


def test_a_bridge_joins_two_and_more_talk_over_pcie() -> None:
    """H100 NVL: its NVLink is a bridge."""
    two, four = (plan(named("scout", "fp8"), on(f"{count}xH100-NVL"), Options()) for count in (2, 4))
    assert not [note for note in two.notes if "reach each other" in note]
    assert [note for note in four.notes if "reach each other" in note] == [
        "The GPUs reach each other over PCIe: 48 GB/s each way are taken for that, which nobody measured here."
    ]
    assert two.throughput
    assert four.throughput
    assert (two.throughput.basis.count("joined so"), four.throughput.basis.count("joined so")) == (0, 1)


@pytest.mark.parametrize(("card", "module"), [("2xH100-PCIE", "2xH100"), ("8xA100-PCIE-80GB", "8xA100-80GB")])
def test_no_figure_of_a_module_stands_behind_a_card(card: str, module: str) -> None:
    """Of one name, and measured was only the one with NVLink."""
    found = [plan(named("scout", "fp8"), on(name), Options()).throughput for name in (card, module)]
    assert [(each.band, "no fp8 figure" in each.basis) for each in found if each] == [
        (2.0, True),
        (1.25, False),
    ]


def test_next_is_no_command_that_corral_refuses(capsys: pytest.CaptureFixture[str]) -> None:
    """It starts no server on AMD's GPUs."""
    assert run(["size", "scout", "--precision", "bf16", "--on", "8xMI300X", "--concurrency", "8"]) == 0
    assert capsys.readouterr().out.rpartition("Next: ")[2] == (
        "start it by hand in vLLM's ROCm image, with what the plan's serve says: "
        "corral size scout --precision bf16 --on 8xMI300X --concurrency 8 --json\n"
    )


@pytest.mark.parametrize(
    "asked",
    [
        "--gpu-link pcie",
        "--on p5.48xlarge --gpu-link pcie",
        "--on 4xA100-PCIE-80GB --gpu-link nvlink",
        "--on 4xL40S --gpu-link nvlink",
        "--on 1xGB10 --gpu-link pcie",
        "--on 8xH100 --gpu-link infiniband",
    ],
)
def test_what_cannot_be_meant_is_refused(
    asked: str, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    words = ["size", "scout", *asked.split()]
    assert run(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    refusals.hold(err, request, tmp_path, words)
