"""Runs side by side, group against group: by how much each figure differs, and whether that is more than noise."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

from infra.columns import on_a_line, table
from infra.errors import UsageError
from infra.record import Document, Record
from serving.probe.metrics import FEWEST_FOR_MEAN, Figures
from serving.probe.report import FEW, ProbeReport
from serving.probe.results import read, results_path
from serving.probe.run_records import Run
from serving.probe.samples import collect
from serving.probe.significance import ALPHA, Contrast, holm, welch
from serving.probe.statistics import BEYOND

Basis = Literal["within runs", "between runs"]

RULES: dict[Basis, str] = {
    "between runs": (
        "Welch's t-test between the figures of the runs; p is corrected for all figures looked at (Holm), so that equal"
        f" groups are called different in {ALPHA:.0%} of comparisons at most"
    ),
    "within runs": (
        "Welch's t-test between ten blocks of each run, p corrected for all figures looked at (Holm): it knows the"
        " noise within these two runs, and nothing of what lies between runs"
    ),
}
WORDS: dict[tuple[Basis, bool], str] = {
    ("between runs", True): "different",
    ("between runs", False): "not told apart",
    ("within runs", True): "more than the noise within these runs",
    ("within runs", False): "noise within these runs",
}
STEADY = "steady.output_tokens_per_s"
LATENCIES = ("ttft_s", "tpot_s", "e2e_s", "itl_s")
OF_REQUESTS = LATENCIES[:3]
"""Those that have one value a request."""


class Change(Record):
    """One figure of both groups: the mean of the runs."""

    figure: str
    """By its name in a report."""
    a: float
    """Mean over the runs of group A."""
    b: float
    """Mean over the runs of group B."""
    low: float
    """The difference B - A lies from here to `high` at 95 %, this figure looked at alone."""
    high: float
    """The upper end of the same."""
    p: float
    """The chance of such a difference between equals, corrected for all figures looked at (Holm)."""
    could_show: float | None
    """The smallest difference that so many runs would have called one, as a share of `a`, for the noise they had."""

    @property
    def differs(self) -> bool:
        """Whether the difference is more than noise."""
        return self.p <= ALPHA


class NotCompared(Record):
    """A figure that runs of both groups have, and why nothing is said of its difference."""

    figure: str
    """By its name in a report."""
    a: float
    """Mean over the runs of group A."""
    b: float
    """Mean over the runs of group B."""
    why: str
    """In words."""


class Difference(Document):
    """What changed from group A to group B."""

    kind: ClassVar[str] = "probe comparison"
    document: Literal["probe-diff"] = "probe-diff"
    schema_version: Literal[2] = 2

    a: tuple[str, ...]
    """Folders of group A's runs."""
    b: tuple[str, ...]
    """Folders of group B's runs."""
    basis: Basis
    """The yardstick: how far blocks of one run lie apart, or how far runs do. The first proves no difference between
    servers, only one between these runs."""
    rule: str
    """How a difference is told from noise, in words."""
    unlike: tuple[str, ...]
    """What was asked differently, so that the figures may differ for that reason."""
    warnings: tuple[str, ...]
    """What makes the comparison doubtful: other loads, say."""
    different: tuple[Change, ...]
    """Figures that differ by more than the runs of one group do."""
    within_noise: tuple[Change, ...]
    """Figures of which that cannot be said."""
    not_compared: tuple[NotCompared, ...] = ()
    """Figures that too few requests stand behind, and the like."""


class Read(NamedTuple):
    """A run as it lies on the disk."""

    path: Path
    run: Run
    figures: Figures
    report: ProbeReport


def difference(a: Sequence[Path], b: Sequence[Path]) -> Difference:
    """Compare two groups of runs by their raw results. Raises DocumentError, UsageError for a group without a run."""
    if not a or not b:
        raise UsageError(
            "Two groups of runs are compared, and one is empty.",
            "Say, e.g.: corral probe diff a-1 a-2 a-3 -- b-1 b-2 b-3",
        )
    seen: set[Path] = set()
    for path in (*a, *b):
        found = results_path(path).resolve()
        if found in seen:
            raise UsageError(
                f"{path} is named twice, and one run counts once.",
                "Leave it out of one group, or name another run.",
            )
        seen.add(found)
    return compared([read_run(path) for path in a], [read_run(path) for path in b])


def read_run(path: Path) -> Read:
    """A run, by its results or their folder. Raises DocumentError."""
    run, records = read(results_path(path))
    figures = Figures(run, collect(records))
    return Read(path, run, figures, figures.report())


def compared(a: Sequence[Read], b: Sequence[Read]) -> Difference:
    """The groups' difference, by the noise between their runs where there are several."""
    if len(a) == len(b) == 1:
        basis: Basis = "within runs"
        blocks_a, blocks_b = (blocks_of(each) for each in (a[0], b[0]))
        contrasts = {
            name: (blocks_a[name][0], blocks_b[name][0], by_blocks(blocks_a[name], blocks_b[name]))
            for name in blocks_a
            if name in blocks_b
        }
    else:
        basis = "between runs"
        contrasts = between([figures_of(each.report) for each in a], [figures_of(each.report) for each in b])
    changes = judged(contrasts)
    return Difference(
        a=tuple(str(each.path) for each in a),
        b=tuple(str(each.path) for each in b),
        basis=basis,
        rule=RULES[basis],
        unlike=tuple(dict.fromkeys(text for each in (*a[1:], *b) for text in unlike(a[0].run, each.run))),
        warnings=tuple(warnings(a, b)),
        different=tuple(each for each in changes if each.differs),
        within_noise=tuple(each for each in changes if not each.differs),
        not_compared=tuple(left_out(a, b, contrasts, basis)),
    )


Contrasts = dict[str, tuple[float, float, Contrast]]
"""By figure: the one of A, of B, and what is known of their difference."""


def left_out(
    a: Sequence[Read], b: Sequence[Read], contrasts: Contrasts, basis: Basis
) -> Iterator[NotCompared]:
    """The figures that every run has and no difference is said of; each is the mean of the runs."""
    of_a, of_b = ([every_figure(each.report) for each in group] for group in (a, b))
    for name in of_a[0]:
        if name not in contrasts and all(name in each for each in (*of_a, *of_b)):
            yield NotCompared(
                figure=name,
                a=sum(each[name] for each in of_a) / len(of_a),
                b=sum(each[name] for each in of_b) / len(of_b),
                why=why_not(name, min(each.report.succeeded for each in (*a, *b)), basis),
            )


def why_not(figure: str, fewest: int, basis: Basis) -> str:
    """Why a figure of runs of at least so many requests is not compared."""
    latency, _, of = figure.rpartition(".")
    if not latency:
        return "ramp and drain are in it, so that no blocks of the run tell its noise; the steady one is compared"
    if basis == "within runs" and latency not in OF_REQUESTS:
        return "one answer's gaps hang together, so their noise is not known; TPOT is compared"
    beyond = BEYOND if basis == "within runs" else FEW
    wanted = FEWEST_FOR_MEAN if of == "mean" else beyond * 100 // (100 - int(of.removeprefix("p")))
    return f"too few requests: {fewest:,}, and it takes {wanted:,}"


def blocks_of(run: Read) -> dict[str, tuple[float, list[float]]]:
    """Each figure of a run, and of its blocks; throughput is the steady one there."""
    blocks = run.figures.to_compare()
    return {STEADY if name == "output_tokens_per_s" else name: each for name, each in blocks.items()}


def by_blocks(a: tuple[float, list[float]], b: tuple[float, list[float]]) -> Contrast:
    """The difference of two runs' figures, by the spread of their blocks."""
    return welch(a[1], b[1], b[0] - a[0])


def between(a: Sequence[dict[str, float]], b: Sequence[dict[str, float]]) -> Contrasts:
    """The difference of two groups' figures, by the spread of the runs; of those that every run has."""
    shared = [name for name in a[0] if all(name in each for each in (*a, *b))]
    values = {name: ([each[name] for each in a], [each[name] for each in b]) for name in shared}
    return {
        name: (sum(of_a) / len(of_a), sum(of_b) / len(of_b), welch(of_a, of_b))
        for name, (of_a, of_b) in values.items()
    }


def judged(contrasts: Contrasts) -> list[Change]:
    """Each figure's change, with its p corrected for all of them."""
    corrected = holm([contrast.p for _, _, contrast in contrasts.values()])
    changes = []
    for (figure, (a, b, contrast)), p in zip(contrasts.items(), corrected, strict=True):
        # The first of Holm's steps: what a figure must show where no other does.
        least = contrast.half_width(ALPHA / len(contrasts))
        changes.append(changed(figure, a, b, contrast, p, least))
    return changes


def changed(figure: str, a: float, b: float, contrast: Contrast, p: float, least: float) -> Change:
    """One figure's change, where a difference of `least` would have been called one."""
    half = contrast.half_width()
    return Change(
        figure=figure,
        a=a,
        b=b,
        low=contrast.difference - half,
        high=contrast.difference + half,
        p=p,
        could_show=least / abs(a) if a else None,
    )


def figures_of(report: ProbeReport) -> dict[str, float]:
    """What one run says: throughput, and each latency's mean and percentiles beyond which a few requests lie."""
    return {
        name: value
        for name, value in every_figure(report).items()
        if ".p" not in name or report.succeeded * (100 - int(name.rpartition(".p")[2])) / 100 >= FEW
    }


def every_figure(report: ProbeReport) -> dict[str, float]:
    """All that a run could be held against another by; the steady throughput, where there is one, by its own name."""
    figures = {"output_tokens_per_s": report.output_tokens_per_s}
    if report.steady:
        figures[STEADY] = report.steady.output_tokens_per_s
    for name in LATENCIES:
        summary = getattr(report, name)
        if summary is not None:
            figures |= {f"{name}.{of}": getattr(summary, of) for of in ("mean", "p50", "p90", "p99")}
    return figures


def warnings(a: Sequence[Read], b: Sequence[Read]) -> list[str]:
    """What must be read with the differences."""
    texts = [
        f"{each.path} must not be used: {each.report.invalid_because[0]}"
        for each in (*a, *b)
        if each.report.invalid_because
    ]
    texts += [
        f"{failed} of {each.report.sent} requests of {each.path} failed"
        for each in (*a, *b)
        if (failed := sum(each.report.errors.values()))
    ]
    if len(a) == 1 or len(b) == 1:
        texts.append(
            "of one run nobody knows how far another would lie from it: corral probe A B --repeat 5 takes several"
        )
    elif apart_in_time(a, b):
        texts.append(
            "one group's runs all lie before the other's, so that whatever drifted between them looks like a"
            " difference: corral probe A B --repeat 5 takes turns"
        )
    return texts


def apart_in_time(a: Sequence[Read], b: Sequence[Read]) -> bool:
    """Whether one group was measured after the other."""
    of_a, of_b = ([each.run.started_at for each in group] for group in (a, b))
    return max(of_a) < min(of_b) or max(of_b) < min(of_a)


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


def line(name: str, words: str) -> str:
    """A name and what is said of it, no wider than the terminal."""
    return f"{name:<8} {on_a_line(words, 9, sys.stdout)}"


def diff_text(made: Difference) -> str:
    """The comparison as a table, those figures first that differ."""
    changes = (*made.different, *made.within_noise)
    rows = [*(row(each, made.basis) for each in changes), *map(bare_row, made.not_compared)]
    lines = [line(*group) for group in (("A", group_text(made.a)), ("B", group_text(made.b)))]
    lines.append(table([HEAD, *rows], "") if rows else "nothing can be compared: no figure is of all runs")
    lines += [line("unlike", text) for text in made.unlike]
    lines += [line("warning", text) for text in made.warnings]
    return "\n".join([*lines, line("by", made.rule)])


def group_text(paths: tuple[str, ...]) -> str:
    """The runs of a group."""
    return paths[0] if len(paths) == 1 else f"{len(paths)} runs: {' '.join(paths)}"


HEAD = ("", f"{'A':>11}", f"{'B':>11}", f"{'change':>8}", f"{'could show':>10}", "B - A, 95 %; verdict")


def row(each: Change, basis: Basis) -> tuple[str, ...]:
    """One figure."""
    scale = scale_of(each.figure)
    could = "-" if each.could_show is None else f"{each.could_show:.1%}"
    spread = f"{each.low * scale:+,.2f} to {each.high * scale:+,.2f}"
    word = WORDS[basis, each.differs]
    return (*cells(each.figure, each.a, each.b), f"{could:>10}", f"{spread}; {word}, p {each.p:.2g}")


def bare_row(each: NotCompared) -> tuple[str, ...]:
    """One that nothing is said of."""
    return (*cells(each.figure, each.a, each.b), f"{'-':>10}", f"not compared: {each.why}")


def cells(figure: str, a: float, b: float) -> tuple[str, ...]:
    """What a figure is of both groups."""
    scale, share = scale_of(figure), f"{b / a - 1:+.1%}" if a else "-"
    return name_of(figure), f"{a * scale:>11,.2f}", f"{b * scale:>11,.2f}", f"{share:>8}"


def scale_of(figure: str) -> float:
    """What a figure is multiplied by in print: seconds are shown as milliseconds."""
    return 1e3 if "_s." in figure else 1.0


def name_of(figure: str) -> str:
    """A figure's name in print."""
    latency, dot, of = figure.partition("_s.")
    return f"{latency.upper()} ms {of}" if dot else {STEADY: "steady tokens/s"}.get(figure, "output tokens/s")
