"""What is looked at beside a load: pages of metrics in their engines' words, GPUs, and what cannot be looked at."""

import json
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import asking
import numpy
import pytest
from matplotlib.figure import Figure
from probing import on_any_machine
from scripted import Answer, Scripted, answer

from infra.errors import EndpointError
from serving.probe import page, sampling
from serving.probe.lengths import Lengths
from serving.probe.metrics import Figures
from serving.probe.results import read
from serving.probe.run import run
from serving.probe.run_records import Ending, Run, ServerFacts
from serving.probe.samples import collect
from serving.probe.sampling import Sampler, from_zero
from serving.probe.server_metrics import figures_in
from serving.probe.spec import Load, Slo, Target, Workload
from serving.vllm.http_door import Answer as Whole
from serving.vllm.http_door import NoAnswer

VLLM = """
# HELP vllm:num_requests_running Number of requests in model execution batches.
vllm:num_requests_running{engine="0",model_name="m"} 3.0
vllm:num_requests_running{engine="1",model_name="m"} 4.0
vllm:num_requests_waiting{engine="0",model_name="m"} 2.0
vllm:num_requests_waiting_by_reason{engine="0",reason="capacity"} 2.0
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.5
vllm:kv_cache_usage_perc{engine="1",model_name="m"} 0.25
vllm:num_preemptions_total{engine="0",model_name="m"} 7.0
"""
DCGM = """
DCGM_FI_DEV_POWER_USAGE{gpu="0",UUID="GPU-1"} 310.5
DCGM_FI_DEV_POWER_USAGE{gpu="1",UUID="GPU-2"} 290.5
DCGM_FI_DEV_FB_USED{gpu="0"} 70000
DCGM_FI_DEV_FB_USED{gpu="1"} 2000
"""
OTHER = (
    "node_load1 0.5\nvllm:num_requests_running nan\nvllm:kv_cache_usage_perc 25\nDCGM_FI_DEV_POWER_USAGE -5\n"
)
KNOWN = "vLLM, llama.cpp, SGLang or DCGM"


@pytest.mark.parametrize(
    ("text", "figures"),
    [
        (VLLM, {"running": 7.0, "waiting": 2.0, "kv_cache_usage": 0.375, "preemptions": 7.0}),
        ("llamacpp:requests_processing 2\nllamacpp:requests_deferred 1\n", {"running": 2.0, "waiting": 1.0}),
        ("sglang:num_running_reqs 2\nsglang:token_usage 0.5\n", {"running": 2.0, "kv_cache_usage": 0.5}),
        (DCGM, {"power_w": 601.0, "gpu_memory_mib": 72000.0}),
        (OTHER, {}),
        ("", {}),
    ],
)
def test_a_page_in_each_engines_words(text: str, figures: dict[str, float]) -> None:
    assert figures_in(text) == figures


@pytest.fixture
def pages() -> Iterator[Callable[[dict[str, Callable[[], Answer]]], str]]:
    servers: list[Scripted] = []

    def started(says: dict[str, Callable[[], Answer]]) -> str:
        servers.append(Scripted(says))
        return servers[-1].url

    yield started
    for server in servers:
        server.close()


def text(body: str) -> Answer:
    return answer(body.encode(), kind="text/plain")


def no_page() -> Whole:
    raise NoAnswer("unreachable", "nobody there")


def own(body: str) -> Callable[[], Whole]:
    return lambda: Whole(200, {}, body.encode())  # type: ignore[arg-type]


AWAY = (
    "GPU power and memory: not sampled, the server is on another machine; --metrics takes a DCGM exporter's"
)
THERE = Target(base_url="http://gpu1:8000")


@pytest.mark.parametrize(
    ("page_of", "note"),
    [
        (no_page, "not sampled, its /metrics cannot be read: nobody there"),
        (lambda: Whole(404, {}, b""), "not sampled, its /metrics cannot be read: HTTP 404"),  # type: ignore[arg-type]
        (own(OTHER), f"not sampled, its /metrics is none of {KNOWN}"),
    ],
)
def test_a_server_that_tells_nothing_is_said_to(page_of: Callable[[], Whole], note: str) -> None:
    look = Sampler(THERE, page_of)
    assert look.notes == [f"the server's queue and cache: {note}", AWAY]
    look.start()
    assert look.stop() == {}


@pytest.mark.parametrize(
    ("url", "is_here"),
    [
        ("http+unix://%2Frun%2Fs.sock", True),
        ("http://127.1.2.3:8000", True),
        ("http://[::1]:8000", True),
        ("http://vllm.localhost", True),
        ("http://gpu1:8000", False),
        ("http://10.0.0.1", False),
    ],
)
def test_whose_gpus_this_machines_are(url: str, is_here: bool) -> None:
    assert sampling.on_this_machine(url) is is_here


def test_samples_have_the_loads_own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look a moment; from the 1201st on every other one is kept."""
    monkeypatch.setattr(sampling, "MOST_SAMPLES", 4)
    look = Sampler(THERE, own(VLLM))
    moments = iter(range(0, 10_000_000_000, 500_000_000))
    waits: list[float] = []

    def wait(seconds: float) -> bool:
        waits.append(seconds)
        return len(waits) == 6

    monkeypatch.setattr(sampling, "time", SimpleNamespace(monotonic_ns=lambda: next(moments)))
    monkeypatch.setattr(look, "_over", SimpleNamespace(wait=wait, set=lambda: None))
    look._look_on()
    monkeypatch.undo()
    assert [at for at, _ in look.stop()["running"]] == [
        500_000_000,
        3_500_000_000,
        6_500_000_000,
        8_000_000_000,
    ]
    # A look takes a second of this clock, so that the next one waits for 20.
    assert waits == [20.0] * 6
    assert from_zero({"running": [(2_500_000_000, 7.0)]}, 1_000_000_000) == {"running": [[1.5, 7.0]]}


def test_pages_that_are_named(pages: Callable[..., str]) -> None:
    url = pages({"/engine?a=b": lambda: text(VLLM), "/metrics": lambda: text(DCGM)})
    look = Sampler(
        Target(base_url="http://gateway", metrics_urls=(f"{url}/engine?a=b", f"{url}/metrics")), no_page
    )
    look._look()
    assert look.notes == []
    assert {figure: value for figure, ((_, value),) in look.stop().items()} == {
        "running": 7.0, "waiting": 2.0, "kv_cache_usage": 0.375, "preemptions": 7.0,
        "power_w": 601.0, "gpu_memory_mib": 72000.0,
    }  # fmt: skip


def endless() -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\n"
    for _ in range(40):
        yield b"# " + b"x" * (1024 * 1024 - 3) + b"\n"


@pytest.mark.parametrize(
    ("says", "message"),
    [
        (lambda: text(OTHER), "tells nothing of a server or its GPUs."),
        (lambda: answer(b"", 404), "cannot be read: HTTP 404."),
        (endless, "cannot be read: more than 16,777,216 bytes for a short question."),
    ],
)
def test_a_named_page_that_tells_nothing_is_refused_before_the_load(
    pages: Callable[..., str], says: Callable[[], Answer], message: str
) -> None:
    url = pages({"/metrics": says}) + "/metrics"
    with pytest.raises(EndpointError) as caught:
        Sampler(Target(base_url="http://gateway", metrics_urls=(url,)), no_page)
    assert caught.value.message == f"--metrics {url} {message}"
    assert caught.value.hint in (
        f"Look at it: curl -s {url} | head",
        f"It takes a page of {KNOWN}, e.g. --metrics http://127.0.0.1:9400/metrics",
    )


def test_the_gpus_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml: Any = ModuleType("pynvml")
    nvml.NVMLError = type("NVMLError", (Exception,), {})
    nvml.nvmlInit = lambda: None
    nvml.nvmlDeviceGetCount = lambda: 2
    nvml.nvmlDeviceGetHandleByIndex = int
    nvml.nvmlDeviceGetPowerUsage = lambda handle: 100_500 + handle
    nvml.nvmlDeviceGetMemoryInfo = lambda handle: type("Memory", (), {"used": (handle + 1) * 2**30})
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    look = Sampler(Target(base_url="http://127.0.0.1:8000"), own(VLLM))
    look._look()
    taken = look.stop()
    assert look.notes == []
    assert [taken[name][0][1] for name in ("power_w", "gpu_memory_mib")] == [201.001, 3072.0]


def test_a_run_keeps_what_was_looked_at(
    fake_llm: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the real /metrics of a server, on the time axis of its requests, and recomputed from the results alone."""
    on_any_machine(monkeypatch)
    monkeypatch.setattr(sampling, "EVERY_S", 0.05)
    monkeypatch.setattr(sampling, "SHARE_OF_TIME", math.inf)  # a slow look is not followed by a long pause
    url = fake_llm(itl_ms=20.0)
    report = run(
        asking.target_of(url),
        asking.load_of(concurrency=2, requests=4),
        asking.workload_of("8", "10"),
        tmp_path,
    )
    end = json.loads((tmp_path / "results.jsonl").read_text().splitlines()[-1])["end"]
    moments = [at for at, _ in end["sampled"]["running"]]
    assert moments == sorted(moments)
    assert -0.5 < moments[0] < moments[-1] <= report.duration_s + 0.5
    assert report.server.most_running == 2.0
    figures = Figures(*with_samples(tmp_path))
    assert list(page.beside(figures)) == ["Requests in the server", "KV cache in use"]


def with_samples(folder: Path) -> tuple[Run, Any]:
    asked, records = read(folder / "results.jsonl")
    return asked, collect(records)


def test_what_was_looked_at_is_drawn_over_the_same_time() -> None:
    run_of = Run(
        target=Target(base_url="http://h"), model="m", load=Load(shape="burst", requests=1),
        workload=Workload(input_tokens=Lengths(low=5), output_tokens=Lengths(low=5)), slo=Slo(),
        server=ServerFacts(), started_at="2026-11-30T00:00:00+00:00",
    )  # fmt: skip
    taken = {
        "running": [[0.0, 1.0], [1.0, 5.0]], "waiting": [[0.0, 0.0], [1.0, 2.0]],
        "preemptions": [[0.0, 40.0], [1.0, 43.0]], "kv_cache_usage": [[0.0, 0.25], [1.0, 0.75]],
        "power_w": [[0.0, 100.0], [1.0, 300.0]], "gpu_memory_mib": [[0.0, 1024.0], [1.0, 2048.0]],
    }  # fmt: skip
    figures = Figures(run_of, collect([Ending(duration_us=4_000_000, clients=[], sampled=taken)]))
    seen = {}
    for title in page.beside(figures):
        axes = Figure().add_subplot()
        page.sampled(axes, figures, title)
        assert axes.get_xlim() == (0.0, 4.0)
        seen[title] = (axes.get_ylabel(), [numpy.asarray(line.get_ydata()).tolist() for line in axes.lines])
    assert seen == {
        "Requests in the server": ("requests", [[1.0, 5.0], [0.0, 2.0]]),
        "KV cache in use": ("%", [[25.0, 75.0]]),
        "Preemptions since the load began": ("preemptions", [[0.0, 3.0]]),
        "Power of the GPUs": ("W", [[100.0, 300.0]]),
        "Memory in use on the GPUs": ("GiB", [[1.0, 2.0]]),
    }
    gpus = figures.report().gpus
    assert gpus is not None
    assert (gpus.mean_power_w, gpus.most_power_w, gpus.most_memory_mib, gpus.joules_per_output_token) == (
        200.0, 300.0, 2048.0, None,
    )  # fmt: skip
