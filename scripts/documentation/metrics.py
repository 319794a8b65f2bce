"""The page of metrics: what is read from a server's /metrics."""

from collections.abc import Iterable, Iterator

from documentation.markdown import page, table

from infra.onhost import judge, watch
from serving.probe.questions import COUNTERS
from serving.probe.server_metrics import NAMES


def text() -> str:
    """What is read, by whom."""
    return page(
        "# Metrics",
        "What corral reads of a server's `/metrics`, in Prometheus's text. A server without them is probed all the "
        "same; what would come from them is left out.",
        "## Before and after a probe",
        "Their differences stand in [`probe --json`](json/probe-run.md).",
        table(("field", "metric"), ((f"`{field}`", f"`{metric}`") for field, metric in COUNTERS.items())),
        "## Beside the load",
        "Sampled while a probe runs, from the server's own page or from those that `--metrics` names.",
        table(("figure", "of", "metric"), sampled()),
        "## While it serves",
        "What ends a rented machine that nobody asks reads these:",
        listed((*watch.COUNTERS, *watch.GAUGES)),
        "What tells a server that hangs from one that is busy, on hosts and on this machine, reads these:",
        listed(judge.SIGNALS),
    )


def sampled() -> Iterator[tuple[str, str, str]]:
    """Each figure, whose page it is found on, and how it is called there."""
    for whose, names in NAMES.items():
        yield from ((f"`{figure}`", whose, f"`{metric}`") for metric, figure in names.items())


def listed(names: Iterable[str]) -> str:
    """Metrics, a line each."""
    return "\n".join(f"- `{name}`" for name in names)
