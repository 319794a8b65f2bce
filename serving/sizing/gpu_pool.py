"""PURE: the memory of each GPU of a machine: vLLM's defaults there, what may be squeezed, and the legal splits."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from infra.errors import UsageError
from infra.hardware import GIB, Gpu, Machine
from serving.model.calibration import Calibration, ServerMemory, corrected
from serving.model.draft import Draft, held_by_draft
from serving.model.kv import Layout
from serving.model.lora import slots_bytes
from serving.model.memory import Budget, Sizes, budget, device_defaults
from serving.model.speculation import EXAMPLE
from serving.model.weights import Split
from serving.sizing.memory_pool import Case, Knobs, kv_layout
from serving.sizing.size_options import KvDtype
from serving.sizing.sized_model import SizedModel, layer_weights, rank_weights
from serving.vllm.versions import Rules, rules

LENGTHS = tuple(1 << power for power in range(17, 8, -1))
"""The --max-model-len corral proposes, longest first: 131072 down to 512."""
SQUEEZED_SEQS = 64
SQUEEZED_UTILIZATION = 0.95
KV_BYTES: dict[KvDtype, int] = {
    "auto": 2,
    "bfloat16": 2,
    "float16": 2,
    "fp8": 1,
    "fp8_e4m3": 1,
    "fp8_e5m2": 1,
}


@dataclass(frozen=True, slots=True)
class GpuPool:
    """The memory of one GPU; all are alike."""

    case: Case
    gpu: Gpu
    rules: Rules
    calibrations: tuple[Calibration, ...] = ()
    """Of this model on such GPUs, by the user."""

    @property
    def kv_bytes(self) -> int | None:
        """As asked for, else what is left."""
        return self.case.options.kv_cache_memory_bytes

    @property
    def bytes_per_value(self) -> int:
        """As asked for."""
        return KV_BYTES[self.case.options.kv_cache_dtype]

    def ladder(self) -> Iterator[Knobs]:
        """vLLM's defaults as the user changed them, then one squeeze more each time. What the user fixed stays.

        The defaults are left out where rows of the sampler that nothing runs in would make requests wait.
        """
        options, version = self.case.options, self.rules
        tokens, seqs = device_defaults(self.gpu)
        each = options.tokens_of_each if options.enable_lora else 1
        batched = options.max_num_batched_tokens or max(tokens, (options.max_num_seqs or 0) * each)
        knobs = Knobs(
            max_num_seqs=options.max_num_seqs or max(1, min(seqs, batched // each)),
            max_num_batched_tokens=batched,
            gpu_memory_utilization=options.gpu_memory_utilization or version.gpu_memory_utilization,
            text_only=options.language_model_only or self.case.subject.architecture.vision is None,
        )
        fewer = self.with_fewer(knobs)
        if fewer == knobs or not 0 < self.held(knobs)(knobs.max_num_seqs) < self.wanted:
            yield knobs
        if fewer != knobs:
            yield fewer
        if options.gpu_memory_utilization is None and options.kv_cache_memory_bytes is None:
            more = f"--gpu-memory-utilization {SQUEEZED_UTILIZATION}"
            knobs = squeezed(knobs, more, gpu_memory_utilization=SQUEEZED_UTILIZATION)
            yield self.with_fewer(knobs)
        if not knobs.text_only and options.images_per_request is None:
            knobs = squeezed(knobs, "--language-model-only", text_only=True)
            yield self.with_fewer(knobs)
        if self.with_fewer(knobs).max_num_seqs > SQUEEZED_SEQS and options.max_num_seqs is None:
            yield limited(knobs, SQUEEZED_SEQS)

    @property
    def wanted(self) -> int:
        """Requests at once on each copy of the model, were all of the workload's to run."""
        return -(-self.case.options.concurrency // (self.case.options.data_parallel_size or 1))

    def with_fewer(self, knobs: Knobs) -> Knobs:
        """With no more sequences than the workload has at once and the KV cache runs: each takes memory from it."""
        if self.case.options.max_num_seqs is not None:
            return knobs
        low, high = SQUEEZED_SEQS, max(SQUEEZED_SEQS, min(self.wanted, knobs.max_num_seqs))
        held = self.held(knobs) if low < high else None
        while held and low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if held(middle) >= middle else (low, middle - 1)
        return limited(knobs, low) if low < knobs.max_num_seqs else knobs

    def held(self, knobs: Knobs) -> Callable[[int], int]:
        """Requests of the workload that the KV cache holds at once beside a number of sequences."""
        (split,), length = self.splits(), self.case.options.request_tokens
        kv = kv_layout(self, split, knobs)
        blocks_each = kv.blocks_per_request(length)

        def gib(seqs: int) -> float:
            return self.budget(split, replace(knobs, max_num_seqs=seqs), kv, length).kv_gib

        most = gib(0)
        each = most - gib(1)  # a sequence takes what every other one does

        def held(seqs: int) -> int:
            size = (most - seqs * each) * GIB if self.kv_bytes is None else self.kv_bytes
            return (kv.blocks(size) - 1) // blocks_each

        return held

    def splits(self) -> tuple[Split, ...]:
        """The split to try: the user's, else the widest. Raises UsageError when what the user fixed is not legal."""
        subject, machine, options = self.case.subject, self.case.machine, self.case.options
        pipeline = options.pipeline_parallel_size or machine.hosts
        data, expert = options.data_parallel_size or 1, options.enable_expert_parallel
        check_stages(pipeline, self.case.draft)
        if options.tensor_parallel_size is None:
            for tensor in (8, 4, 2, 1):
                split = Split(tensor, pipeline, data, expert)
                if split.gpus <= machine.gpu_count and illegal(split, subject, self.case.draft) is None:
                    return (split,)
        split = Split(options.tensor_parallel_size or 1, pipeline, data, expert)
        check_split(split, subject, machine, self.case.draft)
        return (split,)

    def lengths(self) -> tuple[int, ...]:
        """The user's, else the proposals that hold a request of the workload."""
        options, limit = self.case.options, self.case.subject.architecture.max_position_embeddings
        if options.max_model_len is not None:
            return (options.max_model_len,)
        holds = tuple(length for length in LENGTHS if options.request_tokens <= length <= limit)
        return holds or (min(limit, -(-options.request_tokens // 1024) * 1024),)

    def budget(self, split: Split, knobs: Knobs, kv: Layout, length: int) -> Budget:
        """GiB of one GPU, each term with its error; as a server's log has it where the user gave one."""
        sizes, measured = self.sizes(split, knobs, kv, length), self.measured(split)
        planned = budget(self.gpu, self.case.subject.architecture, self.rules, sizes)
        if measured is None:
            return planned
        return corrected(
            planned, self.at(split, measured, kv), measured, self.rules.version == measured.vllm_version
        )

    def measured(self, split: Split) -> ServerMemory | None:
        """What a server with that split said of its memory."""
        wanted = (split.tensor, split.pipeline, split.data)
        found = (each for each in self.calibrations if (each.tensor, each.pipeline, each.data) == wanted)
        return next((each.memory for each in found), None)

    def at(self, split: Split, measured: ServerMemory, kv: Layout) -> Budget:
        """What is planned for the settings that a server ran with."""
        knobs = Knobs(
            max_num_seqs=measured.max_num_seqs,
            max_num_batched_tokens=measured.max_num_batched_tokens,
            gpu_memory_utilization=measured.gpu_memory_utilization,
            text_only=measured.text_only,
        )
        sizes = replace(
            self.sizes(split, knobs, kv, measured.max_model_len),
            max_position_embeddings=measured.max_position_embeddings,
            enforce_eager=measured.enforce_eager,
            lora_bytes=0,
            offloaded_bytes=0.0,
            draft=None,
            drafted_tokens=0,
        )
        return budget(self.gpu, self.case.subject.architecture, rules(measured.vllm_version), sizes)

    def sizes(self, split: Split, knobs: Knobs, kv: Layout, length: int) -> Sizes:
        """What the terms depend on."""
        subject, draft, batched = self.case.subject, self.case.draft, knobs.max_num_batched_tokens
        width = subject.architecture.hidden_size
        held = held_by_draft(draft, split, length, batched, width) if draft else None
        return Sizes(
            weights_bytes=max(rank_weights(subject, split, knobs.text_only)),
            weights_extra_bytes=subject.extra_bytes_at_most / split.tensor / split.pipeline,
            max_model_len=length,
            max_num_seqs=knobs.max_num_seqs,
            max_num_batched_tokens=batched,
            gpu_memory_utilization=knobs.gpu_memory_utilization,
            max_position_embeddings=min(subject.architecture.max_position_embeddings, length),
            enforce_eager=self.case.options.enforce_eager,
            images=not knobs.text_only,
            gpus=split.tensor * split.pipeline,
            kv_groups=kv.full_groups + kv.local_groups,
            lora_bytes=lora_bytes(self.case, split),
            offloaded_bytes=offloaded_bytes(self.case, split),
            draft=held,
            drafted_tokens=draft.speculation.tokens if draft else 0,
        )


def lora_bytes(case: Case, split: Split) -> int:
    """Of the slots of adapters on a GPU."""
    slots, rank = case.options.lora_slots
    if not slots:
        return 0
    return slots_bytes(case.subject.architecture, split, slots, rank, case.options.lora_target_modules)


def offloaded_bytes(case: Case, split: Split) -> float:
    """Of a GPU's weights those that stay in the RAM: as many as asked for, of the layers alone."""
    asked = case.options.cpu_offload_gb * GIB
    return min(asked, max(layer_weights(case.subject, split))) if asked else 0.0


def squeezed(knobs: Knobs, flag: str, **changes: object) -> Knobs:
    """The knobs with one more thing taken away."""
    return replace(knobs, squeezed=(*knobs.squeezed, flag), **changes)  # type: ignore[arg-type]


def limited(knobs: Knobs, seqs: int) -> Knobs:
    """The knobs with fewer sequences, which is the first thing to take away."""
    return replace(knobs, max_num_seqs=seqs, squeezed=(f"--max-num-seqs {seqs}", *knobs.squeezed))


def check_split(split: Split, subject: SizedModel, machine: Machine, draft: Draft | None = None) -> None:
    """Raise UsageError when the model cannot be split so, or the machine has too few GPUs."""
    why = illegal(split, subject, draft)
    if why:
        legal = [str(tensor) for tensor in (1, 2, 4, 8) if illegal(Split(tensor), subject, draft) is None]
        raise UsageError(why, f"Legal tensor parallel sizes for {subject.title}: {', '.join(legal)}.")
    if split.gpus > max(1, machine.gpu_count):
        raise UsageError(
            f"tensor {split.tensor} x pipeline {split.pipeline} x data {split.data} needs {split.gpus} GPUs; "
            f"{machine.name} has {machine.gpu_count}.",
            "Make one of them smaller, or name a larger machine.",
        )


def check_stages(pipeline: int, draft: Draft | None) -> None:
    """Raise UsageError for a draft that takes the model's embedding, where that is in another stage than the draft."""
    if pipeline > 1 and draft and draft.speculation.is_eagle and not draft.has_embedding:
        raise UsageError(
            f"The draft {draft.repo} takes the model's embedding, which is not in the last stage of a pipeline.",
            f"Plan for one host and one stage, or propose by look-up. {EXAMPLE}",
        )


def illegal(split: Split, subject: SizedModel, draft: Draft | None = None) -> str | None:
    """Why vLLM refuses a split (its models and config/model.py, 0.33.0), with the numbers; None when it is legal."""
    a, tensor = subject.architecture, split.tensor
    if a.attention_heads % tensor:
        return f"tensor parallel size {tensor} does not divide {a.attention_heads} attention heads."
    if a.kv_heads % tensor and tensor % a.kv_heads:
        return f"tensor parallel size {tensor} and {a.kv_heads} KV heads do not divide each other."
    if a.vision and a.vision.heads % tensor:
        return f"tensor parallel size {tensor} does not divide the vision tower's {a.vision.heads} heads."
    if split.expert and not a.experts:
        return f"expert parallelism is of experts, and {subject.title} has none."
    if split.pipeline > a.layers:
        return f"pipeline parallel size {split.pipeline} is more than {a.layers} layers."
    return illegal_draft(split, draft)


def illegal_draft(split: Split, draft: Draft | None) -> str | None:
    """The same of the draft, which is split as the model is."""
    a, tensor = draft.architecture if draft else None, split.tensor
    if draft is None or a is None:
        return None
    if a.attention_heads % tensor or (a.kv_heads % tensor and tensor % a.kv_heads):
        return (
            f"tensor parallel size {tensor} does not divide the {a.attention_heads} attention heads and {a.kv_heads} "
            f"KV heads of the draft {draft.repo}."
        )
    return None
