"""What the figures must be where nothing else runs: each beside its bound, ok or MISSED.

They are judged here and not by the tests, which must hold on a busy machine too: those judge what came before what.
"""

import math

Row = dict[str, float]

MISSED = "MISSED"
"""In the page of a bench that has not held what it should."""
ERRORS = {"ttft_mean_error": 0.5, "ttft_p99_error": 2.0, "itl_p50_error": 0.1, "itl_p99_error": 1.0}
FIGURES: dict[str, Row] = {
    "corral": ERRORS | {"itl_mean_error": 0.08, "stalls_error": 0.0, "peak_error": 64 * 4},
    "corral without kernel stamps": {"ttft_mean_error": 5.0, "ttft_p99_error": 5.0},
}
"""Of each client: in milliseconds, stalls, and tokens a second (the peak, of one step of 64 streams)."""
CPU_RATIOS = {"vllm": 0.25, "c": 2.2}
"""Of corral's CPU per event to that of `vllm bench serve`'s request function and of the C client."""
SPREAD_MS = 15.0
"""Of 256 requests at one moment, at the server."""
LATE_P99_MS = 2.0
"""Of an open loop's requests, by the probe and by the server."""
HUNG_S = 2.2 + 0.5 + 3
"""From when the server stops to the probe's end: the limit, the look at it, the report."""
REFUSED_S = 8.0
"""By a server that hangs from the start, with a limit of 1.1 s."""
MEMORY_MIB = 1024.0
"""Of 10 million events."""


def judged(figures: dict[str, tuple[float, float]]) -> list[str]:
    """Each figure, by its name, beside its bound: as far from 0 as that, or nearer."""
    lines = [
        f"| {name} | {value:,.3f} | {most:,.3f} | {verdict(value, most)} |"
        for name, (value, most) in figures.items()
    ]
    return ["", "| judged | measured | bound | |", "|---|---|---|---|", *lines] if lines else []


def verdict(value: float, most: float) -> str:
    """Of one figure; what could not be measured has missed its bound."""
    return "ok" if abs(value) <= most else MISSED


def of_clients(medians: dict[str, Row]) -> dict[str, tuple[float, float]]:
    """The clients' figures that have a bound."""
    return {
        f"{client}: {figure}": (medians[client][figure], most)
        for client, bounds in FIGURES.items()
        for figure, most in bounds.items()
        if figure in medians.get(client, {})
    }


def of_cpu(medians: dict[str, Row]) -> dict[str, tuple[float, float]]:
    """Corral's CPU per event beside that of the others that are here."""
    figure = "cpu_s_per_million"
    return {
        f"CPU of corral beside {client}": (medians["corral"][figure] / row[figure], most)
        for name, most in CPU_RATIOS.items()
        for client, row in medians.items()
        if client.split()[0] == name and row
    }


def of_poisson(
    sent: int, rate: float, seconds: float, distance: float, late_ms: Row
) -> dict[str, tuple[float, float]]:
    """An open loop's count within three sigma; its gaps' distance from the exponential (1 %); how late it was."""
    return {
        "requests beside the mean": (sent - rate * seconds, 3 * math.sqrt(rate * seconds)),
        "Kolmogorov-Smirnov distance": (distance, 1.63 / math.sqrt(sent - 1)),
        **{f"late by p99, {who}, ms": (value, LATE_P99_MS) for who, value in late_ms.items()},
    }
