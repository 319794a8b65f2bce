"""PURE: does a model fit on a machine, with which settings, and how sure is that?"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from infra.data import shipped_table
from infra.hardware import GIB
from serving.model.kv import Layout
from serving.model.memory import Budget
from serving.model.weights import Split
from serving.sizing import kept_calibrations
from serving.sizing.cpu_pool import CpuPool
from serving.sizing.gpu_pool import GpuPool
from serving.sizing.memory_pool import Case, Knobs, Pool, kv_layout
from serving.sizing.plan import Verdict
from serving.vllm.versions import Rules, rules

GOOD_LENGTH = 32768
"""A plan that reaches it asks for no further squeezing."""
TIGHT_SHARE = 0.5
"""Tight: the error band is more than this share of the KV cache."""


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
    """Of each rank."""
    kv_bytes: int | None
    """What --kv-cache-memory-bytes says, so that nothing is profiled; None where it does not."""
    sure: bool
    """It starts with every memory term at its worst."""
    verdict: Verdict


def best_outcome(case: Case) -> Outcome:
    """The first way that fits well, else the best that works, else the one that comes nearest to it."""
    tried: list[Outcome] = []
    for outcome in outcomes(case):
        if good(outcome, case):
            return outcome
        tried.append(outcome)
    working = [outcome for outcome in tried if outcome.verdict != "does not fit"]
    return max(working, key=quality) if working else nearest(tried)


def quality(outcome: Outcome) -> tuple[int, bool, int, float]:
    """Order of the ways that work: surest first, then the longest context that is sure, then the most KV cache."""
    surely = outcome.length if outcome.sure else 0
    return rank(outcome.verdict), outcome.sure, min(surely, GOOD_LENGTH), outcome.kv_gib


def nearest(tried: list[Outcome]) -> Outcome:
    """The one that lacks least; vLLM's defaults where the weights alone are too large in every way."""
    closest = min(tried, key=lacking_gib)
    return tried[0] if closest.budget.gib("weights") > closest.budget.usable_gib else closest


def lacking_gib(outcome: Outcome) -> float:
    """GiB per GPU that a way is short of: for a request of its length, or outside the budget."""
    taken, kv = outcome.budget, outcome.layout
    request = (kv.blocks_per_request(outcome.length) + 1) * kv.bytes_per_block / GIB
    outside = taken.headroom_gib if outcome.kv_bytes is None else taken.spare_gib(outcome.kv_gib)
    return max(0.0, request - outcome.kv_gib) + max(0.0, -outside)


def longest_request(case: Case) -> int:
    """The longest --max-model-len that is planned for on that machine, 0 for none.

    Over every way worth trying and with the rotary table of that length, so that a token more fits in none.
    """
    pool, longest = pool_of(case), 0
    for knobs in reversed(list(pool.ladder())):
        for split in pool.splits():
            longest = longest_of(pool, split, knobs, longest)
    return longest


def taken_for(case: Case, length: int, outcome: Outcome) -> tuple[str, ...]:
    """The flags beside --max-model-len by which a request of that length is planned for, where not those of a way."""
    if not length:
        return ()
    asked = case.options.model_copy(update={"max_model_len": length})
    there, here = flags(best_outcome(replace(case, options=asked))), flags(outcome)
    return tuple(word for flag in there if flag not in here for word in flag.split())


def flags(outcome: Outcome) -> tuple[str, ...]:
    """What `size` and vLLM take for a way."""
    split, knobs = outcome.split, outcome.knobs
    return (
        f"--tensor-parallel-size {split.tensor}",
        f"--pipeline-parallel-size {split.pipeline}",
        f"--data-parallel-size {split.data}",
        f"--gpu-memory-utilization {knobs.gpu_memory_utilization}",
        f"--max-num-seqs {knobs.max_num_seqs}",
        f"--max-num-batched-tokens {knobs.max_num_batched_tokens}",
        *(["--language-model-only"] if knobs.text_only else []),
    )


def longest_of(pool: Pool, split: Split, knobs: Knobs, known: int) -> int:
    """The longest request that one way holds, or `known` where that is longer."""
    limit, kv = pool.case.subject.architecture.max_position_embeddings, kv_layout(pool, split, knobs)

    def at(length: int) -> Outcome:
        return at_length(pool, split, knobs, kv, length)

    least = at(known + 1) if known < limit else None
    if least is None or least.verdict == "does not fit":
        return known
    # A longer request leaves fewer blocks: what those of the longest would hold is a guess that fails only where
    # something else than the KV cache is the limit, and then halving finds it.
    low, high, guessing = known + 1, kv.longest(least.num_blocks, limit), True
    while low < high:
        guess = kv.longest(at(high).num_blocks, high) if guessing else low
        middle = guess if guess > low else (low + high + 1) // 2
        found = at(middle)
        if found.verdict == "does not fit":
            high, guessing = middle - 1, False
        else:
            low, high = middle, min(high, kv.longest(found.num_blocks, high))
    return low


def outcomes(case: Case) -> Iterator[Outcome]:
    """Every way worth trying: vLLM's defaults first, then squeezed; the widest tensor parallelism first."""
    pool = pool_of(case)
    for knobs in pool.ladder():
        for split in pool.splits():
            yield outcome(pool, split, knobs)


def pool_of(case: Case) -> Pool:
    """The memory that decides on that machine."""
    version = case.options.vllm_version
    if case.machine.gpu:
        kept = kept_calibrations.of_model(case.machine.gpu.name, case.subject.name, case.subject.precision)
        return GpuPool(case, case.machine.gpu, rules(version), kept)
    return CpuPool(case, rules(version or engine_version()))


def engine_version() -> str:
    """The version of the CPU engine corral installs."""
    return str(shipped_table("serving.vllm", "engine.toml")["cpu"]["version"])


def good(outcome: Outcome, case: Case) -> bool:
    """Whether there is no reason to squeeze further."""
    enough = case.options.max_model_len is not None or outcome.length >= GOOD_LENGTH
    return outcome.verdict == "fits" and enough


def rank(verdict: Verdict) -> int:
    """The better the higher."""
    return {"fits": 2, "tight": 1, "does not fit": 0}[verdict]


def outcome(pool: Pool, split: Split, knobs: Knobs) -> Outcome:
    """One split and one setting of the knobs, with the longest context it surely holds, else the shortest."""
    kv = kv_layout(pool, split, knobs)
    *longer, shortest = pool.lengths()
    least = at_length(pool, split, knobs, kv, shortest)
    if least.verdict == "does not fit":
        return just_a_request(pool, split, knobs, kv) or least
    more = (at_length(pool, split, knobs, kv, length) for length in longer) if least.sure else ()
    return next((each for each in more if each.sure), least)


def just_a_request(pool: Pool, split: Split, knobs: Knobs, kv: Layout) -> Outcome | None:
    """With no more context than a request of the workload, where the proposals are too long and it is not."""
    options = pool.case.options
    if options.max_model_len is not None:
        return None
    made = at_length(pool, split, knobs, kv, options.request_tokens)
    return None if made.verdict == "does not fit" else made


def at_length(pool: Pool, split: Split, knobs: Knobs, kv: Layout, length: int) -> Outcome:
    """The budget and verdict with that --max-model-len."""
    taken, fixed = pool.budget(split, knobs, kv, length), pool.kv_bytes
    kv_gib = fixed / GIB if fixed is not None else taken.kv_gib
    worst_gib = fixed / GIB if fixed is not None else taken.kv_gib - taken.error_less_gib
    return Outcome(
        split=split,
        knobs=knobs,
        rules=pool.rules,
        budget=taken,
        layout=kv,
        length=length,
        max_position_embeddings=min(pool.case.subject.architecture.max_position_embeddings, length),
        num_blocks=kv.blocks(kv_gib * GIB),
        kv_gib=kv_gib,
        kv_bytes=fixed,
        sure=kv_gib > 0 and kv.fits(length, kv.blocks(worst_gib * GIB)),
        verdict=verdict(taken, kv, length, kv_gib, fixed is not None),
    )


def verdict(taken: Budget, kv: Layout, length: int, kv_gib: float, kv_fixed: bool) -> Verdict:
    """fits: also with every term at its worst, and with room to spare. tight: only at the central estimate."""
    spare = taken.spare_gib(kv_gib) if kv_fixed else taken.headroom_gib
    if kv_gib <= 0 or not kv.fits(length, kv.blocks(kv_gib * GIB)) or spare < 0:
        return "does not fit"
    if kv_fixed:
        return "fits" if spare >= taken.error_less_gib else "tight"
    worst = kv.blocks((kv_gib - taken.error_less_gib) * GIB)
    sure = kv.fits(length, worst) and taken.error_less_gib <= TIGHT_SHARE * kv_gib
    return "fits" if sure else "tight"


def most_squeezed(case: Case) -> Outcome:
    """The last way tried: everything taken away that may be."""
    pool = pool_of(case)
    return outcome(pool, pool.splits()[-1], list(pool.ladder())[-1])
