"""PURE: whether vLLM finds what an adapter changes, by the names of its tensors: it passes over what it does not."""

from collections import Counter
from collections.abc import Iterable, Mapping

from infra.errors import UsageError
from infra.printable import one_line
from serving.model.lora_shapes import Module, Served, is_targeted

PEFT = "base_model.model."
ROOTS = ("layers.", "embed_tokens", "lm_head")
"""Where the names of a text model begin, whatever wraps it."""


def check_names(name: str, halves: Iterable[str], served: Served) -> None:
    """Raise UsageError where vLLM would pass over a part of the adapter, or all of it, without a word."""
    known, prefix = served.modules, next(iter(served.modules)).removesuffix("model.embed_tokens")
    modules = list(halves)
    if fused := next((module for module in modules if is_fused(module)), None):
        raise UsageError(
            f"The adapter {name} has all experts of a layer in one tensor ({one_line(fused, 120)}), and vLLM takes "
            f"those of {served.family.title} one by one.",
            "Convert it: experts.0.gate_proj, experts.0.up_proj, experts.0.down_proj, and so on.",
        )
    strange = [module for module in modules if module not in known]
    if strange:
        renamed = renaming(modules, strange, known, prefix)
        raise UsageError(
            f"vLLM would apply {len(modules) - len(strange)} of the {len(modules)} modules of the adapter {name} to "
            f"{served.title}, which has no {one_line(strange[0], 160)}.",
            renamed or "Name an adapter that was trained for this model.",
        )
    if left := [module for module in modules if not is_targeted(known[module], served.target_modules)]:
        raise UsageError(
            f"The adapter {name} has {one_line(left[0], 160)}, which --lora-target-modules leaves out.",
            f"Add --lora-target-modules {known[left[0]].kind}, or leave all of them out.",
        )


def is_fused(module: str) -> bool:
    """Whether a module is all experts of a layer at once, as peft's target_parameters saves them."""
    return module.endswith((".experts", ".experts.base_layer"))


def renaming(modules: list[str], strange: list[str], known: Mapping[str, Module], prefix: str) -> str:
    """What would make the names those of the served model, as a hint; empty where that is not it.

    Where a name is taken already, the other is of something else: of a vision tower, say.
    """
    wrappers: Counter[str] = Counter()
    for module in strange:
        for root in ROOTS:
            wrapper, found, rest = module.partition(root)
            wanted = f"{prefix}{'' if root == 'lm_head' else 'model.'}{root}"
            if found and f"{wanted}{rest}" in known and f"{wanted}{rest}" not in modules:
                wrappers[f"{PEFT}{wrapper}{root} is to be {PEFT}{wanted}"] += 1
                break
    if sum(wrappers.values()) < len(strange):
        return ""
    return f"Rename its keys: {one_line(wrappers.most_common(1)[0][0], 300)}"
