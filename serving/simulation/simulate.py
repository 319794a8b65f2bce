"""PURE: `corral simulate`: from a plan and what comes to what requests wait for."""

from collections.abc import Callable, Sequence
from decimal import Decimal

import numpy
from numpy.typing import NDArray

from infra.errors import UsageError
from infra.money import MTOK, rounded
from serving.probe.lengths import Lengths
from serving.probe.report import Summary
from serving.probe.statistics import weighted_summary
from serving.simulation import passes
from serving.simulation.arrivals import HOUR_S, Requests, Span, Stream, Trace, spans
from serving.simulation.passes import Floats, Found, Question, Way
from serving.simulation.replica import api_basis, machines, replica
from serving.simulation.router import Death
from serving.simulation.simulate_options import ComingOptions, FleetOptions
from serving.simulation.simulation import Hour, Kept, Part, Queue, Simulation, Spread
from serving.sizing.batching import Request
from serving.sizing.plan import Plan
from serving.sizing.traffic import Promise, Traffic
from serving.sizing.traffic_class import TrafficClass, mean

Source = Stream | Trace

OTHER_DRAWS = 2
"""Passes beside the first that differ by chance alone."""
DIGITS = 4


def simulate(
    plan: Plan, coming: ComingOptions, source: Source, fleet: FleetOptions, promise: Promise
) -> Simulation:
    """The answer; `coming` and `fleet` are as they were asked, or as the plan fills them in.

    Raises UsageError for what cannot be simulated, DoesNotFit for a plan that does not work.
    """
    expected = source.spans
    replicas = fleet.replicas or 1
    hours = coming.hours or max(span.end_s for span in expected) / HOUR_S
    if isinstance(source, Stream):
        hours = coming.lasts_h
    one = replica(plan, traffic_of(source))
    death = death_of(fleet, expected, hours)
    longest = plan.serve.max_model_len or one.longest
    question = Question(source, replicas, fleet.router, death, one.servers, longest)
    how = passes.way(source, replicas, fleet.router)
    first = passes.one(question, how, 1.0, coming.seed)
    if not len(first.at_s):
        raise UsageError(f"In {hours:g} h no request came.", "Simulate a longer time: --hours 24")
    answered = first.answered
    running = float((first.ran_s * first.weight)[answered].sum()) / (hours * HOUR_S) / replicas
    speed = one.speed(running)
    others = [
        passes.one(question, how, slower, seed)
        for slower, seed in ends_and_draws(speed.band, coming.seed, varies(question, how))
    ]
    usd = usd_of(plan, fleet, hours)
    weight, arrived = first.weight, round(float(first.weight.sum()))
    refused = round(float(weight[first.refused].sum()))
    lost = round(float(weight[~answered & ~first.refused].sum()))
    every = [first, *others]
    output = float((first.output_tokens * weight)[answered].sum())
    return Simulation(
        model=plan.model,
        precision=plan.precision,
        machine=plan.machine,
        parallel=plan.parallel,
        machines=machines(plan, replicas),
        replicas=replicas,
        router=fleet.router,
        max_model_len=longest,
        max_num_seqs=one.room.max_num_seqs,
        hours=hours,
        seed=coming.seed,
        died_at_h=round(death.at_s / HOUR_S, 3) if death else None,
        percentile=promise.percentile,
        band=speed.band,
        basis=speed.basis,
        api_basis=api_basis(),
        simulated=Part(
            requests=len(first.at_s),
            replicas=how.replicas,
            share_of_time=round(how.time, 4),
            passes=len(every),
        ),
        arrived=arrived,
        served=arrived - refused - lost,
        lost=lost,
        refused=refused,
        requests_per_s=significant(arrived / hours / HOUR_S),
        peak_requests_per_s=significant(
            max(comes / lasts_s(expected, hour) for hour, comes in by_hour(expected).items())
        ),
        input_tokens=round(weighted_mean(first.input_tokens, weight), 1),
        output_tokens=round(weighted_mean(first.output_tokens, weight), 1),
        output_tokens_per_s=significant(output / hours / HOUR_S),
        ttft_s=spread(every, lambda found: found.ttft_s, promise.percentile),
        tpot_s=spread(every, tpot_of, promise.percentile),
        longest_pause_s=spread(every, pause_of, promise.percentile),
        queue=queue(first, hours, replicas) if answered.any() else None,
        promise=kept(promise, every, hours),
        usd=usd,
        usd_per_mtok=rounded(usd / Decimal(output) * MTOK).quantize(Decimal("0.0001"))
        if usd and output
        else None,
        hourly=hourly(first, expected, promise.percentile),
        peak_of_day_requests_per_s=peak_left_out(coming, source),
        further=plan.further,
    )


def peak_left_out(coming: ComingOptions, source: Source) -> float | None:
    """Requests a second of the day's busiest hour, where the simulated hours end before it; None where they do not."""
    if isinstance(source, Trace):
        return None
    peak = max(rate.requests_per_s for rate in coming.by_hour)
    return significant(peak) if peak > max(span.requests_per_s for span in source.spans) else None


def source_of(
    coming: ComingOptions, traced: Sequence[Request] | None, traffic: Traffic | None = None
) -> Source:
    """What comes: the stream that was asked for, what of a trace is within the hours, or what a plan is to carry."""
    if traced is not None:
        end_s = coming.hours * HOUR_S if coming.hours else float("inf")
        return Trace([request for request in traced if request.at_s < end_s])
    found = spans(coming.by_hour, coming.lasts_h)
    if not any(span.requests_per_s for span in found):
        raise UsageError(
            f"In the first {coming.lasts_h:g} h of --rates nothing comes.",
            "Simulate the whole day: --hours 24",
        )
    if traffic is None:
        return Stream(found, (Requests(1.0, *coming.lengths),))
    return Stream(
        found, [Requests(part.share, part.input_tokens, part.output_tokens) for part in traffic.parts]
    )


def traffic_of(source: Source) -> Traffic:
    """How long its requests are, for the planner; of a trace on average."""
    if isinstance(source, Trace):
        count = len(source.requests)
        inputs = Lengths(low=max(1, round(sum(each.input_tokens for each in source.requests) / count)))
        outputs = Lengths(low=max(1, round(sum(each.output_tokens for each in source.requests) / count)))
        return Traffic(requests_per_s=1, peak_factor=1, input_tokens=inputs, output_tokens=outputs)
    if len(source.kinds) == 1:
        (kind,) = source.kinds
        return Traffic(
            requests_per_s=1, peak_factor=1, input_tokens=kind.input_tokens, output_tokens=kind.output_tokens
        )
    classes = tuple(
        TrafficClass(name=f"kind {number}", **kind._asdict()) for number, kind in enumerate(source.kinds)
    )
    return Traffic(
        requests_per_s=1,
        peak_factor=1,
        input_tokens=Lengths(low=round(sum(each.share * mean(each.input_tokens) for each in classes))),
        output_tokens=Lengths(low=round(sum(each.share * mean(each.output_tokens) for each in classes))),
        classes=classes,
    )


def longest_of(source: Source) -> int:
    """Tokens of the longest request that is likely."""
    if isinstance(source, Stream):
        return max(each.input_tokens.largest + each.output_tokens.largest for each in source.kinds)
    return max(each.input_tokens + each.output_tokens for each in source.requests)


def death_of(fleet: FleetOptions, expected: Sequence[Span], hours: float) -> Death | None:
    """When a replica dies; at the peak is in the middle of the busiest span. Raises UsageError outside the hours."""
    if fleet.die_at is None:
        return None
    hour = fleet.die_at_h
    if hour is None:
        busiest = max(expected, key=lambda span: span.requests_per_s)
        hour = (busiest.start_s + busiest.end_s) / 2 / HOUR_S
    if hour >= hours:
        raise UsageError(
            f"--die-at {fleet.die_at} is not within the {hours:g} h that are simulated.",
            "Name an hour within them, --die-at peak, or more --hours.",
        )
    return Death(hour * HOUR_S, fleet.restart_s, fleet.in_flight == "again")


def varies(question: Question, how: Way) -> bool:
    """Whether another seed draws anything else."""
    return not (how.whole and isinstance(question.source, Trace) and question.router != "random")


def ends_and_draws(band: float, seed: int, varied: bool) -> list[tuple[float, int]]:
    """How much slower, and the seed, of every pass but the first; the last is the slowest."""
    draws = [(1.0, seed + more) for more in range(1, OTHER_DRAWS + 1)] if varied else []
    return [*draws, (1 / band, seed), (band, seed)]


def spread(every: Sequence[Found], column: Callable[[Found], Floats], percentile: float) -> Spread | None:
    """Of the first pass the distribution, of all the least and the most of the percentile."""
    whole = summary(column(every[0]), every[0].weight)
    at = [
        value
        for found in every
        if (value := at_percentile(column(found), found.weight, percentile)) is not None
    ]
    if whole is None:
        return None
    return Spread(
        **whole.model_dump(), asked=significant(at[0]), low=significant(min(at)), high=significant(max(at))
    )


def tpot_of(found: Found) -> Floats:
    """Where an answer has more than one token."""
    return numpy.where(found.output_tokens > 1, found.tpot_s, numpy.nan)


def pause_of(found: Found) -> Floats:
    """Where an answer has more than one token."""
    return numpy.where(found.output_tokens > 1, found.pause_s, numpy.nan)


def summary(values: Floats, weight: Floats) -> Summary | None:
    """Of the values that there are."""
    there = ~numpy.isnan(values)
    found = weighted_summary(values[there], weight[there])
    return found and found.model_copy(
        update={name: significant(value) for name, value in found.model_dump().items()}
    )


def at_percentile(values: Floats, weight: Floats, percentile: float) -> float | None:
    """The least value that so many of a hundred do not exceed; None where there is none."""
    there = ~numpy.isnan(values)
    if not weight[there].sum():
        return None
    order = numpy.argsort(values[there], kind="stable")
    reached = numpy.cumsum(weight[there][order])
    index = min(int(numpy.searchsorted(reached, reached[-1] * percentile / 100)), len(order) - 1)
    return float(values[there][order][index])


def queue(found: Found, hours: float, replicas: int) -> Queue:
    """What waits and what runs; how many on average is the rate times the time (Little's law)."""
    there, lasted_s = found.answered, hours * HOUR_S
    waited = summary(found.waited_s, found.weight)
    assert waited is not None
    return Queue(
        waited_s=waited,
        waiting_mean=significant(float((found.waited_s * found.weight)[there].sum()) / lasted_s),
        waiting_most=found.most_waiting,
        running_mean=significant(float((found.ran_s * found.weight)[there].sum()) / lasted_s / replicas),
        running_most=found.most_running,
        engine_busy=round(min(1.0, found.busy), 3),
        api_busy=round(min(1.0, found.api_busy), 3),
    )


def kept(promise: Promise, every: Sequence[Found], hours: float) -> Kept | None:
    """Whether the promise is kept by so many of a hundred that come; what is lost or refused does not keep it."""
    if promise.ttft_s is None and promise.tpot_s is None:
        return None
    ttft, tpot, both = shares(promise, every[0])
    needed = promise.percentile / 100
    return Kept(
        ttft_s=promise.ttft_s,
        tpot_s=promise.tpot_s,
        percentile=promise.percentile,
        ttft_share=round(ttft, DIGITS),
        tpot_share=round(tpot, DIGITS),
        goodput_share=round(both, DIGITS),
        goodput_requests_per_s=significant(both * float(every[0].weight.sum()) / hours / HOUR_S),
        kept=min(ttft, tpot) >= needed,
        kept_at_worst=min(shares(promise, every[-1])[:2]) >= needed,
    )


def shares(promise: Promise, found: Found) -> tuple[float, float, float]:
    """Of all that came the share that keeps TTFT, that keeps TPOT, and that keeps both."""
    there = found.answered
    ttft = there & (found.ttft_s <= (promise.ttft_s if promise.ttft_s is not None else numpy.inf))
    tpot = there & (found.tpot_s <= (promise.tpot_s if promise.tpot_s is not None else numpy.inf))
    return share(ttft, found.weight), share(tpot, found.weight), share(ttft & tpot, found.weight)


def share(which: NDArray[numpy.bool_], weight: Floats) -> float:
    """Of the weight."""
    return float(weight[which].sum() / weight.sum())


def hourly(found: Found, expected: Sequence[Span], percentile: float) -> tuple[Hour, ...]:
    """A row for each hour."""
    rows = []
    for hour, comes in by_hour(expected).items():
        here = found.hour == hour
        weight, lasted_s = found.weight[here], lasts_s(expected, hour)
        lost = numpy.isnan(found.ttft_s[here]) & ~found.refused[here]
        ttft, tpot, pause = (
            at_percentile(column(found)[here], weight, percentile)
            for column in (lambda each: each.ttft_s, tpot_of, pause_of)
        )
        there = ~numpy.isnan(found.waited_s[here])
        rows.append(
            Hour(
                hour=hour,
                requests_per_s=significant(comes / lasted_s),
                lost=round(float(weight[lost].sum())),
                ttft_s=ttft and significant(ttft),
                tpot_s=tpot and significant(tpot),
                longest_pause_s=pause and significant(pause),
                waiting_mean=significant(float((found.waited_s[here] * weight)[there].sum()) / lasted_s),
                overloaded=hour in found.overloaded,
            )
        )
    return tuple(rows)


def by_hour(expected: Sequence[Span]) -> dict[int, float]:
    """Requests of each hour."""
    found: dict[int, float] = {}
    for span in expected:
        found[span.hour] = found.get(span.hour, 0.0) + span.expected
    return found


def lasts_s(expected: Sequence[Span], hour: int) -> float:
    """Seconds of an hour in which something may come."""
    return sum(span.end_s - span.start_s for span in expected if span.hour == hour)


def usd_of(plan: Plan, fleet: FleetOptions, hours: float) -> Decimal | None:
    """What the machines cost for those hours; None where nobody knows a price."""
    hourly = fleet.usd_per_hour or (plan.price.usd_per_hour if plan.price else None)
    if hourly is None:
        return None
    return (hourly * machines(plan, fleet.replicas or 1) * Decimal(str(hours))).quantize(Decimal("0.01"))


def weighted_mean(values: Floats, weight: Floats) -> float:
    """By weight."""
    return float((values * weight).sum() / weight.sum())


def significant(value: float) -> float:
    """Four digits: a simulation of a prediction has no more."""
    return float(f"{value:.{DIGITS}g}")
