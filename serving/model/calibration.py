"""PURE: bending the models of speed and memory to what was measured on one machine, by probes and a server's log."""

from dataclasses import replace
from datetime import datetime
from math import exp, log
from statistics import median

from pydantic import Field

from infra.quantity import counted
from infra.record import Record
from serving.model.memory import Budget, Term
from serving.model.roofline import Engine, overhead_s, prefill_s
from serving.model.throughput import Doubt, Fit, Load, asked_s, chunks_of, kernels_s

STEPS = 30
PRIOR_SD = 1.0
"""Of the logarithm of kernels and overhead before anything is measured: hardly anything is known."""
POINT_SD = 0.08
"""Of the logarithm of a measured TPOT around the model's: two loads of one server differ from its shape by as much.

Six points that a fit through two others was not given were missed by 21, 21, 14, 12, 5 and 3 % (2026-11-28).
"""


MOST_GIB, MOST_COUNT, LONGEST_S = 10_000, 10**9, 86_400.0
"""Of a GPU; of tokens and requests; of a latency."""
PROFILED = ("activation", "non_torch", "cuda_graphs")
"""The terms that vLLM finds out by a run, and subtracts in one."""
AGAIN_GIB = 0.1
"""How much two starts of one server differ, mostly in what else the GPU holds."""


class Point(Record):
    """What one probe measured at one concurrency, means over its requests."""

    concurrency: int = Field(ge=1, le=MOST_COUNT)
    """Requests at once."""
    input_tokens: int = Field(ge=0, le=MOST_COUNT)
    """Of a request, on average."""
    output_tokens: int = Field(ge=1, le=MOST_COUNT)
    """Of a request, on average."""
    tpot_s: float = Field(ge=1e-9, le=LONGEST_S)
    """Between two tokens of an answer."""
    ttft_s: float = Field(ge=1e-9, le=LONGEST_S)
    """To the first token."""
    measured_at: str
    """When that probe began."""
    queue_s: float | None = Field(default=None, ge=0, le=LONGEST_S)
    """Before a request ran, of that, as the server's counters had it; null where they were not read."""

    @property
    def waited_s(self) -> float:
        """For room: what was waited in the queue beyond the step that was in progress."""
        return min(self.ttft_s, max(0.0, (self.queue_s or 0.0) - self.tpot_s))

    @property
    def running(self) -> int:
        """Of the requests at once those that ran: by Little's law the others' share is that of the time waited."""
        whole_s = self.ttft_s + (self.output_tokens - 1) * self.tpot_s
        return max(1, round(self.concurrency * (1 - self.waited_s / whole_s)))


class ServerMemory(Record):
    """What one start of a server said of its memory, GiB of one GPU, and the settings that it depends on."""

    vllm_version: str
    """Of that server."""
    loading_gib: float = Field(gt=0, le=MOST_GIB)
    """Weights and rotary table."""
    kv_cache_gib: float = Field(ge=-MOST_GIB, le=MOST_GIB)
    """Of the rank that got least; negative where the model left none."""
    graphs_gib: float | None = Field(ge=0, le=MOST_GIB)
    """Of CUDA graphs; null where its log does not say."""
    max_model_len: int = Field(ge=1, le=MOST_COUNT)
    """As it was started with."""
    max_num_seqs: int = Field(ge=1, le=MOST_COUNT)
    """As it was started with."""
    max_num_batched_tokens: int = Field(ge=1, le=MOST_COUNT)
    """As it was started with."""
    gpu_memory_utilization: float = Field(gt=0, le=1)
    """As it was started with."""
    enforce_eager: bool
    """As it was started with."""
    text_only: bool
    """Whether it takes no images."""
    max_position_embeddings: int = Field(ge=1, le=MOST_COUNT)
    """Of the model as it was started."""
    read_at: datetime
    """When its log was read."""

    @property
    def source(self) -> str:
        """Where it is from, as a part of a sentence."""
        return f"the log of a server with vLLM {self.vllm_version}, read on {self.read_at.date()}"


class Calibration(Record):
    """Every measured point of one model on one kind of machine, and when the last was added."""

    gpu: str
    """As the catalogue names it."""
    model: str
    """As plans call it."""
    precision: str
    """Of its weights."""
    tensor: int
    """GPUs that share each layer."""
    pipeline: int
    """Stages of layers."""
    data: int
    """Engines beside each other."""
    vllm_version: str
    """Of the server that was measured."""
    points: tuple[Point, ...]
    """Of every probe that was taken, by concurrency."""
    updated_at: datetime
    """When the last was added (UTC)."""
    memory: ServerMemory | None = None
    """None where no server's log was given."""


def fitted(calibration: Calibration, engine: Engine) -> Fit:
    """The fit to the points, which moves the kernels' time and the overhead as far as they say; and its doubt."""
    measured = [
        (kernels_s(engine, load_of(point), point.running), point.tpot_s) for point in calibration.points
    ]
    factor, overhead, doubt = posterior(measured, overhead_s(engine))
    day, count = calibration.updated_at.date(), len(calibration.points)
    return Fit(
        kernels=factor,
        overhead_s=overhead,
        prefill=median(prefill_factor(engine, point, overhead) for point in calibration.points),
        basis=f"calibrated on {day} with {counted(count, 'probe')} of {calibration.gpu}",
        doubt=doubt,
    )


def posterior(measured: list[tuple[float, float]], overhead_s: float) -> tuple[float, float, Doubt]:
    """The kernels' factor and the overhead after points of (kernels_s, tpot_s), and the doubt that is left of them.

    Both logarithms are normal around the shipped figures with PRIOR_SD, the points' around the model with POINT_SD;
    found by Gauss and Newton's method. Points of one load say what both give together, and little of each; points that
    contradict one another widen the doubt.
    """
    of_kernels = of_overhead = 0.0
    for _ in range(STEPS):
        a, b, c = PRIOR_SD**-2, 0.0, PRIOR_SD**-2
        x, y, missed = -of_kernels * a, -of_overhead * c, 0.0
        for kernels, tpot in measured:
            slow, rest = exp(of_kernels) * kernels, exp(of_overhead) * overhead_s
            share, miss = slow / (slow + rest), log(tpot / (slow + rest)) / POINT_SD
            weights = share / POINT_SD, (1 - share) / POINT_SD
            a, b, c = a + weights[0] ** 2, b + weights[0] * weights[1], c + weights[1] ** 2
            x, y, missed = x + weights[0] * miss, y + weights[1] * miss, missed + miss**2
        det = a * c - b * b
        of_kernels += max(-1.0, min(1.0, (c * x - b * y) / det))
        of_overhead += max(-1.0, min(1.0, (a * y - b * x) / det))
    wider = max(1.0, missed / len(measured))
    doubt = Doubt(wider * c / det, -wider * b / det, wider * a / det, wider * POINT_SD**2)
    return exp(of_kernels), exp(of_overhead) * overhead_s, doubt


def prefill_factor(engine: Engine, point: Point, overhead_s: float) -> float:
    """Measured over predicted prefill; the API server's time, waits and overheads of steps are taken off first."""
    further = chunks_of(engine, point.input_tokens) - 1
    step = point.tpot_s if point.concurrency > 1 else overhead_s
    waited = point.waited_s + asked_s() + step + further * overhead_s
    return max(0.1, (point.ttft_s - waited) / prefill_s(engine, point.input_tokens))


def load_of(point: Point) -> Load:
    """A point's load."""
    return Load(point.input_tokens, point.output_tokens, point.concurrency)


def corrected(planned: Budget, at: Budget, measured: ServerMemory, is_same_version: bool) -> Budget:
    """A budget as the server's own figures have it; `at` is what is planned for the settings that it ran with.

    Its weights, and what is neither they nor KV cache, are scaled to what was measured. What the settings add to theirs
    keeps the doubt it has; of another version everything but the weights does.
    """
    loaded, rest = loaded_factor(at, measured), rest_factor(at, measured)
    source = measured.source

    def inside(term: Term) -> Term:
        if term.name not in ("weights", *PROFILED):
            return term
        is_known, factor = (True, loaded) if term.name == "weights" else (is_same_version, rest)
        new = 1.0 - min(term.gib, at.gib(term.name)) / term.gib if is_known and term.gib else 1.0
        again = AGAIN_GIB if term.name == "activation" else 0.0
        return Term(
            term.name, term.gib * factor, term.less_gib * new + again, term.more_gib * new + again, source
        )

    def outside(term: Term) -> Term:
        is_measured = term.name == "cuda_graphs" and measured.graphs_gib and term.gib
        return Term(term.name, measured.graphs_gib or 0.0, 0.0, AGAIN_GIB, source) if is_measured else term

    share = abs(planned.usable_gib - at.usable_gib) / planned.usable_gib
    return replace(
        planned,
        total_error_gib=planned.total_error_gib * (share if is_same_version else 1.0),
        inside=tuple(map(inside, planned.inside)),
        outside=tuple(map(outside, planned.outside)),
    )


def loaded_factor(at: Budget, measured: ServerMemory) -> float:
    """Measured weights over planned ones; the rotary table, which is as large as it is, is taken off first."""
    return (measured.loading_gib - at.gib("rope_table")) / at.gib("weights")


def rest_factor(at: Budget, measured: ServerMemory) -> float:
    """The same of all that is neither loaded nor KV cache."""
    return rest_gib(at, measured) / sum(term.gib for term in at.inside if term.name in PROFILED)


def rest_gib(at: Budget, measured: ServerMemory) -> float:
    """What was neither loaded nor left for the KV cache: activations, CUDA, and graphs where they are profiled."""
    return at.usable_gib - measured.loading_gib - measured.kv_cache_gib
