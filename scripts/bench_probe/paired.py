"""The probe beside `vllm bench serve` on the real engine: the same load in turn, and the server's own counters.

    .venv/bin/python scripts/bench_probe/paired.py --rounds 10

The installed engine serves a tiny Llama 4 on core 0, the clients run on core 1. Each round runs both, in alternating
order: the same concurrency, the same number of requests of 128 tokens in and 64 out with ignore_eos. The difference is
judged by a t-interval over the rounds' paired differences. Any other work on the machine widens it.
"""

import argparse
import json
import math
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from bench import machine
from clients import ENGINES, ROOT

from serving.model import tiny
from serving.probe.significance import t_within

SERVE = ("--served-model-name", "tiny", "--max-model-len", "4096", "--max-num-seqs", "16", "--enforce-eager")
KV_CACHE = ("--kv-cache-memory-bytes", str(64 * 2**20))
READY_WITHIN_S = 180


def main() -> None:
    """Alternate, compare, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--concurrency", type=int, default=8)
    parser.add_argument("--requests", type=int, default=192)
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder, serving_in(tiny.make(Path(folder) / "tiny")) as url:
        options.url, options.tokenizer = url, str(Path(folder) / "tiny")
        print(machine())
        for number in range(options.rounds):
            row: dict[str, Any] = {}
            for name in ("corral", "vllm") if number % 2 else ("vllm", "corral"):
                with tempfile.TemporaryDirectory() as results:
                    row[name] = TOOLS[name](options, Path(results), number)
            rows.append(row)
            print(f"round {number + 1}: {row}", file=sys.stderr)
    print("\n".join(text_of(rows)))


@contextmanager
def serving_in(model: Path, *more: str) -> Iterator[str]:
    """The engine on core 0, ready, with more options; gives its URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = [
        "taskset",
        "-c",
        "0",
        str(engine()),
        "serve",
        str(model),
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    with (model / "server.log").open("wb") as log:
        server = subprocess.Popen(
            [*command, *SERVE, *KV_CACHE, *more], stdout=log, stderr=log, start_new_session=True
        )
    try:
        until = time.monotonic() + READY_WITHIN_S
        while not answers(f"{url}/health"):
            if server.poll() is not None or time.monotonic() > until:
                sys.exit(f"The engine did not start:\n{(model / 'server.log').read_text()[-2000:]}")
            time.sleep(0.5)
        yield url
    finally:
        server.terminate()
        server.wait(60)


def answers(url: str) -> bool:
    """Whether it answers 200."""
    with suppress(OSError), urllib.request.urlopen(url, timeout=5) as answer:
        return bool(answer.status == 200)
    return False


def engine() -> Path:
    """The installed engine's program."""
    return next(iter(sorted(ENGINES.glob("*/bin/vllm"))))


def corral(options: argparse.Namespace, folder: Path, number: int) -> dict[str, float]:
    """Ours, with the server's counters around it."""
    command = ["taskset", "-c", "1", str(ROOT / ".venv/bin/corral"), "probe", options.url]
    command += ["--concurrency", str(options.concurrency)]
    command += ["--requests", str(options.requests), "--input-tokens", "128", "--output-tokens", "64"]
    done = subprocess.run(
        [*command, "--seed", str(number), "--output", str(folder), "--json"], capture_output=True, text=True
    )
    report = json.loads(done.stdout)
    return {
        "output_tokens_per_s": report["output_tokens_per_s"],
        "tpot_ms": report["tpot_s"]["mean"] * 1e3,
        "ttft_ms": report["from_send"].get("ttft_s", report["ttft_s"])["mean"] * 1e3,
        "output_tokens": report["output_tokens"],
        "server_output_tokens": report["server"]["generation_tokens"],
        "input_tokens": report["input_tokens"],
        "server_input_tokens": report["server"]["prompt_tokens"],
        "server_ttft_ms": report["server"]["ttft_mean_s"] * 1e3,
    }


def vllm(options: argparse.Namespace, folder: Path, number: int) -> dict[str, float]:
    """Theirs, as its documentation runs it."""
    command = ["taskset", "-c", "1", str(engine()), "bench", "serve", "--backend", "openai"]
    command += ["--base-url", options.url]
    command += ["--endpoint", "/v1/completions", "--model", "tiny", "--tokenizer", options.tokenizer]
    command += ["--dataset-name", "random", "--random-input-len", "128", "--random-output-len", "64"]
    command += ["--num-prompts", str(options.requests), "--max-concurrency", str(options.concurrency)]
    command += ["--ignore-eos", "--seed", str(1000 + number), "--save-result", "--result-dir", str(folder)]
    subprocess.run([*command, "--result-filename", "r.json"], capture_output=True, check=True)
    result = json.loads((folder / "r.json").read_text())
    return {
        "output_tokens_per_s": result["output_throughput"],
        "tpot_ms": result["mean_tpot_ms"],
        "ttft_ms": result["mean_ttft_ms"],
        "output_tokens": result["total_output_tokens"],
    }


TOOLS = {"corral": corral, "vllm": vllm}


def text_of(rows: list[dict[str, Any]]) -> list[str]:
    """The rounds, the paired differences, the counters."""
    lines = [
        "| round | corral tokens/s | vllm bench | difference | corral TTFT ms | server's own | vllm bench |"
    ]
    lines.append("|---" * 7 + "|")
    shares = []
    for number, row in enumerate(rows, 1):
        ours, theirs = row["corral"], row["vllm"]
        shares.append(ours["output_tokens_per_s"] / theirs["output_tokens_per_s"] - 1)
        speeds = (
            f"{ours['output_tokens_per_s']:.1f} | {theirs['output_tokens_per_s']:.1f} | {shares[-1]:+.1%}"
        )
        firsts = f"{ours['ttft_ms']:.1f} | {ours['server_ttft_ms']:.1f} | {theirs['ttft_ms']:.1f}"
        lines.append(f"| {number} | {speeds} | {firsts} |")
    mean = statistics.mean(shares)
    half = t_within(len(shares) - 1) * statistics.stdev(shares) / math.sqrt(len(shares))
    exact = all(
        row["corral"]["output_tokens"] == row["corral"]["server_output_tokens"]
        and row["corral"]["input_tokens"] == row["corral"]["server_input_tokens"]
        for row in rows
    )
    lines += ["", f"paired difference {mean:+.1%}, 95 %: {mean - half:+.1%} to {mean + half:+.1%}"]
    lines += [
        f"tokens equal to the server's counters, input and output, in every round: {'yes' if exact else 'NO'}"
    ]
    return lines


if __name__ == "__main__":
    main()
