"""PURE: every number of a plan as a readable derivation."""

from decimal import Decimal
from math import ceil

from serving.model import evaluations
from serving.model.memory import Term
from serving.sizing.plan import Plan
from serving.sizing.plan_text import NAMES, budgeted, taken_for, tokens
from serving.vllm import recipes


def explained(plan: Plan) -> str:
    """Memory, KV cache and speed, line by line."""
    # Without a GPU there is no budget to derive: the table of the RAM is all.
    blocks = [
        memory(plan) if plan.machine.gpu_count else "",
        kv(plan),
        speed(plan),
        one_request(plan),
        cost(plan),
        options_that_go_with_it(plan),
        "\n".join(evaluations.lines(plan.serve.model)),
    ]
    return "\n\n".join(block for block in blocks if block)


def options_that_go_with_it(plan: Plan) -> str:
    """The recipes of vLLM for its model and GPU."""
    asked = (plan.model, plan.precision, plan.machine.gpu or "", plan.vllm_version, plan.serve.max_num_seqs)
    return "\n".join(recipes.lines(*asked)) if plan.fits else ""


def memory(plan: Plan) -> str:
    """The budget of one GPU, each term with its source."""
    m = plan.memory
    lines = [
        "Memory of one GPU, GiB",
        f"  usable = {m.total_gib:.2f} (torch's total_memory of {plan.machine.gpu}) x "
        f"{plan.serve.gpu_memory_utilization} = {m.usable_gib:.3f}",
        f"  checkpoint = {plan.weights_bytes:,} bytes over {gpus(plan)} GPUs, what is replicated counted on each",
    ]
    inside, after = budgeted(plan)
    lines += [f"  - {term.gib:.3f} {name(term)}: {term.source}" for term in inside]
    fixed = plan.serve.kv_cache_memory_bytes is not None
    left = (not fixed and m.kv_cache_gib) or m.usable_gib - sum(term.gib for term in inside)
    lines.append(
        f"  = {left:.3f} for the KV cache, {m.kv_cache_less_gib:.2f} less if every term is at its worst"
    )
    if fixed:
        lines.append(f"  --kv-cache-memory-bytes gives it {m.kv_cache_gib:.3f} instead")
    lines += [f"  outside the budget: {term.gib:.3f} {name(term)}: {term.source}" for term in after]
    return "\n".join(lines)


def name(term: Term) -> str:
    """What a term is called."""
    return NAMES.get(term.name, term.name.replace("_", " "))


def gpus(plan: Plan) -> int:
    """GPUs that share the weights."""
    return plan.parallel.tensor * plan.parallel.pipeline


def kv(plan: Plan) -> str:
    """From GiB to blocks, tokens and requests."""
    k, length = plan.kv, plan.serve.max_model_len or 0
    return "\n".join(
        [
            "KV cache (vLLM v1/core/kv_cache_utils.py)",
            f"  num_blocks = floor({plan.memory.kv_cache_gib:.3f} GiB / {k.bytes_per_block:,} B) = {k.num_blocks:,}",
            f"  a request of {length:,} tokens reserves {k.blocks_per_request:,} blocks of {k.block_size} tokens: "
            f"{reserved(plan)}",
            f"  maximum concurrency = {k.num_blocks:,} / {k.blocks_per_request:,} = {k.max_concurrency:.2f}x",
            f"  KV cache size = {k.max_concurrency:.4f} x {length:,} = {k.tokens:,} tokens",
            ", ".join(filter(None, [f"  longest request = {k.max_context_tokens:,} tokens", taken_for(k)])),
            *kv_of_draft(plan),
        ]
    )


def kv_of_draft(plan: Plan) -> list[str]:
    """What a draft adds to the KV cache."""
    if plan.drafts is None or not plan.drafts.kv_layers:
        return []
    count = plan.drafts.kv_layers
    return [
        f"  of a block's bytes {'one layer is' if count == 1 else f'{count} layers are'} the draft's, in full context"
    ]


def reserved(plan: Plan) -> str:
    """What of a request each layer reserves; where its blocks are just those of its tokens, all layers are alike."""
    if plan.kv.blocks_per_request == ceil((plan.serve.max_model_len or 0) / plan.kv.block_size):
        return "all of it in every layer"
    return "all of it in the global layers, no more than a chunk and the tokens in flight in each group of local ones"


def speed(plan: Plan) -> str:
    """From seconds a step to tokens a second."""
    s = plan.throughput
    load = plan.workload
    if s is None:
        return ""
    return "\n".join(
        [
            f"Speed at {s.concurrency} requests of {load.input_tokens:,} in, {load.output_tokens:,} out",
            f"  running = min({s.concurrency}, what the KV cache and --max-num-seqs allow) = {s.running}",
            f"  TPOT = {s.tpot_s * 1000:.2f} ms: a decode step{riding(s.concurrency)}",
            *drafts(plan),
            f"  TTFT = {s.ttft_s:.3f} s: {before_it(s.concurrency)}",
            f"  output = {s.concurrency} x {load.output_tokens:,} / (TTFT + {load.output_tokens - 1:,} x TPOT) = "
            f"{s.output_tokens_per_s:,.1f} tokens/s, within a factor {s.band:g} either way",
            *worst_line(plan),
            f"  basis: {s.basis}",
            "  against concurrency:",
            *(
                f"    {point.concurrency:>6}: {point.output_tokens_per_s:>10,.1f} tokens/s, "
                f"TTFT {point.ttft_s:8.3f} s, TPOT {point.tpot_s * 1000:7.2f} ms"
                for point in plan.curve
            ),
        ]
    )


def worst_line(plan: Plan) -> list[str]:
    """What runs at once with every memory term at its worst, where that is less."""
    worst, m = plan.at_worst, plan.memory
    if worst is None:
        return []
    left = f"{m.kv_cache_gib:.3f} - {m.kv_cache_less_gib:.3f} GiB"
    blocks = f"  at worst: {left} for the KV cache = {worst.num_blocks:,} blocks"
    if worst.ttft_s is None or worst.output_tokens_per_s is None:
        return [f"{blocks}, too few to start with"]
    return [
        f"{blocks}, running = {worst.running}, TTFT = {worst.ttft_s:.3f} s, "
        f"output = {worst.output_tokens_per_s:,.1f} tokens/s"
    ]


def riding(concurrency: int) -> str:
    """What rides along in the steps of one that decodes."""
    return " and its share of the others' prompts, which ride along" if concurrency > 1 else ", alone in it"


def before_it(concurrency: int) -> str:
    """What passes before a first token."""
    if concurrency == 1:
        return "one prefill, chunk by chunk"
    return "the step in progress, one prefill, and the wait where not all have room"


def drafts(plan: Plan) -> list[str]:
    """From a step to the tokens that it yields, where several are proposed."""
    asked, s = plan.drafts, plan.throughput
    if asked is None or s is None:
        return []
    return [
        f"  TPOT = {s.tpot_s * asked.acceptance_length * 1000:.2f} ms a step / {tokens(asked)}: "
        f"{asked.tokens} proposed ({asked.method}) and one sampled are verified together",
        f"  {asked.acceptance[0].lower()}{asked.acceptance[1:]}",
    ]


def one_request(plan: Plan) -> str:
    """What one request takes and costs, by itself and among the others."""
    one, s, load = plan.one_request, plan.throughput, plan.workload
    if one is None or s is None:
        return ""
    after, images = load.output_tokens - 1, plan.images
    lines = [
        f"One request of {load.input_tokens:,} in, {load.output_tokens:,} out, "
        f"within a factor {s.band:g} either way",
        f"  alone: {one.ttft_s:.3f} s to the first token + {after:,} x {one.tpot_s * 1000:.2f} ms = "
        f"{one.alone_s:,.2f} s{machine_for(plan, one.alone_usd)}",
    ]
    if images:
        lines.append(
            f"  images: {images.per_request} x {images.tokens_each:,} tokens ({images.tiles_each} tiles each) are "
            f"among those {load.input_tokens:,}; of the first token the vision tower takes "
            f"{images.encoder_s * 1000:.1f} ms"
        )
    if plan.further and plan.further.prefix_cache_hit_rate:
        lines.append(
            f"  prefix cache: {plan.further.prefix_cache_hit_rate:.0%} of the prompt is not computed again; its "
            "blocks are counted for every request, as though none were shared"
        )
    if s.concurrency > 1:
        requests_per_s = s.output_tokens_per_s / load.output_tokens
        lines.append(
            f"  among {s.concurrency}: {s.ttft_s:.3f} s + {after:,} x {s.tpot_s * 1000:.2f} ms = "
            f"{one.at_load_s:,.2f} s; {requests_per_s:,.3g} requests/s share the machine{each(plan, one.at_load_usd)}"
        )
    return "\n".join(lines)


def machine_for(plan: Plan, usd: Decimal | None) -> str:
    """The price of the whole machine for as long as one request takes."""
    if plan.price is None or usd is None:
        return ""
    return f"; the machine for so long, ${plan.price.usd_per_hour.normalize():f}/h: ${rounded(usd)}"


def each(plan: Plan, usd: Decimal | None) -> str:
    """The price of one request of many."""
    return "" if plan.price is None or usd is None else f": ${rounded(usd)} each"


def rounded(usd: Decimal) -> str:
    """To the cent, and below ten cents to two digits that count."""
    return f"{usd:,.{max(2, 1 - usd.adjusted())}f}"


def cost(plan: Plan) -> str:
    """From dollars an hour to dollars a million tokens."""
    if plan.price is None or plan.throughput is None or plan.usd_per_mtok is None:
        return ""
    rate = plan.throughput.output_tokens_per_s
    return (
        "Cost\n"
        f"  ${plan.price.usd_per_hour.normalize():f}/h / ({rate:,.1f} tokens/s x 3600 s / 1,000,000) "
        f"= ${plan.usd_per_mtok:.2f} per million output tokens, the machine never idle"
    )
