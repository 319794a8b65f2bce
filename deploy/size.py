"""`corral size`: a subject on a machine as a Plan, and the machines that hold it, ranked."""

from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from deploy import calibrations, reasons
from deploy.fit import KV_BYTES, Options, Outcome, best_outcome
from deploy.plan import Kv, Memory, Parallel, Plan, PlanMachine, Price, Term, Throughput, Workload
from deploy.subject import Subject, from_contents, named, precisions
from infra.catalog import ec2_types, gpus, machine
from infra.errors import UsageError
from infra.hardware import Gpu, Machine, owned
from infra.prices import price_of
from infra.record import Record
from serving.calibration import fitted
from serving.checkpoint import read
from serving.models import model, models
from serving.options import ServeOptions
from serving.recipes import image_limit, refusal
from serving.throughput import Engine, Fit, Load, speed
from serving.vllm_versions import rules
from serving.weights import Split

OWNED_COUNTS = (1, 2, 4, 8)
COUNTS = (
    *("max_model_len", "max_num_seqs", "max_num_batched_tokens", "kv_cache_memory_bytes"),
    *("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size"),
    *("input_tokens", "output_tokens", "concurrency"),
)
"""The options that must be positive whole numbers."""


class Ranking(Record):
    """Every machine that holds the model, best first."""

    model: str
    precision: str
    workload: Workload
    machines: tuple[Plan, ...]


def plan_checkpoint(path: Path, *, machine: str = "local", options: Options | None = None) -> Plan:
    """Plan a local Llama 4 checkpoint folder, `machine` being `local`, an EC2 type or COUNTxGPU.

    On a machine without a GPU the plan is for vLLM's CPU backend, and `kv.tokens` and `kv.max_concurrency` equal
    the engine's "CPU KV cache size" line. `Options` (deploy.fit) carries the vLLM knobs: `max_model_len`,
    `kv_cache_memory_bytes`, `max_num_seqs`, `dtype`, ... Raises DocumentError and UsageError.
    """
    chosen = checked(options or Options())
    subject = from_contents(read(path), path.resolve().name)
    return plan(subject, on(machine), chosen)


def answer_for(model_name: str, precision: str | None, machine_name: str, options: Options) -> Plan:
    """`corral size MODEL --on MACHINE`: MODEL is a known name or a checkpoint folder."""
    if is_folder(model_name):
        check_precision(precision, ("bf16", *precisions("scout")))
        return plan_checkpoint(Path(model_name), machine=machine_name, options=options)
    if precision is not None:
        check_precision(precision, precisions(model(model_name).name))
    return answer(model(model_name).name, precision, on(machine_name), checked(options))


def ranking_for(model_name: str, precision: str | None, options: Options) -> Ranking:
    """`corral size MODEL`: every machine that holds it."""
    if is_folder(model_name):
        raise UsageError(
            "A checkpoint folder is sized on one machine.", f"corral size {model_name} --on local"
        )
    if precision is not None:
        check_precision(precision, precisions(model(model_name).name))
    return ranking(model(model_name).name, precision, checked(options))


def is_folder(model_name: str) -> bool:
    """Whether MODEL is meant as a path."""
    return model_name not in models() and (
        "/" in model_name or model_name.startswith(".") or Path(model_name).is_dir()
    )


def check_precision(precision: str | None, known: tuple[str, ...]) -> None:
    """Raise UsageError for a precision we do not know."""
    if precision is not None and precision not in known:
        raise UsageError(
            f"{precision!r} is not a precision corral knows.", f"Use --precision {'|'.join(known)}."
        )


def plan(subject: Subject, machine: Machine, options: Options) -> Plan:
    """The plan of one subject on one machine, whether it fits or not."""
    check_context(subject, options)
    if machine.gpu is None:
        from deploy.size_cpu import plan_cpu

        return plan_cpu(subject, machine, options)
    refused = refusal(machine.gpu, subject.precision)
    outcome = best_outcome(subject, machine, machine.gpu, options)
    return assemble(subject, machine, machine.gpu, outcome, options, refused)


def answer(model_name: str, precision: str | None, machine: Machine, options: Options) -> Plan:
    """The plan of a model on a machine; one that does not fit also says what would."""
    if precision is None:
        found = best_plan(model_name, machine, options)
    else:
        found = plan(named(model_name, precision), machine, options)
    if found.fits:
        return found
    return found.model_copy(update={"notes": (*found.notes, *alternatives(found, machine, options))})


def alternatives(failed: Plan, machine: Machine, options: Options) -> tuple[str, ...]:
    """What would fit instead: another precision here, more of the same GPU, or the cheapest EC2 types."""
    subjects = {precision: named(failed.model, precision) for precision in precisions(failed.model)}
    here = [p for p, subject in subjects.items() if fits(subject, machine, options)]
    said = [
        f"On {machine.name} fits: {', '.join(here)}." if here else f"On {machine.name} no precision fits."
    ]
    subject = subjects[failed.precision]
    shapes = [owned(machine.gpu, count) for count in OWNED_COUNTS] if machine.gpu else []
    more = next((shape.name for shape in shapes if fits(subject, shape, options)), None)
    rented = [one for one in sorted(on_ec2(subject, options), key=order) if one.price][:3]
    enough = [more] if more else []
    enough += [
        f"{one.machine.name} (${one.price.usd_per_hour.normalize():f}/h)" for one in rented if one.price
    ]
    return (*said, f"{failed.precision} fits on: {', '.join(enough) or 'no machine corral knows'}.")


def fits(subject: Subject, machine: Machine, options: Options) -> bool:
    """Whether the plan of a subject on a machine works."""
    one = plan_or_none(subject, machine, options)
    return one is not None and one.fits


def best_plan(name: str, machine: Machine, options: Options) -> Plan:
    """The most faithful precision of a known model that fits the machine, else the smallest one's refusal."""
    plans = [plan(named(name, precision), machine, options) for precision in precisions(name)]
    return next((one for one in plans if one.verdict == "fits"), None) or next(
        (one for one in plans if one.fits), plans[-2]
    )


def ranking(name: str, precision: str | None, options: Options) -> Ranking:
    """Every machine of the catalogue, and the smallest owned shape of each GPU, that holds the model."""
    chosen = (precision,) if precision else precisions(name)
    plans = [one for wanted in chosen for one in fitting(named(name, wanted), options)]
    plans.sort(key=order)
    return Ranking(
        model=name, precision=precision or "any", workload=workload(options), machines=tuple(plans)
    )


def fitting(subject: Subject, options: Options) -> Iterable[Plan]:
    """The plans of a subject that fit, on EC2 and on the smallest owned shapes."""
    yield from on_ec2(subject, options)
    for gpu in gpus().values():
        shapes = (plan_or_none(subject, owned(gpu, count), options) for count in OWNED_COUNTS)
        smallest = next((one for one in shapes if one and one.fits), None)
        if smallest:
            yield smallest


def on_ec2(subject: Subject, options: Options) -> Iterable[Plan]:
    """The plans of a subject that fit an EC2 type."""
    plans = (plan_or_none(subject, candidate, options) for candidate in ec2_types().values())
    return (one for one in plans if one and one.fits)


def plan_or_none(subject: Subject, machine: Machine, options: Options) -> Plan | None:
    """The plan, or None where the fixed parallelism does not suit the machine."""
    try:
        return plan(subject, machine, options)
    except UsageError:
        return None


def order(one: Plan) -> tuple[bool, Decimal, str, str]:
    """Priced machines first, the cheapest first."""
    price = one.price.usd_per_hour if one.price else Decimal(0)
    return one.price is None, price, one.machine.name, one.precision


def on(name: str) -> Machine:
    """The machine a user named. `local` is this one."""
    if name != "local":
        return machine(name)
    from deploy.size_cpu import local_machine

    return local_machine()


def options_of(given: dict[str, Any]) -> Options:
    """Options from what was typed. Raises UsageError for a value that is no number."""
    try:
        return checked(Options(**{name: given[name] for name in Options.model_fields if name in given}))
    except ValidationError as error:
        name = str(error.errors()[0]["loc"][0])
        raise UsageError(f"{flag(name)} {given[name]} is not a number.", "See: corral size --help") from None


def checked(options: Options) -> Options:
    """The options, or UsageError for one that no vLLM would take."""
    for name in COUNTS:
        value = getattr(options, name)
        if value is not None and not 1 <= value <= 2**50:
            raise UsageError(
                f"{flag(name)} {value} is not a positive number corral can plan for.", "Use 1 or more."
            )
    utilization = options.gpu_memory_utilization
    if utilization is not None and not 0 < utilization <= 1:
        raise UsageError(
            f"--gpu-memory-utilization {utilization} is not in (0, 1].", "vLLM's default is 0.92."
        )
    if options.kv_cache_dtype not in KV_BYTES:
        raise UsageError(
            f"--kv-cache-dtype {options.kv_cache_dtype} is not one corral can plan for.",
            f"Use {', '.join(KV_BYTES)}.",
        )
    rules(options.vllm_version)
    return options


def flag(name: str) -> str:
    """An option's name as it is typed."""
    return "--" + name.replace("_", "-")


def check_context(subject: Subject, options: Options) -> None:
    """Raise UsageError when a request or --max-model-len is beyond the model, or one beyond the other."""
    limit = subject.architecture.max_position_embeddings
    length = options.max_model_len or limit
    if length > limit:
        raise UsageError(
            f"--max-model-len {length:,} is beyond {subject.title}, which ends at {limit:,} tokens.",
            f"Use at most {limit}.",
        )
    if options.request_tokens > length:
        raise UsageError(
            f"A request of {options.input_tokens:,} + {options.output_tokens:,} tokens is longer than "
            f"{'--max-model-len' if options.max_model_len else 'the model'}, {length:,}.",
            "Raise --max-model-len, or plan for shorter requests with --input-tokens and --output-tokens.",
        )


def assemble(
    subject: Subject, machine: Machine, gpu: Gpu, outcome: Outcome, options: Options, refused: str | None
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
        reason=refused or reasons.reason(subject, machine, gpu, outcome, options),
        parallel=parallel(outcome.split),
        memory=memory(outcome),
        kv=kv(subject, outcome),
        throughput=throughput,
        price=price,
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
    )


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


def predicted(subject: Subject, machine: Machine, gpu: Gpu, outcome: Outcome, options: Options) -> Throughput:
    """The speed at the workload's concurrency, bounded by what the KV cache and max_num_seqs let run."""
    engine = Engine(
        gpu=gpu,
        architecture=subject.architecture,
        scheme=subject.scheme,
        split=outcome.split,
        rules=outcome.rules,
        kv_bytes_per_value=KV_BYTES[options.kv_cache_dtype],
        max_num_batched_tokens=outcome.knobs.max_num_batched_tokens,
        host_gb_per_s=machine.network_gb_per_s,
    )
    load = Load(options.input_tokens, options.output_tokens, options.concurrency)
    found = speed(engine, load, most_running(outcome, options), calibrated(subject, gpu, engine))
    return Throughput(
        output_tokens_per_s=round(found.output_tokens_per_s, 1),
        total_tokens_per_s=round(found.total_tokens_per_s, 1),
        ttft_s=round(found.ttft_s, 4),
        tpot_s=round(found.tpot_s, 5),
        concurrency=options.concurrency,
        basis=found.basis,
        running=found.running,
        band=found.band,
    )


def calibrated(subject: Subject, gpu: Gpu, engine: Engine) -> Fit | None:
    """The user's own fit of that model on that machine, where there is one."""
    split = engine.split
    key = (gpu.name, subject.name, subject.precision, split.tensor, split.pipeline, split.data)
    found = calibrations.find(key)
    return fitted(found, engine) if found else None


def most_running(outcome: Outcome, options: Options) -> int:
    """Requests of the workload's length that the KV cache and max_num_seqs let run at once."""
    held = (outcome.num_blocks - 1) // outcome.layout.blocks_per_request(options.request_tokens)
    return max(1, min(held, outcome.knobs.max_num_seqs)) * outcome.split.data


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
        limit_mm_per_prompt={"image": image_limit()} if images else None,
        hf_overrides=position_override(subject, outcome.max_position_embeddings),
    )


def position_override(subject: Subject, positions: int) -> dict[str, object] | None:
    """The override that shortens the rotary table to max_model_len; no shorter model needs one."""
    if positions >= subject.architecture.max_position_embeddings:
        return None
    setting: dict[str, object] = {"max_position_embeddings": positions}
    return {"text_config": setting} if subject.nested_config else setting
