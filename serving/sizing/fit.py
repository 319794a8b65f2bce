"""PURE: does a subject fit on a machine, with which settings, and how sure is that?"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from infra.errors import UsageError
from infra.hardware import GIB, Gpu, Machine
from serving.model.kv import Layout, layout
from serving.model.memory import Budget, Sizes, budget, device_defaults
from serving.model.weights import Split
from serving.sizing.plan import Verdict
from serving.sizing.size_options import KvDtype, Options
from serving.sizing.subject import Subject, rank_weights
from serving.vllm.versions import Rules, rules

LENGTHS = tuple(1 << power for power in range(17, 8, -1))
"""The --max-model-len corral proposes, longest first: 131072 down to 512."""
GOOD_LENGTH = 32768
"""A plan that reaches it asks for no further squeezing."""
SQUEEZED_SEQS = 64
SQUEEZED_UTILIZATION = 0.95
TIGHT_SHARE = 0.5
"""Tight: the error band is more than this share of the KV cache."""
KV_BYTES: dict[KvDtype, int] = {
    "auto": 2,
    "bfloat16": 2,
    "float16": 2,
    "fp8": 1,
    "fp8_e4m3": 1,
    "fp8_e5m2": 1,
}


@dataclass(frozen=True, slots=True)
class Knobs:
    """The settings that trade memory, as decided."""

    max_num_seqs: int
    max_num_batched_tokens: int
    gpu_memory_utilization: float
    text_only: bool
    squeezed: tuple[str, ...] = ()
    """What was taken away from vLLM's defaults so that it fits."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One way to run the subject on the machine, and whether it works."""

    split: Split
    knobs: Knobs
    rules: Rules
    budget: Budget
    layout: Layout
    length: int
    max_position_embeddings: int
    num_blocks: int
    kv_gib: float
    kv_fixed: bool
    """--kv-cache-memory-bytes said how much, and nothing is profiled."""
    sure: bool
    """It starts with every memory term at its worst."""
    verdict: Verdict


def best_outcome(subject: Subject, machine: Machine, gpu: Gpu, options: Options) -> Outcome:
    """The first way that fits well, else the one that comes nearest to it."""
    found: list[Outcome] = []
    for outcome in outcomes(subject, machine, gpu, options):
        if good(outcome, options):
            return outcome
        found.append(outcome)
    working = [outcome for outcome in found if outcome.verdict != "does not fit"]
    return max(working, key=quality) if working else found[0]


def quality(outcome: Outcome) -> tuple[int, bool, int, float]:
    """Order of the ways that work: surest first, then the longest context that is sure, then the most KV cache."""
    surely = outcome.length if outcome.sure else 0
    return rank(outcome.verdict), outcome.sure, min(surely, GOOD_LENGTH), outcome.kv_gib


def outcomes(subject: Subject, machine: Machine, gpu: Gpu, options: Options) -> Iterator[Outcome]:
    """Every way worth trying: vLLM's defaults first, then squeezed; the widest tensor parallelism first."""
    version = rules(options.vllm_version)
    for knobs in knob_ladder(gpu, version, options, subject):
        for split in splits(subject, machine, options):
            yield outcome(subject, machine, gpu, version, split, knobs, options)


def good(outcome: Outcome, options: Options) -> bool:
    """Whether there is no reason to squeeze further."""
    enough = options.max_model_len is not None or outcome.length >= GOOD_LENGTH
    return outcome.verdict == "fits" and enough


def rank(verdict: Verdict) -> int:
    """The better the higher."""
    return {"fits": 2, "tight": 1, "does not fit": 0}[verdict]


def knob_ladder(gpu: Gpu, version: Rules, options: Options, subject: Subject) -> Iterator[Knobs]:
    """vLLM's defaults as the user changed them, then one squeeze more each time. What the user fixed stays."""
    tokens, seqs = device_defaults(gpu)
    batched = options.max_num_batched_tokens or max(tokens, options.max_num_seqs or 0)
    knobs = Knobs(
        max_num_seqs=options.max_num_seqs or min(seqs, batched),
        max_num_batched_tokens=batched,
        gpu_memory_utilization=options.gpu_memory_utilization or version.gpu_memory_utilization,
        text_only=options.language_model_only or subject.architecture.vision is None,
    )
    yield knobs
    fewer = max(SQUEEZED_SEQS, options.concurrency)
    if options.max_num_seqs is None and fewer < knobs.max_num_seqs:
        knobs = squeezed(knobs, f"--max-num-seqs {fewer}", max_num_seqs=fewer)
        yield knobs
    if options.gpu_memory_utilization is None and options.kv_cache_memory_bytes is None:
        more = f"--gpu-memory-utilization {SQUEEZED_UTILIZATION}"
        knobs = squeezed(knobs, more, gpu_memory_utilization=SQUEEZED_UTILIZATION)
        yield knobs
    if not knobs.text_only:
        yield squeezed(knobs, "--language-model-only", text_only=True)


def squeezed(knobs: Knobs, flag: str, **changes: object) -> Knobs:
    """The knobs with one more thing taken away."""
    return replace(knobs, squeezed=(*knobs.squeezed, flag), **changes)  # type: ignore[arg-type]


def splits(subject: Subject, machine: Machine, options: Options) -> tuple[Split, ...]:
    """The legal splits to try, most wanted first. Raises UsageError when what the user fixed is not legal."""
    pipeline = options.pipeline_parallel_size or machine.hosts
    data = options.data_parallel_size or 1
    if options.tensor_parallel_size is not None:
        split = Split(options.tensor_parallel_size, pipeline, data, options.enable_expert_parallel)
        check_split(split, subject, machine)
        return (split,)
    for tensor in (8, 4, 2, 1):
        split = Split(tensor, pipeline, data, options.enable_expert_parallel)
        if split.gpus <= machine.gpu_count and illegal(split, subject) is None:
            return (split,)
    split = Split(1, pipeline, data, options.enable_expert_parallel)
    check_split(split, subject, machine)
    return (split,)


def check_split(split: Split, subject: Subject, machine: Machine) -> None:
    """Raise UsageError when the model cannot be split so, or the machine has too few GPUs."""
    why = illegal(split, subject)
    if why:
        legal = [str(tensor) for tensor in (1, 2, 4, 8) if illegal(Split(tensor), subject) is None]
        raise UsageError(why, f"Legal tensor parallel sizes for {subject.title}: {', '.join(legal)}.")
    if split.gpus > max(1, machine.gpu_count):
        raise UsageError(
            f"tensor {split.tensor} x pipeline {split.pipeline} x data {split.data} needs {split.gpus} GPUs; "
            f"{machine.name} has {machine.gpu_count}.",
            "Make one of them smaller, or name a larger machine.",
        )


def illegal(split: Split, subject: Subject) -> str | None:
    """Why vLLM refuses a split (its models and config/model.py, 0.33.0), with the numbers; None when it is legal."""
    a, tensor = subject.architecture, split.tensor
    if a.attention_heads % tensor:
        return f"tensor parallel size {tensor} does not divide {a.attention_heads} attention heads."
    if a.kv_heads % tensor and tensor % a.kv_heads:
        return f"tensor parallel size {tensor} and {a.kv_heads} KV heads do not divide each other."
    if a.vision and a.vision.heads % tensor:
        return f"tensor parallel size {tensor} does not divide the vision tower's {a.vision.heads} heads."
    if split.expert and not a.experts:
        return f"expert parallelism is of experts, and {subject.title} has none."
    if split.pipeline > a.layers:
        return f"pipeline parallel size {split.pipeline} is more than {a.layers} layers."
    return None


def outcome(
    subject: Subject, machine: Machine, gpu: Gpu, version: Rules, split: Split, knobs: Knobs, options: Options
) -> Outcome:
    """One split and one setting of the knobs, with the longest context it holds."""
    plan = layout(
        subject.architecture,
        version,
        split,
        hybrid=version.hybrid and not options.disable_hybrid_kv_cache_manager,
        bytes_per_value=KV_BYTES[options.kv_cache_dtype],
        max_num_batched_tokens=knobs.max_num_batched_tokens,
    )
    tried: list[Outcome] = []
    for length in lengths(subject, options):
        tried.append(at_length(subject, gpu, version, split, knobs, options, plan, length))
        if tried[-1].sure:
            return tried[-1]
    return next((one for one in reversed(tried) if one.verdict != "does not fit"), tried[-1])


def lengths(subject: Subject, options: Options) -> tuple[int, ...]:
    """The --max-model-len to try: the user's, else the proposals that hold a request of the workload."""
    if options.max_model_len is not None:
        return (options.max_model_len,)
    limit = subject.architecture.max_position_embeddings
    holds = tuple(length for length in LENGTHS if options.request_tokens <= length <= limit)
    return holds or (min(limit, -(-options.request_tokens // 1024) * 1024),)


def at_length(
    subject: Subject,
    gpu: Gpu,
    version: Rules,
    split: Split,
    knobs: Knobs,
    options: Options,
    plan: Layout,
    length: int,
) -> Outcome:
    """The budget and verdict with that --max-model-len."""
    positions = min(subject.architecture.max_position_embeddings, length)
    taken = budget(
        gpu, subject.architecture, version, sizes(subject, split, knobs, options, plan, length, positions)
    )
    fixed = options.kv_cache_memory_bytes
    kv_gib = fixed / GIB if fixed is not None else taken.kv_gib
    worst_gib = fixed / GIB if fixed is not None else taken.kv_gib - taken.error_less_gib
    blocks = plan.blocks(kv_gib * GIB)
    return Outcome(
        split=split,
        knobs=knobs,
        rules=version,
        budget=taken,
        layout=plan,
        length=length,
        max_position_embeddings=positions,
        num_blocks=blocks,
        kv_gib=kv_gib,
        kv_fixed=fixed is not None,
        sure=kv_gib > 0 and plan.fits(length, plan.blocks(worst_gib * GIB)),
        verdict=verdict(taken, plan, length, kv_gib, fixed is not None),
    )


def sizes(
    subject: Subject, split: Split, knobs: Knobs, options: Options, plan: Layout, length: int, positions: int
) -> Sizes:
    """What the memory terms depend on."""
    held = rank_weights(subject, split, knobs.text_only)
    return Sizes(
        weights_bytes=max(held),
        weights_extra_bytes=subject.extra_bytes_at_most / split.tensor / split.pipeline,
        max_model_len=length,
        max_num_seqs=knobs.max_num_seqs,
        max_num_batched_tokens=knobs.max_num_batched_tokens,
        gpu_memory_utilization=knobs.gpu_memory_utilization,
        max_position_embeddings=positions,
        enforce_eager=options.enforce_eager,
        images=not knobs.text_only,
        gpus=split.tensor * split.pipeline,
        kv_groups=plan.full_groups + plan.local_groups,
    )


def verdict(taken: Budget, plan: Layout, length: int, kv_gib: float, kv_fixed: bool) -> Verdict:
    """fits: also with every term at its worst, and with room to spare. tight: only at the central estimate."""
    spare = taken.total_gib - (taken.usable_gib - taken.kv_gib) - kv_gib if kv_fixed else taken.headroom_gib
    if kv_gib <= 0 or not plan.fits(length, plan.blocks(kv_gib * GIB)) or spare < 0:
        return "does not fit"
    if kv_fixed:
        return "fits" if spare >= taken.error_less_gib else "tight"
    worst = plan.blocks((kv_gib - taken.error_less_gib) * GIB)
    sure = plan.fits(length, worst) and taken.error_less_gib <= TIGHT_SHARE * kv_gib
    return "fits" if sure else "tight"


def most_squeezed(subject: Subject, machine: Machine, gpu: Gpu, options: Options) -> Outcome:
    """The last way tried: everything taken away that may be."""
    return list(outcomes(subject, machine, gpu, options))[-1]
