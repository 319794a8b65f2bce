"""PURE: why a plan fits or does not, in a sentence with the numbers that decide."""

from infra.hardware import Gpu
from serving.sizing.fit import Outcome
from serving.sizing.plan import Memory


def reason(gpu: Gpu, outcome: Outcome) -> str:
    """One sentence: the numbers that decide."""
    taken, length = outcome.budget, outcome.length
    kv = f"{outcome.kv_gib:.1f} GiB per GPU for the KV cache"
    if outcome.kv_bytes is not None and outcome.verdict != "does not fit":
        return fixed_reason(outcome)
    if outcome.verdict == "fits":
        return (
            f"{taken.gib('weights'):.1f} GiB of weights per GPU leave {kv} (at worst "
            f"{outcome.kv_gib - taken.error_less_gib:.1f}): {length:,} tokens of context."
        )
    if outcome.verdict == "tight":
        return (
            f"{taken.gib('weights'):.1f} GiB of weights per GPU leave {kv}, known only to "
            f"-{taken.error_less_gib:.1f}/+{taken.error_more_gib:.1f} GiB: confirm it by starting it."
        )
    return why_not(gpu, outcome)


def fixed_reason(outcome: Outcome) -> str:
    """The same where --kv-cache-memory-bytes gave the KV cache: what is uncertain is whether it finds room."""
    taken = outcome.budget
    room = taken.spare_gib(0.0)
    said = (
        f"{taken.gib('weights'):.1f} GiB of weights per GPU leave {room:.1f} GiB (at worst "
        f"{room - taken.error_less_gib:.1f}); --kv-cache-memory-bytes takes {outcome.kv_gib:.1f} of them"
    )
    if outcome.verdict == "fits":
        return f"{said}: {outcome.length:,} tokens of context."
    return f"{said}: confirm it by starting it."


def why_not(gpu: Gpu, outcome: Outcome) -> str:
    """The first thing that makes it impossible."""
    taken = outcome.budget
    budget = (
        f"of the {taken.total_gib:.1f} GiB that torch sees on {gpu.name} vLLM may use {taken.usable_gib:.1f} "
        f"(--gpu-memory-utilization {outcome.knobs.gpu_memory_utilization})"
    )
    if taken.gib("weights") > taken.usable_gib:
        return f"The weights alone are {taken.gib('weights'):.1f} GiB per GPU; {budget}."
    others = taken.usable_gib - taken.kv_gib - taken.gib("weights")
    if outcome.kv_bytes is not None and outcome.kv_gib > taken.total_gib - others - taken.gib("weights"):
        return (
            f"--kv-cache-memory-bytes asks for {outcome.kv_gib:.1f} GiB per GPU; weights of "
            f"{taken.gib('weights'):.1f} GiB and {others:.1f} GiB that vLLM itself needs leave "
            f"{taken.total_gib - others - taken.gib('weights'):.1f} of {taken.total_gib:.1f}."
        )
    if outcome.kv_gib <= 0:
        return (
            f"Weights of {taken.gib('weights'):.1f} GiB per GPU and {others:.1f} GiB that vLLM itself needs leave "
            f"no room for a KV cache; {budget}."
        )
    if taken.headroom_gib < 0:
        drafts = ", and logits of drafts," if taken.gib("draft_logits") else ""
        return (
            f"The block tables and graphs outside vLLM's budget{drafts} need {-taken.headroom_gib:.1f} GiB more than "
            f"--gpu-memory-utilization leaves: lower --max-num-seqs or --max-model-len."
        )
    return f"{needs(outcome)}, and {outcome.num_blocks:,} are left ({outcome.kv_gib:.1f} GiB per GPU)."


def needs(outcome: Outcome) -> str:
    """The beginning of a sentence: the blocks that its longest request takes, and the one that vLLM keeps."""
    blocks = outcome.layout.blocks_per_request(outcome.length) + 1
    return f"A request of {outcome.length:,} tokens needs {blocks:,} KV blocks, vLLM's null block among them"


def reason_of_ram(taken: Memory, outcome: Outcome) -> str:
    """The same on a machine without a GPU: whether the KV cache holds a request, and all of it finds room."""
    if outcome.budget.spare_gib(outcome.kv_gib) < 0:
        return (
            f"Weights of {amount(taken.weights_gib)}, {taken.activation_gib:.1f} GiB for vLLM's processes and a "
            f"KV cache of {amount(taken.kv_cache_gib)} do not fit into {taken.total_gib:.1f} GiB of RAM."
        )
    if outcome.verdict == "does not fit":
        return f"{needs(outcome)}, and --kv-cache-memory-bytes gives {outcome.num_blocks:,}."
    return (
        f"{amount(taken.weights_gib)} of weights and {amount(taken.kv_cache_gib)} of KV cache fit into RAM."
    )


def amount(gib: float) -> str:
    """GiB, or MiB where that reads better."""
    return f"{gib:.1f} GiB" if gib >= 1 else f"{gib * 1024:.0f} MiB"
