"""vLLM's log, as progress and as figures."""

from pathlib import Path

from serving.startup import KvCache, kv_cache, load_budget_s, phases

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


def test_the_kv_cache_the_engine_made() -> None:
    assert kv_cache(LOG) == KvCache(tokens=97541, request_tokens=4096, max_concurrency=23.81)
    assert kv_cache("nothing of the kind") is None


def test_the_load_budget_grows_with_the_weights() -> None:
    assert load_budget_s(0) == 600
    assert load_budget_s(800 * 10**9) == 600 + 6000
