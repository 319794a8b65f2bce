"""PURE: whether an adapter suits the served model: by the names, shapes and types of its tensors.

vLLM loads one of which no key matches with "Success", and serves the model unchanged (measured, 0.32.0).
"""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from infra.errors import UsageError
from infra.printable import one_line
from serving.model import lora_config
from serving.model.lora_names import PEFT, check_names
from serving.model.lora_shapes import Module, Served
from serving.model.safetensors import Tensor

HALVES: dict[str, Literal["A", "B"]] = {
    ".lora_A.weight": "A",
    ".lora_B.weight": "B",
    ".lora_embedding_A": "A",
    ".lora_embedding_B": "B",
}
# peft keeps the whole embedding beside its adapter; vLLM passes over it.
PASSED_OVER = (".embed_tokens.base_layer.weight", ".lm_head.base_layer.weight")
DTYPES = ("BF16", "F16", "F32", "F64")


def check(
    name: str, config: dict[str, Any], tensors: Iterable[Tensor], served: Served
) -> tuple[int, tuple[str, ...]]:
    """The largest rank of an adapter, and the kinds of modules that it changes.

    Raises UsageError for one that would not be applied, or not as it was trained.
    """
    lora_config.check(name, config, served.rules)
    ranks = lora_config.ranks(name, config)
    check_rank(name, max(ranks), served)
    halves = halves_of(name, tensors, served)
    check_names(name, halves, served)
    for module, parts in halves.items():
        check_shapes(name, module, parts, served.modules[module], ranks)
    check_experts(name, halves, served)
    return max(ranks), tuple(sorted({served.modules[module].kind for module in halves}))


def check_rank(name: str, rank: int, served: Served) -> None:
    """Raise UsageError for more than the slots have."""
    if served.largest_rank is not None and rank > served.largest_rank:
        raise UsageError(
            f"The adapter {name} has rank {rank}, and --max-lora-rank is {served.largest_rank}.",
            f"Plan with --max-lora-rank {rank} or more, or leave that out.",
        )


def halves_of(name: str, tensors: Iterable[Tensor], served: Served) -> dict[str, dict[str, Tensor]]:
    """Module -> its A and its B. Raises UsageError for a tensor that is neither, or holds no such numbers."""
    found: dict[str, dict[str, Tensor]] = {}
    for tensor in tensors:
        if tensor.name.endswith(PASSED_OVER):
            check_words(name, tensor, served)
            continue
        end = next((end for end in HALVES if tensor.name.endswith(end)), None)
        if end is None:
            raise UsageError(
                f"The adapter {name} holds {one_line(tensor.name, 200)}, which is no part of a LoRA adapter.",
                lora_config.RETRAIN,
            )
        if tensor.dtype not in DTYPES:
            raise UsageError(
                f"The adapter {name} holds {one_line(tensor.name, 200)} as {tensor.dtype}.",
                f"Save it in one of {', '.join(DTYPES)}.",
            )
        found.setdefault(tensor.name.removesuffix(end).removeprefix(PEFT), {})[HALVES[end]] = tensor
    if not found:
        raise UsageError(f"The adapter {name} holds no tensor of an adapter.", lora_config.RETRAIN)
    return found


def check_words(name: str, tensor: Tensor, served: Served) -> None:
    """Raise UsageError for an adapter whose base has another vocabulary."""
    if tensor.shape[:1] != (served.architecture.vocab_size,):
        raise UsageError(
            f"The adapter {name} is of a base with {(*tensor.shape, 0)[0]:,} words, and {served.title} has "
            f"{served.architecture.vocab_size:,}.",
            "Name an adapter of this model.",
        )


def check_shapes(
    name: str, module: str, parts: Mapping[str, Tensor], of: Module, ranks: frozenset[int]
) -> None:
    """Raise UsageError for a module of another size, or of a rank that the config does not say."""
    if lacking := {"A", "B"} - parts.keys():
        raise UsageError(
            f"The adapter {name} lacks lora_{min(lacking)} of {one_line(module, 160)}.",
            "Save it again, whole.",
        )
    a, b = parts["A"].shape, parts["B"].shape
    if a[1:] != (of.reads,) or b[:1] != (of.writes,) or b[1:] != a[:1]:
        raise UsageError(
            f"The adapter {name} has {shown(a)} and {shown(b)} for {one_line(module, 160)}, where the served model "
            f"takes (rank, {of.reads}) and ({of.writes}, rank).",
            "Name an adapter that was trained for this model.",
        )
    if a[0] not in ranks:
        raise UsageError(
            f"The adapter {name} has rank {a[0]} in {one_line(module, 160)}, and its adapter_config.json says "
            f"{', '.join(map(str, sorted(ranks)))}.",
            "Save both again, of one training.",
        )


def shown(shape: tuple[int, ...]) -> str:
    """A shape in a sentence."""
    return f"({', '.join(map(str, shape))})"


def check_experts(name: str, halves: Mapping[str, Mapping[str, Tensor]], served: Served) -> None:
    """Raise UsageError where a layer has adapters for some experts: vLLM stacks those of all, of one rank."""
    of_layer: dict[str, dict[str, int]] = {}
    for module, parts in halves.items():
        if served.modules[module].kind == "experts":
            layer, _, _ = module.partition(".experts.")
            of_layer.setdefault(layer, {})[module] = parts["A"].shape[0]
    for layer, found in of_layer.items():
        every = [each for each in served.modules if each.startswith(f"{layer}.experts.")]
        if len(found) < len(every) or len(set(found.values())) > 1:
            raise UsageError(
                f"The adapter {name} has {len(found)} of the {len(every)} projections of the experts of {layer}, of "
                f"{len(set(found.values()))} ranks; vLLM takes all, of one rank, or none.",
                "Train it for every expert, or for none.",
            )
