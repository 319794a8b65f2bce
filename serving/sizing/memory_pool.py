"""What a search asks of the memory a model must fit into, whichever that is."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from infra.hardware import Machine
from serving.model.draft import Draft
from serving.model.kv import NO_LAYERS, Layout, layout
from serving.model.memory import Budget
from serving.model.weights import Split
from serving.sizing.asked_draft import draft_of
from serving.sizing.size_options import Options
from serving.sizing.sized_model import SizedModel
from serving.vllm.versions import Rules


@dataclass(frozen=True, slots=True)
class Case:
    """A subject on a machine, as the user wants it run."""

    subject: SizedModel
    machine: Machine
    options: Options

    @property
    def draft(self) -> Draft | None:
        """What proposes tokens; None where nothing does. Raises as `draft_of` does."""
        return draft_of(self.subject, self.options)


@dataclass(frozen=True, slots=True)
class Knobs:
    """The settings that trade memory, as decided."""

    max_num_seqs: int
    max_num_batched_tokens: int
    gpu_memory_utilization: float
    text_only: bool
    squeezed: tuple[str, ...] = ()
    """What was taken away from vLLM's defaults so that it fits."""


class Pool(Protocol):
    """The memory that a model must fit into: of each GPU, or the RAM of a machine without one."""

    @property
    def case(self) -> Case:
        """What is to fit into it."""

    @property
    def rules(self) -> Rules:
        """Of the vLLM that is planned for."""

    @property
    def kv_bytes(self) -> int | None:
        """The KV cache of each rank; None where it gets what is left."""

    @property
    def bytes_per_value(self) -> int:
        """Of a key or a value in the KV cache."""

    def ladder(self) -> Iterator[Knobs]:
        """vLLM's defaults as the user changed them, then one squeeze more each time."""

    def splits(self) -> tuple[Split, ...]:
        """The splits to try. Raises UsageError when what the user fixed is not legal."""

    def lengths(self) -> tuple[int, ...]:
        """The --max-model-len to try, longest first."""

    def budget(self, split: Split, knobs: Knobs, kv: Layout, length: int) -> Budget:
        """What is taken out of it with that --max-model-len."""


def kv_layout(pool: Pool, split: Split, knobs: Knobs) -> Layout:
    """How the KV cache is cut with that split and those knobs."""
    case, version, draft = pool.case, pool.rules, pool.case.draft
    return layout(
        case.subject.architecture,
        version,
        split,
        hybrid=version.hybrid
        and not case.options.disable_hybrid_kv_cache_manager
        and not is_whole_context(case, draft),
        bytes_per_value=pool.bytes_per_value,
        max_num_batched_tokens=knobs.max_num_batched_tokens,
        cpu=case.machine.gpu is None,
        in_turn=draft is not None and not draft.speculation.is_loaded,
        more=(draft and draft.more_layers) or NO_LAYERS,
    )


def is_whole_context(case: Case, draft: Draft | None) -> bool:
    """Whether vLLM turns the hybrid manager off: beside chunked attention a head of EAGLE does without it."""
    chunked = case.subject.architecture.attention_chunk_size is not None
    return chunked and draft is not None and draft.speculation.is_eagle
