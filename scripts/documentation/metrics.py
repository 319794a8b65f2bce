"""The page of metrics: what is read from a server's /metrics."""

from collections.abc import Iterable

from documentation.markdown import page, table

from infra.onhost import judge, watch
from serving.probe.questions import COUNTERS


def text() -> str:
    """What is read, by whom."""
    return page(
        "# Metrics",
        "What corral reads of a server's `/metrics`, in Prometheus's text. A server without them is probed all the "
        "same; what would come from them is left out.",
        "## Before and after a probe",
        "Their differences stand in [`probe --json`](json/probe-run.md).",
        table(("field", "metric"), ((f"`{field}`", f"`{metric}`") for field, metric in COUNTERS.items())),
        "## While it serves",
        "What ends a rented machine that nobody asks reads these:",
        listed((*watch.COUNTERS, *watch.GAUGES)),
        "What tells a server that hangs from one that is busy, on hosts and on this machine, reads these:",
        listed(judge.SIGNALS),
    )


def listed(names: Iterable[str]) -> str:
    """Metrics, a line each."""
    return "\n".join(f"- `{name}`" for name in names)
