"""The families of models: how their config.json is read, what their tensors are, since when vLLM has them."""

from functools import cache
from typing import Any

from infra.data import shipped_table
from infra.errors import UsageError
from infra.record import Record
from serving.vllm.versions import number, rules


class Family(Record):
    """What the checkpoints of one family have in common; the fields are explained in families.toml."""

    name: str
    title: str
    architectures: tuple[str, ...]
    oldest_vllm: str
    served_name: str = "{name}"
    images: int = 0
    image_tiles: int = 0
    config: dict[str, str] = {}
    otherwise: dict[str, int] = {}
    tensors: dict[str, str] = {}


@cache
def families() -> dict[str, Family]:
    """The shipped families."""
    return parse(shipped_table("serving.model", "families.toml"))


def parse(table: dict[str, Any]) -> dict[str, Family]:
    """The families of a table like families.toml."""
    return {name: Family(name=name, **row) for name, row in table["family"].items()}


def family_of(architectures: list[str]) -> Family | None:
    """The family that an architecture of a config.json belongs to; None for one that corral does not size."""
    return next(
        (family for family in families().values() if not set(architectures).isdisjoint(family.architectures)),
        None,
    )


def check_version(family: Family, version: str | None) -> None:
    """Raise UsageError for a vLLM that is older than the family."""
    if version is not None and number(version) < number(family.oldest_vllm):
        raise UsageError(
            f"vLLM {version} has no {family.title}; it came with {family.oldest_vllm}.",
            f"Leave out --vllm-version to plan for {rules().version}.",
        )


def titles() -> str:
    """The families as people say them."""
    return " or ".join(family.title for family in families().values())


def architectures() -> str:
    """Every architecture that corral sizes."""
    return " and ".join(name for family in families().values() for name in family.architectures)
