"""The predicted speed of an outcome, at one concurrency and over all of them; calibrated where the user did so."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from math import ceil
from typing import NamedTuple

from infra.catalog import is_relinked
from infra.hardware import GIB
from serving.model.bands import unfitted
from serving.model.calibration import fitted
from serving.model.draft import Drafting, drafting
from serving.model.roofline import Engine, encoder_s, fresh, request_s, scores_s, step_s, totals
from serving.model.throughput import Fit, Load, Speed, first_token_s, speed
from serving.sizing import kept_calibrations
from serving.sizing.asked_images import asked_images
from serving.sizing.batching import Room, StepTime
from serving.sizing.fit import Outcome
from serving.sizing.gpu_pool import KV_BYTES, lora_bytes, offloaded_bytes
from serving.sizing.memory_pool import Case
from serving.sizing.plan import AtWorst, CurvePoint, Throughput
from serving.sizing.size_options import Options
from serving.sizing.sized_model import SizedModel

PREFILL_GRAIN = 16
LEAST_GAIN = 1.1
"""Saturated: twice the concurrency brings less than this factor more tokens."""


class Mixed(NamedTuple):
    """Requests of one kind among others."""

    share: float
    input_tokens: int
    output_tokens: int


def predicted(predictor: "Predictor", options: Options) -> Throughput:
    """The speed at the workload's concurrency, bounded by what the KV cache and max_num_seqs let run."""
    speed = predictor.at(options.concurrency)
    return Throughput(
        output_tokens_per_s=significant(speed.output_tokens_per_s),
        total_tokens_per_s=significant(speed.total_tokens_per_s),
        ttft_s=significant(speed.ttft_s),
        tpot_s=significant(speed.tpot_s),
        concurrency=options.concurrency,
        basis=speed.basis,
        running=speed.running,
        band=speed.band,
    )


def worse(case: Case, outcome: Outcome, expected: Throughput) -> AtWorst | None:
    """What becomes of the workload with the KV cache at the bad end of its band; None where as many run at once."""
    if outcome.kv_bytes is not None:  # it is as large as was said
        return None
    kv_gib = outcome.kv_gib - outcome.budget.error_less_gib
    small = replace(outcome, kv_gib=kv_gib, num_blocks=outcome.layout.blocks(max(0.0, kv_gib) * GIB))
    there = Predictor(case, small).at(case.options.concurrency) if outcome.sure else None
    if there and there.running >= expected.running:
        return None
    return AtWorst(
        kv_cache_gib=round(max(0.0, kv_gib), 3),
        num_blocks=small.num_blocks,
        running=there.running if there else 0,
        ttft_s=significant(there.ttft_s) if there else None,
        output_tokens_per_s=significant(there.output_tokens_per_s) if there else None,
    )


def significant(value: float) -> float:
    """Five significant digits: a prediction has no more, and a very slow one must not become zero."""
    return float(f"{value:.5g}")


class Predictor:
    """The speed of one outcome at any concurrency of its workload."""

    def __init__(self, case: Case, outcome: Outcome) -> None:
        assert case.machine.gpu is not None
        self.options = case.options
        self.most_running = most_running(outcome, case.options)
        self.engine = Engine(
            gpu=case.machine.gpu,
            family=case.subject.family,
            architecture=case.subject.architecture,
            scheme=case.subject.scheme,
            split=outcome.split,
            rules=outcome.rules,
            kv_bytes_per_value=KV_BYTES[case.options.kv_cache_dtype],
            max_num_batched_tokens=outcome.knobs.max_num_batched_tokens,
            host_gb_per_s=case.machine.network_gb_per_s,
            tiles=tiles_of_a_request(case.subject, case.options),
            prefix_hits=case.options.prefix_cache_hit_rate,
            lora_bytes=lora_bytes(case, outcome.split),
            offloaded_bytes=offloaded_bytes(case, outcome.split),
            is_relinked=is_relinked(case.machine.gpu),
            drafting=drafting_of(case, outcome),
        )
        load = Load(case.options.input_tokens, case.options.output_tokens, 1)
        self.bent = bent_by(case.subject, self.engine, load)
        self.known: dict[int, Speed] = {}
        self.prefills: dict[int, float] = {}

    def at(self, concurrency: int) -> Speed:
        """The speed with that many requests at once."""
        if concurrency not in self.known:
            load = Load(self.options.input_tokens, self.options.output_tokens, concurrency)
            self.known[concurrency] = speed(self.engine, load, self.most_running, self.bent)
        return self.known[concurrency]

    def first_token_s(self, input_tokens: int, tpot_s: float) -> float:
        """TTFT of a prompt of another length than the workload's, that comes while it runs at that TPOT."""
        if input_tokens not in self.prefills:
            self.prefills[input_tokens] = first_token_s(self.engine, input_tokens, self.bent, 0.0)
        return tpot_s * self.engine.accepted + self.prefills[input_tokens]

    def steps(self, mixture: Sequence[Mixed] = ()) -> StepTime:
        """The time of a step of this load's requests, by how many decode and how many tokens are prefilled.

        Of a mixture those that decode are the more of a class the longer its answers are.
        What a prompt takes beside its tokens, scores and images, is spread over those of it that are prefilled.
        Each pair is reckoned once, the prefilled in steps of PREFILL_GRAIN.
        With drafts a step of several tokens is reckoned as so many, each of one token and of its share of the time;
        what is prefilled takes what it takes.
        """
        load, bent, accepted = self.options, self.bent, self.engine.accepted
        mixed = mixture or (Mixed(1.0, load.input_tokens, load.output_tokens),)
        decoding_of = sum(each.share * each.output_tokens for each in mixed)
        context = (
            sum(
                each.share * each.output_tokens * (each.input_tokens + each.output_tokens / 2)
                for each in mixed
            )
            / decoding_of
        )
        by_prompt = encoder_s(self.engine)
        beside_s = sum(
            each.share * (scores_s(self.engine, each.input_tokens) + by_prompt) for each in mixed
        ) / sum(each.share * fresh(self.engine, each.input_tokens) for each in mixed)

        @cache
        def step(decoding: int, grains: int) -> float:
            prefilled = grains * PREFILL_GRAIN
            kernels = step_s(self.engine, decoding, context, prefilled) + decoding * request_s(self.engine)
            whole = bent.kernels * (kernels + beside_s * prefilled) + bent.overhead_s
            if accepted == 1.0 or not decoding:
                return whole
            of_none = whole if not grains else accepted * step(decoding, 0)
            return whole - of_none * (1 - 1 / accepted)

        return lambda decoding, prefilled: step(decoding, ceil(prefilled / PREFILL_GRAIN))

    def curve(self) -> tuple[CurvePoint, ...]:
        """Doubling concurrency from one request to twice what can run."""
        top = 2 * self.most_running
        steps = [1 << power for power in range(top.bit_length()) if 1 << power < top]
        return tuple(map(self.point, sorted({*steps, self.most_running, top})))

    def point(self, concurrency: int) -> CurvePoint:
        """One point of the curve."""
        speed = self.at(concurrency)
        return CurvePoint(
            concurrency=concurrency,
            output_tokens_per_s=significant(speed.output_tokens_per_s),
            ttft_s=significant(speed.ttft_s),
            tpot_s=significant(speed.tpot_s),
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


def drafting_of(case: Case, outcome: Outcome) -> Drafting | None:
    """How tokens are proposed; a draft without a head has the model's."""
    if case.draft is None:
        return None
    of_all = totals(case.subject.architecture, case.subject.scheme)
    head, _ = of_all.get("lm_head") or of_all["embedding"]
    return drafting(case.draft, outcome.split, head)


def bent_by(subject: SizedModel, engine: Engine, load: Load) -> Fit:
    """The user's own fit, else the shipped figures; drafts were in none, so that with them neither is sure."""
    shipped = unfitted(engine, load)
    own = calibrated(subject, replace(engine, drafting=None))
    if own is None or engine.drafting is None:
        return own or shipped
    return replace(
        own, doubt=shipped.doubt, basis=f"{own.basis}, without drafts, whose part is not validated"
    )


def calibrated(subject: SizedModel, engine: Engine) -> Fit | None:
    """The user's own fit of that model on that machine, where there is one."""
    split = engine.split
    key = (engine.gpu.name, subject.name, subject.precision, split.tensor, split.pipeline, split.data)
    calibration = kept_calibrations.find(key)
    return fitted(calibration, engine) if calibration and calibration.points else None


def tiles_of_a_request(subject: SizedModel, options: Options) -> int:
    """Of all its images."""
    asked = asked_images(subject, options)
    return asked.count * asked.image.tiles if asked else 0


def most_running(outcome: Outcome, options: Options) -> int:
    """Requests of the workload's length that the KV cache and max_num_seqs let run at once."""
    return max(1, min(held(outcome, options), outcome.knobs.max_num_seqs)) * outcome.split.data


def held(outcome: Outcome, options: Options) -> int:
    """Requests of the workload's length that the KV cache of one engine holds."""
    return (outcome.num_blocks - 1) // outcome.layout.blocks_per_request(options.request_tokens)


def room(outcome: Outcome, options: Options, max_num_seqs: int) -> Room:
    """What runs at once at most, in one engine."""
    return Room(
        max_num_seqs=max_num_seqs,
        max_num_batched_tokens=outcome.knobs.max_num_batched_tokens,
        kv_tokens=max(1, held(outcome, options)) * options.request_tokens,
        prefix_hits=options.prefix_cache_hit_rate,
    )
