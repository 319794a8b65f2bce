"""Several runs of the same load, of one endpoint or of several in turns, and what lies between them."""

import math
from collections.abc import Sequence
from pathlib import Path
from string import ascii_lowercase
from typing import ClassVar, Literal, NamedTuple

from infra.columns import table
from infra.errors import EndpointError, HostError, UsageError
from infra.record import Document, Record
from serving.probe.diff import Difference, compared, diff_text, figures_of, line, name_of, read_run, scale_of
from serving.probe.report import ProbeReport
from serving.probe.results import refuse_old
from serving.probe.run import Say, run
from serving.probe.significance import t_within, variance
from serving.probe.spec import Load, Slo, Target, Workload
from serving.probe.spoiled import Cause
from serving.probe.workers import Watch

REPEATS = "repeats.json"
OF_A_RUN = 32
"""Bits of a seed that are the user's; above them each run has its own."""
MOST_ENDPOINTS = len(ascii_lowercase)


class RepeatedRun(Record):
    """One run, in the order in which they were made."""

    endpoint: str
    """a, b, ...: the endpoints in the order in which they were given."""
    folder: str
    """Where its report and results lie."""
    sent: int
    """Requests."""
    succeeded: int
    """Of these, answered whole."""
    failed: int
    """Of these."""
    valid: bool
    """Whether its figures may be used."""
    invalid_because: tuple[str, ...]
    """Why not, a word each; empty where it is valid."""
    spoiled_by: tuple[Cause, ...] = ()
    """What kind each of those reasons is of."""
    figures: dict[str, float]
    """Throughput (steady, where it has a steady part) and percentiles of latencies, as `probe.json` has them."""


class Spread(Record):
    """One figure over the runs of an endpoint."""

    mean: float
    """Over the runs."""
    low: float | None
    """The mean of many such runs lies from here to `high` at 95 % (Student's t); None of one run."""
    high: float | None
    """The upper end of the same."""
    deviation: float | None
    """How far a run lies from the mean, as a share of it (standard deviation); None of one run."""


class Repeated(Record):
    """All runs of one endpoint."""

    endpoint: str
    """As it was named on the line."""
    url: str
    """Where it was asked."""
    model: str
    """That was asked for."""
    runs: int
    """How many count: those that are valid, where any is."""
    figures: dict[str, Spread]
    """By its name in a report."""


class Repeats(Document):
    """The runs of every endpoint, what lies between them, and how the endpoints differ."""

    kind: ClassVar[str] = "record of repeated probes"
    document: Literal["probe-repeats"] = "probe-repeats"
    schema_version: Literal[1] = 1

    repeat: int
    """The runs asked for, of each endpoint."""
    runs: tuple[RepeatedRun, ...]
    """Of all endpoints, in turns."""
    endpoints: tuple[Repeated, ...]
    """In the order in which they were named."""
    differences: tuple[Difference, ...]
    """Of each other endpoint from the first."""
    interrupted: bool = False
    """Whether Ctrl-C ended it before all were made."""
    ended_early: str | None = None
    """What an endpoint, or the disk, said when no further run was made."""


class Turn(NamedTuple):
    """Whose turn it is, and for which time."""

    endpoint: int
    round: int


def turns(endpoints: int, repeat: int) -> list[Turn]:
    """Rounds in which each endpoint has one run, every other round backwards: A B, B A, A B.

    What drifts evenly then favours nobody (but for half a turn, where the rounds are odd in number).
    """
    order = range(endpoints)
    return [
        Turn(endpoint, number)
        for number in range(repeat)
        for endpoint in (order if number % 2 == 0 else reversed(order))
    ]


def repeated(
    targets: Sequence[Target],
    load: Load,
    workload: Workload,
    output: Path,
    slo: Slo,
    repeat: int,
    say: Say,
    watch: Watch | None = None,
) -> Repeats:
    """Run the load that often at each endpoint, in turns; writes each run's results in a folder of its own.

    Each run has prompts and arrivals of its own. Raises what a single probe raises while nothing was measured; later
    that ends the runs, and those until then are kept. UsageError for a folder that holds runs already.
    """
    if len(targets) > MOST_ENDPOINTS:
        raise UsageError(
            f"{len(targets)} endpoints are more than {MOST_ENDPOINTS}.", "Probe them in several lines."
        )
    if (output / REPEATS).exists():
        raise UsageError(
            f"{output} holds an earlier {REPEATS}, which is not overwritten.",
            "Choose another folder, or leave --output out for a new one with the date.",
        )
    order = turns(len(targets), repeat)
    for turn in order:
        refuse_old(folder_of(output, turn))
    made: list[tuple[Turn, ProbeReport]] = []
    interrupted, ended_early = False, None
    try:
        for turn in order:
            own = workload.model_copy(update={"seed": workload.seed ^ len(made) << OF_A_RUN})
            asked = load.model_copy(update={"seed": load.seed ^ len(made) << OF_A_RUN})
            target, folder = targets[turn.endpoint], folder_of(output, turn)
            say(f"run {len(made) + 1} of {len(order)}: {target.url}, in {folder}")
            made.append((turn, run(target, asked, own, folder, slo, watch)))
            if made[-1][1].interrupted or made[-1][1].results_lost:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        if not made:
            raise
        interrupted = True
    except (EndpointError, HostError) as error:
        if not made:
            raise
        ended_early = error.message
    found = record_of(output, targets, made, repeat)
    return found.model_copy(update={"interrupted": interrupted, "ended_early": ended_early})


def folder_of(output: Path, turn: Turn) -> Path:
    """Where a run's results lie: a-1, b-1, a-2."""
    return output / f"{ascii_lowercase[turn.endpoint]}-{turn.round + 1}"


def record_of(
    output: Path, targets: Sequence[Target], made: Sequence[tuple[Turn, ProbeReport]], repeat: int
) -> Repeats:
    """What was measured, and the differences of what has two endpoints."""
    endpoints, folders = [], []
    for at, target in enumerate(targets):
        every = [(turn, report) for turn, report in made if turn.endpoint == at]
        own = [each for each in every if each[1].valid] or every
        folders.append([folder_of(output, turn) for turn, _ in own])
        if own:
            spread = spreads([figures_of(report) for _, report in own])
            endpoints.append(
                Repeated(
                    endpoint=ascii_lowercase[at],
                    url=target.url,
                    model=own[0][1].model,
                    runs=len(own),
                    figures=spread,
                )
            )
    first, *others = [[read_run(folder) for folder in each] for each in folders]
    return Repeats(
        repeat=repeat,
        runs=tuple(run_record(folder_of(output, turn), turn, report) for turn, report in made),
        endpoints=tuple(endpoints),
        differences=tuple(compared(first, other) for other in others if first and other),
    )


def run_record(folder: Path, turn: Turn, report: ProbeReport) -> RepeatedRun:
    """One run of many."""
    return RepeatedRun(
        endpoint=ascii_lowercase[turn.endpoint],
        folder=str(folder),
        sent=report.sent - report.unfinished,
        succeeded=report.succeeded,
        failed=sum(report.errors.values()),
        valid=report.valid,
        invalid_because=report.invalid_because,
        spoiled_by=report.spoiled_by,
        figures=figures_of(report),
    )


def newest_folders(made: Repeats, endpoints: int) -> list[Path | None]:
    """The last run of each endpoint in which any request succeeded."""
    newest: dict[str, Path] = {each.endpoint: Path(each.folder) for each in made.runs if each.succeeded}
    return [newest.get(letter) for letter in ascii_lowercase[:endpoints]]


def spreads(figures: Sequence[dict[str, float]]) -> dict[str, Spread]:
    """Each figure that all runs have."""
    return {
        name: spread([each[name] for each in figures])
        for name in figures[0]
        if all(name in each for each in figures)
    }


def spread(values: Sequence[float]) -> Spread:
    """One figure over the runs."""
    mean = sum(values) / len(values)
    if len(values) == 1:
        return Spread(mean=mean, low=None, high=None, deviation=None)
    deviation = math.sqrt(variance(values))
    half = t_within(len(values) - 1) * deviation / math.sqrt(len(values))
    return Spread(
        mean=mean, low=max(0.0, mean - half), high=mean + half, deviation=deviation / mean if mean else None
    )


def repeats_text(made: Repeats, output: Path) -> str:
    """Each endpoint's figures, and the differences."""
    parts = [endpoint_text(each) for each in made.endpoints]
    parts += [diff_text(each) for each in made.differences]
    parts += [
        line("warning", f"{each.folder} must not be used: {each.invalid_because[0]}")
        for each in made.runs
        if each.invalid_because
        and not any(each.folder in (*of_two.a, *of_two.b) for of_two in made.differences)
    ]
    return "\n\n".join(parts) + f"\n\neach run and {REPEATS} in {output}"


def endpoint_text(each: Repeated) -> str:
    """One endpoint's figures over its runs."""
    runs = f"{each.runs} runs" if each.runs > 1 else "1 run"
    rows = [figure_row(name, spread) for name, spread in each.figures.items()]
    return f"{each.endpoint}: {each.model} at {each.url}, {runs}\n{table([HEAD, *rows], '')}"


HEAD = ("", f"{'mean':>11}", f"{'run to run':>10}", "95 % of the mean")


def figure_row(name: str, each: Spread) -> tuple[str, ...]:
    """One figure."""
    scale = scale_of(name)
    deviation = "-" if each.deviation is None else f"{each.deviation:.1%}"
    between = (
        f"{each.low * scale:,.2f} to {each.high * scale:,.2f}"
        if each.low is not None and each.high is not None
        else "one run does not say"
    )
    return name_of(name), f"{each.mean * scale:>11,.2f}", f"{deviation:>10}", between
