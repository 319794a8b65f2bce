"""PURE: the load that a planned server is taken at: where its curve saturates, or the most within a latency promise."""

from collections.abc import Iterable
from decimal import Decimal
from typing import NamedTuple

from deploy.costs.comparison import OperatingPoint, Shown
from infra.errors import UsageError
from infra.money import exact
from serving.probe.report import ProbeReport, Summary
from serving.sizing.plan import CurvePoint, Plan, Throughput


class Promised(NamedTuple):
    """What requests may wait for, in seconds; None promises nothing."""

    ttft_s: float | None = None
    tpot_s: float | None = None

    def is_kept_by(self, ttft_s: Decimal | float | None, tpot_s: Decimal | float | None) -> bool:
        """Whether requests that wait so long keep it. What nobody knows keeps nothing."""
        pairs = ((self.ttft_s, ttft_s), (self.tpot_s, tpot_s))
        return all(limit is None or (took is not None and float(took) <= limit) for limit, took in pairs)

    def __bool__(self) -> bool:
        """Whether anything is promised."""
        return self != Promised()

    def __str__(self) -> str:
        """The limits in words."""
        limits = (("TTFT", self.ttft_s), ("TPOT", self.tpot_s))
        return " and ".join(f"{name} {limit:g} s" for name, limit in limits if limit is not None)


def planned_point(plan: Plan, predicted: Throughput, promised: Promised) -> tuple[CurvePoint, OperatingPoint]:
    """The point of the plan's curve at which the server does the most, and how that is said.

    A plan of `corral capacity` stays at the load that its replicas are planned with, as does one without a curve.
    Raises UsageError where no load keeps the promise.
    """
    own = CurvePoint(
        concurrency=predicted.concurrency,
        output_tokens_per_s=predicted.output_tokens_per_s,
        ttft_s=predicted.ttft_s,
        tpot_s=predicted.tpot_s,
    )
    points = (own,) if plan.carried else (*plan.curve, own)
    best = most(point for point in points if promised.is_kept_by(point.ttft_s, point.tpot_s))
    if best is None:
        raise UsageError(
            f"No load of {plan.machine.name} keeps {promised}: with {points[0].concurrency} at once the plan "
            f"predicts TTFT {points[0].ttft_s:.3g} s and TPOT {points[0].tpot_s:.3g} s.",
            f"Promise more: --ttft {2 * points[0].ttft_s:.2g} --tpot {2 * points[0].tpot_s:.2g}",
        )
    return best, OperatingPoint(
        load=f"{best.concurrency} requests at once",
        shown=shown_by(plan, promised),
        requests_at_once=best.concurrency,
        ttft_s=exact(best.ttft_s),
        tpot_s=exact(best.tpot_s),
    )


def shown_by(plan: Plan, promised: Promised) -> Shown:
    """What makes the best of a plan's points the most that there is."""
    if plan.carried:
        return "planned traffic"
    if not plan.curve:
        return "one load"
    return "latency promise" if promised else "saturation"


def most(points: Iterable[CurvePoint]) -> CurvePoint | None:
    """Of the points with the highest rate the one with the fewest requests; None of none."""
    return max(points, key=lambda point: (point.output_tokens_per_s, -point.concurrency), default=None)


WAITED = 0.1
"""Of a request's time, spent in the server's queue: then there was more asked of it than it could take on."""


def probed_point(probe: ProbeReport, plan: Plan) -> OperatingPoint:
    """The one load of a probe, and whether anything shows that it is the most the server can do."""
    at_once = at_once_of(probe)
    return OperatingPoint(
        load=load_of(probe),
        shown="saturation" if is_saturated(probe, plan) else "one load",
        requests_at_once=at_once,
        ttft_s=p95(probe.ttft_s),
        tpot_s=p95(probe.tpot_s),
    )


def is_saturated(probe: ProbeReport, plan: Plan) -> bool:
    """Whether requests waited in the server's queue, or were as many as the plan of the server saturates at."""
    at_once, waited_s = at_once_of(probe), probe.server.queue_mean_s
    if waited_s is not None and probe.e2e_s is not None and waited_s >= WAITED * probe.e2e_s.mean:
        return True
    return bool(at_once and plan.saturation_concurrency and at_once >= plan.saturation_concurrency)


def at_once_of(probe: ProbeReport) -> int | None:
    """The requests that a closed loop kept on their way; None of an open one, or where the report does not say."""
    at_once = probe.load.get("concurrency")
    closed = probe.load.get("request_rate") is None
    return at_once if closed and isinstance(at_once, int) and at_once > 0 else None


def load_of(probe: ProbeReport) -> str:
    """The load of the probe in words."""
    rate, at_once = probe.load.get("request_rate"), probe.load.get("concurrency")
    if rate is not None:
        return f"arriving at {rate}/s"
    return f"{at_once} at once" if at_once is not None else "load not said"


def p95(summary: Summary | None) -> Decimal | None:
    """The slow ones of a hundred, where there is a distribution."""
    return exact(summary.p95) if summary is not None and summary.p95 >= 0 else None
