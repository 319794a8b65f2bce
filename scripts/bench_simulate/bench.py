"""`corral simulate` against the real engine, in one paired run.

Server: vLLM's CPU build on the tiny model, at most 32 sequences and 2,048 tokens a step. Its EngineCore and worker have
core 0 for themselves, its API process and the client, corral's own probe, core 1. Both cores are kept awake by a loop
that gives way to all else (SCHED_IDLE): a virtual core that sleeps is woken by its host, when that comes to it.
Fit: the time of a step by running streams (the mean of the gaps at the client while all of them decode, in the middle
one of three looks: one that was disturbed does not decide, as with the loads' rounds) and by tokens
of a lone prompt (the engine's request_prefill_time histogram), what a prompt adds to a step of four streams (their
tokens that come later for it), the API process's CPU by requests, steps and tokens, and
what is left of the TTFT of a lone request: of its median, for one in three waits for something that is not the engine,
which made the mean 12 % longer than what half of the requests of a load waited (14.0 ms, 2026-11-30).
Loads, none of them fitted to: five below the knee, two near it, Poisson, in four rounds, the fit before and after each
round. A round is simulated with the middle of the two fits around it, for the pace of a rented core changes by minutes
(a step of four streams took 3.6 to 6.1 ms in five fits, 2026-11-30), and its steps vary as those of the fits did, one
after another. What the steps of nine of ten pairs of fits in a row do not differ by more than is the band of the steps,
5 % or more. The simulation is given the arrivals that the probe really made. Times count from the sending, at the
client.
Judged, each figure by its median over the rounds: below the knee all five within 15 % of what was measured; near it
the truth between a simulation of all steps as fast, and one as slow, as the band has them.
"""

import argparse
import json
import os
import platform
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from itertools import accumulate, pairwise
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

from table import (
    FIGURES,
    Fit,
    Part,
    Steps,
    Window,
    added_s,
    api_of,
    band_of,
    middle_figures,
    middle_of,
    paces_of,
    plain_step_s,
    simulated,
)

from infra.errors import ProbeInvalid
from serving.model import tiny
from serving.probe.dataset import WORDS
from serving.probe.results import read, results_path
from serving.probe.run_records import Result
from serving.sizing.batching import Api, Request, Room, Served

ENGINE_CORE, OTHER_CORE = 0, 1
FIRST = -15
"""The niceness of all of it: what else the machine does comes after it."""
ROOM = Room(max_num_seqs=32, max_num_batched_tokens=2048, kv_tokens=10**9)
NAME = "bench-simulate"
RUNNING = (1, 2, 4, 8, 16, 32)
CONTEXT = 256 + 64 // 2  # tokens that a decode step of most loads reads of a sequence, on average
PREFILLED = (16, 64, 128, 256, 512, 1024, 2048)
# Share of what 256 in and 64 out may come to at most; lengths; whether it is below the knee.
LOADS = (
    (0.08, "256", "64", True),
    (0.18, "256", "64", True),
    (0.28, "256", "64", True),
    (0.10, "64-1024", "16-160", True),
    (0.38, "256", "64", True),
    (0.70, "256", "64", False),
    (0.86, "256", "64", False),
)
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
MOST_OFF = 0.15
LEAST_BAND = 1.05
ASKED_BEFORE = (2, 3)
"""Requests and tokens that a probe asks for before its load: one of a few tokens, and one prompt of the load."""


def main() -> int:
    """Measure, simulate, compare; 1 where a figure is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a sixth of the time: shows only that it runs")
    parser.add_argument("--keep", type=Path, help="write all figures there, as JSON")
    parser.add_argument("--measured", type=Path, help="write there what was measured, for --again")
    parser.add_argument("--again", type=Path, help="measure nothing: judge what --measured wrote")
    asked = parser.parse_args()
    seconds, rounds, repeats = (6, 1, 2) if asked.quick else (10, 4, 5)
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, FIRST)
    began_with = os.getloadavg()[0]
    if asked.again:
        head, fits, parts = measured_before(asked.again)
    else:
        fits, parts = measured(seconds, rounds, repeats)
        head = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {hardware()}, load average {began_with:.1f} before"
    if asked.measured:
        asked.measured.write_text(json.dumps([head, fits, parts]) + "\n", encoding="utf-8")
    fit = middle_of(fits)
    steps, api = fit.steps, api_of(fit)
    band = max(LEAST_BAND, band_of(fits))
    around = [middle_of(pair) for pair in pairwise(fits)]
    rows = [compared(parts[which :: len(LOADS)], around, api, band) for which in range(len(LOADS))]
    judged = [judge(row, below) for row, (*_, below) in zip(rows, LOADS, strict=True)]
    print(report(head, steps, api, band, rows, judged))
    if asked.keep:
        kept = {"made": head, "decode_s": steps.decode_s, "prefill_s": steps.prefill_s, "api": api._asdict()}
        asked.keep.write_text(
            json.dumps(kept | {"band": band, "loads": rows}, indent=2) + "\n", encoding="utf-8"
        )
    return int(not all(judged))


def measured(seconds: int, rounds: int, repeats: int) -> tuple[list[Fit], list[Part]]:
    """The fits, and the parts of the loads in the order of LOADS, round after round."""
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as server, awake():
        server.fitted(1)  # what a shape costs when it comes for the first time is no step's
        fits, parts = [server.fitted(repeats)], list[Part]()
        full = most_per_s(fits[0].steps)
        for _ in range(rounds):
            for share, inputs, outputs, _ in LOADS:
                parts.append(server.load(share * full, inputs, outputs, seconds))
            fits.append(server.fitted(repeats))
    return fits, parts


def measured_before(file: Path) -> tuple[str, list[Fit], list[Part]]:
    """The same, of another run."""
    head, fits, parts = json.loads(file.read_text(encoding="utf-8"))
    return (
        head,
        [
            Fit(Steps(*map(numbered, steps)), numbered(idle_s), [Window(*each) for each in windows], paces)
            for steps, idle_s, windows, paces in fits
        ],
        [
            Part(
                [Request(*each) for each in requests], [Served(*each) for each in answers], lasted_s, looks_s
            )
            for requests, answers, lasted_s, looks_s in parts
        ],
    )


def numbered(points: dict[str, float]) -> dict[int, float]:
    """Points of a line as they were before they were JSON."""
    return {int(number): value for number, value in points.items()}


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
        decode, prefill, idle, windows, paces = {}, dict[int, float](), {}, [], list[float]()
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
            paces += paces_of(streams)
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
        return Fit(Steps(decode, prefill, beside), idle, windows, paces)

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
    done = subprocess.run(["taskset", "-c", str(core), *program], capture_output=True, text=True, check=False)
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


def most_per_s(steps: Steps) -> float:
    """Requests of 256 in and 64 out that full steps come to: LOADS' scale."""
    step_s = steps.time()
    return float(1 / (64 * step_s(32, 0) / 32 + step_s(32, 256) - step_s(32, 0)))


def compared(
    parts: Sequence[Part], around: Sequence[Fit], api: Api, band: float
) -> dict[str, dict[str, float]]:
    """Each figure of a load, the median of its rounds: measured, simulated, and at both ends of the band."""
    truth = middle_figures(parts)
    middle, fast, slow = (
        middle_figures(
            [
                simulated(part.requests, fit, ROOM, api, slower)
                for part, fit in zip(parts, around, strict=True)
            ]
        )
        for slower in (1.0, 1 / band, band)
    )
    return {
        name: {
            "measured": truth[name],
            "simulated": middle[name],
            "low": min(middle[name], fast[name], slow[name]),
            "high": max(middle[name], fast[name], slow[name]),
        }
        for name in FIGURES
    }


def judge(row: dict[str, dict[str, float]], below: bool) -> bool:
    """Below the knee within MOST_OFF, near it within the interval; of tokens/s within MOST_OFF anywhere."""
    return all(
        abs(off(each)) <= MOST_OFF
        if below or name == "tokens_per_s"
        else each["low"] <= each["measured"] <= each["high"]
        for name, each in row.items()
    )


def off(figure: dict[str, float]) -> float:
    """How far the simulation is off."""
    return figure["simulated"] / figure["measured"] - 1


def report(head: str, steps: Steps, api: Api, band: float, rows: list[Any], judged: list[bool]) -> str:
    """All of it as Markdown."""
    lines = [head, "", "| running | " + " | ".join(map(str, steps.decode_s)) + " |"]
    lines += ["|---" * (len(steps.decode_s) + 1) + "|"]
    lines += ["| step ms | " + " | ".join(f"{1e3 * each:.2f}" for each in steps.decode_s.values()) + " |", ""]
    lines += [
        "| prompt | " + " | ".join(map(str, steps.prefill_s)) + " |",
        "|---" * (len(steps.prefill_s) + 1) + "|",
    ]
    lines += [
        "| step ms | " + " | ".join(f"{1e3 * each:.2f}" for each in steps.prefill_s.values()) + " |",
        "",
    ]
    lines += [
        f"API process: {1e3 * api.request_s:.2f} ms a request, {1e3 * api.step_s:.2f} a step, "
        f"{1e3 * api.token_s:.3f} a token; beside it {1e3 * api.beside_s:.2f}. Band of the steps: {band:.3f}.",
        "",
        "| load | " + " | ".join(FIGURES) + " | |",
        "|---" * (len(FIGURES) + 2) + "|",
    ]
    for (share, inputs, outputs, below), row, good in zip(LOADS, rows, judged, strict=True):
        cells = [
            f"{each['measured']:.1f} / {each['simulated']:.1f} ({each['low']:.1f} to {each['high']:.1f}) "
            f"{off(each):+.0%}"
            for each in row.values()
        ]
        name = f"{share:.0%} of full, {inputs}/{outputs}{'' if below else ', near the knee'}"
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {'ok' if good else 'MISSED'} |")
    return "\n".join(
        [*lines, "", "Each: measured / simulated (with all steps as fast and as slow as the band) error."]
    )


def hardware() -> str:
    """What it ran on."""
    model = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.M)
    return f"{model[1] if model else platform.machine()}, {os.cpu_count()} cores, Linux {platform.release()}"


if __name__ == "__main__":
    began = time.monotonic()
    code = main()
    print(f"\n{time.monotonic() - began:.0f} s")
    sys.exit(code)
