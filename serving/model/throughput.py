"""PURE: the speed of a model on vLLM at some concurrency, by what its steps and prefills take (roofline.py).

A step decodes a token of each request that runs, and prefills what prompts the token budget lets in: they share its
launches and the weights that are read.
"""

from dataclasses import dataclass
from math import ceil, exp, floor, log, sqrt

from serving.model.roofline import (
    Engine,
    data,
    encoder_s,
    fresh,
    prefill_s,
    request_s,
    scores_s,
    step_s,
)

NINE_OF_TEN_SD = 1.645
"""Of a normal distribution 90 % lie within so many standard deviations."""


@dataclass(frozen=True, slots=True)
class Load:
    """Equal requests, so many at once."""

    input_tokens: int
    output_tokens: int
    concurrency: int


@dataclass(frozen=True, slots=True)
class Speed:
    """What the machine delivers at that load; the truth is thought to lie within `band` as a factor either way."""

    output_tokens_per_s: float
    total_tokens_per_s: float
    ttft_s: float
    tpot_s: float
    running: int
    band: float
    basis: str


@dataclass(frozen=True, slots=True)
class Doubt:
    """How far the logarithm of a TPOT may be off: variances of those of the kernels and the overhead, and of a load."""

    kernels: float
    both: float
    """The covariance of the two."""
    overhead: float
    load: float

    def band(self, share: float) -> float:
        """The factor that the truth lies within nine times of ten, where the kernels are that share of the step."""
        of_fit = (
            share**2 * self.kernels + 2 * share * (1 - share) * self.both + (1 - share) ** 2 * self.overhead
        )
        return exp(NINE_OF_TEN_SD * sqrt(of_fit + self.load))

    @classmethod
    def of_band(cls, band: float) -> "Doubt":
        """One that is the same for every load."""
        variance = (log(band) / NINE_OF_TEN_SD) ** 2
        return cls(variance, variance, variance, 0.0)


@dataclass(frozen=True, slots=True)
class Fit:
    """How the model is bent for one machine: the kernels' time, the overhead of a step, the prefill of a prompt."""

    kernels: float
    overhead_s: float
    prefill: float
    doubt: Doubt
    basis: str


def speed(engine: Engine, load: Load, at_most: int, bent: Fit) -> Speed:
    """The steady state of `load`, with no more than `at_most` requests running (KV cache, max_num_seqs).

    Of a closed loop, where one comes as one is done: by Little's law so many at once take as long as `concurrency`
    times the output tokens of one over those of a second. So TTFT, TPOT and the rate say the same of a request.
    """
    running = max(1, min(load.concurrency, at_most))
    kernels = bent.kernels * kernels_s(engine, load, running)
    step = kernels + bent.overhead_s
    tpot = step / engine.accepted
    begins = first_token_s(engine, load.input_tokens, bent, step if running > 1 else bent.overhead_s)
    answers = (load.output_tokens - 1) * tpot
    served = begins + prompts_waited_for_s(engine, load, running, tpot) + answers
    output = running * load.output_tokens / served
    return Speed(
        output_tokens_per_s=output,
        total_tokens_per_s=output * (1 + load.input_tokens / load.output_tokens),
        ttft_s=served * load.concurrency / running - answers,
        tpot_s=tpot,
        running=running,
        band=round(bent.doubt.band(kernels / step), 3),
        basis=bent.basis,
    )


def decoding_at_once(engine: Engine, load: Load, running: int) -> float:
    """Of the running requests those that need not wait for room: a step has so many tokens, and prompts take theirs.

    A request brings (input + output) / output tokens for each that it puts out, of the input what no cache holds; with
    drafts it puts out several of a step, and all that are proposed are in it. Its own prompt is done before it decodes.
    """
    computed = engine.accepted * fresh(engine, load.input_tokens)
    room = engine.split.pipeline * engine.max_num_batched_tokens * load.output_tokens + computed
    return min(float(running), engine.split.data * room / (computed + engine.verified * load.output_tokens))


def others(engine: Engine, decoding: float) -> float:
    """Beside one that decodes those whose prompts its scheduler lets in meanwhile, once each: all but itself."""
    return max(0.0, decoding / engine.split.data - 1)


def prompts_waited_for_s(engine: Engine, load: Load, running: int, tpot_s: float) -> float:
    """How long a prompt waits for those of others, where more come than go beside what decodes."""
    decoding = decoding_at_once(engine, load, running)
    if decoding == running:
        return 0.0
    a_prompt_s = load.output_tokens * tpot_s / others(engine, decoding)
    return (running - decoding) / engine.split.data * a_prompt_s


def kernels_s(engine: Engine, load: Load, running: int) -> float:
    """What of the mean step of one that decodes grows with its batch: kernels, and the engine's work on each request.

    The others' prompts are prefilled beside it, its own is not: alone it waits for none (the arrival theorem of closed
    queueing networks). A prompt comes whole, or in chunks: between so many in a step and one more the mean lies on a
    line.
    """
    decoding = decoding_at_once(engine, load, running)
    prompts = others(engine, decoding) * engine.accepted / load.output_tokens / engine.split.pipeline
    computed = fresh(engine, load.input_tokens)
    chunk = min(computed, engine.max_num_batched_tokens)
    chunks = prompts * computed / chunk
    fewer = floor(chunks)
    context = load.input_tokens + load.output_tokens / 2
    of_fewer, of_more = (step_s(engine, ceil(decoding), context, many * chunk) for many in (fewer, fewer + 1))
    mixed = of_fewer + (chunks - fewer) * (of_more - of_fewer)
    by_prompt = scores_s(engine, load.input_tokens) + encoder_s(engine)
    return mixed + prompts * by_prompt + running * request_s(engine)


def first_token_s(engine: Engine, input_tokens: int, bent: Fit, step: float) -> float:
    """A prompt is read by the API server, waits for the step in progress, then is prefilled.

    Where no step is in progress `step` is the overhead of the first of its own.
    """
    further = chunks_of(engine, input_tokens) - 1
    return asked_s() + step + bent.prefill * prefill_s(engine, input_tokens) + further * bent.overhead_s


def chunks_of(engine: Engine, input_tokens: int) -> int:
    """Steps that a prompt is prefilled in."""
    return ceil(fresh(engine, input_tokens) / engine.max_num_batched_tokens)


def asked_s() -> float:
    """What passes before a prompt is prefilled: HTTP, the tokenizer, the way to the engine and back."""
    return float(data()["first_token"]["overhead_ms"]) / 1e3
