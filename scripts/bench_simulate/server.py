"""The real engine with the tiny model, its steps and API process each on a core of their own, and what it is asked."""

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

from table import Fit, Part, Steps, Window, added_s, gaps_between, plain_step_s, together

from infra.errors import ProbeInvalid
from serving.model import tiny
from serving.probe.dataset import WORDS
from serving.probe.results import read, results_path
from serving.probe.run_records import Result
from serving.sizing.batching import Request, Served

ENGINE_CORE, OTHER_CORE = 0, 1
ENGINE_IN_ONE = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
"""Its worker is in the engine's own process, not in another that takes turns with it on that core.

Without it vLLM 0.32.0 makes `mp` of --distributed-executor-backend uni on a CPU (platforms/cpu.py).
"""
NAME = "bench-simulate"
RUNNING = (1, 2, 4, 8, 16, 32)
CONTEXT = 256 + 64 // 2  # tokens that a decode step of most loads reads of a sequence, on average
PREFILLED = (16, 64, 128, 256, 512, 1024, 2048)
BESIDE, STEPS_BESIDE, PAUSES_BESIDE = 4, 1000, ("--request-rate", "5", "--burstiness", "inf")
"""Streams, and their steps: some four seconds, in which the prompts come, far enough apart for steps without one."""
PAUSES = ("--request-rate", "10", "--burstiness", "inf")
"""Lone requests: with both cores awake their TTFT is the same at one and at twenty a second; 2,048 tokens take 70 ms.

With longer pauses what the API process does each second, asked or not, is taken for the requests'.
"""
LONE_OF_A_REPEAT, LONE_TOKENS = 3, 4
"""A first token that is the last one too comes half a millisecond later: its request is closed first."""
PREFILL_TIME = ("vllm:request_prefill_time_seconds_sum", "vllm:request_prefill_time_seconds_count")
LOOP = """
import os
os.sched_setaffinity(0, {{{core}}})
os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
while True:
    pass
"""
LOOKS = 3
"""At steps of each size, half a second each: in one of five 32 streams stood still for ten seconds (2026-11-30)."""
ASKED_BEFORE = (2, 3)
"""Requests and tokens that a probe asks for before its load: one of a few tokens, and one prompt of the load."""


class Running:
    """The server, and what it is asked."""

    def __init__(self, folder: Path, base_url: str) -> None:
        self.folder, self.base_url, self.runs, self.tokens_a_word = folder, base_url, 0, 1.0
        self.api_process, engine = processes(folder)
        for process in engine:
            pin(process, ENGINE_CORE)
        pin(self.api_process, OTHER_CORE)

    def fitted(self, repeats: int) -> Fit:
        """What steps take, the median TTFT of lone prompts by their tokens, and what the API process did meanwhile."""
        decode, prefill, idle, windows, seen = {}, dict[int, float](), {}, [], dict[int, list[list[float]]]()
        steps = 20 * repeats
        for running in RUNNING:
            looks = [
                self.watched(closed(running), running, running, CONTEXT - steps // 2, steps)
                for _ in range(LOOKS)
            ]
            windows += [window for window, *_ in looks]
            several = [[token_times_s(each) for each in results] for _, results, _ in looks]
            streams = sorted(several, key=plain_step_s)[LOOKS // 2]
            decode[running] = plain_step_s(streams)
            seen[running] = [gaps_between(streams[0], *together(streams))]
        for wanted in PREFILLED:
            window, results, (total_s, count) = self.watched(
                PAUSES, 1, LONE_OF_A_REPEAT * repeats, wanted, LONE_TOKENS
            )
            tokens = round(sum(each.input_tokens or wanted for each in results) / len(results))
            few_s = min(prefill.values(), default=total_s / count)
            prefill[tokens] = (total_s - few_s) / (count - 1)
            idle[tokens] = median(each.gaps_us[0] / 1e6 for each in results)
            windows.append(window)
        beside = {tokens: self.beside_s(tokens, repeats) for tokens in PREFILLED[::2]}
        return Fit(Steps(decode, prefill, beside), idle, windows, seen)

    def beside_s(self, input_tokens: int, repeats: int) -> float:
        """What a prompt of so many tokens adds to a step in which BESIDE streams decode."""
        alone = LONE_OF_A_REPEAT * repeats
        lines = [*self.lines(1, STEPS_BESIDE, BESIDE), *self.lines(input_tokens, 1, alone)]
        results = self.asked(
            *PAUSES_BESIDE, "--requests", str(len(lines)), "--prompts", str(self.written(lines))
        )
        streams, lone = results[:BESIDE], results[BESIDE:]
        return added_s(
            [token_times_s(each) for each in streams],
            [(each.sent_us / 1e6, token_times_s(each)[0]) for each in lone],
        )

    def load(self, rate_per_s: float, input_tokens: str, output_tokens: str, seconds: int) -> Part:
        """An open loop: when each request was sent and how long it was, and what was measured."""
        results = self.asked(
            *("--request-rate", f"{rate_per_s:.3f}", "--duration-s", str(seconds)),
            *("--input-tokens", input_tokens, "--output-tokens", output_tokens, "--seed", str(self.runs)),
        )
        requests = [
            Request(each.sent_us / 1e6, each.input_tokens or each.input_asked or 1, each.output_tokens or 1)
            for each in results
        ]
        answers = [
            Served(
                each.gaps_us[0] / 1e6,
                sum(each.gaps_us[1:]) / 1e6 / max(1, (each.output_tokens or 1) - 1),
                0.0,
            )
            for each in results
        ]
        return Part(requests, answers, (max(each.done_us for each in results) - results[0].sent_us) / 1e6)

    def watched(
        self, load: tuple[str, ...], running: int, requests: int, input_tokens: int, output_tokens: int
    ) -> tuple[Window, list[Result], tuple[float, float]]:
        """A load that runs so many at once: what the API process did for it, and request_prefill_time's sum and count.

        The prompts are written here: to make exact ones the probe would ask the API process's tokenizer. The window and
        the sum are of what it asks before the load, too.
        """
        prompts = self.written(self.lines(input_tokens, output_tokens, requests))
        cpu, before = cpu_s(self.api_process), self.metrics()
        results = self.asked(*load, "--requests", str(requests), "--prompts", str(prompts))
        spent, after = cpu_s(self.api_process) - cpu, self.metrics()
        total_s, count = (after[name] - before.get(name, 0.0) for name in PREFILL_TIME)
        tokens = sum(each.output_tokens or 0 for each in results)
        self.tokens_a_word *= sum(each.input_tokens or 0 for each in results) / len(results) / input_tokens
        more, more_tokens = ASKED_BEFORE
        window = Window(spent, len(results) + more, tokens / running + more_tokens, tokens + more_tokens)
        return window, results, (total_s, count)

    def lines(self, input_tokens: int, output_tokens: int, count: int) -> list[dict[str, Any]]:
        """Prompts of so many tokens, about, each another, and how many each is answered with."""
        self.runs += 1
        dice, words = Random(self.runs), max(1, round(input_tokens / self.tokens_a_word))
        return [
            {"prompt": " ".join(dice.choices(WORDS, k=words)), "output_tokens": output_tokens}
            for _ in range(count)
        ]

    def written(self, lines: list[dict[str, Any]]) -> Path:
        """A file of prompts."""
        self.runs += 1
        prompts = self.folder / f"prompts-{self.runs}.jsonl"
        prompts.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        return prompts

    def asked(self, *words: str) -> list[Result]:
        """The results of a probe, in the order of their sending."""
        self.runs += 1
        place = self.folder / f"probe-{self.runs}"
        corral(OTHER_CORE, "probe", NAME, *words, "--output", str(place))
        _, records = read(results_path(place))
        results = [
            record for record in records if isinstance(record, Result) and record.ok and record.gaps_us
        ]
        return sorted(results, key=lambda result: result.sent_us)

    def metrics(self) -> dict[str, float]:
        """The engine's sums and counts."""
        with urllib.request.urlopen(f"{self.base_url}/metrics", timeout=10) as answer:  # noqa: S310
            text = answer.read().decode()
        rows = re.findall(r"^(vllm:\w+_(?:sum|count))(?:\{[^}]*\})? (\S+)$", text, re.M)
        return {name: float(value) for name, value in rows}


def closed(running: int) -> tuple[str, ...]:
    """A load that has so many requests running at any time."""
    return ("--concurrency", str(running))


@contextmanager
def serving(folder: Path) -> Iterator[Running]:
    """The tiny model, served for as long as it is asked."""
    model, plan = tiny.make(folder / "tiny"), folder / "plan.json"
    sized = ("--max-num-seqs", "32", "--max-num-batched-tokens", "2048", "--max-model-len", "4096")
    corral(ENGINE_CORE, "size", str(model), "--on", "local", *sized, "-o", str(plan))
    said = corral(
        ENGINE_CORE,
        "up",
        str(plan),
        "--target",
        "local",
        "--port",
        str(free_port()),
        "--name",
        NAME,
        "--json",
    )
    try:
        yield Running(folder, json.loads(said)["base_url"])
    finally:
        corral(OTHER_CORE, "down", NAME)


@contextmanager
def awake() -> Iterator[None]:
    """No core sleeps meanwhile."""
    loops = [
        subprocess.Popen([sys.executable, "-c", LOOP.format(core=core)]) for core in (ENGINE_CORE, OTHER_CORE)
    ]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def corral(core: int, *words: str) -> str:
    """What corral prints, run on that core."""
    program = [
        sys.executable,
        "-c",
        "from deploy.cli.start import main; main()",
        *words,
    ]
    done = subprocess.run(
        ["taskset", "-c", str(core), *program],
        env=os.environ | ENGINE_IN_ONE,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == ProbeInvalid.exit_code:
        print(f"not quiet: {done.stderr.strip().splitlines()[-2]}", file=sys.stderr)
    elif done.returncode:
        raise SystemExit(f"corral {' '.join(words)}: {done.stderr}")
    return done.stdout


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as tried:
        tried.bind(("127.0.0.1", 0))
        return int(tried.getsockname()[1])


def processes(folder: Path) -> tuple[int, list[int]]:
    """The API process of the server whose model is in that folder, and the processes below it."""
    parents = {}
    for each in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(each.name)] = int((each / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    server = next(
        pid
        for pid in parents
        if b"serve" in (line := Path(f"/proc/{pid}/cmdline").read_bytes())
        and str(folder).encode() in line
        and b"vllm" in line
    )
    below, wave = list[int](), {server}
    while wave := {pid for pid, parent in parents.items() if parent in wave}:
        below += wave
    return server, below


def pin(process: int, core: int) -> None:
    """Keep all threads of a process on a core."""
    for thread in Path(f"/proc/{process}/task").iterdir():
        os.sched_setaffinity(int(thread.name), {core})


def cpu_s(process: int) -> float:
    """Seconds of CPU that a process took."""
    return time.clock_gettime(
        (~process << 3) | 2
    )  # the clock of another process, as clock_getcpuclockid(3) names it


def token_times_s(result: Result) -> list[float]:
    """When each of its tokens came."""
    return [each / 1e6 for each in accumulate(result.gaps_us, initial=result.sent_us)][1:]
