# mypy: ignore-errors
"""Run by the engine's own Python: build vLLM's own modules for one rank on the meta device and add up their bytes.

argv[1] is a JSON list of {folder, tensor, pipeline, stage, text_only}, each folder a checkpoint's (config and
tokenizer); argv[2] a free port. stdout: the bytes of each.
"""

import json
import sys

import torch
import vllm.distributed.parallel_state as state
from vllm.config import set_current_vllm_config
from vllm.engine.arg_utils import EngineArgs
from vllm.model_executor.model_loader.utils import initialize_model


def pretend(group, size, rank):
    """Make a group of one believe that it is one rank of several."""
    group.world_size, group.rank_in_group, group.rank, group.ranks = size, rank, rank, list(range(size))


def rank_bytes(case):
    """Bytes of the parameters that vLLM's modules allocate on that rank."""
    text_only = case["text_only"]
    args = EngineArgs(model=case["folder"], kv_cache_memory_bytes=1 << 20, language_model_only=text_only)
    config = args.create_engine_config()
    with set_current_vllm_config(config):
        pretend(state._TP, case["tensor"], 0)
        pretend(state._PP, case["pipeline"], case["stage"])
        with torch.device("meta"):
            model = initialize_model(vllm_config=config)
    return sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())


torch.set_default_dtype(torch.bfloat16)
cases = json.loads(sys.argv[1])
first = EngineArgs(model=cases[0]["folder"], kv_cache_memory_bytes=1 << 20).create_engine_config()
with set_current_vllm_config(first):
    rendezvous = "tcp://127.0.0.1:" + sys.argv[2]
    state.init_distributed_environment(1, 0, rendezvous, 0, "gloo")
    state.initialize_model_parallel(1, 1)
print(json.dumps([rank_bytes(case) for case in cases]))
