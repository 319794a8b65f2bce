"""PURE: the RAM of a machine without a GPU, shared by all ranks of vLLM's CPU backend; nothing is profiled there."""

from collections.abc import Iterator
from dataclasses import dataclass

from infra.hardware import GIB
from serving.model.kv import Layout
from serving.model.memory import Budget, Term, constants, rotary_table_gib
from serving.model.weights import Split
from serving.sizing.gpu_pool import lora_bytes
from serving.sizing.memory_pool import Case, Knobs
from serving.sizing.size_options import Dtype
from serving.sizing.sized_model import rank_weights
from serving.vllm.versions import Rules

DEFAULT_KV_BYTES = 1 << 30
BATCHED_TOKENS_PER_RANK = 2048
MAX_NUM_SEQS = 256
LENGTHS = tuple(1 << power for power in range(15, 7, -1))
DTYPE_BYTES: dict[Dtype, int] = {
    "auto": 2,
    "bfloat16": 2,
    "float16": 2,
    "half": 2,
    "float32": 4,
    "float": 4,
}


@dataclass(frozen=True, slots=True)
class CpuPool:
    """The RAM; --kv-cache-memory-bytes bounds the KV cache of each rank."""

    case: Case
    rules: Rules

    @property
    def kv_bytes(self) -> int:
        """As asked for, else a GiB."""
        return self.case.options.kv_cache_memory_bytes or DEFAULT_KV_BYTES

    @property
    def bytes_per_value(self) -> int:
        """As asked for, else as the activations."""
        return (
            1 if self.case.options.kv_cache_dtype.startswith("fp8") else DTYPE_BYTES[self.case.options.dtype]
        )

    def ladder(self) -> Iterator[Knobs]:
        """vLLM's defaults as the user changed them: there is nothing to squeeze."""
        options = self.case.options
        (split,) = self.splits()
        yield Knobs(
            max_num_seqs=options.max_num_seqs or MAX_NUM_SEQS,
            max_num_batched_tokens=options.max_num_batched_tokens or BATCHED_TOKENS_PER_RANK * split.gpus,
            gpu_memory_utilization=1.0,
            text_only=options.language_model_only,
        )

    def splits(self) -> tuple[Split, ...]:
        """As asked for, else no split."""
        options = self.case.options
        return (Split(options.tensor_parallel_size or 1, options.pipeline_parallel_size or 1),)

    def lengths(self) -> tuple[int, ...]:
        """The user's, else the proposals that hold a request of the workload."""
        options, limit = self.case.options, self.case.subject.architecture.max_position_embeddings
        if options.max_model_len is not None:
            return (options.max_model_len,)
        return tuple(length for length in LENGTHS if options.request_tokens <= length <= limit) or (limit,)

    def budget(self, split: Split, knobs: Knobs, kv: Layout, length: int) -> Budget:
        """GiB of the RAM, all processes together."""
        subject, total = self.case.subject, self.case.machine.ram_gib or 0.0
        held = sum(rank_weights(subject, split, knobs.text_only)) * split.tensor
        held += self.case.draft.weights_bytes if self.case.draft else 0
        positions = min(length, subject.architecture.max_position_embeddings)
        figure = constants()["cpu"]
        slots = lora_bytes(self.case, split) * split.gpus
        gib = {
            "weights": held * DTYPE_BYTES[self.case.options.dtype] / 2 / GIB,
            "rope_table": rotary_table_gib(subject.architecture, positions) * split.gpus,
            "activation": figure["process_gib"] * (1 + split.gpus),
        } | ({"lora": slots / GIB} if slots else {})
        return Budget(
            total_gib=total,
            usable_gib=total,
            total_error_gib=0.0,
            inside=tuple(Term(name, each, 0.0, 0.0, figure["source"]) for name, each in gib.items()),
            outside=(),
            kv_caches=split.gpus,
        )
