"""Another family, another model of it and another GPU are rows of the tables: nothing else has to change."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_checkpoint import checkpoint

from deploy.cli.main import run
from deploy.costs import hosted_offers
from infra import catalog, data
from infra.errors import UsageError
from infra.hardware import Machine
from serving.model import checkpoint as door
from serving.model import families, models
from serving.model.weights import params
from serving.sizing import sized_model
from serving.sizing.plan import Plan
from serving.sizing.size import answer_for, plan
from serving.sizing.size_options import Options

LLAMA3 = """
[family.llama3]
title = "Llama 3"
architectures = ["LlamaForCausalLM"]
oldest_vllm = "0.8.3"

[family.llama3.tensors]
'mlp\\.(gate|up|down)_proj\\.' = "dense"
"""
QWEN3_MOE = """
[family.qwen3-moe]
title = "Qwen3"
architectures = ["Qwen3MoeForCausalLM"]
oldest_vllm = "0.8.4"

[family.qwen3-moe.config]
expert_intermediate = "moe_intermediate_size"
experts = "num_experts"
experts_per_token = "num_experts_per_tok"
moe_every = "decoder_sparse_step"

[family.qwen3-moe.otherwise]
qk_norm = true

[family.qwen3-moe.tensors]
'mlp\\.gate\\.' = "router"
'mlp\\.experts\\.' = "routed"
'mlp\\.(gate|up|down)_proj\\.' = "dense"
"""
LLAMA33_70B = """
[model."llama-3.3-70b"]
family = "llama3"
title = "Llama 3.3 70B"
hidden_size = 8192
layers = 80
attention_heads = 64
kv_heads = 8
head_dim = 128
dense_intermediate = 28672
vocab_size = 128256
max_position_embeddings = 131072
checkpoint.bf16 = { repo = "meta-llama/Llama-3.3-70B-Instruct", scheme = "bf16", source = "test" }
"""
QWEN3_235B = """
[model.qwen3-235b]
family = "qwen3-moe"
title = "Qwen3 235B-A22B"
hidden_size = 4096
layers = 94
attention_heads = 64
kv_heads = 4
head_dim = 128
expert_intermediate = 1536
experts = 128
experts_per_token = 8
vocab_size = 151936
max_position_embeddings = 40960
checkpoint.bf16 = { repo = "Qwen/Qwen3-235B-A22B", scheme = "bf16", source = "test" }
checkpoint.fp8 = { repo = "Qwen/Qwen3-235B-A22B-FP8", scheme = "fp8-dynamic", source = "test" }
"""
MI400X = """
[gpu.MI400X]
family = "MI400X"
memory_mib = 196608
torch_gib = 191.5
torch_gib_error = 0.5
torch_gib_source = "estimated"
compute_capability = 9.4
memory_gb_per_s = 5300
bf16_tflops = 1307
fp8_tflops = 2615
link = "nvlink"
link_gb_per_s = 448
"""
OFFER = """
[[offer]]
host = "Somebody"
status = "listed"
price.qwen3-235b = { input = "0.20", output = "0.60" }
"""
ROWS = {
    "families.toml": LLAMA3 + QWEN3_MOE,
    "models.toml": LLAMA33_70B + QWEN3_235B,
    "catalog.toml": MI400X,
    "hosted_offers.toml": OFFER,
}
CACHES = (
    data.shipped_table,
    families.families,
    models.models,
    sized_model.named,
    catalog.loaded,
    hosted_offers.offers,
)

# config.json as published.
LLAMA33_CONFIG: dict[str, object] = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 8192,
    "intermediate_size": 28672,
    "num_hidden_layers": 80,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "rope_scaling": {"factor": 8.0, "original_max_position_embeddings": 8192, "rope_type": "llama3"},
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}
QWEN3_CONFIG: dict[str, object] = {
    "architectures": ["Qwen3MoeForCausalLM"],
    "hidden_size": 4096,
    "intermediate_size": 12288,
    "moe_intermediate_size": 1536,
    "num_hidden_layers": 94,
    "num_attention_heads": 64,
    "num_key_value_heads": 4,
    "head_dim": 128,
    "num_experts": 128,
    "num_experts_per_tok": 8,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
    "vocab_size": 151936,
    "max_position_embeddings": 40960,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}
LLAMA33_PARAMS, QWEN3_PARAMS = 70_553_706_496, 235_093_634_560
"""As published."""


@pytest.fixture(autouse=True)
def more_rows(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The shipped tables with rows more."""
    shipped = data.shipped_text
    monkeypatch.setattr(
        data, "shipped_text", lambda package, name: shipped(package, name) + ROWS.get(name, "")
    )
    for each in CACHES:
        each.cache_clear()
    yield
    monkeypatch.undo()
    for each in CACHES:
        each.cache_clear()


def attention(hidden: int, heads: int, kv_heads: int) -> dict[str, tuple[int, ...]]:
    return {
        "self_attn.q_proj.weight": (heads * 128, hidden),
        "self_attn.k_proj.weight": (kv_heads * 128, hidden),
        "self_attn.v_proj.weight": (kv_heads * 128, hidden),
        "self_attn.o_proj.weight": (hidden, heads * 128),
        "input_layernorm.weight": (hidden,),
        "post_attention_layernorm.weight": (hidden,),
    }


def mlp(name: str, hidden: int, intermediate: int) -> dict[str, tuple[int, ...]]:
    return {
        f"{name}.gate_proj.weight": (intermediate, hidden),
        f"{name}.up_proj.weight": (intermediate, hidden),
        f"{name}.down_proj.weight": (hidden, intermediate),
    }


def whole(
    layer: dict[str, tuple[int, ...]], layers: int, hidden: int, words: int
) -> dict[str, tuple[int, ...]]:
    """The tensors of a model whose layers are all alike."""
    named = {f"model.layers.{n}.{name}": shape for n in range(layers) for name, shape in layer.items()}
    ends = {"model.embed_tokens.weight": (words, hidden), "lm_head.weight": (words, hidden)}
    return named | ends | {"model.norm.weight": (hidden,)}


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    layer = attention(8192, 64, 8) | mlp("mlp", 8192, 28672)
    return checkpoint(tmp_path / "Llama-3.3-70B", LLAMA33_CONFIG, whole(layer, 80, 8192, 128256))


@pytest.fixture
def qwen(tmp_path: Path) -> Path:
    layer = attention(4096, 64, 4) | {"mlp.gate.weight": (128, 4096)}
    layer |= {"self_attn.q_norm.weight": (128,), "self_attn.k_norm.weight": (128,)}
    for expert in range(128):
        layer |= mlp(f"mlp.experts.{expert}", 4096, 1536)
    return checkpoint(tmp_path / "Qwen3-235B-A22B", QWEN3_CONFIG, whole(layer, 94, 4096, 151936))


def says_nothing_of_llama_4(found: Plan) -> bool:
    """But for where a figure of memory is from."""
    said = found.model_copy(update={"terms": ()}).model_dump_json()
    return not any(name in said for name in ("Llama 4", "llama-4", "Scout", "Maverick"))


def test_a_dense_llama_folder_is_planned_from_the_row_of_its_family(llama: Path) -> None:
    found = answer_for(str(llama), None, "4xH100", Options())
    assert (found.fits, found.parallel.tensor, found.weights_bytes) == (True, 4, 2 * LLAMA33_PARAMS)
    assert found.serve.served_model_name == "Llama-3.3-70B"
    # 16 tokens x keys and values x 2 of 8 heads x 128 x 2 bytes, in all 80 layers: each sees everything.
    assert found.kv.bytes_per_block == 16 * 2 * 2 * 128 * 2 * 80 == 1_310_720
    assert found.kv.blocks_per_request == (found.serve.max_model_len or 0) // 16
    assert found.kv.tokens == pytest.approx(16 * found.kv.num_blocks, abs=1)
    assert found.throughput is not None
    assert found.throughput.basis == "modelled, not validated: corral has no figure of Llama 3"
    assert says_nothing_of_llama_4(found)


def test_every_layer_of_a_dense_llama_keeps_all_of_a_request(
    llama: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["size", str(llama), "--on", "4xH100", "--explain"]) == 0
    assert "8,192 blocks of 16 tokens: all of it in every layer\n" in capsys.readouterr().out


def test_a_dense_llama_on_a_cpu(llama: Path) -> None:
    cpu = Machine(name="local", kind="local", gpu=None, gpus_per_host=0, ram_gib=256.0)
    found = plan(sized_model.from_contents(door.read(llama), "mine"), cpu, Options())
    assert (found.fits, found.kv.block_size) == (True, 128)
    assert found.kv.bytes_per_block == 128 * 2 * 8 * 128 * 2 * 80


def test_another_moe_folder_is_planned_from_the_row_of_its_family(qwen: Path) -> None:
    found = answer_for(str(qwen), None, "8xB200", Options(kv_cache_dtype="fp8"))
    assert (found.fits, found.parallel.tensor, found.weights_bytes) == (True, 8, 2 * QWEN3_PARAMS)
    # Eight GPUs share four heads: one on each, twice over.
    assert found.kv.bytes_per_block == 16 * 2 * 1 * 128 * 1 * 94
    assert found.throughput is not None
    assert says_nothing_of_llama_4(found)


def test_a_folder_and_a_row_of_the_same_model_are_one_architecture(llama: Path, qwen: Path) -> None:
    for folder, name, count in ((llama, "llama-3.3-70b", LLAMA33_PARAMS), (qwen, "qwen3-235b", QWEN3_PARAMS)):
        known = models.model(name).architecture
        read = door.read(folder).architecture
        assert read.model_copy(update={"dense_intermediate": known.dense_intermediate}) == known
        assert params(known) == count


@pytest.mark.parametrize("expert", [False, True])
def test_experts_are_shared_out_and_no_shared_one_is_looked_for(qwen: Path, expert: bool) -> None:
    found = answer_for(str(qwen), None, "8xH200", Options(enable_expert_parallel=expert))
    layer = (
        2 * 4096 * 8192 / 8 + 2 * 4096 * 512 / 4 + 128 * 4096 + 2 * 4096 + 2 * 128 + 3 * 128 * 4096 * 1536 / 8
    )
    held = 94 * layer + 2 * 151936 * 4096 / 8 + 4096
    assert found.memory.weights_gib == pytest.approx(2 * held / 2**30, abs=0.001)


def test_a_dense_model_has_no_experts_to_spread(llama: Path) -> None:
    with pytest.raises(UsageError) as caught:
        answer_for(str(llama), None, "4xH100", Options(enable_expert_parallel=True))
    assert caught.value.message == "expert parallelism is of experts, and Llama-3.3-70B has none."


def test_a_known_model_is_served_under_its_own_name(capsys: pytest.CaptureFixture[str]) -> None:
    found = answer_for("qwen3-235b", "bf16", "4xMI400X", Options())
    assert (found.fits, found.parallel.tensor, found.kv.max_context_tokens) == (True, 4, 40960)
    assert (found.model, found.serve.served_model_name) == ("qwen3-235b", "qwen3-235b")
    # 94 layers, 4 KV heads over 4 GPUs, 16 tokens: one head's keys and values a layer.
    assert found.kv.bytes_per_block == 94 * 16 * 2 * 128 * 2
    assert says_nothing_of_llama_4(found)
    assert run(["size", "llama-3.3-70b"]) == 0
    assert run(["size", "llama-3.3-70b", "--on", "1xA10G", "--json"]) == 3
    capsys.readouterr()
    assert run(["capacity", "llama-3.3-70b", "--requests-per-s", "2", "--on", "4xH100", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["plan"]["serve"]["served_model_name"] == "llama-3.3-70b"


def test_a_vllm_from_before_the_family_is_refused_by_its_name() -> None:
    with pytest.raises(UsageError) as caught:
        answer_for("qwen3-235b", "bf16", "8xH200", Options(vllm_version="0.8.3"))
    assert caught.value.message == "vLLM 0.8.3 has no Qwen3; it came with 0.8.4."


def test_a_precision_that_a_model_is_not_published_in_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["size"], ["capacity", "--requests-per-s", "2"]):
        assert run([*words, "llama-3.3-70b", "--precision", "INT4"]) == 2
        assert capsys.readouterr().err == (
            "error: corral knows no int4 of llama-3.3-70b.\nhint: Use --precision bf16.\n"
        )


def test_a_price_of_another_model_is_a_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "plan.json"
    answer_for("qwen3-235b", "bf16", "8xH200", Options()).write(path)
    assert run(["compare", "--plan", str(path), "--price-per-hour", "40", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [side["host"] for side in found["hosted"]] == ["Somebody"]
    assert not [text for text in found["warnings"] if "TOY" in text or "Scout" in text]
    assert [text for text in found["warnings"] if text.startswith("TOKENS")] == [
        "TOKENS: how many tokens Claude makes of a text was measured against Llama 4's tokenizer, not Qwen3's. "
        "Give your own: --token-ratio"
    ]
    given = ["compare", "--plan", str(path), "--price-per-hour", "40", "--token-ratio", "1.4", "--json"]
    assert run(given) == 0
    assert "TOKENS" not in capsys.readouterr().out
