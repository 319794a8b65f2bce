"""What is printed to be run next repeats the user's own words: followed, it makes the same plan."""

import json
import re
import shlex
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Annotated

import pytest

from deploy.cli.main import run
from infra import command_line
from infra.asked import Asked, Flag, again
from serving.probe.lengths import AskedLengths, Lengths
from serving.sizing.plan_again import size_again
from serving.sizing.size import on, plan
from serving.sizing.size_options import Options
from serving.sizing.sized_model import named
from serving.sizing.traffic_options import MachineOptions, TrafficOptions


@pytest.fixture(autouse=True)
def what_is_said_here_is_said_here_alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """corral's own options are kept in the environment, for every door to see."""
    for name in ("CORRAL_OFFLINE", "CORRAL_GPUS"):
        monkeypatch.setenv(name, "")
    yield
    command_line.before_the_verb.clear()


class Everything(Asked):
    """A field of every kind."""

    count: int | None = None
    share: float = 0.5
    price: Decimal | None = None
    name: str = "a"
    path: Annotated[Path | None, Flag("--output -o")] = None
    several: tuple[str, ...] = ()
    switch: bool = False
    kept: bool = True
    lengths: AskedLengths = Lengths(low=7)


def test_the_flags_of_a_record_are_said_again_as_they_are_typed() -> None:
    given = {
        "count": 131072,
        "share": 0.92,
        "price": Decimal("12.50"),
        "name": "it's $HOME",
        "path": Path("-x y"),
        "several": ("a", "--b"),
        "switch": True,
        "kept": False,
        "lengths": Lengths(form="uniform", low=500, high=2000),
    }
    made = Everything.model_validate(given)
    assert shlex.split(again(made)) == [
        *("--count", "131072", "--share", "0.92", "--price", "12.50", "--name", "it's $HOME"),
        *(
            "--output=-x y",
            "--several",
            "a",
            "--several=--b",
            "--switch",
            "--no-kept",
            "--lengths",
            "500-2000",
        ),
    ]
    assert again(Everything()) == again(Everything.model_validate({"count": None, "share": 0.5})) == ""
    assert again(made, without=("name", "path", "several", "share", "price", "lengths", "count")) == (
        " --switch --no-kept"
    )


SIZES = [
    "size scout --precision int4 --on g5.12xlarge --max-model-len 131072 --kv-cache-dtype fp8 --concurrency 64",
    "size scout --on g6e.12xlarge --vllm-version 0.8.3 --region eu-west-1 --input-tokens 3000 --output-tokens 200",
    "size maverick --precision fp8 --on 8xH100 --tensor-parallel-size 1 --data-parallel-size 8 "
    "--enable-expert-parallel --gpu-memory-utilization 0.97",
    "size scout --on 1xH200 --precision fp8 --max-num-seqs 8 --max-num-batched-tokens 4096 --enforce-eager "
    "--language-model-only --disable-hybrid-kv-cache-manager --kv-cache-memory-bytes 8G --dtype bfloat16",
    "--gpu name=OURS,memory_mib=81559,memory_gb_per_s=2000,bf16_tflops=400,compute_capability=9.0,"
    "torch_gib=79.1 size scout --precision int4 --on 2xOURS --concurrency 4",
    "size scout --precision fp8 --on 4xH100 --images-per-request 3 --prefix-cache-hit-rate 40%",
    "size scout --precision fp8 --on 4xH100 --enable-lora --max-loras 2 --lora-target-modules o_proj "
    "--lora-target-modules experts --cpu-offload-gb 1.5",
]
CAPACITIES = [
    "capacity scout --requests-per-s 2 --on 2xA100-80GB --usd-per-hour 5 --precision fp8 --input-tokens 500-2000 "
    "--output-tokens 300~20 --peak-factor 3 --context 8192",
    "capacity maverick --tokens-per-month 2e9 --on p5en.48xlarge --precision int4 --ttft 1 --tpot 0.05 --spare 1 "
    "--fill 0.7 --region us-east-1 --kv-cache-dtype fp8 --vllm-version 0.32.0",
]


def followed(command: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What the printed next step comes to, which is run where it plans; the last of its commands."""
    capsys.readouterr()
    run(shlex.split(command))
    said = capsys.readouterr().out.splitlines()[-1]
    assert said.startswith("Next: "), said
    for each in said.removeprefix("Next: ").split(" && "):
        words = shlex.split(each.replace("plan.json", str(folder / "again.json")))
        assert words[0] == "corral"
        if words[1] in ("size", "capacity"):
            run(words[1:])
    return each


@pytest.mark.parametrize("command", [*SIZES, *CAPACITIES], ids=lambda command: command[:24])
def test_following_it_makes_the_same_plan(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    last = followed(command, tmp_path, capsys)
    run([*shlex.split(command), "-o", str(tmp_path / "first.json")])
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "first.json").read_bytes()
    assert re.match(r"corral up plan\.json --target (ec2|ssh)", last)
    assert ("--gpu " in last) == ("--gpu " in command)
    assert (
        capsys.readouterr()
        .out.splitlines()[-1]
        .startswith(f"Next: corral up {tmp_path / 'first.json'} --target ")
    )


def test_the_ranking_leads_to_the_plan_it_ranked(capsys: pytest.CaptureFixture[str]) -> None:
    asked = (
        "--concurrency 48 --kv-cache-dtype fp8 --vllm-version 0.24.0 --input-tokens 4000 --region us-west-2"
    )
    run(shlex.split(f"size scout {asked} --json"))
    ranked = json.loads(capsys.readouterr().out)["machines"][0]
    run(shlex.split(f"size scout {asked}"))
    step = capsys.readouterr().out.splitlines()[-1].removeprefix("Next: corral ")
    run([*shlex.split(step), "--json"])
    planned = json.loads(capsys.readouterr().out)
    drawn = {"curve", "saturation_concurrency"}
    *same, quicker = planned.pop("notes")
    assert same == ranked.pop("notes")
    assert quicker.startswith("nvfp4 fits ")
    assert {key: planned[key] for key in ranked if key not in drawn} == {
        key: ranked[key] for key in ranked if key not in drawn
    }


@pytest.mark.parametrize(
    ("command", "step"),
    [
        (
            "size scout --precision bf16 --on 2xA100-80GB --region eu-west-1 --concurrency 4",
            "Next: see every machine that holds it: corral size scout --precision bf16 --region eu-west-1 "
            "--concurrency 4",
        ),
        (
            "--offline size maverick --precision bf16 --on local --dtype float32 --input-tokens 9000",
            "Next: see every machine that holds it: corral size maverick --precision bf16 --input-tokens 9000 "
            "--offline",
        ),
    ],
)
def test_what_does_not_fit_is_looked_for_elsewhere_as_it_was_asked(
    command: str, step: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run(shlex.split(command))
    assert capsys.readouterr().out.splitlines()[-1] == step


def test_a_checkpoint_without_a_machine_is_told_the_line_with_its_own_words(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["size", "./here", "--max-model-len", "4096", "--kv-cache-dtype", "fp8"]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        "hint: corral size ./here --on local --kv-cache-dtype fp8 --max-model-len 4096, or --on 8xH100"
    )


def test_what_one_command_line_says_first_is_not_said_after_the_next(
    capsys: pytest.CaptureFixture[str],
) -> None:
    run(["--offline", "version"])
    assert command_line.before_the_verb == ["--offline"]
    run(["version"])
    assert command_line.before_the_verb == []
    assert again(Options(), TrafficOptions(requests_per_s=1.0), MachineOptions()) == " --requests-per-s 1"


def test_a_plan_says_what_it_was_asked_for_where_another_is_needed() -> None:
    """Its promise and its workload; what the planner chose is chosen again elsewhere."""
    asked = Options(
        input_tokens=3000,
        concurrency=64,
        max_model_len=100_000,
        kv_cache_dtype="fp8",
        vllm_version="0.24.0",
        region="eu-west-1",
    )
    made = plan(named("scout", "int4"), on("g5.12xlarge"), asked)
    said = (
        " --kv-cache-dtype fp8 --vllm-version 0.24.0 --region eu-west-1 --input-tokens 3000 --concurrency 64"
        " --max-model-len 100000"
    )
    assert size_again(made, "4xL4") == f"corral size scout --precision int4 --on 4xL4{said}"
    assert size_again(made) == f"corral size scout --precision int4{said}"
    assert size_again(plan(named("scout", "int4"), on("g5.12xlarge"), Options())) == (
        "corral size scout --precision int4"
    )
    load = made.workload.model_copy(update={"concurrency": 10**9})
    checkpoint = made.model_copy(update={"model": "it's", "workload": load})
    assert size_again(checkpoint).startswith(
        "corral size RedHatAI/Llama-4-Scout-17B-16E-Instruct-quantized.w4a16 --on 8xH100 --kv-cache-dtype fp8 "
    )
