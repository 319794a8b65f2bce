"""The adapters that were asked for beside a model: read where they lie, held to it, and given slots in its plan."""

from collections.abc import Sequence

from infra.asked import again
from infra.errors import UsageError
from infra.hardware import Machine
from serving.model import lora
from serving.model.lora_shapes import Served
from serving.sizing.size_options import Options
from serving.sizing.sized_model import SizedModel
from serving.vllm.lora_modules import LoraModule, check_names
from serving.vllm.versions import rules


def with_adapters(subject: SizedModel, options: Options) -> Options:
    """The options with the adapters as they are, and slots that hold them.

    Raises UsageError for one that the model would not be changed by, DocumentError for what is no adapter.
    """
    if not options.lora:
        return options
    check_names(options.lora, subject.served_name)
    served = served_by(subject, options.vllm_version, options.max_lora_rank, options.lora_target_modules)
    found = read(options.lora, served)
    return options.model_copy(
        update={
            "lora": found,
            "enable_lora": True,
            "max_loras": options.max_loras or len(found),
            "max_lora_rank": options.max_lora_rank or least_rank(found),
        }
    )


def served_by(
    subject: SizedModel, version: str | None, largest_rank: int | None, target_modules: tuple[str, ...]
) -> Served:
    """What adapters of a model are held to."""
    return Served(
        title=subject.title,
        family=subject.family,
        architecture=subject.architecture,
        is_nested=subject.nested_config,
        rules=rules(version),
        largest_rank=largest_rank,
        target_modules=target_modules,
    )


def read(modules: Sequence[LoraModule], served: Served) -> tuple[LoraModule, ...]:
    """Each as it lies there; what reads files is imported only where there is one."""
    from serving.model import lora_files

    return tuple(lora_files.read(module, served) for module in modules)


def least_rank(modules: Sequence[LoraModule]) -> int:
    """The smallest --max-lora-rank that holds them. Raises UsageError where vLLM has none so large."""
    largest = max(modules, key=lambda module: module.rank)
    ranks: list[int] = [rank for rank in lora.data()["ranks"] if rank >= largest.rank]
    if not ranks:
        raise UsageError(
            f"The adapter {largest.name} has rank {largest.rank}, and vLLM has {max(lora.data()['ranks'])} at most.",
            "Train it with a smaller one.",
        )
    return min(ranks)


def check_machine(subject: SizedModel, machine: Machine, options: Options) -> None:
    """Raise UsageError where vLLM has a build that serves no adapters beside experts."""
    if options.lora and machine.gpu is None and subject.architecture.moe_layers:
        raise UsageError(
            f"vLLM's CPU build has no adapters for a model with experts, such as {subject.title}: its first request "
            f"ends the engine ({lora.data()['cpu_source']}).",
            f"Name GPUs: --on 8xH100{again(options)}",
        )
