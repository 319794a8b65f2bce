"""What a probe is asked, for tests: the records from as few words as they need."""

from pathlib import Path
from typing import Any

from serving.probe.apis import ApiName
from serving.probe.endpoint_options import EndpointOptions
from serving.probe.endpoint_options import target_of as target_asked
from serving.probe.probe_options import LoadOptions, RunWorkloadOptions
from serving.probe.probe_options import load_of as load_asked
from serving.probe.probe_options import workload_of as workload_asked
from serving.probe.spec import Load, Target, Workload


def target_of(url: str, **asked: Any) -> Target:
    """At whom."""
    if isinstance(asked.get("model"), str):
        asked["model"] = (asked["model"],)
    return target_asked(url, EndpointOptions.of(asked))


def load_of(replay: tuple[float, ...] = (), **asked: Any) -> Load:
    """Which load; one that replays where there are times."""
    trace = {"replay": Path("trace.jsonl")} if replay else {}
    return load_asked(LoadOptions.of(asked | trace), replay)


def workload_of(
    input_tokens: str = "512", output_tokens: str = "128", api: ApiName = "completions", **asked: Any
) -> Workload:
    """Which requests."""
    seed = asked.pop("seed", 0)
    lengths = {"input_tokens": input_tokens, "output_tokens": output_tokens}
    return workload_asked(RunWorkloadOptions.of(lengths | asked), api, seed)
