"""PURE: what the reader of a plan should know, in sentences with numbers."""

from dataclasses import replace
from datetime import date

from infra import day
from infra.catalog import ec2_types_with, is_relinked
from infra.hardware import LINKS, Gpu, Machine
from infra.prices import DEFAULT_REGION, OLD_AFTER_DAYS, price_of
from serving.model import evaluations, gpu_support, lora
from serving.sizing import kept_calibrations
from serving.sizing.asked_draft import draft_of, published
from serving.sizing.asked_images import asked_images
from serving.sizing.fit import Outcome, best_outcome, longest_request, most_squeezed, taken_for
from serving.sizing.memory_pool import Case
from serving.sizing.plan import Price
from serving.sizing.size_options import Options
from serving.sizing.sized_model import SizedModel
from serving.vllm.lora_modules import misapplied
from serving.vllm.versions import Rules, version_notes

NO_GPU = "No GPU here: this plan is for vLLM's CPU backend, to try the line out, not to serve people."
COUNTS = {1: "singly", 2: "by two", 4: "by four", 8: "by eight"}


def notes(
    case: Case, outcome: Outcome, fits: bool, price: Price | None, longest: int, today: date | None = None
) -> tuple[str, ...]:
    """Everything worth knowing of a plan for GPUs, most important first; `longest` is the longest request there."""
    subject, machine, options, gpu = case.subject, case.machine, case.options, case.machine.gpu
    assert gpu is not None
    today = today or day.today()
    return (
        *stored_notes(subject, options),
        *calibrated_notes(case, outcome),
        *(fitting_notes(subject, outcome) if fits else failing_notes(case, outcome, longest)),
        *sold_notes(machine, gpu),
        *gpu_support.notes(
            gpu, subject.family, subject.precision, options.kv_cache_dtype, machine.kind == "owned"
        ),
        *filter(None, [evaluations.note(subject.repo, subject.precision)]),
        *price_notes(machine, price, options, today),
        *further_notes(subject, gpu, options, outcome.rules),
        *idle_notes(machine, outcome),
        *(hybrid_notes(case, outcome) if fits else ()),
        *version_notes(outcome.rules.version, today),
    )


def stored_notes(subject: SizedModel, options: Options) -> list[str]:
    """What the checkpoint itself settles, and where its sizes are from when its files were not read."""
    lines = []
    if subject.from_table:
        lines.append(
            f"The Hub was not asked ({subject.from_table}): sizes are those of corral's own table, "
            f"{subject.weights_source}."
        )
    if subject.kv_cache_dtype == options.kv_cache_dtype != "auto":
        lines.append(
            "The checkpoint says that its KV cache is FP8, for which vLLM takes --kv-cache-dtype auto: "
            "--kv-cache-dtype bfloat16 keeps 16 bits, and holds half as much."
        )
    return lines


def further_notes(subject: SizedModel, gpu: Gpu, options: Options, version: Rules) -> list[str]:
    """What of the requests and the engine is reckoned with and was never measured."""
    lines = []
    if asked := asked_images(subject, options):
        lines.append(
            f"Of a request's {options.input_tokens:,} input tokens {asked.tokens:,} are of images "
            f"({asked.count} x {asked.image.tokens:,}, {asked.image.tiles} tiles each). The vision tower's time is "
            "reckoned, not measured; the time in which the server resizes images is not in it."
        )
    if options.prefix_cache_hit_rate:
        lines.append(
            f"{options.prefix_cache_hit_rate:.0%} of each prompt is taken to be in the prefix cache, as you say. No "
            "memory is saved by it here: blocks are shared only while those who share them run."
        )
    slots, rank = options.lora_slots
    if slots:
        lines.append(
            f"LoRA: {slots} x rank {rank} in {', '.join(options.lora_target_modules) or 'every module'} is set aside "
            "at the start. What adapters cost in time is reckoned as their reading alone, not measured."
        )
        lines += filter(None, [lora.unread(subject.family, version)])
    lines += adapter_notes(options)
    lines += draft_notes(subject, options)
    if is_relinked(gpu):
        said = ", as you say" if options.gpu_link else ""
        lines.append(
            f"The GPUs reach each other {LINKS[gpu.link]}{said}: {gpu.link_gb_per_s:g} GB/s each way are taken for "
            "that, which nobody measured here."
        )
    if options.cpu_offload_gb:
        lines.append(
            f"{options.cpu_offload_gb:g} GiB of each GPU's weights, or all of its layers, stay in the machine's RAM, "
            "and are taken to be read over PCIe in each step: assumed, not measured."
        )
    return lines


def adapter_notes(options: Options) -> list[str]:
    """What of the adapters themselves is worth knowing."""
    slots, _ = options.lora_slots
    lines = []
    if slots < len(options.lora):
        lines.append(
            f"{len(options.lora)} adapters share {slots} slots: a request for one that has none waits until it is "
            "copied into one."
        )
    lines += filter(None, map(misapplied, options.lora))
    return lines


def draft_notes(subject: SizedModel, options: Options) -> list[str]:
    """What of proposed tokens is taken from where, and what vLLM does otherwise because of them."""
    draft = draft_of(subject, options)
    if draft is None:
        return []
    asked, listed = draft.speculation, published(draft.repo)
    by = f" by {draft.repo}" if draft.repo else ", looked up in what was said already"
    lines = [
        f"{asked.tokens} tokens a step are proposed to each request{by} ({asked.method}). {draft.accepted_as}. What a "
        "step takes longer is reckoned, not measured: no figure of such a server is public."
    ]
    if listed.get("of") not in (None, subject.name):
        lines.append(
            f"{draft.repo} was trained for {listed['of']}: beside {subject.name} few of its tokens may be accepted."
        )
    if draft.weights_source and listed.get("shape"):
        lines.append(f"The draft's sizes are those of corral's own table, {draft.weights_source}.")
    if asked.is_eagle and subject.architecture.attention_chunk_size:
        lines.append(
            "Beside a draft of EAGLE vLLM turns its hybrid KV manager off for attention in chunks: every layer keeps "
            "the whole context."
        )
    return lines


def calibrated_notes(case: Case, outcome: Outcome) -> list[str]:
    """That memory is as a server's log says it, and how far that goes for another version."""
    assert case.machine.gpu is not None
    split = outcome.split
    key = (
        case.machine.gpu.name,
        case.subject.name,
        case.subject.precision,
        split.tensor,
        split.pipeline,
        split.data,
    )
    found = kept_calibrations.find(key)
    if not found or not found.memory:
        return []
    served, planned = found.memory.vllm_version, outcome.rules.version
    other = (
        f"; this plan is for {planned}, so that all but the weights keeps its doubt. To plan for that server: "
        f"--vllm-version {served}."
    )
    return [f"Memory is calibrated by {found.memory.source}{'.' if served == planned else other}"]


def fitting_notes(subject: SizedModel, outcome: Outcome) -> list[str]:
    """What the launch changes against vLLM's defaults, and why."""
    lines = []
    if outcome.knobs.squeezed:
        lines.append(f"Fits{in_place_of_defaults(outcome).removeprefix(',')}")
    full = subject.architecture.max_position_embeddings
    saved = (full - outcome.max_position_embeddings) * subject.architecture.head_dim * 2 / 2**30
    if saved > 0.005:
        lines.append(
            f"--hf-overrides sets max_position_embeddings to {outcome.max_position_embeddings}: without it every GPU "
            f"holds a rotary table for {full:,} positions, {saved:.2f} GiB more."
        )
    if subject.extra_bytes_at_most:
        lines.append(
            f"{subject.repo} may be up to {subject.extra_bytes_at_most / 1e9:.1f} GB larger than planned "
            f"({subject.weights_source})."
        )
    return lines


def hybrid_notes(case: Case, outcome: Outcome) -> list[str]:
    """Short requests pay for the hybrid KV manager and gain nothing; say what doing without it would hold."""
    chunk, options = case.subject.architecture.attention_chunk_size or 0, case.options
    groups = outcome.layout.full_groups + outcome.layout.local_groups
    if groups < 2 or options.request_tokens > chunk or outcome.verdict != "fits":
        return []
    without = replace(case, options=options.model_copy(update={"disable_hybrid_kv_cache_manager": True}))
    longest = longest_request(without)
    taken = " ".join(taken_for(without, longest, outcome))
    return [
        f"Requests of up to {chunk:,} tokens gain nothing from the hybrid KV manager. "
        f"--disable-hybrid-kv-cache-manager was measured 1 to 2 ms a token faster (vllm #21761, #46553), "
        f"and requests could still be {longest:,} tokens long{f', with {taken}' if taken else ''}."
    ]


def failing_notes(case: Case, outcome: Outcome, longest: int) -> list[str]:
    """How far it is from fitting when squeezed, with which options it was tried, and with which it would fit."""
    last, lines = most_squeezed(case), []
    if last.knobs.squeezed and last.kv_gib < 0:
        lines.append(f"With {', '.join(last.knobs.squeezed)} it still lacks {-last.kv_gib:.1f} GiB per GPU.")
    if outcome.verdict != "does not fit" or not longest:
        return lines
    shorter = (
        f"Requests of up to {longest:,} tokens, in and out together, would fit"
        if longest < case.options.request_tokens
        else f"--max-model-len {longest} would fit"
    )
    tried, holds = outcome.knobs.squeezed, best_outcome(longest_alone(case, longest))
    lines.append(shorter + in_place_of_defaults(holds))
    if tried:
        as_it = ", with the same options." if holds.knobs.squeezed == tried else in_place_of_defaults(outcome)
        lines.append(f"The figures above are of the best attempt{as_it}")
    return [*lines, *smaller_cache_notes(case)]


def longest_alone(case: Case, longest: int) -> Case:
    """The case with no longer a context than that, of requests that it holds."""
    prompt = max(1, min(case.options.input_tokens, longest - 1))
    changes = {
        "max_model_len": longest,
        "input_tokens": prompt,
        "output_tokens": max(1, min(case.options.output_tokens, longest - prompt)),
    }
    return replace(case, options=case.options.model_copy(update=changes))


def in_place_of_defaults(outcome: Outcome) -> str:
    """The end of a sentence: what vLLM is told in place of its defaults, and what that takes away."""
    squeezed = outcome.knobs.squeezed
    images = " It takes no images then." if "--language-model-only" in squeezed else ""
    return f", with {', '.join(squeezed)} in place of vLLM's defaults.{images}" if squeezed else "."


def smaller_cache_notes(case: Case) -> list[str]:
    """That it fits with a KV cache of 8 bits, where that has not been asked for, and what is known against it."""
    subject, options, gpu = case.subject, case.options, case.machine.gpu
    if gpu is None or options.kv_cache_dtype.startswith("fp8"):
        return []
    found = best_outcome(replace(case, options=options.model_copy(update={"kv_cache_dtype": "fp8"})))
    if found.verdict == "does not fit":
        return []
    known, anyway = (
        gpu_support.notes(gpu, subject.family, subject.precision, dtype, case.machine.kind == "owned")
        for dtype in ("fp8", "auto")
    )
    return [
        f"It would fit with --kv-cache-dtype fp8{in_place_of_defaults(found)}",
        *(each for each in known if each not in anyway),
    ]


def sold_notes(machine: Machine, gpu: Gpu) -> list[str]:
    """For a shape that EC2 does not rent out: what it rents of that GPU."""
    sold = ec2_types_with(gpu.family)
    if (
        machine.kind != "owned"
        or not sold
        or any(each.gpu_name == gpu.name and each.gpu_count == machine.gpu_count for each in sold)
    ):
        return []
    counts = sorted({each.gpu_count for each in sold})
    by = COUNTS.get(counts[0], "") if len(counts) == 1 else "by " + " or ".join(map(str, counts))
    return [f"EC2 sells {gpu.family}s only {by}: {', '.join(map(offer, sold))}."]


def offer(machine: Machine) -> str:
    """An EC2 type with its GPUs and price."""
    price = price_of(machine)
    cost = f"${price.usd_per_hour.normalize():f}/h" if price else "no on-demand price"
    return f"{machine.name} ({machine.gpu_count}x{machine.gpu_name}, {cost})"


def price_notes(machine: Machine, price: Price | None, options: Options, today: date) -> list[str]:
    """An old price, or none."""
    if machine.instance_type is None:
        return []
    if price is None:
        region = options.region or DEFAULT_REGION
        return [
            f"corral has no price for {machine.name} in {region}, where it may not be sold at all; ask AWS: "
            f"corral prices --refresh --region {region}"
        ]
    lines = []
    if price.purchase == "capacity-block":
        lines.append(f"{machine.name} has no on-demand price: it is rented as a Capacity Block, paid ahead.")
    age = (today - price.checked_on).days
    if age > OLD_AFTER_DAYS:
        ask = "corral prices --refresh"
        if options.region:
            ask = f"corral prices --refresh --region {options.region}"
        lines.append(f"The price is {age} days old; ask AWS for today's: {ask}")
    return lines


def idle_notes(machine: Machine, outcome: Outcome) -> list[str]:
    """GPUs that are paid for and not used."""
    idle = machine.gpu_count - outcome.split.gpus
    if idle <= 0:
        return []
    return [f"{idle} of {machine.gpu_count} GPUs stay idle: this plan uses {outcome.split.gpus}."]
