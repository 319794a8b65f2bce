"""A report and a run's progress as a person reads them, no wider than the terminal."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from infra.columns import on_a_line
from infra.errors import UsageError
from serving.probe.lengths import parse
from serving.probe.progress import Progress
from serving.probe.report import FEW, PERCENTILES, Interval, ProbeReport, Summary
from serving.probe.spoiled import where_to_look


def progress_line(state: Progress) -> str:
    """One line a second."""
    ttft = sorted(state.ttft_us)
    latency = ""
    if ttft:
        p50, p99 = ttft[len(ttft) // 2], ttft[min(len(ttft) - 1, len(ttft) * 99 // 100)]
        latency = f"  TTFT p50 {p50 / 1e3:.1f} p99 {p99 / 1e3:.1f} ms"
    failed = f"  {state.failed} failed" if state.failed else ""
    tokens_a_chunk = state.ended_tokens / state.ended_chunks if state.ended_chunks else 1.0
    return (
        f"{state.elapsed_s:6.1f} s  {state.done}/{state.sent} done, {state.in_flight} in flight"
        f"  {state.requests_per_s:,.1f} requests/s  {state.chunks_per_s * tokens_a_chunk:,.0f} output tokens/s"
        f"{latency}{failed}"
    )


APART = 0.05
"""A mean length within this share of the one asked for is told as that."""
Row = tuple[str, str]
"""A line of the report: its name, and what it says."""
NAME_WIDTH = 13


def report_text(report: ProbeReport, folder: Path) -> str:
    """The report as a short table."""
    lines = [
        on_a_line(what_was_done(report), 0, sys.stdout),
        *map(row_line, (requests(report), *throughput(report))),
        *map(latency_line, latencies(report)),
        *map(
            row_line, (*goodput(report), *beside(report), *clock(report), *invalid(report), *remarks(report))
        ),
    ]
    return "\n".join(lines) + f"\n\nraw results and report in {folder}"


def row_line(row: Row) -> str:
    """A row in print."""
    name, words = row
    return f"{name:<{NAME_WIDTH}}{on_a_line(words, NAME_WIDTH, sys.stdout)}"


def latency_line(cells: list[str]) -> str:
    """A row of the table of latencies in print."""
    name, *numbers = cells
    return f"{name:<12}" + "".join(f"{number:>11}" for number in numbers)


def what_was_done(report: ProbeReport) -> str:
    """Of whom it was asked, and how."""
    load = report.load
    how = {
        "concurrency": f"{at_a_time(load)} at a time",
        "burst": "all at once",
        "replay": "replayed from a trace",
    }.get(str(load["shape"]), f"{load.get('request_rate')}/s {load['shape']}")
    given = load.get("prompts_file")
    lengths = (
        f"the prompts of {given}"
        if given
        else f"{load['input_tokens']} tokens in{counted(report)}, {load['output_tokens']} out"
    )
    return f"{report.model} at {report.url} ({load['api']}), {how}, {lengths}"


def at_a_time(load: dict[str, Any]) -> int:
    """Of a closed loop: no more than it has requests."""
    slots = load.get("concurrency", 1)
    return int(min(slots, load.get("requests") or slots))


def counted(report: ProbeReport) -> str:
    """How many tokens the server counted in a prompt, where that is not what was asked for; "" where it is, or is
    not known.
    """
    asked, each = str(report.load["input_tokens"]), report.input_tokens / max(1, report.succeeded)
    try:
        wanted = parse(asked, "").mean
    except UsageError:  # a report that another program wrote
        return ""
    if not each or report.load.get("turns", 1) != 1 or abs(each - wanted) <= APART * wanted:
        return ""
    return f" (the server counted {each:,.0f})"


def requests(report: ProbeReport) -> Row:
    """How many, and what became of them."""
    failed = "".join(f", {count} {name}" for name, count in report.errors.items())
    unfinished = f", {report.unfinished} unfinished" if report.unfinished else ""
    return (
        "requests",
        f"{report.sent} sent, {report.succeeded} succeeded{failed}{unfinished}, {report.duration_s:.1f} s",
    )


def throughput(report: ProbeReport) -> Iterator[Row]:
    """Tokens and requests a second."""
    yield (
        "output",
        f"{report.output_tokens_per_s:,.1f} tokens/s ({report.output_tokens:,} tokens,"
        f" best second {report.peak_output_tokens_per_s:,.0f})",
    )
    yield (
        "in and out",
        f"{report.total_tokens_per_s:,.1f} tokens/s, {report.request_per_s:.2f} requests/s",
    )
    if report.steady is not None:
        spread = report.confidence.get("output_tokens_per_s")
        about = f" (95 %: {about_text(spread)})" if spread else ""
        yield (
            "steady",
            f"{report.steady.output_tokens_per_s:,.1f} output tokens/s{about},"
            f" from {report.steady.start_s:.1f} to {report.steady.end_s:.1f} s",
        )
    for name, each in report.by_model.items():
        ttft = f", TTFT p50 {each.ttft_s.p50 * 1e3:,.1f} ms" if each.ttft_s else ""
        tpot = f", TPOT p50 {each.tpot_s.p50 * 1e3:,.1f} ms" if each.tpot_s else ""
        yield (
            "of them",
            f"{name}: {each.sent} sent, {each.succeeded} succeeded,"
            f" {each.output_tokens_per_s:,.1f} output tokens/s{ttft}{tpot}",
        )
    if report.from_send:
        yield "latencies", 'from when each request was due; "sent": from its sending'


def about_text(spread: Interval) -> str:
    """An interval; one that begins at nothing says no more than where it ends."""
    if spread.low <= 0:
        return f"at most {spread.high:,.1f}, the run is too short to say more"
    return f"{spread.low:,.1f} to {spread.high:,.1f}"


def latencies(report: ProbeReport) -> list[list[str]]:
    """The table of latencies in milliseconds, by row; the first has the columns' names."""
    steady = report.steady
    rows = (
        ("TTFT", report.ttft_s),
        ("TTFT steady", steady.ttft_s if steady else None),
        ("TPOT", report.tpot_s),
        ("ITL", report.itl_s),
        ("ITL a token", report.itl_per_token_s),
        ("E2E", report.e2e_s),
        ("TTFT sent", report.from_send.get("ttft_s")),
        ("E2E sent", report.from_send.get("e2e_s")),
    )
    head = ["ms", "mean", "p50", "p90", "p95", "p99", "max"]
    return [head, *([name, *in_ms(values)] for name, values in rows if values is not None)]


def in_ms(values: Summary) -> list[str]:
    """One latency, in the order of the columns."""
    mean, *percentiles, largest = in_order(values)
    marked = [
        f"{value * 1e3:,.2f}{'*' if is_of_few(values, percent) else ''}"
        for percent, value in zip(PERCENTILES, percentiles, strict=True)
    ]
    return [f"{mean * 1e3:,.2f}", *marked, f"{largest * 1e3:,.2f}"]


def in_order(values: Summary) -> tuple[float, ...]:
    """The numbers of the columns."""
    return values.mean, values.p50, values.p90, values.p95, values.p99, values.max or 0.0


def is_of_few(values: Summary, percent: int) -> bool:
    """Whether so few values lie beyond a percentile that it is hardly more than one of them."""
    return values.count is not None and values.count * (100 - percent) / 100 < FEW


def goodput(report: ProbeReport) -> list[Row]:
    """The share that met the SLO."""
    if not report.goodput:
        return []
    return [
        (
            "goodput",
            f"{report.goodput['request_per_s']:.2f} requests/s,"
            f" {report.goodput['attainment']:.1%} met {limits_text(report.goodput['slo'])}",
        )
    ]


def limits_text(slo: Any) -> str:
    """The limits of an SLO record as a person says them."""
    names = {"ttft_s": "TTFT", "tpot_s": "TPOT", "itl_s": "worst ITL", "e2e_s": "E2E"}
    return ", ".join(f"{names[name]} <= {limit * 1e3:,g} ms" for name, limit in slo.items())


def clock(report: ProbeReport) -> list[Row]:
    """How wrong the probe's own clock was."""
    client = report.client
    lag = "this does not enter the figures" if client.stamps == "kernel" else "the figures include it"
    return [
        (
            "clock",
            f"{client.stamps} stamps; read {client.p50_lag_s * 1e3:.3f} ms (p99 {client.p99_lag_s * 1e3:.3f})"
            f" after arrival: {lag}; {client.uncertain_fraction:.2%} of the chunks shared"
            " a read with a later one",
        ),
        (
            "probe",
            f"{client.cpu_fraction:.1%} of a core, {client.cpu_us_per_event:.1f} us a chunk"
            f" (read by {'C' if client.reader == 'c' else 'Python'});"
            f" sends late by p99 {client.late_sends_p99_s * 1e3:.2f} ms",
        ),
    ]


def beside(report: ProbeReport) -> Iterator[Row]:
    """What was looked at beside the load."""
    server, gpus = report.server, report.gpus
    parts = [
        f"at most {server.most_running:,.0f} running" if server.most_running is not None else "",
        f"{server.most_waiting:,.0f} waiting" if server.most_waiting is not None else "",
        f"KV cache {server.most_kv_cache_usage:.0%} full" if server.most_kv_cache_usage is not None else "",
        f"{server.preemptions:,.0f} preemptions" if server.preemptions else "",
    ]
    if said := ", ".join(filter(None, parts)):
        yield "server", f"{said}, once a second"
    if gpus is not None:
        memory = f", at most {gpus.most_memory_mib / 1024:,.1f} GiB in use" if gpus.most_memory_mib else ""
        each = (
            f", {gpus.joules_per_output_token:,.2f} J an output token" if gpus.joules_per_output_token else ""
        )
        yield "GPUs", f"{gpus.mean_power_w:,.0f} W (at most {gpus.most_power_w:,.0f}){each}{memory}"


def invalid(report: ProbeReport) -> list[Row]:
    """Why the figures must not be used, and where to look."""
    reasons = [("INVALID", reason) for reason in report.invalid_because]
    return [*reasons, ("", where_to_look(report.spoiled_by))] if reasons else []


def remarks(report: ProbeReport) -> list[Row]:
    """What must be read with the figures."""
    tables = (report.ttft_s, report.tpot_s, report.itl_s, report.e2e_s)
    few = any(values is not None and is_of_few(values, max(PERCENTILES)) for values in tables)
    return [
        *(
            [("*", f"fewer than {FEW} values lie beyond it: another run may say something else")]
            if few
            else ()
        ),
        *(("warning", text) for text in report.warnings),
        *(("error", f"{name}: {example}") for name, example in report.error_examples.items()),
        *(("note", text) for text in report.notes),
    ]
