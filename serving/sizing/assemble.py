"""PURE: an outcome as the plan document that every later step reads."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

from infra.hardware import Machine
from infra.prices import price_of
from serving.model.gpu_support import refusal
from serving.model.memory import Budget, Term
from serving.model.roofline import encoder_s
from serving.model.weights import Split
from serving.sizing import plan_notes, reasons
from serving.sizing.asked_images import asked_images
from serving.sizing.fit import Outcome, longest_request, taken_for
from serving.sizing.memory_pool import Case
from serving.sizing.plan import (
    Drafts,
    Images,
    Kv,
    Memory,
    OneRequest,
    Parallel,
    Plan,
    PlanMachine,
    Price,
    Throughput,
    Workload,
)
from serving.sizing.predict import Predictor, predicted, significant, worse
from serving.sizing.size_options import Options, further_of
from serving.sizing.sized_model import SizedModel
from serving.vllm.serve_options import ServeOptions


def assemble(case: Case, outcome: Outcome, with_curve: bool) -> Plan:
    """The plan document of an outcome."""
    subject, options, gpu = case.subject, case.options, case.machine.gpu
    why = refused(case)
    fits = outcome.verdict != "does not fit" and why is None
    predictor = Predictor(case, outcome) if fits and gpu else None
    throughput = predicted(predictor, options) if predictor else None
    price, taken = priced(case.machine, options), memory(outcome)
    cache = kv(case, outcome, why is not None)
    return Plan(
        model=subject.name,
        precision=subject.precision,
        machine=plan_machine(case.machine),
        vllm_version=outcome.rules.version,
        workload=workload(options),
        fits=fits,
        verdict=outcome.verdict if fits else "does not fit",
        reason=why or (reasons.reason(gpu, outcome) if gpu else reasons.reason_of_ram(taken, outcome)),
        parallel=parallel(outcome.split),
        memory=taken,
        kv=cache,
        throughput=throughput,
        price=price,
        region=options.region,
        usd_per_mtok=usd_per_mtok(price, throughput),
        serve=serve(case, outcome),
        notes=plan_notes.notes(case, outcome, fits, price, cache.max_context_tokens)
        if gpu
        else (case.machine.note or plan_notes.NO_GPU, *plan_notes.adapter_notes(options)),
        terms=terms(outcome.budget) if gpu else (),
        weights_bytes=subject.weights_bytes,
        images=images(case, predictor),
        drafts=drafts(case),
        further=further_of(options),
        at_worst=worse(case, outcome, throughput) if throughput and with_curve else None,
        **(beyond_one_load(predictor, options, price) if predictor and with_curve else {}),
    )


def refused(case: Case) -> str | None:
    """Why no vLLM runs that precision on that GPU; None where one does."""
    return refusal(case.machine.gpu, case.subject.precision) if case.machine.gpu else None


def images(case: Case, predictor: Predictor | None) -> Images | None:
    """The images of a request, where a speed is predicted with them."""
    asked = asked_images(case.subject, case.options)
    if asked is None or predictor is None:
        return None
    return Images(
        per_request=asked.count,
        tiles_each=asked.image.tiles,
        tokens_each=asked.image.tokens,
        encoder_s=significant(encoder_s(predictor.engine)),
    )


def terms(taken: Budget) -> tuple[Term, ...]:
    """What takes the memory, to a thousandth of a GiB."""
    return tuple(
        replace(
            term,
            gib=round(term.gib, 3),
            less_gib=round(term.less_gib, 3),
            more_gib=round(term.more_gib, 3),
        )
        for term in (*taken.inside, *taken.outside)
    )


def beyond_one_load(predictor: Predictor, options: Options, price: Price | None) -> dict[str, Any]:
    """The prediction against concurrency, where it saturates, and what becomes of one request."""
    return {
        "curve": predictor.curve(),
        "saturation_concurrency": predictor.saturation(),
        "one_request": one_request(predictor, options, price),
    }


def one_request(predictor: Predictor, options: Options, price: Price | None) -> OneRequest:
    """The time and price of one request, by itself and among the others."""
    by_itself, at_load = predictor.at(1), predictor.at(options.concurrency)
    after = options.output_tokens - 1
    alone, among = (each.ttft_s + after * each.tpot_s for each in (by_itself, at_load))
    return OneRequest(
        ttft_s=significant(by_itself.ttft_s),
        tpot_s=significant(by_itself.tpot_s),
        alone_s=significant(alone),
        alone_usd=usd_for(price, alone),
        at_load_s=significant(among),
        at_load_usd=usd_for(price, options.output_tokens / at_load.output_tokens_per_s),
    )


def usd_for(price: Price | None, seconds: float) -> Decimal | None:
    """The machine for so long, to a millionth of a dollar."""
    if price is None:
        return None
    return (price.usd_per_hour * Decimal(str(seconds)) / 3600).quantize(Decimal("0.000001"))


def plan_machine(machine: Machine) -> PlanMachine:
    """The machine as the plan names it."""
    return PlanMachine(
        name=machine.name,
        gpu=machine.gpu_name,
        gpu_count=machine.gpu_count,
        hosts=machine.hosts,
        instance_type=machine.instance_type,
    )


def workload(options: Options) -> Workload:
    """The requests a plan is judged by."""
    return Workload(
        input_tokens=options.input_tokens,
        output_tokens=options.output_tokens,
        concurrency=options.concurrency,
    )


def parallel(split: Split) -> Parallel:
    """The split as the plan says it."""
    return Parallel(tensor=split.tensor, pipeline=split.pipeline, data=split.data, expert=split.expert)


def memory(outcome: Outcome) -> Memory:
    """GiB per GPU; of the RAM where there is none."""
    taken = outcome.budget
    return Memory(
        total_gib=round(taken.total_gib, 3),
        usable_gib=round(taken.usable_gib, 3),
        weights_gib=round(taken.gib("weights"), 3),
        rope_table_gib=round(taken.gib("rope_table"), 3),
        activation_gib=round(taken.gib("activation"), 3),
        cuda_graphs_gib=round(taken.gib("cuda_graphs"), 3),
        non_torch_gib=round(taken.gib("non_torch"), 3),
        block_tables_gib=round(taken.gib("block_tables"), 3),
        lora_gib=round(taken.gib("lora"), 3),
        draft_gib=round(taken.gib("draft"), 3),
        draft_logits_gib=round(taken.gib("draft_logits"), 3),
        kv_cache_gib=round(max(0.0, outcome.kv_gib) * taken.kv_caches, 3),
        total_error_gib=round(taken.total_error_gib, 3),
        kv_cache_less_gib=round(taken.error_less_gib, 3),
        kv_cache_more_gib=round(taken.error_more_gib, 3),
    )


def kv(case: Case, outcome: Outcome, holds_nothing: bool) -> Kv:
    """The KV cache in blocks, tokens and requests."""
    layout, blocks = outcome.layout, outcome.num_blocks
    longest = 0 if holds_nothing else longest_request(case)
    return Kv(
        bytes_per_block=layout.bytes_per_block,
        num_blocks=blocks,
        blocks_per_request=layout.blocks_per_request(outcome.length),
        tokens=layout.tokens(outcome.length, blocks),
        max_concurrency=layout.max_concurrency(outcome.length, blocks),
        max_context_tokens=longest,
        max_context_args=taken_for(case, longest, outcome),
        block_size=layout.block_size,
    )


def priced(machine: Machine, options: Options) -> Price | None:
    """The hourly price of an EC2 machine."""
    price = price_of(machine, options.region) if machine.instance_type else None
    return Price(**price.model_dump(exclude={"instance_type"})) if price else None


def usd_per_mtok(price: Price | None, throughput: Throughput | None) -> Decimal | None:
    """USD for a million output tokens while the machine runs at that load."""
    if price is None or throughput is None:
        return None
    mtok_per_hour = Decimal(str(throughput.output_tokens_per_s)) * 3600 / 1_000_000
    return (price.usd_per_hour / mtok_per_hour).quantize(Decimal("0.0001"))


def serve(case: Case, outcome: Outcome) -> ServeOptions:
    """How vLLM is to be started: everything that memory depends on is said, nothing is left to a default."""
    subject, options, knobs = case.subject, case.options, outcome.knobs
    on_gpus = case.machine.gpu is not None
    return ServeOptions(
        model=subject.repo,
        revision=subject.revision,
        served_model_name=subject.served_name,
        tensor_parallel_size=outcome.split.tensor,
        pipeline_parallel_size=outcome.split.pipeline,
        data_parallel_size=outcome.split.data,
        enable_expert_parallel=outcome.split.expert,
        max_model_len=outcome.length,
        max_num_seqs=knobs.max_num_seqs,
        max_num_batched_tokens=knobs.max_num_batched_tokens,
        gpu_memory_utilization=knobs.gpu_memory_utilization if on_gpus else None,
        kv_cache_dtype=options.kv_cache_dtype,
        kv_cache_memory_bytes=outcome.kv_bytes,
        disable_hybrid_kv_cache_manager=options.disable_hybrid_kv_cache_manager,
        dtype=options.dtype,
        enforce_eager=options.enforce_eager,
        language_model_only=knobs.text_only and subject.architecture.vision is not None,
        limit_mm_per_prompt={"image": most_images(case)} if on_gpus and not knobs.text_only else None,
        hf_overrides=position_override(subject, outcome.max_position_embeddings),
        speculative_config=told_of_drafts(case),
        lora_modules=options.lora,
        extra_args=further_args(options),
    )


def told_of_drafts(case: Case) -> dict[str, object] | None:
    """How vLLM is told to propose tokens."""
    draft = case.draft
    if draft is None:
        return None
    pinned: dict[str, object] = {"revision": draft.revision} if draft.revision else {}
    return draft.speculation.told(draft.repo) | {"method": draft.speculation.method} | pinned


def drafts(case: Case) -> Drafts | None:
    """What proposes tokens, as the plan says it."""
    draft = case.draft
    if draft is None:
        return None
    return Drafts(
        method=draft.speculation.method,
        model=draft.repo or None,
        tokens=draft.speculation.tokens,
        acceptance_length=draft.accepted,
        acceptance=draft.accepted_as,
        weights_bytes=draft.weights_bytes,
        weights_source=draft.weights_source or None,
        kv_layers=draft.more_layers.layers if draft.more_layers else 0,
    )


def further_args(options: Options) -> tuple[str, ...]:
    """What was asked of the engine beside a plan's own fields, in vLLM's words."""
    slots, rank = options.lora_slots
    words = ["--enable-lora", "--max-loras", str(slots), "--max-lora-rank", str(rank)] if slots else []
    if options.lora_target_modules:
        words += ["--lora-target-modules", *options.lora_target_modules]
    if options.cpu_offload_gb:
        words += ["--cpu-offload-gb", f"{options.cpu_offload_gb:g}"]
    return tuple(words)


def most_images(case: Case) -> int:
    """Those that a request may bring: as asked for, else the family's."""
    asked = asked_images(case.subject, case.options)
    return asked.count if asked else case.subject.family.images


def position_override(subject: SizedModel, positions: int) -> dict[str, object] | None:
    """The override that shortens the rotary table to max_model_len; no shorter model needs one."""
    if positions >= subject.architecture.max_position_embeddings:
        return None
    setting: dict[str, object] = {"max_position_embeddings": positions}
    return {"text_config": setting} if subject.nested_config else setting
