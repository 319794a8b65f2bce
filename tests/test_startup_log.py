"""vLLM's log, as progress."""

from pathlib import Path

from serving.vllm.startup_log import load_budget_s, phases

LOG = (Path(__file__).parent / "data" / "vllm_logs" / "engine-core-killed.log").read_text()


def test_the_phases_of_a_real_start() -> None:
    assert phases(LOG.splitlines()) == (
        "vLLM is up and reads the model's configuration",
        "the architecture is Llama4ForCausalLM",
        "weights 0 % (0/1 shards)",
        "weights 100 % (1/1 shards)",
        "the weights are loaded, in 0.01 s",
        "the KV cache holds 97,541 tokens: 23.81 requests of 4,096",
        "the server listens",
    )


def test_the_phases_that_only_a_gpu_or_a_longer_start_has() -> None:
    lines = (
        "INFO [v1/engine/core.py] Initializing a V1 LLM engine (v0.33.0+cu130) with config: ...",
        "INFO Starting to load model /models/scout...",
        "INFO Model loading took 25.3 GiB memory and 60 seconds",
        "INFO torch.compile takes 41.7 s in total",
        "INFO Graph capturing finished in 12 secs, took 0.6 GiB",
        "INFO init engine (profile, create kv cache, warmup model) took 97.1 seconds",
        "INFO something else",
    )
    assert phases(lines) == (
        "the engine (vLLM 0.33.0+cu130) starts",
        "the weights are being loaded",
        "the model takes 25.3 GiB per GPU",
        "compiled, in 41.7 s",
        "CUDA graphs captured, in 12 s",
        "the engine is ready, after 97.1 s",
    )


def test_the_load_budget_grows_with_the_weights() -> None:
    assert load_budget_s(0) == 600
    assert load_budget_s(800 * 10**9) == 600 + 6000
