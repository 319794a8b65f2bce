"""Another MoE model and another GPU are rows of the tables: nothing else has to change."""

import tomllib

from infra import catalog
from infra.data import shipped_text
from infra.hardware import owned
from serving.model import models
from serving.model.weights import params
from serving.sizing.fit import Options
from serving.sizing.size import plan
from serving.sizing.subject import of_model

QWEN3_235B = """
[model.qwen3-235b]
title = "Qwen3 235B-A22B"
hidden_size = 4096
layers = 94
attention_heads = 64
kv_heads = 4
head_dim = 128
expert_intermediate = 1536
dense_intermediate = 12288
experts = 128
experts_per_token = 8
shared_experts = 0
vocab_size = 151936
global_every = 1 # every layer sees everything
moe_every = 1
max_position_embeddings = 40960
checkpoint.bf16 = { repo = "Qwen/Qwen3-235B-A22B", scheme = "bf16", source = "test" }
checkpoint.fp8 = { repo = "Qwen/Qwen3-235B-A22B-FP8", scheme = "fp8-dynamic", source = "test" }
"""

MI300X = """
[gpu.MI300X]
family = "MI300X"
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


def test_a_new_model_and_a_new_gpu_are_planned_from_their_rows() -> None:
    qwen = models.parse(tomllib.loads(shipped_text("serving.model", "models.toml") + QWEN3_235B))[
        "qwen3-235b"
    ]
    gpu = catalog.parse(tomllib.loads(shipped_text("infra", "catalog.toml") + MI300X))[0]["MI300X"]
    # Published: 235,093,634,560, of which 24,064 are the query and key norms that Llama 4 does not have.
    assert params(qwen.architecture) == 235_093_634_560 - 94 * 2 * 128
    found = plan(of_model(qwen, "bf16"), owned(gpu, 4), Options())
    assert (found.fits, found.parallel.tensor, found.kv.max_context_tokens) == (True, 4, 40960)
    assert found.throughput is not None
    assert found.throughput.basis.startswith("modelled, not validated")
    # 94 layers, 4 KV heads over 4 GPUs, 16 tokens: one head's keys and values a layer.
    assert found.kv.bytes_per_block == 94 * 16 * 2 * 128 * 2
