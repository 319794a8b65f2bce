"""PURE: what adapter_config.json says of an adapter, held to what vLLM applies; what it ignores is refused too."""

from math import isfinite
from typing import Any

from infra.errors import UsageError
from infra.printable import one_line
from serving.model.lora import data
from serving.vllm.versions import Rules, number

PATTERNS = ("rank_pattern", "alpha_pattern")
NEEDED = ("r", "lora_alpha", "target_modules")
RETRAIN = "Train or convert it as a plain LoRA adapter (peft: LoraConfig with its defaults)."


def ranks(name: str, config: dict[str, Any]) -> frozenset[int]:
    """Every rank that a module may have. Raises UsageError for what is none."""
    patterns = config.get("rank_pattern") or {}
    said = [config.get("r"), *(patterns.values() if isinstance(patterns, dict) else [patterns])]
    if wrong := [rank for rank in said if type(rank) is not int or rank < 1]:
        raise UsageError(
            f"The adapter {name} has the rank {one_line(repr(wrong[0]), 60)}, which is none.", RETRAIN
        )
    return frozenset(said)


def check(name: str, config: dict[str, Any], rules: Rules) -> None:
    """Raise UsageError for an adapter of another kind, or one that vLLM does not apply as it was trained."""
    kind = config.get("peft_type", "LORA")
    if kind != "LORA":
        raise UsageError(
            f"The adapter {name} is of {one_line(str(kind), 60)}, and vLLM has LoRA alone.", RETRAIN
        )
    if missing := [field for field in NEEDED if config.get(field) is None]:
        raise UsageError(f"adapter_config.json of the adapter {name} lacks {missing[0]}.", RETRAIN)
    alpha = config["lora_alpha"]
    if type(alpha) not in (int, float) or not isfinite(alpha):
        raise UsageError(f"lora_alpha of the adapter {name} is no number.", RETRAIN)
    if alpha == 0 and not config.get("alpha_pattern"):
        raise UsageError(f"The adapter {name} changes nothing: its lora_alpha is 0.", RETRAIN)
    check_features(name, config)
    if used := [field for field in PATTERNS if config.get(field)]:
        check_read(name, used[0], rules)


def check_features(name: str, config: dict[str, Any]) -> None:
    """Raise UsageError for what vLLM does not have."""
    for field, words in data()["unsupported"].items():
        value = config.get(field)
        if value and not (field == "bias" and value == "none"):
            raise UsageError(f"The adapter {name} has {words}, which vLLM does not apply.", RETRAIN)
    begun = config.get("init_lora_weights", True)
    if isinstance(begun, str) and begun.lower() not in data()["begun_otherwise"]["known"]:
        raise UsageError(
            f"The adapter {name} began with other weights of its base (init_lora_weights {one_line(begun, 40)!r}), "
            "which vLLM does not change.",
            "Convert it: peft's save_pretrained(path_initial_model_for_weight_conversion=...)",
        )


def check_read(name: str, field: str, rules: Rules) -> None:
    """Raise UsageError for a vLLM that may leave out what a field says, and scale or cut the adapter otherwise."""
    read = str(data()["patterns_read_in"])
    if number(rules.version) < number(read):
        raise UsageError(
            f"Whether vLLM {rules.version} heeds {field} of the adapter {name} was not looked up; {read} does.",
            f"Leave out --vllm-version, or plan for {read} or newer.",
        )
