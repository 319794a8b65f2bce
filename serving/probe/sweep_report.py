"""What a sweep says: its steps in the order of their load, and the answer."""

from pathlib import Path
from typing import ClassVar, Literal

from infra.record import Document, Record
from serving.probe.report import FEW
from serving.probe.report_text import limits_text
from serving.probe.spoiled import Cause

SWEEP = "sweep.json"

Verdict = Literal[
    "served", "missed", "refused", "limited_by_client", "buffered_on_the_way", "tokens_do_not_add_up"
]
"""Of one step. `missed`: too few requests met the limits; `refused`: more failed than --max-failed allows;
`limited_by_client`: the probe itself was the bottleneck, so its figures say nothing of the server; nor do they where
what stands between held answers back (`buffered_on_the_way`), or where `tokens_do_not_add_up`."""

SPOILED: dict[Cause, Verdict] = {
    "client": "limited_by_client",
    "clock": "limited_by_client",
    "sockets": "limited_by_client",
    "buffered": "buffered_on_the_way",
    "tokens": "tokens_do_not_add_up",
}
"""Verdicts on a step that is not to be used, by what spoiled it; as answers, what ended the sweep."""

Answer = Literal[
    "saturated_at",
    "not_saturated_up_to",
    "promise_met_up_to",
    "promise_not_missed_up_to",
    "no_promise_met",
    "refused_beyond",
    "limited_by_client",
    "buffered_on_the_way",
    "tokens_do_not_add_up",
    "interrupted",
    "ended_early",
]
"""What came of a sweep; `best` is the load that it speaks of.

- `saturated_at`: twice the load brings less than 5 % more output tokens/s.
- `not_saturated_up_to`: --limit, the highest load allowed, still brought more; the server may serve more than that.
- `promise_met_up_to`: the highest load whose requests meet the limits; the next one tried missed them.
- `promise_not_missed_up_to`: --limit still met them; the server may serve more than that.
- `no_promise_met`: not even the first step met them; `best` is null.
- `refused_beyond`: the highest load that was served; of the next one tried more requests failed than --max-failed.
  `best` is null where that was the first step.
- `limited_by_client`: the highest load up to which the probe kept up; what the server does beyond is not known.
- `buffered_on_the_way`: the highest load whose answers nothing between server and probe held back; `best` is null where
  it did so at the first step.
- `tokens_do_not_add_up`: the highest load at which the chunks of the answers held as many tokens as their totals.
- `interrupted`, `ended_early`: by Ctrl-C or a full disk; by the endpoint, which took no further step.
"""


class Point(Record):
    """One step: of all its runs, those that the probe itself spoiled left out where there are others."""

    load: float
    """Concurrency, or requests per second."""
    verdict: Verdict
    """What this load comes to."""
    output_tokens_per_s: float
    """The mean of the runs; of each the steady one, where every run of the sweep has one, else that over all."""
    output_tokens_per_s_low: float | None
    """A 95 % interval from the spread between runs (serving/probe/sweep_search.py); None for a step run once."""
    output_tokens_per_s_high: float | None
    """The upper end of the same; null from a single run."""
    output_tokens_per_s_by_run: tuple[float, ...]
    """Of each run that counts."""
    request_per_s: float
    """This and the latencies are of the run in the middle, by its throughput; `folder` holds its results."""
    latencies_of: int | None
    """How many requests the latencies are of: the p99 of three is their largest."""
    ttft_p50_s: float | None
    """Half of the requests had their first token by then; null where none was answered."""
    ttft_p99_s: float | None
    """All but one in a hundred had; null where none was answered."""
    tpot_p50_s: float | None
    """Half of the answers were as fast; null where none has two tokens."""
    tpot_p99_s: float | None
    """All but one in a hundred were; null where none has two tokens."""
    attainment: float | None
    """Share of the requests of all runs that met the limits; None without limits."""
    attainment_low: float | None
    """The lower end of its 95 % interval; null without a promise."""
    attainment_high: float | None
    """The upper end of the same; null without a promise."""
    sent: int
    """Requests, of all runs that count."""
    failed: int
    """Of these."""
    errors: dict[str, int]
    """Kind of failure -> how many requests ended so."""
    valid: bool
    """Whether its figures may be used."""
    invalid_because: tuple[str, ...]
    """A word each; empty where it is valid."""
    spoiled_by: tuple[Cause, ...] = ()
    """What kind each of those reasons is of."""
    folder: str
    """Where its newest run lies, below the sweep's."""
    folders: tuple[str, ...]
    """Of every run."""


class Sweep(Document):
    """The steps, in the order of their load, and the answer."""

    kind: ClassVar[str] = "probe sweep"
    document: Literal["probe-sweep"] = "probe-sweep"
    schema_version: Literal[2] = 2

    url: str
    """Where it was asked."""
    model: str
    """That was asked for."""
    over: str
    """What was raised from step to step: requests at once, or a second."""
    slo: dict[str, float]
    """The promise: its name -> seconds; empty for none."""
    attainment: float
    """Share of the requests that must keep the promise, 0 to 1."""
    max_failed: float
    """Share of the requests that may fail at a step that was served, 0 to 1."""
    answer: Answer
    """Which of the answers a sweep can have; `why` says it in words."""
    best: float | None
    """The load that the answer speaks of."""
    reason: str
    """What the answer rests on, in words."""
    confirmed: bool
    """Whether the steps that it rests on were repeated until they were worth their intervals, as `rule` says."""
    points: tuple[Point, ...]
    """In the order of their load."""
    rule: str
    """By what the answer was judged, in words."""


def point_text(each: Point, over: str) -> str:
    """One step in a line."""
    unit = "/s" if over == "rate" else " at a time"
    ttft = (
        f"TTFT p50 {each.ttft_p50_s * 1e3:,.1f} p99 {each.ttft_p99_s * 1e3:,.1f}{'*' if is_of_few(each) else ''} ms"
        if each.ttft_p50_s and each.ttft_p99_s
        else ""
    )
    tpot = f"TPOT p50 {each.tpot_p50_s * 1e3:,.2f} ms" if each.tpot_p50_s else ""
    low = f" (95 %: from {each.attainment_low:.1%})" if each.attainment_low is not None else ""
    met = f"{each.attainment:.1%} met the limits{low}" if each.attainment is not None else ""
    words = (
        f"{each.load:>8g}{unit}",
        f"{each.output_tokens_per_s:>10,.1f} output tokens/s{runs_text(each)}",
        ttft,
        tpot,
        met,
        marks(each),
    )
    return "  ".join(word for word in words if word)


def is_of_few(each: Point) -> bool:
    """Whether so few values lie beyond a step's p99 that it is hardly more than one of them."""
    return each.latencies_of is not None and each.latencies_of / 100 < FEW


def runs_text(each: Point) -> str:
    """How sure the throughput is, where there are several runs to tell from."""
    runs = len(each.output_tokens_per_s_by_run)
    if each.output_tokens_per_s_low is None or each.output_tokens_per_s_high is None:
        return f" ({runs} runs)" if runs > 1 else ""
    low, high = each.output_tokens_per_s_low, each.output_tokens_per_s_high
    return f" (95 %: {low:,.1f} to {high:,.1f}, {runs} runs)"


def marks(each: Point) -> str:
    """What keeps a step from being the answer, and its failures."""
    failed = f"{each.failed} of {each.sent} failed" if each.failed else ""
    said = {"refused": "REFUSED", "missed": "", "served": ""}.get(each.verdict, "INVALID")
    return "  ".join(word for word in (said, failed) if word)


def sweep_text(sweep: Sweep, folder: Path) -> str:
    """The steps and the answer."""
    lines = [*(point_text(each, sweep.over) for each in sweep.points), answer_text(sweep), *footnotes(sweep)]
    return "\n".join([*lines, f"\nthe steps, sweep.json and sweep.html in {folder}"])


def footnotes(sweep: Sweep) -> list[str]:
    """What the marks in the steps mean, where there are any."""
    return [f"* fewer than {FEW} requests lie beyond it"] if any(map(is_of_few, sweep.points)) else []


def answer_text(sweep: Sweep) -> str:
    """What came of it, in a sentence or two."""
    load = f"{sweep.best:g} {'requests/s' if sweep.over == 'rate' else 'at a time'}" if sweep.best else ""
    limits = f"{sweep.attainment:.0%} meet {limits_text(sweep.slo)}"
    beyond = f"beyond {load}" if load else "at every load tried"
    says = {
        "saturated_at": f"saturated at {load}",
        "not_saturated_up_to": f"not saturated up to {load}",
        "promise_met_up_to": f"{load} is the highest load of which {limits}",
        "promise_not_missed_up_to": f"up to {load} {limits}, and the most may be higher",
        "no_promise_met": f"no load tried is one of which {limits}",
        "refused_beyond": f"refused {beyond}",
        "limited_by_client": f"limited by the client {beyond}",
        "buffered_on_the_way": f"buffered on the way {beyond}",
        "tokens_do_not_add_up": f"tokens do not add up {beyond}",
        "interrupted": "no answer",
        "ended_early": "no answer",
    }[sweep.answer]
    return f"{says}: {sweep.reason}{doubt(sweep)}"


def doubt(sweep: Sweep) -> str:
    """That the answer was not confirmed; nothing where it was, or where there is none."""
    if sweep.confirmed or sweep.answer in ("interrupted", "ended_early"):
        return ""
    low = next((each.attainment_low for each in sweep.points if each.load == sweep.best), None)
    share = (
        f"; by its requests it may be {low:.1%} that do"
        if low is not None and low < sweep.attainment and sweep.answer.startswith("promise")
        else ""
    )
    return f";\nnot confirmed in the time for repeats (--repeat-limit-s){share}"
