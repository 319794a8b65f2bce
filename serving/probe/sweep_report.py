"""What a sweep says: its steps in the order of their load, and the answer."""

from pathlib import Path
from typing import ClassVar, Literal

from infra.record import Document, Record
from serving.probe.report_text import limits_text

SWEEP = "sweep.json"
SATURATED_GAIN = 1.05
"""Twice the load must bring this much more throughput, else it is saturated."""


class Point(Record):
    """One step."""

    load: float
    """Concurrency, or requests per second."""
    output_tokens_per_s: float
    request_per_s: float
    ttft_p50_s: float | None
    ttft_p99_s: float | None
    tpot_p50_s: float | None
    tpot_p99_s: float | None
    attainment: float | None
    """Share of requests that met the limits; None without limits."""
    attainment_low: float | None
    failed: int
    valid: bool
    folder: str


class Sweep(Document):
    """The steps, in the order of their load, and the answer."""

    kind: ClassVar[str] = "probe sweep"
    document: Literal["probe-sweep"] = "probe-sweep"
    schema_version: Literal[1] = 1

    url: str
    model: str
    over: str
    slo: dict[str, float]
    attainment: float
    best: float | None
    """The highest load that meets the limits; without limits the lowest with 95 % of the best throughput."""
    points: tuple[Point, ...]
    rule: str
    interrupted: bool = False
    refused: str | None = None
    """What the endpoint said when it took no further step."""


def point_text(each: Point, over: str) -> str:
    """One step in a line."""
    unit = "/s" if over == "rate" else " at a time"
    ttft = (
        f"TTFT p50 {each.ttft_p50_s * 1e3:,.1f} p99 {each.ttft_p99_s * 1e3:,.1f} ms"
        if each.ttft_p50_s and each.ttft_p99_s
        else ""
    )
    tpot = f"TPOT p50 {each.tpot_p50_s * 1e3:,.2f} ms" if each.tpot_p50_s else ""
    low = f" (95 %: from {each.attainment_low:.1%})" if each.attainment_low is not None else ""
    met = f"{each.attainment:.1%} met the limits{low}" if each.attainment is not None else ""
    marks = ("INVALID" if not each.valid else "", f"{each.failed} failed" if each.failed else "")
    words = (
        f"{each.load:>8g}{unit}",
        f"{each.output_tokens_per_s:>10,.1f} output tokens/s",
        ttft,
        tpot,
        met,
        *marks,
    )
    return "  ".join(word for word in words if word)


def sweep_text(sweep: Sweep, folder: Path) -> str:
    """The steps and the answer."""
    lines = [point_text(each, sweep.over) for each in sweep.points]
    return "\n".join([*lines, answer_text(sweep), f"\nthe steps, sweep.json and sweep.html in {folder}"])


def answer_text(sweep: Sweep) -> str:
    """What came of it, in a sentence."""
    unit = "requests/s" if sweep.over == "rate" else "at a time"
    if sweep.interrupted:
        answer = "interrupted before there was an answer"
    elif sweep.best is None:
        answer = "not even the first step meets the limits"
    elif sweep.slo:
        answer = (
            f"{sweep.best:g} {unit} is the highest load of which {sweep.attainment:.0%} meet {limits_text(sweep.slo)}"
            f"{doubt(sweep)}"
        )
    else:
        answer = f"saturated at {sweep.best:g} {unit}: more brings less than 5 % more throughput"
    return answer


def doubt(sweep: Sweep) -> str:
    """That the answer's own step had too few requests to be sure of it; nothing where it had enough."""
    low = next((each.attainment_low for each in sweep.points if each.load == sweep.best), None)
    if low is None or low >= sweep.attainment:
        return ""
    return f";\nby its few requests it may be {low:.1%} that do: longer steps say more (--duration-s)"
