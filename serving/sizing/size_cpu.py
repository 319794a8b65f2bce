"""A plan for this machine: its GPUs by NVML, or vLLM's CPU backend where there is none."""

from infra import catalog
from infra.data import shipped_table
from infra.errors import HostError
from infra.hardware import GIB, Machine
from serving.model.kv import Layout, layout
from serving.model.memory import constants
from serving.model.weights import Split
from serving.sizing.assemble import parallel, plan_machine, position_override, workload
from serving.sizing.plan import Kv, Memory, Plan
from serving.sizing.size_options import Options
from serving.sizing.subject import Subject, rank_weights
from serving.vllm.serve_options import ServeOptions
from serving.vllm.versions import rules

DEFAULT_KV_BYTES = 1 << 30
BATCHED_TOKENS_PER_RANK = 2048
MAX_NUM_SEQS = 256
LENGTHS = tuple(1 << power for power in range(15, 7, -1))
DTYPE_BYTES: dict[str, int] = {"auto": 2, "bfloat16": 2, "float16": 2, "half": 2, "float32": 4, "float": 4}


def local_machine() -> Machine:
    """This machine as the planner sees it. Raises HostError when its GPUs are of different models or none of ours."""
    from infra.gpus import report
    from infra.local_facts import facts

    host, found = facts(), report().gpus
    ram_gib = host.memory_total_mib / 1024
    if not found:
        return Machine(
            name="local", kind="local", gpu=None, gpus_per_host=0, vcpus=host.cpu_count, ram_gib=ram_gib
        )
    if len({gpu.name for gpu in found}) > 1:
        raise HostError(
            f"This machine has GPUs of different models: {', '.join(gpu.name for gpu in found)}.",
            "Plan for one kind by name: --on 1xH100",
        )
    if any(gpu.mig_enabled for gpu in found):
        raise HostError(
            "MIG is on: these GPUs are cut into slices, and vLLM wants whole ones.",
            "Switch it off (sudo nvidia-smi -mig 0), or plan for whole ones by name: --on 1xH100",
        )
    gpu = [catalog.gpu_reported(each.name, each.memory_total_mib) for each in found][0]
    return Machine(
        name="local", kind="local", gpu=gpu, gpus_per_host=len(found), vcpus=host.cpu_count, ram_gib=ram_gib
    )


def plan_cpu(subject: Subject, machine: Machine, options: Options) -> Plan:
    """The plan for vLLM's CPU backend: --kv-cache-memory-bytes bounds the KV cache, nothing is profiled."""
    split = Split(options.tensor_parallel_size or 1, options.pipeline_parallel_size or 1)
    kv_bytes = options.kv_cache_memory_bytes or DEFAULT_KV_BYTES
    batched = options.max_num_batched_tokens or BATCHED_TOKENS_PER_RANK * split.gpus
    kv_plan = cpu_layout(subject, split, options, batched)
    blocks = kv_plan.blocks(kv_bytes)
    length = options.max_model_len or proposed_length(subject, kv_plan, blocks, options)
    memory = cpu_memory(subject, machine, split, options, kv_bytes, length)
    enough_kv, enough_ram = kv_plan.fits(length, blocks), memory.kv_cache_gib <= free_gib(memory)
    fits = enough_kv and enough_ram
    return Plan(
        model=subject.name,
        precision=subject.precision,
        machine=plan_machine(machine),
        vllm_version=rules(options.vllm_version or engine_version()).version,
        workload=workload(options),
        fits=fits,
        verdict="fits" if fits else "does not fit",
        reason=cpu_reason(memory, kv_plan, blocks, length, enough_kv, enough_ram),
        parallel=parallel(split),
        memory=memory,
        kv=Kv(
            bytes_per_block=kv_plan.bytes_per_block,
            num_blocks=blocks,
            blocks_per_request=kv_plan.blocks_per_request(length),
            tokens=kv_plan.tokens(length, blocks),
            max_concurrency=kv_plan.max_concurrency(length, blocks),
            max_context_tokens=kv_plan.longest(blocks, subject.architecture.max_position_embeddings),
            block_size=kv_plan.block_size,
        ),
        throughput=None,
        price=None,
        usd_per_mtok=None,
        serve=ServeOptions(
            model=subject.repo,
            served_model_name=subject.served_name,
            tensor_parallel_size=split.tensor,
            pipeline_parallel_size=split.pipeline,
            max_model_len=length,
            max_num_seqs=options.max_num_seqs or MAX_NUM_SEQS,
            max_num_batched_tokens=batched,
            kv_cache_dtype=options.kv_cache_dtype,
            kv_cache_memory_bytes=kv_bytes,
            disable_hybrid_kv_cache_manager=options.disable_hybrid_kv_cache_manager,
            dtype=options.dtype,
            enforce_eager=options.enforce_eager,
            language_model_only=options.language_model_only and subject.architecture.vision is not None,
            hf_overrides=position_override(
                subject, min(length, subject.architecture.max_position_embeddings)
            ),
        ),
        notes=(
            "No GPU here: this plan is for vLLM's CPU backend, to try the line out, not to serve people.",
        ),
        terms=(),
        weights_bytes=subject.weights_bytes,
    )


def cpu_layout(subject: Subject, split: Split, options: Options, batched: int) -> Layout:
    """The KV layout of the CPU backend: blocks of 128 tokens, one batch in flight a stage."""
    version = rules(options.vllm_version or engine_version())
    values = 1 if options.kv_cache_dtype.startswith("fp8") else DTYPE_BYTES[options.dtype]
    return layout(
        subject.architecture,
        version,
        split,
        hybrid=version.hybrid and not options.disable_hybrid_kv_cache_manager,
        bytes_per_value=values,
        max_num_batched_tokens=batched,
        cpu=True,
    )


def proposed_length(subject: Subject, kv_plan: Layout, blocks: int, options: Options) -> int:
    """The longest of the proposals that holds a request of the workload and fits; else the shortest that holds it."""
    limit = subject.architecture.max_position_embeddings
    holds = [length for length in LENGTHS if options.request_tokens <= length <= limit] or [limit]
    return next((length for length in holds if kv_plan.fits(length, blocks)), holds[-1])


def cpu_memory(
    subject: Subject, machine: Machine, split: Split, options: Options, kv_bytes: int, length: int
) -> Memory:
    """GiB of this machine's RAM, all processes together."""
    figure = constants()["cpu"]
    total = machine.ram_gib or 0.0
    held = rank_weights(subject, split, options.language_model_only)
    scale = DTYPE_BYTES[options.dtype] / 2
    table = (
        min(length, subject.architecture.max_position_embeddings) * subject.architecture.head_dim * 2 / GIB
    )
    return Memory(
        total_gib=round(total, 3),
        usable_gib=round(total, 3),
        weights_gib=round(sum(held) * split.tensor * scale / GIB, 3),
        rope_table_gib=round(table * split.gpus, 3),
        activation_gib=round(figure["process_gib"] * (1 + split.gpus), 3),
        cuda_graphs_gib=0.0,
        non_torch_gib=0.0,
        block_tables_gib=0.0,
        kv_cache_gib=round(kv_bytes * split.gpus / GIB, 3),
        kv_cache_less_gib=0.0,
        kv_cache_more_gib=0.0,
    )


def free_gib(memory: Memory) -> float:
    """What the processes and the weights leave of the RAM."""
    return memory.total_gib - memory.weights_gib - memory.rope_table_gib - memory.activation_gib


def cpu_reason(
    memory: Memory, kv_plan: Layout, blocks: int, length: int, enough_kv: bool, enough_ram: bool
) -> str:
    """One sentence: the numbers that decide."""
    if not enough_ram:
        return (
            f"Weights of {amount(memory.weights_gib)}, {memory.activation_gib:.1f} GiB for vLLM's processes and a "
            f"KV cache of {amount(memory.kv_cache_gib)} do not fit into {memory.total_gib:.1f} GiB of RAM."
        )
    if not enough_kv:
        return (
            f"A request of {length:,} tokens needs {kv_plan.blocks_per_request(length) + 1:,} KV blocks and "
            f"--kv-cache-memory-bytes gives {blocks:,}."
        )
    return (
        f"{amount(memory.weights_gib)} of weights and {amount(memory.kv_cache_gib)} of KV cache fit into RAM."
    )


def amount(gib: float) -> str:
    """GiB, or MiB where that reads better."""
    return f"{gib:.1f} GiB" if gib >= 1 else f"{gib * 1024:.0f} MiB"


def engine_version() -> str:
    """The version of the CPU engine corral installs."""
    return str(shipped_table("serving.vllm", "engine.toml")["cpu"]["version"])
