"""PURE: the KV cache as vLLM's own planner lays it out, to the block.

vLLM 0.33.0 v1/core/kv_cache_utils.py (groups, blocks, concurrency) and v1/kv_cache_interface.py (what a request
reserves in a full and in a chunked-local layer). Equal to 96 answers of that code: tests/data/vllm033_kv_vectors.json.
"""

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from math import ceil
from typing import NamedTuple

from infra.hardware import GIB
from serving.model.models import Architecture
from serving.model.weights import Split, stage_of_layers
from serving.vllm.versions import Rules

BLOCK_GPU = 16
BLOCK_CPU = 128
UNEVEN = 1.5
"""vLLM puts a whole kind of layers into one group when the two kinds differ by less than this factor."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How one rank's KV cache is cut into blocks, and what a request of some length reserves."""

    bytes_per_block: int
    block_size: int
    full_groups: int
    local_groups: int
    local_tokens: int
    """A local layer never reserves more than this: its chunk and the tokens in flight."""
    log: str

    def blocks(self, available_bytes: float) -> int:
        """num_gpu_blocks of that much memory."""
        return max(0, int(available_bytes) // self.bytes_per_block)

    def blocks_per_request(self, length: int) -> int:
        """Blocks that a request of that many tokens reserves over all groups."""
        local = ceil(min(self.local_tokens, length) / self.block_size)
        return self.full_groups * ceil(length / self.block_size) + self.local_groups * local

    def fits(self, length: int, num_blocks: int) -> bool:
        """Whether vLLM starts with that max_model_len; one block of the pool is never handed out."""
        return self.blocks_per_request(length) <= num_blocks - 1

    def max_concurrency(self, length: int, num_blocks: int) -> float:
        """Requests of that length at once, as the log line says it."""
        return num_blocks / self.blocks_per_request(length)

    def tokens(self, length: int, num_blocks: int) -> int:
        """The tokens of the "KV cache size" log line; what it counts depends on the version."""
        if self.log == "concurrency":
            return int(self.max_concurrency(length, num_blocks) * length)
        groups = self.full_groups + self.local_groups if self.log == "blocks-per-group" else 1
        return num_blocks // groups * self.block_size

    def gib_of(self, tokens: int) -> float:
        """The memory of so many tokens of that log line, where it counts blocks."""
        groups = self.full_groups + self.local_groups if self.log == "blocks-per-group" else 1
        return tokens // self.block_size * groups * self.bytes_per_block / GIB

    def longest(self, num_blocks: int, at_most: int) -> int:
        """The longest request that fits, 0 when not even one token does."""
        free, most_local = (
            num_blocks - 1,
            ceil(self.local_tokens / self.block_size) if self.local_groups else 0,
        )
        groups = self.full_groups + self.local_groups
        if free < groups * most_local:
            held = max(0, free // groups)
        elif self.full_groups:
            held = (free - self.local_groups * most_local) // self.full_groups
        else:
            return at_most
        return max(0, min(at_most, held * self.block_size))


class MoreLayers(NamedTuple):
    """Layers that a draft adds, which see everything; all are in the last stage of a pipeline."""

    layers: int
    kv_heads: int
    head_dim: int


NO_LAYERS = MoreLayers(0, 1, 1)


@lru_cache(maxsize=1024)
def layout(
    a: Architecture,
    rules: Rules,
    split: Split,
    *,
    hybrid: bool,
    bytes_per_value: int,
    max_num_batched_tokens: int,
    cpu: bool = False,
    in_turn: bool = False,
    more: MoreLayers = NO_LAYERS,
) -> Layout:
    """The layout on the rank that holds the most; `in_turn` where no step is scheduled while another runs.

    With the hybrid manager a draft's layers are as large as the model's.
    """
    block = BLOCK_CPU if cpu else BLOCK_GPU
    page, drafts = (
        block * 2 * max(1, heads // split.tensor) * width * bytes_per_value
        for heads, width in ((a.kv_heads, a.head_dim), (more.kv_heads, more.head_dim))
    )
    full, local = layers_of(a)
    drafted = tuple(range(a.layers, a.layers + more.layers))
    in_flight = rules.batches_in_flight(split.pipeline, cpu or in_turn) * max_num_batched_tokens
    tokens = (a.attention_chunk_size or 0) + in_flight
    if not (hybrid and (full or drafted) and local):
        chunked = bool(local) and not (full or drafted)
        stages = stage_of_layers(a.layers, split.pipeline)
        of_each = [page * stages.count(stage) for stage in range(split.pipeline)]
        of_each[-1] += drafts * more.layers
        return Layout(max(of_each), block, int(not chunked), int(chunked), tokens, rules.log)
    full += drafted
    size = group_size(len(full), len(local))
    full_groups, local_groups = grouped(full, size), grouped(local, size)
    layers = max(most_on_a_stage(group, a.layers, split.pipeline) for group in full_groups + local_groups)
    return Layout(page * layers, block, len(full_groups), len(local_groups), tokens, rules.log)


def layers_of(a: Architecture) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The layers with full and with chunked-local attention."""
    if a.attention_chunk_size is None:
        return tuple(range(a.layers)), ()
    return a.global_layers, tuple(layer for layer in range(a.layers) if layer not in a.global_layers)


def group_size(full: int, local: int) -> int:
    """Layers in a group: the smaller kind's number, or the larger's where padding wastes little."""
    fewest, most = min(full, local), max(full, local)
    return most if most < fewest * UNEVEN else fewest


def grouped(layers: tuple[int, ...], size: int) -> tuple[tuple[int, ...], ...]:
    """Layers of one kind dealt out to their groups in turn, so that every pipeline stage has some of each."""
    count = ceil(len(layers) / size)
    return tuple(layers[index::count] for index in range(count))


def most_on_a_stage(layers: tuple[int, ...], all_layers: int, pipeline: int) -> int:
    """The most of these layers that any one pipeline stage holds; those beyond the model's are in the last."""
    stages = stage_of_layers(all_layers, pipeline)
    of_each = Counter(stages[layer] if layer < all_layers else pipeline - 1 for layer in layers)
    return max(of_each.values())


def held_tokens(a: Architecture, length: int) -> float:
    """Tokens per layer that a running request of that length really holds, averaged over the layers.

    Less than the admission reserve: a local layer keeps only its current chunk.
    """
    full = a.layers if a.attention_chunk_size is None else len(a.global_layers)
    chunk = a.attention_chunk_size or length
    current = length if length <= chunk else chunk / 2
    return (full * length + (a.layers - full) * current) / a.layers
