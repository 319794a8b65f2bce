"""PURE: the figures of a run, from its raw results alone."""

from collections.abc import Iterable
from functools import cached_property

import numpy

from serving.probe.report import (
    Client,
    Interval,
    OfModel,
    ProbeReport,
    Stalls,
    Steady,
    Summary,
)
from serving.probe.run_records import ClientSide, Ending, Result, Run
from serving.probe.samples import BIN_US, Samples, collect
from serving.probe.server_side import gpus_of, server_side
from serving.probe.spec import Slo
from serving.probe.statistics import (
    BLOCKS,
    Floats,
    interval,
    mser_start,
    percentile_by_block,
    summary,
    weighted_summary,
    wilson,
)
from serving.probe.validity import chunk_note, reasons_to_reject, warnings

STEADY_SHARE = 0.95
STEADY_BATCHES = 50
FEWEST_FOR_MEAN = 2 * BLOCKS
"""Requests, for the spread of their mean to be known."""
STEADY_RULE = (
    "from when 95 % of the peak requests in flight are reached to when they are left (open loop: to the last "
    "sending), less the start that the MSER rule cuts off"
)


def report(run: Run, records: Iterable[Result | Ending]) -> ProbeReport:
    """Compute every figure. The same lines give the same report."""
    return Figures(run, collect(records)).report()


class Figures:
    """The samples of one run, and what is derived from them."""

    def __init__(self, run: Run, samples: Samples) -> None:
        self.run = run
        self.samples = samples
        self.ending = samples.ending or Ending(duration_us=samples.last_done, clients=[], interrupted=True)
        self.duration_s = max(self.ending.duration_us, 1) / 1e6
        self.scheduled = seconds(samples.scheduled)
        self.began = seconds(samples.began)
        self.first = seconds(samples.first)
        self.last = seconds(samples.last)
        self.output = numpy.asarray(samples.output_tokens, dtype=numpy.float64)
        self.input = numpy.asarray(samples.input_tokens, dtype=numpy.float64)
        self.origin = self.scheduled if run.load.is_open else self.began
        self.ttft = self.first - self.origin
        self.e2e = self.last - self.origin
        self.shown = self.output - numpy.asarray(samples.hidden_tokens, dtype=numpy.float64)
        # An answer of one chunk tells nothing of the time between tokens.
        self.several = (self.shown > 1) & (numpy.asarray(samples.chunks_of) > 1)
        self.tpot = (self.last - self.first)[self.several] / (self.shown[self.several] - 1)
        self.itl = seconds(samples.gaps)

    def report(self) -> ProbeReport:
        """All of it as the document."""
        run, samples = self.run, self.samples
        client = client_of(self.ending.clients)
        rejected = reasons_to_reject(
            run, client, samples, float(numpy.median(self.ttft)) if len(self.ttft) else 0.0
        )
        output, total = float(self.output.sum()), float(self.output.sum() + self.input.sum())
        buffered, can_tell = samples.told
        return ProbeReport(
            url=run.target.url,
            model=run.model,
            machine=run.target.machine,
            precision=run.target.precision,
            servers=run.target.servers,
            started_at=run.started_at,
            load=load_of(run),
            sent=samples.sent + self.ending.unfinished,
            succeeded=samples.succeeded,
            errors=dict(sorted(samples.errors.items())),
            duration_s=self.duration_s,
            input_tokens=int(self.input.sum()),
            output_tokens=int(output),
            output_tokens_per_s=output / self.duration_s,
            total_tokens_per_s=total / self.duration_s,
            request_per_s=samples.succeeded / self.duration_s,
            ttft_s=summary(self.ttft),
            tpot_s=summary(self.tpot),
            itl_s=summary(self.itl),
            e2e_s=summary(self.e2e),
            goodput=self.goodput(),
            client=client,
            valid=not rejected,
            by_model=self.by_model(),
            warnings=warnings(run, client, samples, self.ending, output),
            latency_from="schedule" if run.load.is_open else "send",
            from_send=self.from_send(),
            itl_per_token_s=self.itl_per_token(),
            peak_output_tokens_per_s=self.peak(),
            steady=self.steady,
            confidence=self.confidence(),
            stalls=self.stalls(),
            chunks=samples.chunks,
            empty_chunks=samples.empty_chunks,
            buffered_fraction=buffered / can_tell if can_tell else None,
            cached_input_tokens=samples.cached_tokens,
            failed_output_chunks=samples.failed_chunks,
            short_outputs=samples.short_outputs,
            finish_reasons=dict(sorted(samples.finish_reasons.items())),
            error_examples=dict(sorted(samples.error_examples.items())),
            exact_input_fraction=samples.exact_lengths / samples.asked_lengths
            if samples.asked_lengths
            else None,
            output_characters=samples.characters,
            server=server_side(run, self.ending),
            gpus=gpus_of(self.ending, output),
            interrupted=self.ending.interrupted,
            unfinished=self.ending.unfinished,
            invalid_because=tuple(reason for _, reason in rejected),
            spoiled_by=tuple(cause for cause, _ in rejected),
            notes=(*run.notes, *reader_notes(self.ending.clients), *chunk_note(samples)),
        )

    def by_model(self) -> dict[str, OfModel]:
        """Each model's part, where several share the load."""
        asked = numpy.asarray(self.samples.model_of, dtype=object)
        return {
            name: self.of_model(sent, asked == name) for name, sent in sorted(self.samples.sent_to.items())
        }

    def of_model(self, sent: int, own: "numpy.typing.NDArray[numpy.bool_]") -> OfModel:
        """The part of one, whose succeeded requests are `own`."""
        output = float(self.output[own].sum())
        return OfModel(
            sent=sent,
            succeeded=int(own.sum()),
            input_tokens=int(self.input[own].sum()),
            output_tokens=int(output),
            output_tokens_per_s=output / self.duration_s,
            request_per_s=float(own.sum()) / self.duration_s,
            ttft_s=summary(self.ttft[own]),
            tpot_s=summary(self.tpot[own[self.several]]),
            e2e_s=summary(self.e2e[own]),
        )

    def from_send(self) -> dict[str, Summary]:
        """In an open loop: the latencies from the actual sending."""
        if not self.run.load.is_open:
            return {}
        summaries = {"ttft_s": summary(self.first - self.began), "e2e_s": summary(self.last - self.began)}
        return {name: each for name, each in summaries.items() if each is not None}

    def itl_per_token(self) -> Summary | None:
        """The gap shared among the tokens it brought; None where every chunk brought one."""
        if not self.samples.several_tokens:
            return None
        tokens = numpy.asarray(self.samples.gap_tokens, dtype=numpy.float64)
        gaps_s = self.itl.copy()
        for number, carried_us in self.samples.carried_us.items():
            gaps_s[number] += carried_us / 1e6
        held = tokens > 0
        return weighted_summary(gaps_s[held] / tokens[held], tokens[held])

    def peak(self) -> float:
        """Tokens in the best second that starts on the timeline's grain."""
        filled, tokens = self.filled
        if not len(filled):
            return 0.0
        reached = numpy.concatenate(([0.0], numpy.cumsum(tokens)))
        ends = numpy.searchsorted(filled, filled + 1_000_000 // BIN_US)
        return float((reached[ends] - reached[:-1]).max())

    @cached_property
    def filled(self) -> "tuple[numpy.typing.NDArray[numpy.int64], Floats]":
        """The bins of the timeline that have tokens, and how many each."""
        return self.samples.timeline.filled()

    def stretches(self, first: int, width: int, count: int) -> Floats:
        """The tokens of so many stretches of so many bins, one after the other from the bin `first`."""
        filled, tokens = self.filled
        low, high = numpy.searchsorted(filled, (first, first + width * count))
        at = (filled[low:high] - first) // width
        sums = numpy.bincount(at, weights=tokens[low:high], minlength=count)
        return numpy.asarray(sums, dtype=numpy.float64)

    def stalls(self) -> Stalls | None:
        """Gaps far above the usual one."""
        if not len(self.itl):
            return None
        threshold = max(5 * float(numpy.median(self.itl)), 0.05)
        over = self.itl[self.itl > threshold]
        return Stalls(threshold_s=threshold, count=len(over), longest_s=float(over.max(initial=0.0)))

    def goodput(self) -> dict[str, object]:
        """How many requests met the SLO; empty without one."""
        slo = self.run.slo
        if slo == Slo():
            return {}
        good = int(self.meets(slo).sum())
        low, high = wilson(good, self.samples.sent)
        return {
            "slo": slo.model_dump(exclude_none=True),
            "good": good,
            "attainment": good / self.samples.sent if self.samples.sent else 0.0,
            "attainment_low": low,
            "attainment_high": high,
            "request_per_s": good / self.duration_s,
        }

    def meets(self, slo: Slo) -> "numpy.typing.NDArray[numpy.bool_]":
        """Which succeeded requests meet every limit."""
        good = numpy.ones(len(self.ttft), dtype=bool)
        tpot = (self.last - self.first) / numpy.maximum(self.shown - 1, 1)
        worst = seconds(self.samples.worst_gap)
        pairs = ((slo.ttft_s, self.ttft), (slo.tpot_s, tpot), (slo.itl_s, worst), (slo.e2e_s, self.e2e))
        for limit, values in pairs:
            if limit is not None:
                good &= values <= limit
        return good

    @cached_property
    def steady(self) -> Steady | None:
        """The steady part; None where the run is too short to have one (under 50 batches of 20 ms, or 20 requests)."""
        window = self.full_load()
        if window is None or self.samples.succeeded < 20:
            return None
        start, end = (int(edge * 1e6 / BIN_US) for edge in window)
        width = (end - start) // STEADY_BATCHES
        if width < 2:
            return None
        batches = self.stretches(end - width * STEADY_BATCHES, width, STEADY_BATCHES)
        start_bin = end - width * (STEADY_BATCHES - mser_start(batches))
        return self.with_latencies(self.between(start_bin * BIN_US / 1e6, end * BIN_US / 1e6))

    def with_latencies(self, steady: Steady) -> Steady:
        """The same with the latencies of the requests sent in it: those of the start had an empty server."""
        within = (self.began >= steady.start_s) & (self.began < steady.end_s)
        latencies = {
            "ttft_s": summary(self.ttft[within]),
            "tpot_s": summary(self.tpot[within[self.several]]),
            "e2e_s": summary(self.e2e[within]),
        }
        return steady.model_copy(update=latencies)

    def between(self, start_s: float, end_s: float) -> Steady:
        """The throughput between two moments: tokens by their arrival, requests by their end."""
        first, last = (round(edge * 1e6 / BIN_US) for edge in (start_s, end_s))
        filled, tokens = self.filled
        low, high = numpy.searchsorted(filled, (first, last))
        output = float(tokens[low:high].sum())
        ended = (self.last >= start_s) & (self.last < end_s)
        taken = (self.first >= start_s) & (self.first < end_s)
        length = end_s - start_s
        return Steady(
            rule=STEADY_RULE,
            start_s=start_s,
            end_s=end_s,
            output_tokens_per_s=output / length,
            total_tokens_per_s=(output + float(self.input[taken].sum())) / length,
            request_per_s=float(ended.sum()) / length,
        )

    def full_load(self) -> tuple[float, float] | None:
        """From when to when the load was there in full."""
        spans = seconds(self.samples.spans).reshape(-1, 2)
        if not len(spans):
            return None
        if self.run.load.is_open:
            return 0.0, float(spans[:, 0].max())
        moments, in_flight = self.in_flight()
        full = numpy.flatnonzero(in_flight >= STEADY_SHARE * in_flight.max())
        after_last = min(int(full[-1]) + 1, len(moments) - 1)
        return max(0.0, float(moments[full[0]])), float(moments[after_last])

    def in_flight(self) -> tuple[Floats, Floats]:
        """The moments at which a request began or ended, and how many were on their way from each on."""
        spans = seconds(self.samples.spans).reshape(-1, 2)
        moments = numpy.concatenate((spans[:, 0], spans[:, 1]))
        steps = numpy.concatenate((numpy.ones(len(spans)), -numpy.ones(len(spans))))
        order = numpy.lexsort((-steps, moments))
        return moments[order], numpy.cumsum(steps[order])

    def most_in_flight(self) -> int:
        """The most requests on their way at once."""
        return int(self.in_flight()[1].max(initial=0))

    def confidence(self) -> dict[str, Interval]:
        """95 % intervals by blocks."""
        intervals = {name: interval(center, values) for name, (center, values) in self.by_block().items()}
        return {name: each for name, each in intervals.items() if each is not None}

    def by_block(self) -> dict[str, tuple[float, list[float]]]:
        """Each figure with its value of ten blocks: throughput by time, latencies by the order of sending."""
        figures: dict[str, tuple[float, list[float]]] = {}
        steady = self.steady
        if steady is not None:
            parts = [
                self.between(*edges).output_tokens_per_s for edges in edges_of(steady.start_s, steady.end_s)
            ]
            figures["output_tokens_per_s"] = (steady.output_tokens_per_s, parts)
        for name, values in self.by_request().items():
            for percent in (50, 90, 99):
                parts = percentile_by_block(values, percent)
                if parts:
                    figures[f"{name}.p{percent}"] = (float(numpy.percentile(values, percent)), parts)
        return figures

    def to_compare(self) -> dict[str, tuple[float, list[float]]]:
        """The same, and the means of latencies, where there are requests enough for ten blocks of two."""
        means = {
            f"{name}.mean": (
                float(values.mean()),
                [float(block.mean()) for block in numpy.array_split(values, BLOCKS)],
            )
            for name, values in self.by_request().items()
            if len(values) >= FEWEST_FOR_MEAN
        }
        return self.by_block() | means

    def by_request(self) -> dict[str, Floats]:
        """The latencies that have one value a request, in the order of sending."""
        order = numpy.argsort(self.began, kind="stable")
        tpot = self.tpot[numpy.argsort(self.began[self.several], kind="stable")]
        return {"ttft_s": self.ttft[order], "tpot_s": tpot, "e2e_s": self.e2e[order]}


def seconds(values_us: "object") -> Floats:
    """Microseconds as seconds."""
    return numpy.asarray(values_us, dtype=numpy.float64) / 1e6


def edges_of(start_s: float, end_s: float, count: int = 10) -> list[tuple[float, float]]:
    """Equal parts of a stretch of time."""
    edges = numpy.linspace(start_s, end_s, count + 1)
    return [(float(low), float(high)) for low, high in zip(edges[:-1], edges[1:], strict=True)]


def load_of(run: Run) -> dict[str, object]:
    """The load as a reader wants it: what was set, and the lengths in the user's own form."""
    load = run.load.model_dump(exclude_none=True, exclude_defaults=True)
    load.pop("trace", None)
    lengths = {
        "input_tokens": str(run.workload.input_tokens),
        "output_tokens": str(run.workload.output_tokens),
    }
    rest = run.workload.model_dump(
        exclude_defaults=True, exclude={"input_tokens", "output_tokens"}, mode="json"
    )
    return {"api": run.target.api, **load, **lengths, **rest}


def client_of(sides: list[ClientSide]) -> Client:
    """All processes of the probe as one: the busiest, the latest."""
    events = sum(side.events for side in sides)
    return Client(
        cpu_fraction=worst(side.cpu_s / side.wall_s for side in sides if side.wall_s),
        max_lag_s=worst(side.lag_us.get("max", 0.0) for side in sides) / 1e6,
        p50_lag_s=worst(side.lag_us.get("p50", 0.0) for side in sides) / 1e6,
        p99_lag_s=worst(side.lag_us.get("p99", 0.0) for side in sides) / 1e6,
        stamps="kernel"
        if sides and all(side.kernel_stamps and not side.unstamped for side in sides)
        else "user",
        reader="c" if sides and all(side.reader == "c" for side in sides) else "python",
        uncertain_fraction=sum(side.uncertain for side in sides) / events if events else 0.0,
        late_fraction=sum(side.late_uncertain for side in sides) / events if events else 0.0,
        late_sends_p99_s=worst(side.late_us.get("p99", 0.0) for side in sides) / 1e6,
        late_sends_max_s=worst(side.late_us.get("max", 0.0) for side in sides) / 1e6,
        cpu_us_per_event=sum(side.cpu_s for side in sides) * 1e6 / events if events else 0.0,
        processes=max(1, len(sides)),
        connections=sum(side.connections for side in sides),
        reconnects=sum(side.reconnects for side in sides),
        connect_p50_s=worst(side.connect_us.get("p50", 0.0) for side in sides) / 1e6,
    )


def reader_notes(sides: list[ClientSide]) -> tuple[str, ...]:
    """Why the sockets were not read by the compiled reader."""
    reasons = dict.fromkeys(side.not_compiled for side in sides if side.not_compiled)
    return tuple(f"the probe read by Python, for twice the CPU or more: {reason}" for reason in reasons)


def worst(values: Iterable[float]) -> float:
    """The largest, or 0."""
    return max(values, default=0.0)
