"""The gateway beside a direct connection to the real vLLM (CPU build, tiny Llama 4), in an open loop.

Engine on core 0. HAProxy and the client, `corral probe`, on core 1, for root HAProxy before the client, who takes its
times from the kernel's stamps. Direct and through the gateway (one key) in turn in every round, who is first in turn
too; both with the same prompts (64 tokens in, 32 out; the engine caches none) and the same random times of arrival.
Rates: those of a closed loop of 1, 4 and 16 streams before the rounds; 16 is what this engine bears on one core.
TTFT: from the sending of each request. "Outside the engine" is its mean less the mean that the engine itself tells of
the same requests (vllm:time_to_first_token_seconds), so that what waits for a step of the engine's is not in it.
"The same request": each beside itself, asked the other way; the median of the differences, with its interval, which
takes requests to be independent, so that it holds only where nothing else is at work.
Differences: through the gateway less direct, round by round; their mean with its 95 % interval (Student's t).
"""

import json
import math
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from subprocess import PIPE
from typing import Any
from urllib.parse import urlsplit

from clients import INVALID, PROGRAM, ROOT, pinned
from in_front import CORE, cpu_s, opened
from paired import serving_in
from table import Asked, beside

from serving.model import tiny
from serving.probe.questions import read_counters

STREAMS = (1, 4, 16)
ENGINE = ("--max-num-seqs", "64", "--no-enable-prefix-caching")
REQUEST = ("--input-tokens", "64", "--output-tokens", "32")
SECONDS, ROUNDS = 5.0, 5
COUNTED_WITHIN_S = 2.0


def measured(built: Path, rounds: int) -> str:
    """All loads, as a page."""
    rows = {streams: list[tuple[Asked, Asked]]() for streams in STREAMS}
    with serving_in(tiny.make(built / "tiny"), *ENGINE) as url:
        port = urlsplit(url).port or 0
        rates = {streams: closed(url, streams) for streams in STREAMS}
        with opened(built, port, 1) as (door, members):
            for number in range(rounds):
                for streams, rate in rates.items():
                    both: dict[int, Asked] = {}
                    for way in (port, door) if number % 2 else (door, port):
                        both[way] = one(url, way, () if way == port else members, rate, number)
                        print(f"round {number + 1}: {streams}, {way == door}: {both[way]}", file=sys.stderr)
                    rows[streams].append((both[port], both[door]))
    return beside(rows, rates)


def closed(url: str, streams: int) -> float:
    """Requests a second of a closed loop."""
    return float(
        asked(url, "--concurrency", str(streams), "--requests", str(12 + 6 * streams))[0]["request_per_s"]
    )


def one(url: str, way: int, members: Iterable[int], rate: float, seed: int) -> Asked:
    """One open loop by one way."""
    before_s = sum(map(cpu_s, members))
    requests = math.ceil(rate * SECONDS)
    shape = ("--request-rate", f"{rate:.3f}", "--requests", str(requests), "--seed", str(seed))
    report, began, ttfts_ms = asked(f"http://127.0.0.1:{way}", *shape, engine=url)
    ttft_s = report["from_send"].get("ttft_s", report["ttft_s"])
    return Asked(
        ttfts_ms,
        ttft_p50_ms=ttft_s["p50"] * 1e3,
        ttft_mean_ms=ttft_s["mean"] * 1e3,
        outside_ms=ttft_s["mean"] * 1e3 - engines_own_ms(url, began, requests),
        tokens_per_s=report["output_tokens_per_s"],
        streams=report["e2e_s"]["mean"] * report["request_per_s"],
        cpu_ms_per_1000_tokens=(sum(map(cpu_s, members)) - before_s) * 1e6 / report["output_tokens"],
    )


def asked(
    address: str, *shape: str, engine: str = ""
) -> tuple[dict[str, Any], dict[str, float], list[float]]:
    """The probe's report, the engine's counters as they were when its load began, and the TTFT of each request."""
    began: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results.jsonl"
        command = [*pinned(CORE, "nice", "-n", "-20"), str(ROOT / PROGRAM), "probe", address, "--json"]
        command += [*shape, *REQUEST, "--output", folder]
        with subprocess.Popen(command, stdout=PIPE, stderr=PIPE, text=True) as probe:
            while engine and not began and probe.poll() is None:
                if has_begun(results):
                    began = counters(engine)
                time.sleep(0.002)
            out, err = probe.communicate()
        if probe.returncode not in (0, INVALID):
            sys.exit(f"corral probe ended with {probe.returncode}: {err.strip()[-300:]}")
        requests = [json.loads(line) for line in results.read_text().splitlines()[1:-1]]
    requests.sort(key=lambda each: each["scheduled_us"])
    ttfts_ms = [each["gaps_us"][0] / 1e3 if each["gaps_us"] else math.nan for each in requests]
    return json.loads(out), began, ttfts_ms


def has_begun(results: Path) -> bool:
    """Whether its first line is written: no request that is asked before the load comes after that."""
    return results.exists() and b"\n" in results.read_bytes()


def engines_own_ms(url: str, began: dict[str, float], requests: int) -> float:
    """The mean TTFT by the engine's counters; NaN where they count other requests too."""
    if not began:
        return math.nan
    until = time.monotonic() + COUNTED_WITHIN_S
    while (now := counters(url))["ttft_count"] - began["ttft_count"] < requests and time.monotonic() < until:
        time.sleep(0.1)
    if now["ttft_count"] - began["ttft_count"] != requests:
        return math.nan
    return (now["ttft_sum_s"] - began["ttft_sum_s"]) / requests * 1e3


def counters(url: str) -> dict[str, float]:
    """The engine's, now."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=30) as answer:
        return read_counters(answer.read().decode())
