"""PURE: the adapters of LoRA beside a model, as `vllm serve` is told of them: --lora-modules."""

import json
import re
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from infra.argument import Value, is_line, pasted
from infra.asked import Asked, Flag
from infra.errors import UsageError
from infra.printable import one_line
from infra.record import Line, Record

MOST_ADAPTERS = 1000
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
EXAMPLE = "For example: --lora tuned=./adapter"
Digest = Annotated[str, Field(pattern="^([0-9a-f]{64})?$")]


class LoraModule(Record):
    """An adapter: the name that clients ask for, and what it was when it was planned for."""

    name: Annotated[str, Field(pattern=f"^{NAME.pattern}$")]
    """A name in a URL and of a folder, too."""
    path: Value
    """Its folder; what was typed, until it was read."""
    rank: int = Field(default=0, ge=0)
    """The largest of its modules; 0 until it was read."""
    modules: tuple[Value, ...] = Field(default=(), max_length=100)
    """The kinds of modules that it changes; empty until it was read."""
    turned: Line = Field(default="", exclude_if=lambda source: not source)
    """How it is known that vLLM applies a part of it to other rows than it learnt; absent where it does not."""
    base: Line = ""
    """What it says that it was trained for; empty where it says nothing."""
    config_sha256: Digest = ""
    """Of its adapter_config.json; empty until it was read, as the next."""
    weights_sha256: Digest = ""
    """Of its adapter_model.safetensors."""

    def __str__(self) -> str:
        """As it is typed."""
        return f"{self.name}={self.path}"


def typed(said: Any) -> Any:
    """NAME=PATH as a record, not read yet; what is none of a text as it is. Raises UsageError."""
    if not isinstance(said, str):
        return said
    name, equals, path = said.partition("=")
    if not (equals and path):
        raise UsageError(f"--lora {one_line(said, 200)!r} is not NAME=PATH.", EXAMPLE)
    if not NAME.fullmatch(name):
        raise UsageError(
            f"{one_line(name, 100)!r} cannot be the name of an adapter.",
            f"Use 1 to 64 of letters, digits and . _ -, a letter or a digit first. {EXAMPLE}",
        )
    if path.startswith("-") or not is_line(path):
        raise UsageError(f"The path of the adapter {name} is none: {one_line(path, 200)!r}.", EXAMPLE)
    return LoraModule(name=name, path=path)


class LoraOptions(Asked):
    """The adapters that are served beside the model."""

    lora: Annotated[
        tuple[Annotated[LoraModule, BeforeValidator(typed)], ...],
        Flag(metavar="<name=path>"),
        Field(max_length=MOST_ADAPTERS, examples=["tuned=./adapter"]),
    ] = ()
    """An adapter that clients ask for as NAME: PATH is its folder, or OWNER/NAME of the Hub; repeatable."""


def misapplied(module: LoraModule) -> str:
    """What to say of an adapter of which vLLM applies a part wrongly; empty for any other."""
    if not module.turned:
        return ""
    return (
        f"{module.name}: vLLM turns the rows of q_proj and k_proj for its rotary embedding, and not those of an "
        f"adapter, so that what it learnt there is added to other rows ({module.turned}). Train without these two, or "
        "turn the rows of their lora_B alike: (heads, head_dim / 2, 2) to (heads, 2, head_dim / 2)."
    )


def check_names(modules: Sequence[LoraModule], served_model_name: str) -> None:
    """Raise UsageError for a name that a client could mean otherwise."""
    names = [module.name for module in modules]
    if served_model_name in names:
        raise UsageError(
            f"The adapter {served_model_name} has the name of the served model.",
            "Give it another name: NAME=PATH",
        )
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(f"Two adapters are called {twice}.", "Give each a name of its own: NAME=PATH")


def words(modules: Sequence[LoraModule], served_model_name: str) -> tuple[str, ...]:
    """The flag, with an object for each; nothing without any."""
    objects = [
        json.dumps({"name": module.name, "path": module.path, "base_model_name": served_model_name})
        for module in modules
    ]
    return ("--lora-modules", *objects) if objects else ()


def asked_again(modules: Sequence[LoraModule]) -> str:
    """The flags for the end of a line to paste."""
    return "".join(f" --lora {pasted(module)}" for module in modules)
