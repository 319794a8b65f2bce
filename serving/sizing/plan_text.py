"""PURE: a plan as text for a person: the verdict first, then the numbers behind it, then what to do."""

from pathlib import Path

from infra.argument import pasted
from infra.asked import again
from infra.catalog import gpus
from infra.columns import table, wrapped
from infra.quantity import counted
from serving.model.memory import Term, outside
from serving.model.models import models
from serving.sizing.plan import Drafts, Kv, Plan, Throughput
from serving.sizing.size_options import Options, RecipeOptions
from serving.vllm.versions import rules

MARKS = {"fits": "FITS", "tight": "FITS, TIGHTLY", "does not fit": "DOES NOT FIT"}


def plan_text(
    plan: Plan,
    written_to: Path | None = None,
    options: Options | None = None,
    recipes: RecipeOptions | None = None,
) -> str:
    """One plan, as `corral size --on` prints it; `options` and `recipes` are those it was asked for with."""
    blocks = [headline(plan), memory_table(plan)]
    if plan.fits:
        blocks += [kv_lines(plan), speed_lines(plan), price_lines(plan)]
    blocks += [adapter_lines(plan), note_lines(plan), next_step(plan, written_to, options, recipes)]
    return "\n\n".join(block for block in blocks if block)


def headline(plan: Plan) -> str:
    """The verdict and the sentence behind it."""
    gpus = f" ({plan.machine.gpu_count}x {plan.machine.gpu})" if plan.machine.gpu_count else " (no GPU)"
    where = plan.machine.name if plan.machine.name.endswith(plan.machine.gpu) else plan.machine.name + gpus
    first = f"{MARKS[plan.verdict]}: {plan.model} {plan.precision} on {where}, vLLM {plan.vllm_version}"
    return "\n".join(
        [
            first,
            wrapped(plan.reason),
            *([wrapped(split(plan))] if plan.fits and plan.machine.hosts > 1 else []),
        ]
    )


def split(plan: Plan) -> str:
    """How one engine is divided over its hosts."""
    ways = plan.parallel
    parts = [f"{ways.tensor} GPUs share each layer"] if ways.tensor > 1 else []
    parts += [f"{ways.pipeline} stages of layers follow one another"] if ways.pipeline > 1 else []
    parts += [f"{ways.data} engines stand beside each other"] if ways.data > 1 else []
    parts += ["each GPU holds whole experts"] if ways.expert else []
    return f"One engine over {plan.machine.hosts} hosts: {', '.join(parts)}."


def memory_table(plan: Plan) -> str:
    """GiB per GPU, term by term, as a subtraction that ends at the KV cache."""
    memory = plan.memory
    if not plan.terms:
        return ram_table(plan)
    rows: list[tuple[str, str, str]] = [
        ("total as torch sees it", f"{memory.total_gib:8.2f}", ""),
        (
            f"usable at {utilization(plan)}",
            f"{memory.usable_gib:8.2f}",
            error(*2 * (memory.total_error_gib,)),
        ),
    ]
    inside, after = budgeted(plan)
    rows += [(NAMES[term.name], f"{-term.gib:8.2f}", error(term.less_gib, term.more_gib)) for term in inside]
    left = memory.usable_gib - sum(term.gib for term in inside)
    fixed = plan.serve.kv_cache_memory_bytes is not None
    either_way = error(memory.kv_cache_more_gib, memory.kv_cache_less_gib, "+", "-")
    rows.append(("left of that" if fixed else "KV cache", f"{left:8.2f}", either_way))
    if fixed:
        rows.append(("KV cache, as asked for", f"{memory.kv_cache_gib:8.2f}", ""))
    rows += [
        (f"outside it: {NAMES[term.name]}", f"{term.gib:8.2f}", error(term.less_gib, term.more_gib))
        for term in after
        if term.name in NAMES
    ]
    return "Memory, GiB per GPU\n" + table(rows)


def budgeted(plan: Plan) -> tuple[list[Term], list[Term]]:
    """The terms that are taken out of the budget, and those that its vLLM takes after it."""
    after = outside(rules(plan.vllm_version))
    return [term for term in plan.terms if term.name not in after], [
        term for term in plan.terms if term.name in after
    ]


def ram_table(plan: Plan) -> str:
    """GiB of RAM on a machine without a GPU."""
    memory = plan.memory
    rows = [
        ("RAM", memory.total_gib),
        ("weights", -memory.weights_gib),
        ("rotary table", -memory.rope_table_gib),
        ("vLLM's processes", -memory.activation_gib),
        *([(NAMES["lora"], -memory.lora_gib)] if memory.lora_gib else []),
        ("KV cache", -memory.kv_cache_gib),
    ]
    return "Memory, GiB\n" + table((name, f"{gib:8.2f}") for name, gib in rows)


NAMES = {
    "weights": "weights",
    "rope_table": "rotary table",
    "activation": "activations at peak",
    "non_torch": "CUDA context, NCCL",
    "cuda_graphs": "CUDA graphs",
    "lora": "slots of LoRA adapters",
    "draft": "draft model",
    "draft_logits": "logits of drafts",
}


def utilization(plan: Plan) -> str:
    """The setting behind the budget."""
    return f"--gpu-memory-utilization {plan.serve.gpu_memory_utilization}"


def error(less: float, more: float, first: str = "-", second: str = "+") -> str:
    """An error band, silent when there is none."""
    if max(less, more) < 0.005:
        return ""
    return f"+-{less:.2f}" if abs(less - more) < 0.005 else f"{first}{less:.2f} {second}{more:.2f}"


def kv_lines(plan: Plan) -> str:
    """What the KV cache holds."""
    kv, length = plan.kv, plan.serve.max_model_len or 0
    on_each = " per GPU" if plan.machine.gpu_count else ""
    return "KV cache\n" + table(
        [
            (
                "blocks",
                f"{kv.num_blocks:,} of {kv.block_size} tokens, {kv.bytes_per_block:,} bytes each{on_each}",
            ),
            ("a request", f"{kv.blocks_per_request:,} of them for {length:,} tokens"),
            (
                "KV cache size",
                f"{kv.tokens:,} tokens, {kv.max_concurrency:.2f}x {length:,} (vLLM's log line)",
            ),
            ("longest request", f"{kv.max_context_tokens:,} tokens, were --max-model-len raised to it"),
            *([("", taken_for(kv))] if kv.max_context_args else []),
        ]
    )


def taken_for(kv: Kv) -> str:
    """What the longest request takes beside --max-model-len, where the plan has it otherwise."""
    return f"with {' '.join(kv.max_context_args)}" if kv.max_context_args else ""


def speed_lines(plan: Plan) -> str:
    """The predicted speed, and how far to trust it."""
    speed, load = plan.throughput, plan.workload
    if speed is None:
        return ""
    title = f"Speed at {load.concurrency} requests of {load.input_tokens:,} in, {load.output_tokens:,} out"
    low, high = speed.output_tokens_per_s / speed.band, speed.output_tokens_per_s * speed.band
    rows = [
        ("output", f"{rate(speed.output_tokens_per_s)} tokens/s (between {rate(low)} and {rate(high)})"),
        ("TTFT, TPOT", f"{ttft(speed)}, {speed.tpot_s * 1000:.1f} ms"),
        ("basis", speed.basis),
    ]
    if plan.drafts:
        rows.insert(2, ("drafts", drafted(plan.drafts)))
    if plan.saturation_concurrency:
        rows.insert(
            2,
            (
                "saturates",
                f"at about {counted(plan.saturation_concurrency, 'request')} at once{at_saturation(plan)}",
            ),
        )
    if plan.at_worst:
        rows.insert(2, ("at worst", at_worst(plan)))
    if speed.running < load.concurrency:
        rows.insert(1, ("running", f"{speed.running} at once; the others wait for KV cache"))
    return title + "\n" + table(rows)


def at_worst(plan: Plan) -> str:
    """What becomes of them where the KV cache is as small as it may be."""
    worst = plan.at_worst
    assert worst is not None
    cache = f"with {worst.kv_cache_gib:.2f} GiB for the KV cache"
    if worst.ttft_s is None:
        return f"{cache} it does not start"
    return (
        f"{cache} {worst.running} of the {plan.workload.concurrency} run at once: TTFT {worst.ttft_s:.2f} s"
    )


def ttft(speed: Throughput) -> str:
    """The mean time to the first token, in seconds."""
    return f"{speed.ttft_s:,.2f} s"


def rate(per_s: float) -> str:
    """Whole tokens a second; of few two digits, or a long prompt's are all 1."""
    return f"{per_s:,.0f}" if per_s >= 10 else f"{per_s:.2g}"


def drafted(drafts: Drafts) -> str:
    """What of a step is accepted."""
    return f"{drafts.tokens} proposed a step, which yields {tokens(drafts)} a request"


def tokens(drafts: Drafts) -> str:
    """What a step yields, in words."""
    count = drafts.acceptance_length
    return f"{count:g} token{'' if count == 1 else 's'}"


def at_saturation(plan: Plan) -> str:
    """The speed at the saturation point."""
    points = [point for point in plan.curve if point.concurrency == plan.saturation_concurrency]
    return (
        f": {rate(points[0].output_tokens_per_s)} tokens/s, TPOT {points[0].tpot_s * 1000:.0f} ms"
        if points
        else ""
    )


def price_lines(plan: Plan) -> str:
    """The price, when and where it was checked."""
    price = plan.price
    if price is None:
        return ""
    rows = [
        (
            "machine",
            f"${price.usd_per_hour.normalize():f}/h {price.purchase} in {price.region}, checked {price.checked_on}",
        ),
        ("source", price.source),
    ]
    if plan.usd_per_mtok is not None:
        rows.insert(1, ("output", f"${plan.usd_per_mtok:.2f} per million tokens at that load, never idle"))
    return "Price\n" + table(rows)


def adapter_lines(plan: Plan) -> str:
    """The adapters, by the name that clients ask for."""
    rows = [
        (
            module.name,
            f"rank {module.rank} in {', '.join(module.modules)}, {trained(module.base)}from {module.path}",
        )
        for module in plan.serve.lora_modules
    ]
    return "Adapters\n" + table(rows) if rows else ""


def trained(base: str) -> str:
    """What an adapter says that it was trained for, as part of its line."""
    return f"trained for {base}, " if base else ""


def note_lines(plan: Plan) -> str:
    """The notes, one paragraph each."""
    return "Notes\n" + "\n".join(wrapped(note, "- ") for note in plan.notes) if plan.notes else ""


def next_step(
    plan: Plan,
    written_to: Path | None,
    options: Options | None = None,
    recipes: RecipeOptions | None = None,
) -> str:
    """The command to run next, with what was asked for, so that it makes the same plan."""
    known, asked = plan.model in models(), () if options is None else (options,)
    said = again(*asked, *(() if recipes is None else (recipes,)))
    if not plan.fits:
        # What a machine without a GPU may compute in, one with GPUs may not.
        elsewhere = again(*asked, without=() if plan.machine.gpu_count else ("dtype",))
        if not known:
            return (
                f"Next: try a larger machine: corral size {pasted(plan.serve.model)} --on 8xH100{elsewhere}"
            )
        every = f"corral size {plan.model} --precision {plan.precision}{elsewhere}"
        return f"Next: see every machine that holds it: {every}"
    name = written_to or Path("plan.json")
    what = f"{plan.model} --precision {plan.precision}" if known else pasted(plan.serve.model)
    if not starts(plan):
        return (
            "Next: start it by hand in vLLM's ROCm image, with what the plan's serve says: "
            f"corral size {what} --on {pasted(plan.machine.name)}{said} --json"
        )
    save = f"corral size {what} --on {pasted(plan.machine.name)}{said} -o {pasted(name)} && "
    return f"Next: {'' if written_to else save}{up(plan, name)}"


def starts(plan: Plan) -> bool:
    """Whether corral starts a server on such GPUs; one that it does not know is not its to refuse here."""
    gpu = gpus().get(plan.machine.gpu)
    return gpu is None or gpu.vendor == "nvidia"


def up(plan: Plan, path: Path) -> str:
    """The command that serves a plan which lies there; machines of one's own have a name to put one's own for.

    What is rented stands where the price that is shown is of.
    """
    hosts = "".join(f" --host gpu-{number}" for number in range(1, plan.machine.hosts + 1))
    target = (
        "ec2" if plan.machine.instance_type else "local" if plan.machine.name == "local" else f"ssh{hosts}"
    )
    priced = plan.region or (plan.price.region if plan.price else None)
    region = f" --region {priced}" if plan.machine.instance_type and priced else ""
    return f"corral up {pasted(path)} --target {target}{region}{again()}"
