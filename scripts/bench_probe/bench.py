"""The figures of the probe itself, in one run, each beside its method.

Server: fake_llm.c, a process of its own on core 0, one send() per event, all streams stepping together, with a log
of when each token was sent on CLOCK_MONOTONIC, which is the probe's clock too.
Clients: one after another on core 1, interleaved over the rounds, in the other order each round; figures are medians of
the rounds. For root, the server runs under SCHED_FIFO and all clients alike at nice -20, so that other work on the
machine gives way; a real-time policy would make the processes of one client wait for each other.
CPU: of the client process while it loads, its start not counted, per million events with a token. Beside GuideLLM and
AIPerf, which are many processes: of each client's whole tree of processes, from start to end, by the slope between
two lengths of output, so that start-up cancels out; what is left at no event is shown beside it.
CPU beside another client's: with the lowest and the highest ratio of a round. With other work on the machine the ratios
of two copies of one commit had their quartiles at 0.95 and 1.09 (10 pairs, 2026-11-30): few rounds tell no less apart.
Error: what a client said minus what the server's log of the same requests says, for the same statistic. The true
TTFT runs from the kernel's receive stamp of the request at the server to the sending of the first token. What
GuideLLM and AIPerf said is in the records they export of each request, under their own names.
Judged: what must hold where nothing else runs (bounds.py) is printed beside its bound, ok or MISSED.
"""

import argparse
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import bounds
import clients
import numpy
from bounds import judged
from clients import ClientFailed, Said, running
from numpy.typing import NDArray

from serving.model import tiny_tokenizer

Row = dict[str, float]
Floats = NDArray[numpy.float64]
Client = Callable[[Path, int, int, int, int], Said]

PEERS = ("vllm", "guidellm", "aiperf")
EARLIER = "corral of"
FOUR_TOKENS = "64 streams of four tokens a chunk every 80 ms: 3,200 tokens/s at most"
PEAK_PER_S = 64 * 4 / 0.08
ERRORS = (
    ("ttft_mean_true", "TTFT mean, true ms", 1.0, 2),
    ("ttft_mean_error", "error", 1.0, 3),
    ("ttft_p99_error", "p99 error", 1.0, 3),
    ("itl_p50_error", "ITL p50 error ms", 1.0, 3),
    ("itl_p99_true", "ITL p99, true", 1.0, 2),
    ("itl_p99_error", "p99 error", 1.0, 3),
)
FIGURES = (
    ("cpu_s_per_million", "CPU-s per 1M events", 1.0, 1),
    ("busy", "busy %", 100.0, 1),
    ("events_per_s", "events/s", 1.0, 0),
    *ERRORS,
    ("lag_p99_ms", "read lag p99 ms", 1.0, 2),
    ("uncertain", "uncertain %", 100.0, 2),
)
PEER_FIGURES = (
    ("slope_s_per_million", "CPU-s per 1M events", 1.0, 1),
    ("fixed_cpu_s", "CPU-s at no event", 1.0, 1),
    ("events_per_s", "events/s", 1.0, 0),
    ("events_per_s_longer", "at the longer output", 1.0, 0),
    ("failed", "requests without a result", 1.0, 0),
    ("start_spread_ms", "first requests reach the server within ms", 1.0, 0),
    *ERRORS,
)


def main() -> None:
    """Build, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, help="write the figures there, in Markdown")
    parser.add_argument(
        "--guidellm", metavar="PROGRAM", help="measure it too; left out where it is not given"
    )
    parser.add_argument("--aiperf", metavar="PROGRAM", help="measure it too; left out where it is not given")
    parser.add_argument(
        "--beside",
        type=Path,
        metavar="CHECKOUT",
        help="measure the corral of another checkout too, set up there",
    )
    parser.add_argument("--hour", action="store_true", help="measure memory over a whole hour too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        built = Path(folder)
        for name in ("fake_llm", "floor"):
            subprocess.run(["gcc", "-O2", "-o", built / name, clients.HERE / f"{name}.c"], check=True)
        (built / "tokenizer").mkdir()
        tiny_tokenizer.write(built / "tokenizer")
        text = figures(built, options.rounds, clients_here(options), options.hour)
    print(text)
    if options.output:
        options.output.write_text(text)
    if bounds.MISSED in text:
        sys.exit("A bound was missed: see above. Was anything else at work on this machine?")


def clients_here(options: argparse.Namespace) -> dict[str, Client]:
    """The clients that are here; a peer's name carries its version."""
    here: dict[str, Client] = {
        "corral": clients.corral,
        "corral read by Python": clients.corral_in_python,
        "corral without kernel stamps": clients.corral_user_stamps,
        "c": clients.c_floor,
    }
    if options.beside:
        here[f"{EARLIER} {clients.commit(options.beside)}"] = partial(
            clients.corral_of, options.beside.absolute()
        )
    if engine := clients.engine_python():
        here[f"vllm {Path(engine).parent.parent.name}"] = clients.vllm
    for name, client in (("guidellm", clients.guidellm), ("aiperf", clients.aiperf)):
        if program := getattr(options, name):
            here[f"{name} {clients.version(program)}"] = partial(client, program)
    return here


def figures(built: Path, rounds: int, here: dict[str, Client], hour: bool) -> str:
    """All modes as one page."""
    lines = ["# The probe's own figures", "", f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {machine()}", ""]
    absent = [peer for peer in PEERS if not some(here, (peer,))]
    more = "".join(f" --{peer} PROGRAM" for peer in ("guidellm", "aiperf") if peer not in absent)
    lines += [f"Made by `scripts/bench-probe --rounds {rounds}{more}`. Method:", ""]
    lines += [*(__doc__ or "").splitlines()[2:], "", f"Clients: {', '.join(here)}.", ""]
    lines += [f"Not on this machine, so left out: {', '.join(absent)}.", ""] if absent else []
    for title, server, load, wanted in (
        (
            "256 streams x 50 tokens/s, aligned",
            (200, 20, 0, 0),
            (256, 512, 200),
            ("corral", EARLIER, "corral read by Python", "corral without kernel stamps", "vllm", "c"),
        ),
        (
            "512 streams x 100 tokens/s, aligned: 51,200 events/s",
            (200, 10, 0, 0),
            (512, 1024, 300),
            ("corral", EARLIER, "corral read by Python", "vllm", "c"),
        ),
        (
            "64 streams with a 200 ms stall every 50 tokens",
            (200, 20, 50, 200),
            (64, 128, 200),
            ("corral", EARLIER, "vllm"),
        ),
        (
            "64 streams that start 10 ms apart, 16 at a time",
            (200, 10, 0, 0, 10),
            (64, 128, 20),
            ("corral", "corral without kernel stamps"),
        ),
        (FOUR_TOKENS, (200, 80, 0, 0, 0, 4), (64, 64, 80), ("corral",)),
    ):
        rows = measure(built, server, load, some(here, wanted), rounds)
        if title == FOUR_TOKENS:
            for row in rows["corral"]:
                row["peak_error"] = row["peak"] - PEAK_PER_S
        lines += [f"## {title}", "", *table(rows, judge_cpu=load[0] == 256), ""]
    peers = some(here, ("corral", "guidellm", "aiperf"))
    for title, server, load, longer in (
        ("256 streams x 50 tokens/s, aligned", (200, 20, 0, 0), (256, 512, 200), 600),
        ("512 streams x 100 tokens/s, aligned: 51,200 events/s", (200, 10, 0, 0), (512, 1024, 300), 600),
    ):
        if len(peers) > 1:
            rows = measure(built, server, load, peers, rounds, longer)
            lines += [f"## Beside GuideLLM and AIPerf as installed: {title}", "", *peer_table(rows), ""]
    lines += ["## 256 requests at one moment (`--request-rate inf`)", "", *bursts(built, rounds), ""]
    lines += ["## Poisson, 200 requests a second for 20 s", "", *open_loop(built), ""]
    lines += ["## Seconds until a server that hangs ends the probe", "", *hangs(built), ""]
    lines += ["## Memory", "", *memory(built, hour)]
    return "\n".join(lines) + "\n"


def some(here: dict[str, Client], wanted: tuple[str, ...]) -> dict[str, Client]:
    """Those of the wanted clients that are here."""
    return {
        full: client
        for name in wanted
        for full, client in here.items()
        if full == name or (name in (*PEERS, EARLIER) and full.startswith(f"{name} "))
    }


def measure(
    built: Path,
    server: tuple[int, ...],
    load: tuple[int, int, int],
    here: dict[str, Client],
    rounds: int,
    longer: int | None = None,
) -> dict[str, list[Row]]:
    """Every client in every round; with a second length, the CPU of the whole tree by slope."""
    rows: dict[str, list[Row]] = {name: [] for name in here}
    for number in range(rounds):
        turns = list(here.items())
        for name, client in turns[:: -1 if number % 2 else 1]:
            try:
                row = one(built, server, load, client)
                if longer:
                    more = one(built, server, (*load[:2], longer), client)
                    row |= by_slope(row, more)
            except ClientFailed as error:
                print(f"round {number + 1}: {name} failed: {error}", file=sys.stderr)
                continue
            rows[name].append(row)
            print(f"round {number + 1}: {name}: {row}", file=sys.stderr)
    return rows


def one(built: Path, server: tuple[int, ...], load: tuple[int, int, int], client: Client) -> Row:
    """One client, one load."""
    with running(built, *server) as port:
        said = client(built, port, *load)
        log = truth(port, load[1])
    received_ns = sorted(each[0] for each in log)
    return compared(said, log) | {"start_spread_ms": (received_ns[load[0] - 1] - received_ns[0]) / 1e6}


def by_slope(few: Row, many: Row) -> Row:
    """What an event costs and what no event costs, from two runs."""
    slope = (many["tree_cpu_s"] - few["tree_cpu_s"]) / (many["events"] - few["events"])
    return {
        "slope_s_per_million": slope * 1e6,
        "fixed_cpu_s": few["tree_cpu_s"] - slope * few["events"],
        "events_per_s_longer": many["events_per_s"],
    }


def truth(port: int, requests: int) -> list[list[int]]:
    """The server's log of the load: the streams that came last, without the canary."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/truth", timeout=60) as answer:
        lines = [[int(word) for word in line.split()] for line in answer.read().decode().splitlines()]
    return sorted(lines)[-requests:]


def compared(said: Said, log: list[list[int]]) -> Row:
    """What the client said, what was true, and the difference, in milliseconds."""
    row = {
        "cpu_s_per_million": said["cpu_s"] / said["events"] * 1e6,
        "busy": said["cpu_s"] / said["wall_s"],
        "events_per_s": said["events"] / said["wall_s"],
        "events": said["events"],
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
    more = ("lag_p99_ms", "uncertain", "stalls", "failed", "tree_cpu_s", "peak")
    row |= {name: said[name] for name in more if name in said}
    row["stalls_true"] = float((true["itl"] > max(5 * numpy.median(true["itl"]), 50)).sum())
    if "stalls" in row:
        row["stalls_error"] = row["stalls"] - row["stalls_true"]
    return row


def table(rows: dict[str, list[Row]], judge_cpu: bool) -> list[str]:
    """Medians over the rounds, a client a row; how corral's CPU compares; the stalls; what is judged."""
    stalls = [
        f"stalls found {row['stalls']:.0f} of {row['stalls_true']:.0f}"
        for row in rows["corral"]
        if row["stalls_true"]
    ]
    middle = {client: median(each) for client, each in rows.items()}
    figures = bounds.of_clients(middle) | (bounds.of_cpu(middle) if judge_cpu else {})
    return [*medians(rows, FIGURES), *stalls[:1], *judged(figures)]


def peer_table(rows: dict[str, list[Row]]) -> list[str]:
    """As table, of whole trees of processes; and what each client calls a gap."""
    return [
        *medians(rows, PEER_FIGURES),
        "",
        "ITL: GuideLLM keeps one mean gap a request, so its p50 and p99 are of those means. AIPerf's are of"
        " `inter_chunk_latency`, which it exports and its console does not show: what its console calls ITL is, again,"
        " a mean a request.",
    ]


def medians(rows: dict[str, list[Row]], names: tuple[tuple[str, str, float, int], ...]) -> list[str]:
    """Medians over the rounds, a client a row; and the CPU of corral as a share of each other's."""
    head = "| client | " + " | ".join(title for _, title, _, _ in names) + " |"
    lines = [head, "|---" * (len(names) + 1) + "|"]
    middle = {client: median(each) for client, each in rows.items()}
    for client, row in middle.items():
        cells = (f"{row[key] * scale:,.{digits}f}" if key in row else "-" for key, _, scale, digits in names)
        lines.append(f"| {client} | " + " | ".join(cells) + " |")
    cpu = names[0][0]
    ours = middle["corral"][cpu]
    ratios = [
        f"{ours / row[cpu]:.2f}x {client}{spread(rows['corral'], rows[client], cpu)}"
        for client, row in middle.items()
        if client != "corral" and row
    ]
    short = [
        f"{client}: {len(each)} rounds" for client, each in rows.items() if len(each) < len(rows["corral"])
    ]
    lines += ["", "CPU of corral: " + ", ".join(ratios)]
    return [*lines, "Ended without a result in the other rounds: " + ", ".join(short)] if short else lines


def spread(ours: list[Row], others: list[Row], figure: str) -> str:
    """The lowest and the highest ratio of a round, where each was in all of several."""
    if len(ours) != len(others) or len(ours) < 2:
        return ""
    ratios = [our[figure] / other[figure] for our, other in zip(ours, others, strict=True)]
    return f" ({min(ratios):.2f} to {max(ratios):.2f})"


def median(rows: list[Row]) -> Row:
    """The median of each figure."""
    return {key: statistics.median(row[key] for row in rows) for key in rows[0]} if rows else {}


def bursts(built: Path, rounds: int) -> list[str]:
    """How far apart a burst's requests reach the server, and the error of their TTFT."""
    lines = ["| round | spread at the server ms | TTFT mean error ms | p99 error ms |", "|---|---|---|---|"]
    rows = []
    for number in range(rounds):
        with running(built, 200, 20, 0, 0) as port:
            said = clients.corral(built, port, 256, 256, 50, "--request-rate", "inf")
            log = truth(port, 256)
        row = compared(said, log)
        row["spread_ms"] = (max(each[0] for each in log) - min(each[0] for each in log)) / 1e6
        rows.append(row)
        lines.append(
            f"| {number + 1} | {row['spread_ms']:.2f} | {row['ttft_mean_error']:.3f} | {row['ttft_p99_error']:.3f} |"
        )
    middle = median(rows)
    spread = {"spread at the server, ms": (middle["spread_ms"], bounds.SPREAD_MS)}
    return [*lines, *judged(spread | bounds.of_clients({"corral": middle}))]


def open_loop(built: Path) -> list[str]:
    """How late requests leave and come, whether as a Poisson process, and the error of their TTFT."""
    with running(built, 50, 10, 0, 0) as port:
        said = clients.corral(built, port, 0, 8000, 10, "--request-rate", "200", "--duration-s", "20")
        log = truth(port, len(said["scheduled_us"]))
    row, received_s = compared(said, log), numpy.array([each[0] for each in log]) / 1e9
    late_s = received_s - numpy.array(said["scheduled_us"]) / 1e6
    by_server_ms = float(numpy.percentile(late_s, 99) - late_s.min()) * 1e3
    late_ms = {"by the probe": said["late_sends_p99_ms"], "by the server": by_server_ms}
    distance = kolmogorov_smirnov(numpy.diff(received_s), 200.0)
    return [
        f"sent late by p99 {said['late_sends_p99_ms']:.2f} ms; TTFT mean error {row['ttft_mean_error']:.3f} ms,"
        f" p99 error {row['ttft_p99_error']:.3f} ms",
        *judged(bounds.of_poisson(len(log), 200.0, 20.0, distance, late_ms)),
    ]


def kolmogorov_smirnov(gaps_s: Floats, rate: float) -> float:
    """The largest distance between the gaps' distribution and the exponential's of that rate."""
    expected = 1 - numpy.exp(-rate * numpy.sort(gaps_s))
    steps = numpy.arange(len(gaps_s) + 1) / len(gaps_s)
    return float(max((steps[1:] - expected).max(), (expected - steps[:-1]).max()))


def hangs(built: Path) -> list[str]:
    """How long a probe lasts whose server stops as a whole, in the middle of the load or from the first token on."""
    folder, stopped_s = built / "hangs", list[float]()
    with clients.serving(built, 20, 5, 0, 0) as server:
        port = clients.port_of(server)
        shape = ("--concurrency", "8", "--stall-timeout-s", "2.2", "--max-failed", "1")
        threading.Thread(target=stop_in_the_middle, args=(server, folder, stopped_s), daemon=True).start()
        report, _ = clients.probe(folder, port, 5000, 20, *shape)
        ended_s = time.monotonic() - stopped_s[0]
    with running(built, 20, 5, 1, 10**9) as port, suppress(ClientFailed):
        begun_s = time.monotonic()
        clients.probe(built, port, 10, 10, "--stall-timeout-s", "1.1")
    refused_s = time.monotonic() - begun_s
    return [
        f"{report['succeeded']} of {report['sent']} requests had ended before.",
        *judged({"in the load": (ended_s, bounds.HUNG_S), "from the start": (refused_s, bounds.REFUSED_S)}),
    ]


def stop_in_the_middle(server: clients.Server, folder: Path, stopped_s: list[float]) -> None:
    """Stop the server when fifty requests are done; note when."""
    while not any(path.read_bytes().count(b"\n") > 50 for path in folder.glob("*/results.jsonl")):
        time.sleep(0.01)
    server.send_signal(signal.SIGSTOP)
    stopped_s.append(time.monotonic())


def memory(built: Path, hour: bool) -> list[str]:
    """The peak of the whole `corral probe`, report included, at 10 million events."""
    loads = [("as fast as one core reads", (200, 10, 0, 0), (512, 5000, 2000))]
    if hour:
        loads.append(("over an hour", (200, 23, 0, 0), (64, 10000, 1000)))
    lines = ["| load | events | seconds | events/s | peak MiB |", "|---|---|---|---|---|"]
    peaks = {}
    for title, server, (slots, requests, tokens) in loads:
        with running(built, *server) as port:
            shape = ("--concurrency", str(slots))
            report, _ = clients.probe(built, port, requests, tokens, *shape, limit_s=2 * 3600)
        events, took_s = report["output_tokens"], report["duration_s"]
        peaks[f"peak MiB, {title}"] = (report["peak_mib"], bounds.MEMORY_MIB)
        lines.append(
            f"| {slots} streams, {title} | {events:,} | {took_s:,.0f} | {events / took_s:,.0f}"
            f" | {report['peak_mib']:.0f} |"
        )
    return [*lines, *judged(peaks)]


def machine() -> str:
    """Where it was measured."""
    with open("/proc/cpuinfo") as info:
        model = next((line.split(":", 1)[1].strip() for line in info if line.startswith("model name")), "?")
    python, linux = platform.python_version(), platform.release().split("-")[0]
    return f"{model}, {os.cpu_count()} cores, Linux {linux}, Python {python}, load average {os.getloadavg()[0]:.1f}"


if __name__ == "__main__":
    main()
