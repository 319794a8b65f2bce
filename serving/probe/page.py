"""PURE: a run or a sweep as one self-contained HTML page with plots, legible on a phone and in the dark."""

import html
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy

from infra.figure import INK, plain_numbers, svg, ticks_at
from serving.probe.metrics import Figures
from serving.probe.report import ProbeReport
from serving.probe.report_text import beside as beside_rows
from serving.probe.report_text import clock, goodput, latencies, remarks, requests, throughput, what_was_done
from serving.probe.samples import BIN_US
from serving.probe.sweep_report import Point, Sweep, answer_text, footnotes, is_of_few, marks, runs_text

if TYPE_CHECKING:
    from infra.figure import Axes

STYLE = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
MOST_DOTS = 20_000


def page(figures: Figures) -> str:
    """The report, a timeline, and the latency curves."""
    report = figures.report()
    plots = [
        plot("Output tokens a second over the run", lambda axes: timeline(axes, figures)),
        *(plot(title, partial(sampled, figures=figures, title=title)) for title in beside(figures)),
        plot("Time to first token of each request", lambda axes: first_tokens(axes, figures)),
        plot("Share of values up to each latency", lambda axes: curves(axes, figures)),
        plot("Input lengths, as the server counted them", lambda axes: input_lengths(axes, figures)),
    ]
    return document(f"Probe of {report.model}", [*report_parts(report), *plots])


def sweep_page(sweep: Sweep) -> str:
    """The steps of a sweep: throughput and latency against the load."""
    rows = [STEP_HEAD, *(step_row(each) for each in sweep.points)]
    plots = [
        plot("Throughput against the load", lambda axes: rising(axes, sweep)),
        plot("Latency against the load", lambda axes: latency(axes, sweep)),
    ]
    lines = [f"<p>{html.escape(sweep.url)}</p>", f"<p class=answer>{html.escape(answer_text(sweep))}</p>"]
    notes = [f"<p>{html.escape(text)}</p>" for text in footnotes(sweep)]
    return document(f"Sweep of {sweep.model}", [*lines, table(rows, "numbers"), *notes, *plots])


def document(title: str, parts: list[str]) -> str:
    """The page around its parts."""
    head = (
        "<!doctype html><html lang=en><meta charset=utf-8>"
        '<meta name=viewport content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style>"
    )
    return "\n".join([head, f"<main><h1>{html.escape(title)}</h1>", *parts, "</main></html>", ""])


def report_parts(report: ProbeReport) -> list[str]:
    """What the report says, as tables."""
    return [
        f"<p>{html.escape(what_was_done(report))}</p>",
        *(f"<p class=invalid>Do not use: {html.escape(why)}.</p>" for why in report.invalid_because),
        table((requests(report), *throughput(report), *goodput(report)), "named"),
        table(latencies(report), "numbers"),
        table((*beside_rows(report), *clock(report), *remarks(report)), "named"),
    ]


def table(rows: Iterable[Sequence[str]], kind: str) -> str:
    """Rows whose first cell is their name; a table of numbers has names in its first row, too."""
    lines = []
    for number, (first, *rest) in enumerate(rows):
        cell = "th" if kind == "numbers" and number == 0 else "td"
        cells = "".join(f"<{cell}>{html.escape(each)}</{cell}>" for each in rest)
        lines.append(f"<tr><th>{html.escape(first)}</th>{cells}</tr>")
    return f"<div class=wide><table class={kind}>{''.join(lines)}</table></div>"


STEP_HEAD = [
    "load", "output tokens/s", "TTFT p50 ms", "TTFT p99 ms", "TPOT p50 ms", "met the limits", "",
]  # fmt: skip


def step_row(each: Point) -> list[str]:
    """One step of a sweep."""
    times = (each.ttft_p50_s, each.ttft_p99_s, each.tpot_p50_s)
    told = ["" if time_s is None else f"{time_s * 1e3:,.1f}" for time_s in times]
    told[1] += "*" if told[1] and is_of_few(each) else ""
    return [
        f"{each.load:g}",
        f"{each.output_tokens_per_s:,.1f}{runs_text(each)}",
        *told,
        "" if each.attainment is None else f"{each.attainment:.1%}",
        marks(each),
    ]


def plot(title: str, draw: Callable[["Axes"], None]) -> str:
    """One drawing as inline SVG under its title."""
    drawn = svg(re.sub("[^a-z]+", "-", title.lower()), title, draw, height=3.2)
    return f"<h2>{html.escape(title)}</h2><figure>{drawn}</figure>"


def timeline(axes: "Axes", figures: Figures) -> None:
    """Output tokens a second over the run, with the steady part marked."""
    width = max(1, int(figures.duration_s * 1e6 / BIN_US / 200))
    grain = figures.stretches(0, width, (int(figures.duration_s * 1e6 / BIN_US) + 1) // width)
    step_s = width * BIN_US / 1e6
    axes.step(numpy.arange(len(grain)) * step_s, grain / step_s, where="post")
    steady = figures.steady
    if steady is not None:
        axes.axvspan(steady.start_s, steady.end_s, alpha=0.12, label="steady")
        above(axes)
    axes.set(xlabel="time, s", ylabel="output tokens/s", xlim=whole_run(figures), ylim=(0, None))


def whole_run(figures: Figures) -> tuple[float, float]:
    """The time axis that all plots over the run share."""
    return 0.0, figures.duration_s


SAMPLED = (
    ("Requests in the server", {"running": "running", "waiting": "waiting"}, "requests", 1.0),
    ("KV cache in use", {"kv_cache_usage": "in use"}, "%", 100.0),
    ("Preemptions since the load began", {"preemptions": "preemptions"}, "preemptions", 1.0),
    ("Power of the GPUs", {"power_w": "power"}, "W", 1.0),
    ("Memory in use on the GPUs", {"gpu_memory_mib": "in use"}, "GiB", 1 / 1024),
)
"""What is drawn of what was looked at beside the load: the title, the figures with their names, and the unit."""


def beside(figures: Figures) -> Iterator[str]:
    """The titles of the plots there are samples for."""
    for title, names, _, _ in SAMPLED:
        if any(len(figures.ending.sampled.get(name, ())) > 1 for name in names):
            yield title


def sampled(axes: "Axes", figures: Figures, title: str) -> None:
    """What was looked at beside the load, over the same time as the tokens."""
    _, names, unit, factor = next(each for each in SAMPLED if each[0] == title)
    for name, label in names.items():
        pairs = figures.ending.sampled.get(name, [])
        if not pairs:
            continue
        start = pairs[0][1] if name == "preemptions" else 0.0
        moments, values = zip(*pairs, strict=True)
        axes.step(moments, [(value - start) * factor for value in values], where="post", label=label)
    axes.set(xlabel="time, s", ylabel=unit, xlim=whole_run(figures), ylim=(0, None))
    if len(names) > 1:
        above(axes)


def input_lengths(axes: "Axes", figures: Figures) -> None:
    """How long the prompts were, beside what was asked for."""
    lengths = figures.input[figures.input > 0]
    if len(lengths):
        axes.hist(lengths, bins=min(40, max(1, len(set(lengths)))))
    asked = figures.run.workload.input_tokens
    if figures.run.workload.prompts_file is None:
        axes.axvline(asked.low, linestyle="--", color=INK, alpha=0.6, label=f"asked for: {asked}")
        if asked.form == "uniform":
            axes.axvline(asked.high, linestyle="--", color=INK, alpha=0.6)
        above(axes)
    axes.set(xlabel="input tokens", ylabel="requests", ylim=(0, None))


def first_tokens(axes: "Axes", figures: Figures) -> None:
    """Each request's time to first token, when it was sent."""
    every = max(1, len(figures.began) // MOST_DOTS)
    axes.plot(figures.began[::every], figures.ttft[::every] * 1e3, ".", markersize=3)
    axes.set(
        xlabel="sent at, s",
        ylabel="TTFT, ms",
        xlim=whole_run(figures),
        ylim=(0, 1.1 * float(figures.ttft.max(initial=0.001)) * 1e3),
    )


def curves(axes: "Axes", figures: Figures) -> None:
    """The share of values up to each latency."""
    latencies = {"TTFT": figures.ttft, "TPOT": figures.tpot, "ITL": figures.itl, "E2E": figures.e2e}
    for name, values in latencies.items():
        if len(values):
            shares = numpy.linspace(0, 1, min(len(values), 1001))
            axes.plot(numpy.quantile(values, shares) * 1e3, shares * 100, label=name)
    axes.set(xscale="log", xlabel="latency, ms", ylabel="values up to it, %")
    plain_numbers(axes.xaxis)
    if axes.lines:
        above(axes)


def above(axes: "Axes") -> None:
    """The legend, where it hides nothing."""
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=4, borderaxespad=0.2)


def tried(axes: "Axes", sweep: Sweep) -> None:
    """Mark the loads that were really tried: between two of them nothing was measured."""
    ticks_at(axes.xaxis, [each.load for each in sweep.points], lambda load: f"{load:g}")


UNITS = {"concurrency": "concurrency, requests at a time", "rate": "rate, requests/s"}


def rising(axes: "Axes", sweep: Sweep) -> None:
    """Output tokens a second against the load."""
    axes.plot([each.load for each in sweep.points], [each.output_tokens_per_s for each in sweep.points], "o-")
    if sweep.best is not None:
        axes.axvline(sweep.best, linestyle="--", color=INK, alpha=0.6, label=f"the answer: {sweep.best:g}")
        above(axes)
    axes.set(xscale="log", xlabel=UNITS[sweep.over], ylabel="output tokens/s", ylim=(0, None))
    tried(axes, sweep)


def latency(axes: "Axes", sweep: Sweep) -> None:
    """TTFT and TPOT against the load; a step without any leaves a gap."""
    loads = [each.load for each in sweep.points]
    curves = {
        "TTFT p50": [each.ttft_p50_s for each in sweep.points],
        "TTFT p99": [each.ttft_p99_s for each in sweep.points],
        "TPOT p50": [each.tpot_p50_s for each in sweep.points],
    }
    for label, times_s in curves.items():
        axes.plot(loads, [(time_s or math.nan) * 1e3 for time_s in times_s], "o-", label=label)
    axes.set(xscale="log", xlabel=UNITS[sweep.over], ylabel="latency, ms")
    tried(axes, sweep)
    if any(each.ttft_p50_s for each in sweep.points):  # matplotlib refuses a logarithmic axis without data
        axes.set(yscale="log")
        plain_numbers(axes.yaxis)
    above(axes)
