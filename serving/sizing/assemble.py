"""PURE: an outcome as the plan document that every later step reads."""

from decimal import Decimal
from typing import Any

from infra.hardware import Gpu, Machine
from infra.prices import price_of
from serving.model.weights import Split
from serving.sizing import reasons
from serving.sizing.fit import Outcome
from serving.sizing.plan import Kv, Memory, Parallel, Plan, PlanMachine, Price, Term, Throughput, Workload
from serving.sizing.predict import Predictor, predicted
from serving.sizing.size_options import Options
from serving.sizing.subject import Subject
from serving.vllm.serve_options import ServeOptions


def assemble(
    subject: Subject,
    machine: Machine,
    gpu: Gpu,
    outcome: Outcome,
    options: Options,
    refused: str | None,
    with_curve: bool,
) -> Plan:
    """The plan document of an outcome."""
    fits = outcome.verdict != "does not fit" and refused is None
    throughput = predicted(subject, machine, gpu, outcome, options) if fits else None
    price = priced(machine, options)
    return Plan(
        model=subject.name,
        precision=subject.precision,
        machine=plan_machine(machine),
        vllm_version=outcome.rules.version,
        workload=workload(options),
        fits=fits,
        verdict=outcome.verdict if fits else "does not fit",
        reason=refused or reasons.reason(gpu, outcome),
        parallel=parallel(outcome.split),
        memory=memory(outcome),
        kv=kv(subject, outcome),
        throughput=throughput,
        price=price,
        region=options.region,
        usd_per_mtok=usd_per_mtok(price, throughput),
        serve=serve(subject, outcome, options),
        notes=reasons.notes(subject, machine, gpu, outcome, options, fits, price),
        terms=tuple(
            Term(
                name=t.name,
                gib=round(t.gib, 3),
                less_gib=round(t.less_gib, 3),
                more_gib=round(t.more_gib, 3),
                source=t.source,
            )
            for t in (*outcome.budget.inside, *outcome.budget.outside)
        ),
        weights_bytes=subject.weights_bytes,
        **(curve(subject, machine, gpu, outcome, options) if fits and with_curve else {}),
    )


def curve(subject: Subject, machine: Machine, gpu: Gpu, outcome: Outcome, options: Options) -> dict[str, Any]:
    """The prediction against concurrency, and where it saturates."""
    predictor = Predictor(subject, machine, gpu, outcome, options)
    return {"curve": predictor.curve(), "saturation_concurrency": predictor.saturation()}


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
    """GiB per GPU."""
    taken = outcome.budget
    return Memory(
        total_gib=taken.total_gib,
        usable_gib=round(taken.usable_gib, 3),
        weights_gib=round(taken.gib("weights"), 3),
        rope_table_gib=round(taken.gib("rope_table"), 3),
        activation_gib=round(taken.gib("activation"), 3),
        cuda_graphs_gib=round(taken.gib("cuda_graphs"), 3),
        non_torch_gib=round(taken.gib("non_torch"), 3),
        block_tables_gib=round(taken.gib("block_tables"), 3),
        kv_cache_gib=round(max(0.0, outcome.kv_gib), 3),
        total_error_gib=round(taken.total_error_gib, 3),
        kv_cache_less_gib=round(taken.error_less_gib, 3),
        kv_cache_more_gib=round(taken.error_more_gib, 3),
    )


def kv(subject: Subject, outcome: Outcome) -> Kv:
    """The KV cache in blocks, tokens and requests."""
    plan, blocks = outcome.layout, outcome.num_blocks
    return Kv(
        bytes_per_block=plan.bytes_per_block,
        num_blocks=blocks,
        blocks_per_request=plan.blocks_per_request(outcome.length),
        tokens=plan.tokens(outcome.length, blocks),
        max_concurrency=plan.max_concurrency(outcome.length, blocks),
        max_context_tokens=plan.longest(blocks, subject.architecture.max_position_embeddings),
        block_size=plan.block_size,
    )


def priced(machine: Machine, options: Options) -> Price | None:
    """The hourly price of an EC2 machine."""
    found = price_of(machine, options.region) if machine.instance_type else None
    return Price(**found.model_dump(exclude={"instance_type"})) if found else None


def usd_per_mtok(price: Price | None, throughput: Throughput | None) -> Decimal | None:
    """USD for a million output tokens while the machine runs at that load."""
    if price is None or throughput is None:
        return None
    mtok_per_hour = Decimal(str(throughput.output_tokens_per_s)) * 3600 / 1_000_000
    return (price.usd_per_hour / mtok_per_hour).quantize(Decimal("0.0001"))


def serve(subject: Subject, outcome: Outcome, options: Options) -> ServeOptions:
    """How vLLM is to be started: everything that memory depends on is said, nothing is left to a default."""
    knobs = outcome.knobs
    images = not knobs.text_only
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
        gpu_memory_utilization=knobs.gpu_memory_utilization,
        kv_cache_dtype=options.kv_cache_dtype,
        kv_cache_memory_bytes=options.kv_cache_memory_bytes,
        disable_hybrid_kv_cache_manager=options.disable_hybrid_kv_cache_manager,
        dtype=options.dtype,
        enforce_eager=options.enforce_eager,
        language_model_only=knobs.text_only and subject.architecture.vision is not None,
        limit_mm_per_prompt={"image": subject.family.images} if images else None,
        hf_overrides=position_override(subject, outcome.max_position_embeddings),
    )


def position_override(subject: Subject, positions: int) -> dict[str, object] | None:
    """The override that shortens the rotary table to max_model_len; no shorter model needs one."""
    if positions >= subject.architecture.max_position_embeddings:
        return None
    setting: dict[str, object] = {"max_position_embeddings": positions}
    return {"text_config": setting} if subject.nested_config else setting
