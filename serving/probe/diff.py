"""Two runs side by side: by how much each figure differs, and whether that is more than noise."""

import math
from pathlib import Path
from typing import ClassVar, Literal

import numpy

from infra.record import Document, Record
from serving.probe.metrics import Figures
from serving.probe.results import read, results_path
from serving.probe.run_records import Run
from serving.probe.samples import collect
from serving.probe.statistics import t_95

RULE = (
    "Welch's t-test at 95 % between the blocks of the two runs (ten each); a percentile where 20 values of both runs"
    " lie beyond it: p50 from 40 requests, p90 from 200, p99 from 2,000"
)


class Change(Record):
    """One figure in both runs. `low` and `high` bound the difference B - A at 95 %."""

    figure: str
    a: float
    b: float
    low: float
    high: float

    @property
    def real(self) -> bool:
        """Whether the difference is more than noise: zero is outside its interval."""
        return not self.low <= 0 <= self.high


class Difference(Document):
    """What changed from run A to run B."""

    kind: ClassVar[str] = "probe comparison"
    document: Literal["probe-diff"] = "probe-diff"
    schema_version: Literal[1] = 1

    a: str
    b: str
    rule: str = RULE
    unlike: tuple[str, ...]
    """What was asked differently, so that the figures may differ for that reason."""
    real: tuple[Change, ...]
    within_noise: tuple[Change, ...]


def difference(a: Path, b: Path) -> Difference:
    """Compare two runs by their raw results. Raises DocumentError."""
    (run_a, records_a), (run_b, records_b) = read(results_path(a)), read(results_path(b))
    blocks_a = Figures(run_a, collect(records_a)).by_block()
    blocks_b = Figures(run_b, collect(records_b)).by_block()
    changes = [change(name, blocks_a[name], blocks_b[name]) for name in blocks_a if name in blocks_b]
    return Difference(
        a=str(a),
        b=str(b),
        unlike=unlike(run_a, run_b),
        real=tuple(each for each in changes if each.real),
        within_noise=tuple(each for each in changes if not each.real),
    )


def change(figure: str, a: tuple[float, list[float]], b: tuple[float, list[float]]) -> Change:
    """Welch's interval by the spread of the blocks, around the difference of the figures."""
    difference = b[0] - a[0]
    parts = [(float(numpy.var(values, ddof=1)) / len(values), len(values)) for _, values in (a, b)]
    error = sum(part for part, _ in parts)
    if error == 0:
        return Change(figure=figure, a=a[0], b=b[0], low=difference, high=difference)
    degrees = error**2 / sum(part**2 / (count - 1) for part, count in parts)
    half = t_95(degrees) * math.sqrt(error)
    return Change(figure=figure, a=a[0], b=b[0], low=difference - half, high=difference + half)


def unlike(a: Run, b: Run) -> tuple[str, ...]:
    """The settings that differ between two runs; the server's address and the seed are expected to."""
    pairs = (
        ("model", a.model, b.model),
        ("api", a.target.api, b.target.api),
        *(
            (name, getattr(a.load, name), getattr(b.load, name))
            for name in type(a.load).model_fields
            if name != "seed"
        ),
        *(
            (name, getattr(a.workload, name), getattr(b.workload, name))
            for name in type(a.workload).model_fields
            if name != "seed"
        ),
    )
    return tuple(f"{name}: {left} and {right}" for name, left, right in pairs if left != right)


def diff_text(compared: Difference) -> str:
    """The comparison as a table."""
    head = f"{'':<22}{'A':>12}{'B':>12}{'change':>10}   95 % of the difference"
    lines = [f"A {compared.a}", f"B {compared.b}", head]
    for each in (*compared.real, *compared.within_noise):
        lines.append(row(each))
    if not (compared.real or compared.within_noise):
        lines.append("nothing can be compared: too few requests")
    lines += [f"unlike       {text}" for text in compared.unlike]
    return "\n".join([*lines, f"by {compared.rule}"])


def row(each: Change) -> str:
    """One figure."""
    scale, name = (1e3, each.figure.replace("_s.", " ms ")) if "_s." in each.figure else (1.0, each.figure)
    share = f"{each.b / each.a - 1:+.1%}" if each.a else "-"
    spread = f"{each.low * scale:+,.2f} to {each.high * scale:+,.2f}"
    word = "real" if each.real else "noise"
    return f"{name:<22}{each.a * scale:>12,.2f}{each.b * scale:>12,.2f}{share:>10}   {spread} ({word})"
