"""PURE: a run as one self-contained HTML page with plots."""

import html
import io
from collections.abc import Callable
from pathlib import Path

import numpy
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from serving.probe.metrics import Figures
from serving.probe.samples import BIN_US
from serving.probe.sweep_report import Sweep, sweep_text
from serving.probe.text import report_text

STYLE = "body{font:15px/1.5 system-ui,sans-serif;max-width:64em;margin:2em auto}pre{background:#f4f4f4;padding:1em}"
MOST_DOTS = 20_000


def page(figures: Figures) -> str:
    """The report, a timeline, and the latency curves."""
    report = figures.report()
    plots = [plot(lambda axes: timeline(axes, figures)), plot(lambda axes: first_tokens(axes, figures))]
    plots.append(plot(lambda axes: curves(axes, figures)))
    return document(f"Probe of {report.model}", report_text(report, Path(".")), plots)


def sweep_page(found: Sweep) -> str:
    """The steps of a sweep: throughput and latency against the load."""
    plots = [plot(lambda axes: throughput(axes, found)), plot(lambda axes: latency(axes, found))]
    return document(f"Sweep of {found.model}", sweep_text(found, Path(".")), plots)


def document(title: str, text: str, plots: list[str]) -> str:
    """The page around text and plots."""
    head = f"<!doctype html><meta charset=utf-8><title>{html.escape(title)}</title><style>{STYLE}</style>"
    return "\n".join([head, f"<h1>{html.escape(title)}</h1>", f"<pre>{html.escape(text)}</pre>", *plots, ""])


def plot(draw: Callable[[Axes], None]) -> str:
    """One drawing as inline SVG."""
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    axes = figure.add_subplot()
    axes.grid(alpha=0.3)
    draw(axes)
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()[out.getvalue().index("<svg") :]


def timeline(axes: Axes, figures: Figures) -> None:
    """Output tokens a second over the run, with the steady part marked."""
    width = max(1, int(figures.duration_s * 1e6 / BIN_US / 200))
    grain = figures.samples.tokens_by_bin[: int(figures.duration_s * 1e6 / BIN_US) + 1]
    grain = grain[: len(grain) // width * width].reshape(-1, width).sum(axis=1)
    step_s = width * BIN_US / 1e6
    axes.step(numpy.arange(len(grain)) * step_s, grain / step_s, where="post")
    steady = figures.steady
    if steady is not None:
        axes.axvspan(steady.start_s, steady.end_s, alpha=0.12, label="steady")
        axes.legend()
    axes.set(xlabel="seconds", ylabel="output tokens/s", title="Throughput over time", ylim=(0, None))


def first_tokens(axes: Axes, figures: Figures) -> None:
    """Each request's time to first token, when it was sent."""
    every = max(1, len(figures.began) // MOST_DOTS)
    axes.plot(figures.began[::every], figures.ttft[::every] * 1e3, ".", markersize=3)
    axes.set(xlabel="sent at, seconds", ylabel="TTFT, ms", title="Time to first token", ylim=(0, None))


def curves(axes: Axes, figures: Figures) -> None:
    """The share of values up to each latency."""
    for name, values in (("TTFT", figures.ttft), ("ITL", figures.itl), ("E2E", figures.e2e)):
        if len(values):
            shares = numpy.linspace(0, 1, min(len(values), 1001))
            axes.plot(numpy.quantile(values, shares) * 1e3, shares * 100, label=name)
    axes.set(xscale="log", xlabel="ms", ylabel="% of values up to it", title="Latencies")
    if axes.lines:
        axes.legend()


def throughput(axes: Axes, found: Sweep) -> None:
    """Output tokens a second against the load."""
    axes.plot([each.load for each in found.points], [each.output_tokens_per_s for each in found.points], "o-")
    if found.best is not None:
        axes.axvline(found.best, linestyle="--", label=f"{found.best:g}")
        axes.legend()
    axes.set(xscale="log", xlabel=found.over, ylabel="output tokens/s", title="Throughput", ylim=(0, None))


def latency(axes: Axes, found: Sweep) -> None:
    """TTFT and TPOT against the load."""
    loads = [each.load for each in found.points]
    axes.plot(loads, [(each.ttft_p50_s or 0.0) * 1e3 for each in found.points], "o-", label="TTFT p50")
    axes.plot(loads, [(each.ttft_p99_s or 0.0) * 1e3 for each in found.points], "o-", label="TTFT p99")
    axes.plot(loads, [(each.tpot_p50_s or 0.0) * 1e3 for each in found.points], "o-", label="TPOT p50")
    axes.set(xscale="log", yscale="log", xlabel=found.over, ylabel="ms", title="Latency")
    axes.legend()
