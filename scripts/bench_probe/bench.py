"""The figures of the probe itself, in one run, each beside its method.

Server: fake_llm.c, a process of its own on core 0, one send() per event, all streams stepping together, with a log
of when each token was sent on CLOCK_MONOTONIC, which is the probe's clock too.
Clients: one after another on core 1, interleaved over the rounds; figures are medians of the rounds. For root, server
and clients alike run under SCHED_FIFO, so that neither waits for other work on the machine.
CPU: of the client process while it loads, its start not counted, per million events with a token.
Error: what a client said minus what the server's log of the same requests says, for the same statistic. The true
TTFT runs from the kernel's receive stamp of the request at the server to the sending of the first token.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
ENGINES = Path(os.environ.get("CORRAL_HOME") or Path.home() / ".corral") / "engine"

Row = dict[str, float]

# Runs a command and says its peak memory in KiB as the last line of standard error.
PEAK = (
    "import resource, subprocess, sys; code = subprocess.call(sys.argv[1:]);"
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr); sys.exit(code)"
)


def main() -> None:
    """Build, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, help="write the figures there, in Markdown")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        built = Path(folder)
        for name in ("fake_llm", "reader"):
            subprocess.run(["gcc", "-O2", "-o", built / name, HERE / f"{name}.c"], check=True)
        text = figures(built, options.rounds)
    print(text)
    if options.output:
        options.output.write_text(text)


def figures(built: Path, rounds: int) -> str:
    """All modes as one page."""
    lines = ["# The probe's own figures", "", f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {machine()}", ""]
    lines += [
        f"Made by `scripts/bench-probe --rounds {rounds}`. Method:",
        "",
        *(__doc__ or "").splitlines()[2:],
        "",
    ]
    modes = (
        (
            "256 streams x 50 tokens/s, aligned",
            (200, 20, 0, 0),
            (256, 512, 200),
            ("corral", "corral without kernel stamps", "vllm", "c"),
        ),
        (
            "512 streams x 100 tokens/s, aligned: 51,200 events/s",
            (200, 10, 0, 0),
            (512, 1024, 300),
            ("corral", "vllm", "c"),
        ),
        (
            "64 streams with a 200 ms stall every 50 tokens",
            (200, 20, 50, 200),
            (64, 128, 200),
            ("corral", "vllm"),
        ),
    )
    for title, server, load, clients in modes:
        lines += [f"## {title}", "", *table(measure(built, server, load, clients, rounds)), ""]
    lines += ["## 256 requests at one moment (`--request-rate inf`)", "", *bursts(built, rounds), ""]
    lines += ["## Poisson, 200 requests a second for 10 s", "", *open_loop(built), ""]
    lines += ["## Memory", "", *memory(built)]
    return "\n".join(lines) + "\n"


def measure(
    built: Path, server: tuple[int, ...], load: tuple[int, int, int], clients: tuple[str, ...], rounds: int
) -> dict[str, list[Row]]:
    """Every client in every round."""
    rows: dict[str, list[Row]] = {name: [] for name in clients if name != "vllm" or engine_python()}
    for number in range(rounds):
        for name, done in rows.items():
            with running(built, *server) as port:
                said = CLIENTS[name](built, port, *load)
                row = compared(said, truth(port, load[1]))
            done.append(row)
            print(f"round {number + 1}: {name}: {row}", file=sys.stderr)
    return rows


@contextmanager
def running(built: Path, *arguments: int) -> Iterator[int]:
    """The fake server on core 0; gives its port."""
    command = [*pinned(0), str(built / "fake_llm"), *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline())
        finally:
            process.kill()


def pinned(core: int) -> list[str]:
    """The words that put a command on a core, before everything else there where that is allowed."""
    if os.geteuid() != 0:
        return ["taskset", "-c", str(core)]
    return ["taskset", "-c", str(core), "chrt", "-f", "1"]


def corral(built: Path, port: int, slots: int, requests: int, tokens: int, *more: str) -> dict[str, Any]:
    """Ours, as a user runs it."""
    folder = built / f"probe-{time.time_ns()}"
    shape = more or ("--concurrency", str(slots))
    command = [
        *pinned(1),
        str(ROOT / ".venv/bin/corral"),
        "probe",
        f"http://127.0.0.1:{port}",
        "--api",
        "chat",
    ]
    command += [
        *shape,
        "--requests",
        str(requests),
        "--output-tokens",
        str(tokens),
        "--input-tokens",
        "16",
        "--json",
    ]
    timed = ["/usr/bin/env", "python3", "-c", PEAK, *command, "--output", str(folder)]
    done = subprocess.run(timed, capture_output=True, text=True)
    report = json.loads(done.stdout)
    results = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    side = results[-1]["end"]["clients"][0]
    shutil.rmtree(folder)
    gaps = [each["gaps_us"] for each in results[1:-1]]
    return {
        "events": report["output_tokens"],
        "cpu_s": side["cpu_s"],
        "wall_s": side["wall_s"],
        "ttft_s": [each[0] / 1e6 for each in gaps],
        "itl_s": [gap / 1e6 for each in gaps for gap in each[1:]],
        "lag_p99_ms": side["lag_us"].get("p99", 0) / 1e3,
        "uncertain": side["uncertain"] / side["events"],
        "stalls": report["stalls"]["count"],
        "peak_mib": int(done.stderr.splitlines()[-1]) / 1024,
        "late_sends_p99_ms": report["client"]["late_sends_p99_s"] * 1e3,
    }


def corral_user_stamps(built: Path, port: int, slots: int, requests: int, tokens: int) -> dict[str, Any]:
    """Ours without the kernel's stamps: what the same engine says where a system has none."""
    return corral(built, port, slots, requests, tokens, "--concurrency", str(slots), "--no-kernel-stamps")


def vllm(built: Path, port: int, slots: int, requests: int, tokens: int) -> dict[str, Any]:
    """The request function of `vllm bench serve`, by the engine's own Python."""
    command = [
        *pinned(1),
        engine_python(),
        str(HERE / "peer_vllm.py"),
        *map(str, (port, slots, requests, tokens)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return said


def c_reader(built: Path, port: int, slots: int, requests: int, tokens: int) -> dict[str, Any]:
    """The floor: C, reading only."""
    command = [*pinned(1), str(built / "reader"), *map(str, (port, slots, requests, tokens))]
    events, cpu_s, wall_s = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return {"events": int(events), "cpu_s": float(cpu_s), "wall_s": float(wall_s)}


CLIENTS = {"corral": corral, "corral without kernel stamps": corral_user_stamps, "vllm": vllm, "c": c_reader}


def engine_python() -> str:
    """The Python of the installed engine, or nothing."""
    return str(next(iter(sorted(ENGINES.glob("*/bin/python"))), ""))


def truth(port: int, requests: int) -> list[list[int]]:
    """The server's log of the load: the streams that came last, without the canary."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/truth", timeout=60) as answer:
        lines = [[int(word) for word in line.split()] for line in answer.read().decode().splitlines()]
    return sorted(lines)[-requests:]


def compared(said: dict[str, Any], log: list[list[int]]) -> Row:
    """What the client said, what was true, and the difference, in milliseconds."""
    row = {
        "cpu_s_per_million": said["cpu_s"] / said["events"] * 1e6,
        "busy": said["cpu_s"] / said["wall_s"],
        "events_per_s": said["events"] / said["wall_s"],
    }
    if "ttft_s" not in said:
        return row
    true = {
        "ttft": numpy.array([each[2] - each[0] for each in log]) / 1e6,
        "itl": numpy.concatenate([numpy.diff(each[2:]) for each in log]) / 1e6,
    }
    for name, values in true.items():
        told = numpy.array(said[f"{name}_s"]) * 1e3
        for label, quantile in (("p50", 50), ("p99", 99)):
            row[f"{name}_{label}_true"] = float(numpy.percentile(values, quantile))
            row[f"{name}_{label}_error"] = float(
                numpy.percentile(told, quantile) - numpy.percentile(values, quantile)
            )
        row[f"{name}_mean_true"] = float(values.mean())
        row[f"{name}_mean_error"] = float(told.mean() - values.mean())
    row |= {name: said[name] for name in ("lag_p99_ms", "uncertain", "stalls") if name in said}
    row["stalls_true"] = float((true["itl"] > 100).sum())
    return row


def table(rows: dict[str, list[Row]]) -> list[str]:
    """Medians over the rounds, a client a row."""
    names = (
        ("cpu_s_per_million", "CPU-s per 1M events", 1.0, 1),
        ("busy", "busy %", 100.0, 1),
        ("events_per_s", "events/s", 1.0, 0),
        ("ttft_mean_true", "TTFT mean, true ms", 1.0, 2),
        ("ttft_mean_error", "error", 1.0, 3),
        ("ttft_p99_error", "p99 error", 1.0, 3),
        ("itl_p50_error", "ITL p50 error ms", 1.0, 3),
        ("itl_p99_true", "ITL p99, true", 1.0, 2),
        ("itl_p99_error", "p99 error", 1.0, 3),
        ("lag_p99_ms", "read lag p99 ms", 1.0, 2),
        ("uncertain", "uncertain %", 100.0, 2),
    )
    head = "| client | " + " | ".join(title for _, title, _, _ in names) + " |"
    lines = [head, "|---" * (len(names) + 1) + "|"]
    middle = {client: median(each) for client, each in rows.items()}
    for client, row in middle.items():
        cells = (f"{row[key] * scale:,.{digits}f}" if key in row else "-" for key, _, scale, digits in names)
        lines.append(f"| {client} | " + " | ".join(cells) + " |")
    ours = middle["corral"]["cpu_s_per_million"]
    ratios = [
        f"{ours / row['cpu_s_per_million']:.2f}x {client}"
        for client, row in middle.items()
        if client != "corral"
    ]
    stalls = [
        f"stalls found {row['stalls']:.0f} of {row['stalls_true']:.0f}"
        for row in rows["corral"]
        if row["stalls_true"]
    ]
    return [*lines, "", "CPU of corral: " + ", ".join(ratios), *stalls[:1]]


def median(rows: list[Row]) -> Row:
    """The median of each figure."""
    return {key: statistics.median(row[key] for row in rows) for key in rows[0]}


def bursts(built: Path, rounds: int) -> list[str]:
    """How far apart a burst's requests reach the server, and the error of their TTFT."""
    lines = ["| round | spread at the server ms | TTFT mean error ms | p99 error ms |", "|---|---|---|---|"]
    for number in range(rounds):
        with running(built, 200, 20, 0, 0) as port:
            said = corral(built, port, 256, 256, 50, "--request-rate", "inf")
            log = truth(port, 256)
        row = compared(said, log)
        spread_ms = (max(each[0] for each in log) - min(each[0] for each in log)) / 1e6
        lines.append(
            f"| {number + 1} | {spread_ms:.2f} | {row['ttft_mean_error']:.3f} | {row['ttft_p99_error']:.3f} |"
        )
    return lines


def open_loop(built: Path) -> list[str]:
    """How late requests leave, and the error of their TTFT."""
    with running(built, 50, 10, 0, 0) as port:
        said = corral(built, port, 0, 2000, 10, "--request-rate", "200")
        row = compared(said, truth(port, 2000))
    late = f"sent late by p99 {said['late_sends_p99_ms']:.2f} ms"
    return [
        f"{late}; TTFT mean error {row['ttft_mean_error']:.3f} ms, p99 error {row['ttft_p99_error']:.3f} ms"
    ]


def memory(built: Path) -> list[str]:
    """The peak of the whole `corral probe`, report included, at two sizes; and what the slope says of 10 million."""
    sizes = []
    for tokens in (200, 2000):
        with running(built, 200, 10, 0, 0) as port:
            said = corral(built, port, 512, 512, tokens)
        sizes.append((said["events"], said["peak_mib"]))
    (few, small), (many, large) = sizes
    slope = (large - small) / (many - few)
    return [
        f"{few:,} events {small:.0f} MiB, {many:,} events {large:.0f} MiB: {slope * 2**20:.0f} bytes an event, so"
        f" 10 million events need {small + slope * (10_000_000 - few):.0f} MiB",
    ]


def machine() -> str:
    """Where it was measured."""
    with open("/proc/cpuinfo") as info:
        model = next((line.split(":", 1)[1].strip() for line in info if line.startswith("model name")), "?")
    python, linux = platform.python_version(), platform.release().split("-")[0]
    return f"{model}, {os.cpu_count()} cores, Linux {linux}, Python {python}, load average {os.getloadavg()[0]:.1f}"


if __name__ == "__main__":
    main()
