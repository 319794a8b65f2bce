"""PURE: what a page of metrics says of an engine or of GPUs, in whichever program's words."""

import math
from collections.abc import Callable
from typing import Literal

from serving.vllm.prometheus import samples

Figure = Literal["running", "waiting", "kv_cache_usage", "preemptions", "power_w", "gpu_memory_mib"]
"""Requests at work and in the queue, the share of the KV cache in use (0 to 1), preemptions since the server's start,
the GPUs' power and the memory in use on them."""

NAMES: dict[str, dict[str, Figure]] = {
    # Held against the real engine in tests/test_real_engine.py.
    "vLLM": {
        "vllm:num_requests_running": "running",
        "vllm:num_requests_waiting": "waiting",
        "vllm:kv_cache_usage_perc": "kv_cache_usage",
        "vllm:num_preemptions_total": "preemptions",
    },
    # Held against the real server by scripts/bench-servers; it tells nothing of its cache.
    "llama.cpp": {"llamacpp:requests_processing": "running", "llamacpp:requests_deferred": "waiting"},
    # As its documentation says, 2026-11; not held against a server of ours.
    "SGLang": {
        "sglang:num_running_reqs": "running",
        "sglang:num_queue_reqs": "waiting",
        "sglang:token_usage": "kv_cache_usage",
    },
    # As NVIDIA's exporter names them in its default counters, 2026-11; not held against one of ours.
    "DCGM": {"DCGM_FI_DEV_POWER_USAGE": "power_w", "DCGM_FI_DEV_FB_USED": "gpu_memory_mib"},
}
FIGURE_OF = {name: figure for names in NAMES.values() for name, figure in names.items()}
BEGINNINGS = tuple(FIGURE_OF)
KNOWN = ", ".join([*NAMES][:-1]) + f" or {[*NAMES][-1]}"
MOST: dict[Figure, float] = {"kv_cache_usage": 1.0}
"""A share that is more is none."""
OF_GPUS: tuple[Figure, ...] = ("power_w", "gpu_memory_mib")


def figures_in(text: str) -> dict[Figure, float]:
    """The figures on a page: summed over engines and GPUs, but for a share, of which it is the mean."""
    values: dict[Figure, list[float]] = {}
    # A page has thousands of lines, and is read beside a load whose clock is this very process.
    of_interest = "\n".join(line for line in text.split("\n") if line.startswith(BEGINNINGS))
    for sample in samples(of_interest):
        figure = FIGURE_OF.get(sample.name)
        if figure and math.isfinite(sample.value) and 0 <= sample.value <= MOST.get(figure, 2.0**53):
            values.setdefault(figure, []).append(sample.value)
    summed: Callable[[list[float]], float] = sum
    return {
        figure: summed(each) / (len(each) if figure == "kv_cache_usage" else 1)
        for figure, each in values.items()
    }
