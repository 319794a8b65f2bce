"""The predicted speed of an outcome, at one concurrency and over all of them; calibrated where the user did so."""

from infra.hardware import Gpu, Machine
from serving.model.calibration import fitted
from serving.model.throughput import Engine, Fit, Load, Speed, first_token_s, speed, unfitted
from serving.sizing import calibrations
from serving.sizing.fit import KV_BYTES, Outcome
from serving.sizing.plan import CurvePoint, Throughput
from serving.sizing.size_options import Options
from serving.sizing.subject import Subject

LEAST_GAIN = 1.1
"""Saturated: twice the concurrency brings less than this factor more tokens."""


def predicted(subject: Subject, machine: Machine, gpu: Gpu, outcome: Outcome, options: Options) -> Throughput:
    """The speed at the workload's concurrency, bounded by what the KV cache and max_num_seqs let run."""
    found = Predictor(subject, machine, gpu, outcome, options).at(options.concurrency)
    return Throughput(
        output_tokens_per_s=significant(found.output_tokens_per_s),
        total_tokens_per_s=significant(found.total_tokens_per_s),
        ttft_s=significant(found.ttft_s),
        tpot_s=significant(found.tpot_s),
        concurrency=options.concurrency,
        basis=found.basis,
        running=found.running,
        band=found.band,
    )


def significant(value: float) -> float:
    """Five significant digits: a prediction has no more, and a very slow one must not become zero."""
    return float(f"{value:.5g}")


class Predictor:
    """The speed of one outcome at any concurrency of its workload."""

    def __init__(
        self, subject: Subject, machine: Machine, gpu: Gpu, outcome: Outcome, options: Options
    ) -> None:
        self.options = options
        self.most_running = most_running(outcome, options)
        self.engine = Engine(
            gpu=gpu,
            family=subject.family,
            architecture=subject.architecture,
            scheme=subject.scheme,
            split=outcome.split,
            rules=outcome.rules,
            kv_bytes_per_value=KV_BYTES[options.kv_cache_dtype],
            max_num_batched_tokens=outcome.knobs.max_num_batched_tokens,
            host_gb_per_s=machine.network_gb_per_s,
        )
        self.fit = calibrated(subject, gpu, self.engine)

    def at(self, concurrency: int) -> Speed:
        """The speed with that many requests at once."""
        load = Load(self.options.input_tokens, self.options.output_tokens, concurrency)
        return speed(self.engine, load, self.most_running, self.fit)

    def first_token_s(self, input_tokens: int, tpot_s: float) -> float:
        """TTFT of a prompt of another length than the workload's, while it runs at that TPOT."""
        load = Load(input_tokens, self.options.output_tokens, 1)
        return first_token_s(self.engine, input_tokens, self.fit or unfitted(self.engine, load), tpot_s)

    def curve(self) -> tuple[CurvePoint, ...]:
        """Doubling concurrency from one request to twice what can run."""
        top = 2 * self.most_running
        steps = [1 << power for power in range(top.bit_length()) if 1 << power < top]
        return tuple(map(self.point, sorted({*steps, self.most_running, top})))

    def point(self, concurrency: int) -> CurvePoint:
        """One point of the curve."""
        found = self.at(concurrency)
        return CurvePoint(
            concurrency=concurrency,
            output_tokens_per_s=significant(found.output_tokens_per_s),
            ttft_s=significant(found.ttft_s),
            tpot_s=significant(found.tpot_s),
        )

    def saturation(self) -> int:
        """The concurrency beyond which more requests bring little, or only wait."""
        concurrency = 1
        while concurrency < self.most_running:
            here, twice = self.at(concurrency), self.at(2 * concurrency)
            if twice.output_tokens_per_s < LEAST_GAIN * here.output_tokens_per_s:
                return concurrency
            concurrency *= 2
        return self.most_running


def calibrated(subject: Subject, gpu: Gpu, engine: Engine) -> Fit | None:
    """The user's own fit of that model on that machine, where there is one."""
    split = engine.split
    key = (gpu.name, subject.name, subject.precision, split.tensor, split.pipeline, split.data)
    found = calibrations.find(key)
    return fitted(found, engine) if found else None


def most_running(outcome: Outcome, options: Options) -> int:
    """Requests of the workload's length that the KV cache and max_num_seqs let run at once."""
    held = (outcome.num_blocks - 1) // outcome.layout.blocks_per_request(options.request_tokens)
    return max(1, min(held, outcome.knobs.max_num_seqs)) * outcome.split.data
