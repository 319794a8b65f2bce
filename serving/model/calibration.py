"""PURE: bending the throughput model to what a probe measured on one machine."""

from datetime import datetime
from statistics import median

from infra.record import Record
from serving.model.throughput import Engine, Fit, Load, kernels_s, overhead_s, prefill_s

LEAST_BAND = 1.1
"""No prediction is better than this, however well the points lie."""
ONE_POINT_BAND = 1.3
"""One measured load says little about another."""


class Point(Record):
    """What one probe measured at one concurrency, means over its requests."""

    concurrency: int
    input_tokens: int
    output_tokens: int
    tpot_s: float
    ttft_s: float
    measured_at: str


class Calibration(Record):
    """Every measured point of one model on one kind of machine, and when the last was added."""

    gpu: str
    model: str
    precision: str
    tensor: int
    pipeline: int
    data: int
    vllm_version: str
    points: tuple[Point, ...]
    updated_at: datetime


def fitted(calibration: Calibration, engine: Engine) -> Fit:
    """The fit through the points: two loads and more give kernels and overhead, one gives a single factor."""
    measured = [
        (kernels_s(engine, load_of(point), point.concurrency), point.tpot_s) for point in calibration.points
    ]
    factor, overhead = line(measured, overhead_s(engine.rules))
    misses = [
        max(told / seen, seen / told)
        for told, seen in ((factor * k + overhead, tpot) for k, tpot in measured)
    ]
    band = max(LEAST_BAND, *misses) if different(measured) else max(ONE_POINT_BAND, *misses)
    day = calibration.updated_at.date()
    count = len(calibration.points)
    return Fit(
        kernels=factor,
        overhead_s=overhead,
        prefill=median(prefill_factor(engine, point) for point in calibration.points),
        band=band,
        basis=f"calibrated on {day} with {count} probe{'s' if count > 1 else ''} of {calibration.gpu}",
    )


def line(measured: list[tuple[float, float]], overhead: float) -> tuple[float, float]:
    """Slope and intercept of TPOT over kernel time; one load, or a line that makes no sense, gives one factor."""
    if different(measured):
        x, y = (sum(pair[axis] for pair in measured) / len(measured) for axis in (0, 1))
        slope = sum((a - x) * (b - y) for a, b in measured) / sum((a - x) ** 2 for a, _ in measured)
        if slope > 0 and y - slope * x >= 0:
            return slope, y - slope * x
    factor = median(tpot / (kernels + overhead) for kernels, tpot in measured)
    return factor, factor * overhead


def different(measured: list[tuple[float, float]]) -> bool:
    """Whether the points are of at least two loads that the model tells apart."""
    kernels = [pair[0] for pair in measured]
    return max(kernels) > 1.2 * min(kernels)


def prefill_factor(engine: Engine, point: Point) -> float:
    """Measured over predicted prefill; the wait for the running step is taken off first."""
    return max(0.1, (point.ttft_s - point.tpot_s) / prefill_s(engine, point.input_tokens))


def load_of(point: Point) -> Load:
    """A point's load."""
    return Load(point.input_tokens, point.output_tokens, point.concurrency)
