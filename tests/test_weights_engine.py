"""What one rank holds, against vLLM's own modules built on the meta device: equal to the byte."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ports import free_port

from serving.model import tiny
from serving.model.models import model
from serving.model.weights import Split, parts, rank_bytes

pytestmark = [pytest.mark.engine, pytest.mark.slow]

DRIVER = Path(__file__).parent / "data" / "engine_rank_weights.py"
WHOLE = [{"tensor": tensor, "pipeline": 1, "stage": 0, "text_only": False} for tensor in (1, 2, 4, 8)]
STAGES = [
    {"tensor": 8, "pipeline": pipeline, "stage": stage, "text_only": text_only}
    for pipeline, stage, text_only in ((2, 0, False), (2, 1, True), (3, 2, False), (4, 1, True))
]


def checkpoint(folder: Path, name: str) -> Path:
    """A tiny checkpoint whose config.json says it is the released model: config and tokenizer, no such weights."""
    a = model(name).architecture
    assert a.vision is not None
    path = tiny.make(folder, "multimodal") / "config.json"
    config = json.loads(path.read_text())
    text = {
        "hidden_size": a.hidden_size,
        "intermediate_size": a.expert_intermediate,
        "intermediate_size_mlp": a.dense_intermediate,
        "num_hidden_layers": a.layers,
        "num_attention_heads": a.attention_heads,
        "num_key_value_heads": a.kv_heads,
        "head_dim": a.head_dim,
        "num_local_experts": a.experts,
        "vocab_size": a.vocab_size,
        "attention_chunk_size": a.attention_chunk_size,
        "max_position_embeddings": a.max_position_embeddings,
        "moe_layers": a.moe_layers,
        "interleave_moe_layer_step": a.layers // len(a.moe_layers),
        "no_rope_layers": [int(layer not in a.global_layers) for layer in range(a.layers)],
    }
    vision = {
        "hidden_size": a.vision.hidden_size,
        "num_hidden_layers": a.vision.layers,
        "num_attention_heads": a.vision.heads,
        "intermediate_size": a.vision.intermediate,
        "patch_size": a.vision.patch_size,
        "image_size": a.vision.image_size,
        "projector_input_dim": a.vision.projector_input,
        "projector_output_dim": a.vision.projector_output,
        "vision_output_dim": a.vision.projector_output,
    }
    config["text_config"].update(text)
    config["text_config"].pop("layer_types", None)
    config["vision_config"].update(vision)
    path.write_text(json.dumps(config))
    return folder


def ours(name: str, case: dict[str, Any]) -> object:
    known = model(name)
    weights = parts(known.architecture, known.checkpoints["bf16"].scheme)
    split = Split(case["tensor"], case["pipeline"])
    return rank_bytes(weights, known.architecture, split, case["text_only"])[case["stage"]]


def test_every_rank_equals_vllms_own_modules_to_the_byte(
    engine: Path, engine_cache: Path, tmp_path: Path
) -> None:
    """Of both models, in one process: importing the engine takes longer than all it is asked here."""
    asked = [(name, case) for name in ("scout", "maverick") for case in WHOLE + STAGES]
    folders = {name: checkpoint(tmp_path / name, name) for name in ("scout", "maverick")}
    cases = [case | {"folder": str(folders[name])} for name, case in asked]
    done = subprocess.run(
        [engine.parent / "python", DRIVER, json.dumps(cases), str(free_port())],
        env=os.environ | {"VLLM_CACHE_ROOT": f"{engine_cache}/vllm"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    theirs = json.loads(done.stdout.splitlines()[-1])
    assert [ours(name, case) for name, case in asked] == theirs
