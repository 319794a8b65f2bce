# mypy: ignore-errors
"""Run by the engine's own Python: ask vLLM's KV planner, case by case. stdin: JSON cases; stdout: JSON answers.

argv[1] is a checkpoint folder, for a real VllmConfig.
"""

import json
import sys
from types import SimpleNamespace

import torch
from vllm.engine.arg_utils import EngineArgs
from vllm.v1.core.kv_cache_utils import get_kv_cache_capacity, get_kv_cache_configs
from vllm.v1.kv_cache_interface import ChunkedLocalAttentionSpec, FullAttentionSpec

config = EngineArgs(model=sys.argv[1], kv_cache_memory_bytes=1 << 20).create_engine_config()
config.cache_config.kv_cache_layout = "NHD"


def specs(case, first, last):
    """The spec of every attention layer of one pipeline stage."""
    common = {
        "block_size": case["block_size"],
        "num_kv_heads": case["kv_heads"],
        "head_size": case["head_dim"],
        "dtype": torch.float8_e4m3fn if case["bytes_per_value"] == 1 else torch.bfloat16,
    }
    local = {"attention_chunk_size": case["chunk"]}
    own = {
        f"model.layers.{layer}.self_attn.attn": FullAttentionSpec(**common)
        if layer in case["global_layers"]
        else ChunkedLocalAttentionSpec(**common, **local)
        for layer in range(first, last)
    }
    if last != case["stages"][-1][1]:
        return own
    # What a draft registers: its layers come after the model's, on the last stage.
    drafts, heads, width = case["draft"]
    of_draft = common | {"num_kv_heads": heads, "head_size": width}
    return own | {
        f"model.layers.{last + each}.self_attn.attn": FullAttentionSpec(**of_draft) for each in range(drafts)
    }


def answer(case):
    """num_blocks, tokens and concurrency as the engine would log them, or its refusal."""
    config.model_config.max_model_len = case["max_model_len"]
    config.scheduler_config.max_num_batched_tokens = case["max_num_batched_tokens"]
    config.scheduler_config.disable_hybrid_kv_cache_manager = not case["hybrid"]
    config.scheduler_config.async_scheduling = False
    config.parallel_config.pipeline_parallel_size = len(case["stages"])
    workers = [specs(case, first, last) for first, last in case["stages"]]
    try:
        found = get_kv_cache_configs(config, workers, [case["available_bytes"]] * len(workers))
    except ValueError as error:
        return {"refused": "KV cache is needed" in str(error)}
    tokens, concurrency = get_kv_cache_capacity(config, SimpleNamespace(**vars(found[0])))
    return {"num_blocks": found[0].num_blocks, "tokens": tokens, "max_concurrency": concurrency}


print(json.dumps([answer(case) for case in json.load(sys.stdin)]))
