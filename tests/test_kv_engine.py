"""The KV planner against the installed engine's own code, case by case. The engine is never imported here."""

import json
import os
import subprocess
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from serving.model import tiny
from serving.model.kv import Layout, MoreLayers, layout
from serving.model.models import Architecture, model
from serving.model.weights import Split, stage_of_layers
from serving.vllm.versions import rules

pytestmark = pytest.mark.engine

SCOUT = model("scout").architecture
DRIVER = Path(__file__).parent / "data" / "engine_kv_planner.py"
PATTERNS = {"3 to 1": (3, 7), "one global": (0,), "2 of 6": (1, 4), "3 of 8": (2, 5, 7), "3 of 7": (0, 3, 6)}


def architectures() -> dict[str, Architecture]:
    """Scout, and smaller ones whose kinds of layers do not divide evenly."""
    sizes = {"3 to 1": 8, "one global": 5, "2 of 6": 6, "3 of 8": 8, "3 of 7": 7}
    small = {
        name: SCOUT.model_copy(update={"layers": sizes[name], "global_layers": layers})
        for name, layers in PATTERNS.items()
    }
    every = {"layers": 6, "attention_chunk_size": None, "global_layers": tuple(range(6))}
    return {"scout": SCOUT, "all global": SCOUT.model_copy(update=every)} | small


def cases() -> list[dict[str, Any]]:
    """Machines, splits, versions of the settings."""
    grid = product(architectures(), (1, 2, 8), (1, 2, 3), (True, False), (8192, 131072), (1 << 30, 20 << 30))
    found = [
        {
            "name": name,
            "tensor": tensor,
            "pipeline": pipeline,
            "hybrid": hybrid,
            "length": length,
            "bytes": size,
        }
        for name, tensor, pipeline, hybrid, length, size in grid
    ]
    return [case | {"draft": draft} for case in found for draft in drafts_of(case)]


def drafts_of(case: dict[str, Any]) -> tuple[MoreLayers, ...]:
    """None, one or two layers like the model's; without the hybrid manager, as beside EAGLE, also of other heads."""
    if case["length"] == 8192 or case["tensor"] != 8:
        return (MoreLayers(0, 1, 1),)
    like = tuple(MoreLayers(count, SCOUT.kv_heads, SCOUT.head_dim) for count in (0, 1, 2))
    return like if case["hybrid"] else (*like, MoreLayers(1, 40, 128), MoreLayers(3, 4, 64))


def ours(case: dict[str, Any]) -> Layout:
    """Our layout of a case. The engine's scheduler runs without async here, as on a CPU."""
    return layout(
        architectures()[case["name"]],
        rules("0.32.0"),
        Split(case["tensor"], case["pipeline"]),
        hybrid=case["hybrid"],
        bytes_per_value=2,
        max_num_batched_tokens=2048,
        cpu=True,
        more=case["draft"],
    )


def asked(case: dict[str, Any]) -> dict[str, Any]:
    """A case in the driver's words."""
    a = architectures()[case["name"]]
    stages = stage_of_layers(a.layers, case["pipeline"])
    return {
        "block_size": 128,
        "kv_heads": max(1, a.kv_heads // case["tensor"]),
        "head_dim": a.head_dim,
        "draft": (
            case["draft"].layers,
            max(1, case["draft"].kv_heads // case["tensor"]),
            case["draft"].head_dim,
        ),
        "bytes_per_value": 2,
        "chunk": a.attention_chunk_size,
        "global_layers": a.global_layers,
        "max_model_len": case["length"],
        "max_num_batched_tokens": 2048,
        "hybrid": case["hybrid"],
        "stages": [
            (stages.index(stage), stages.index(stage) + stages.count(stage))
            for stage in range(case["pipeline"])
        ],
        "available_bytes": case["bytes"],
    }


def answer(case: dict[str, Any]) -> dict[str, object]:
    """Our answer in the driver's words."""
    plan = ours(case)
    blocks = plan.blocks(case["bytes"])
    if not plan.fits(case["length"], blocks):
        return {"refused": True}
    return {
        "num_blocks": blocks,
        "tokens": plan.tokens(case["length"], blocks),
        "max_concurrency": plan.max_concurrency(case["length"], blocks),
    }


@pytest.mark.slow
def test_every_case_equals_the_engines_own_planner(engine: Path, engine_cache: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [engine.parent / "python", DRIVER, tiny.make(tmp_path / "tiny")],
        env=os.environ | {"VLLM_CACHE_ROOT": f"{engine_cache}/vllm"},
        input=json.dumps([asked(case) for case in cases()]),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    theirs = json.loads(done.stdout.splitlines()[-1])
    wrong = [
        (case, answer(case), found)
        for case, found in zip(cases(), theirs, strict=True)
        if answer(case) != found
    ]
    assert wrong == []
    assert sum("refused" in found for found in theirs) > 10
