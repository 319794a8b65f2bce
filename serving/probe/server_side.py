"""PURE: what the server, and whoever tells of its GPUs, said of a run."""

from serving.probe.report import Gpus, ServerSide
from serving.probe.run_records import Ending, Run


def server_side(run: Run, ending: Ending) -> ServerSide:
    """The server's counters, and the most of its samples, as figures."""
    counters = ending.counted
    queries, ttft_count = counters.get("prefix_cache_queries"), counters.get("ttft_count")
    return ServerSide(
        version=run.server.version,
        generation_tokens=counters.get("generation_tokens"),
        prompt_tokens=counters.get("prompt_tokens"),
        requests_finished=counters.get("requests_finished"),
        prefix_cache_hit_rate=counters.get("prefix_cache_hits", 0.0) / queries if queries else None,
        preemptions=counters.get("preemptions"),
        ttft_mean_s=counters.get("ttft_sum_s", 0.0) / ttft_count if ttft_count else None,
        queue_mean_s=counters["queue_sum_s"] / ttft_count
        if ttft_count and "queue_sum_s" in counters
        else None,
        most_running=most(ending, "running"),
        most_waiting=most(ending, "waiting"),
        most_kv_cache_usage=most(ending, "kv_cache_usage"),
    )


def most(ending: Ending, figure: str) -> float | None:
    """The largest of what was sampled; None where nothing was."""
    return max((value for _, value in ending.sampled.get(figure, ())), default=None)


def gpus_of(ending: Ending, output_tokens: float) -> Gpus | None:
    """What the GPUs drew; None where nobody told."""
    power = [value for _, value in ending.sampled.get("power_w", ())]
    if not power:
        return None
    mean = sum(power) / len(power)
    return Gpus(
        mean_power_w=mean,
        most_power_w=max(power),
        most_memory_mib=most(ending, "gpu_memory_mib"),
        joules_per_output_token=mean * ending.duration_us / 1e6 / output_tokens if output_tokens else None,
    )
