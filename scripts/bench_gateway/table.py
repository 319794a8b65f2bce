"""PURE: what a gateway adds, of what was measured; each figure that is promised beside its bound."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from serving.probe.significance import t_within

MOST_ADDED_MS = 1.0
LEAST_OF_DIRECT = 0.97
DIRECT = "direct"
THROUGHPUT = "throughput"
HEAD = (
    "| load | way | requests | delay of the first token, p50 ms | 95 % of p50 | mean ms | p99 ms | ITL p50 error ms"
    " | p99 error ms | tokens/s | HAProxy CPU ms per 1,000 tokens |"
)


class Measured(NamedTuple):
    """One load by one way: of all its rounds where it is a list, else the median of the rounds."""

    delays_ms: Sequence[float]
    """Of each request, the way there and back."""
    itl_p50_error_ms: float
    itl_p99_error_ms: float
    tokens_per_s: float
    cpu_ms_per_1000_tokens: float


def together(rounds: Sequence[Measured]) -> Measured:
    """All rounds as one."""
    return Measured(
        [delay for each in rounds for delay in each.delays_ms],
        *(statistics.median(figures) for figures in zip(*(each[1:] for each in rounds), strict=True)),
    )


def delays_ms(sent_us: Sequence[float], ttft_s: Sequence[float], log_ns: Sequence[list[int]]) -> list[float]:
    """Of each request: its time to the first token at the client without that at the server, by the server's log.

    Both are in the order of their sending; through a gateway two that came at once may change places, and then the one
    counts by as much too late as the other too early.
    """
    told_s = [ttft for _, ttft in sorted(zip(sent_us, ttft_s, strict=True))]
    true_ns = [first - received for received, _, first, *_ in sorted(log_ns)]
    return [told * 1e3 - true / 1e6 for told, true in zip(told_s, true_ns, strict=True)]


def middle(values: Sequence[float]) -> tuple[float, float, float]:
    """The median, and between what the median of all such lies in 95 of 100 cases (order statistics, binomial)."""
    ordered = sorted(values)
    half = 0.98 * math.sqrt(len(ordered))
    low = max(0, math.floor(len(ordered) / 2 - half))
    high = min(len(ordered) - 1, math.ceil(len(ordered) / 2 + half) - 1)
    return statistics.median(ordered), ordered[low], ordered[high]


def page(measured: Mapping[tuple[str, str], Measured]) -> str:
    """The figures by way and load, and what is judged."""
    lines, judged = [HEAD, "|---" * 11 + "|"], ["", "| judged | measured | bound | |", "|---|---|---|---|"]
    for (way, load), row in measured.items():
        p50, low, high = middle(row.delays_ms)
        p99 = sorted(row.delays_ms)[math.ceil(0.99 * len(row.delays_ms)) - 1]
        lines.append(
            f"| {load} | {way} | {len(row.delays_ms)} | {p50:.2f} | {low:.2f} to {high:.2f}"
            f" | {statistics.mean(row.delays_ms):.2f} | {p99:.2f} | {row.itl_p50_error_ms:.2f}"
            f" | {row.itl_p99_error_ms:.2f} | {row.tokens_per_s:,.0f} | {row.cpu_ms_per_1000_tokens:.1f} |"
        )
        direct = measured[DIRECT, load]
        if way == DIRECT:
            continue
        if load == THROUGHPUT:
            share = row.tokens_per_s / direct.tokens_per_s
            held = "ok" if share >= LEAST_OF_DIRECT else "MISSED"
            judged.append(f"| {way}: of the direct tokens/s | {share:.3f} | {LEAST_OF_DIRECT} | {held} |")
        else:
            added_ms = p50 - middle(direct.delays_ms)[0]
            held = "ok" if added_ms <= MOST_ADDED_MS else "MISSED"
            judged.append(
                f"| {way}, {load}: TTFT p50 added, ms | {added_ms:.2f} | {MOST_ADDED_MS} | {held} |"
            )
    return "\n".join([*lines, *judged])


class Asked(NamedTuple):
    """One open loop before the real engine, by one way."""

    ttfts_ms: Sequence[float]
    """Of each request, in the order of its schedule; NaN where it has none."""
    ttft_p50_ms: float
    ttft_mean_ms: float
    outside_ms: float
    """The mean TTFT less the engine's own; NaN where that is not known."""
    tokens_per_s: float
    streams: float
    """That ran on average."""
    cpu_ms_per_1000_tokens: float


ADDED = {
    "TTFT p50, ms": "ttft_p50_ms",
    "TTFT mean, ms": "ttft_mean_ms",
    "TTFT mean outside the engine, ms": "outside_ms",
}


def beside(rows: Mapping[int, Sequence[tuple[Asked, Asked]]], rates: Mapping[int, float]) -> str:
    """Of each load, by its streams, and each round: direct and through the gateway."""
    lines = ["| streams | | direct | gateway | difference | 95 % | bound | |", "|---" * 8 + "|"]
    about = []
    for streams, rounds in rows.items():
        same = known(pair for one, other in rounds for pair in zip(one.ttfts_ms, other.ttfts_ms, strict=True))
        shown = [statistics.median(values) for values in zip(*same, strict=True)]
        p50, low, high = middle([other - one for one, other in same])
        lines.append(added(streams, "TTFT of the same request, ms", shown, p50, low, high))
        for title, figure in ADDED.items():
            pairs = known((getattr(one, figure), getattr(other, figure)) for one, other in rounds)
            shown = [statistics.mean(values) for values in zip(*pairs, strict=True)]
            mean, half = difference([other - one for one, other in pairs])
            lines.append(added(streams, title, shown, mean, mean - half, mean + half))
        speeds = [statistics.mean(each[way].tokens_per_s for each in rounds) for way in (0, 1)]
        mean, half = difference([other.tokens_per_s / one.tokens_per_s for one, other in rounds])
        lines.append(
            f"| {streams} | tokens/s | {speeds[0]:,.2f} | {speeds[1]:,.2f} | {mean:.3f} of it"
            f" | {mean - half:.3f} to {mean + half:.3f} | {LEAST_OF_DIRECT}"
            f" | {settled(-mean - half, half - mean, -LEAST_OF_DIRECT)} |"
        )
        held = [f"{statistics.mean(each[way].streams for each in rounds):.1f}" for way in (0, 1)]
        cpu_ms = statistics.mean(other.cpu_ms_per_1000_tokens for _, other in rounds)
        about.append(
            f"{streams}: {rates[streams]:.2f} requests/s, {held[0]} streams on average direct and {held[1]} through the"
            f" gateway, HAProxy's CPU {cpu_ms:.1f} ms per 1,000 tokens"
        )
    return "\n".join([*lines, "", *about])


def known(pairs: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Those of which both are."""
    return [pair for pair in pairs if not any(map(math.isnan, pair))]


def added(streams: int, title: str, shown: Sequence[float], ms: float, low: float, high: float) -> str:
    """The line of a figure: direct, through the gateway, and what that adds."""
    cells = " | ".join(f"{value:,.2f}" for value in shown) or "- | -"
    return (
        f"| {streams} | {title} | {cells} | {ms:+.2f} | {low:+.2f} to {high:+.2f} | +{MOST_ADDED_MS}"
        f" | {settled(low, high, MOST_ADDED_MS)} |"
    )


def difference(values: Sequence[float]) -> tuple[float, float]:
    """The mean, and how far it may be off."""
    if len(values) < 2:
        return (values[0] if values else math.nan), math.inf
    return statistics.mean(values), t_within(len(values) - 1) * statistics.stdev(values) / math.sqrt(
        len(values)
    )


def settled(low: float, high: float, most: float) -> str:
    """Whether what lies between the two is surely within the bound, or surely beyond."""
    return "ok" if high <= most else "MISSED" if low > most else "not settled"
