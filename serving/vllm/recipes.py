"""PURE: options that go with a model, a GPU and a version of vLLM, each tested or derived, from recipes.toml."""

import shlex
from functools import cache
from textwrap import wrap
from typing import Literal

from pydantic import Field

from infra.data import shipped_table
from infra.record import Record
from serving.vllm.versions import release

WIDTH = 98
QUEUE_PER_SEQUENCE = 4


class Recipe(Record):
    """Options for `extra_args`, and what else belongs to them."""

    what: str
    models: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ()
    gpus: tuple[str, ...] = ()
    from_version: str = Field(alias="from")
    options: tuple[str, ...]
    also: str
    basis: Literal["tested", "derived"]
    source: str

    def holds(self, model: str, precision: str, gpu: str, version: str) -> bool:
        """Whether it is for that model, precision, GPU and version."""
        named = ((self.models, model), (self.precisions, precision), (self.gpus, gpu))
        return release(version) >= release(self.from_version) and all(
            not names or name in names for names, name in named
        )


@cache
def recipes() -> tuple[Recipe, ...]:
    """The table."""
    return tuple(
        Recipe.model_validate(row) for row in shipped_table("serving.vllm", "recipes.toml")["recipe"]
    )


def lines(model: str, precision: str, gpu: str, version: str, max_num_seqs: int | None) -> list[str]:
    """The options that go with it, with their basis and source; none where no row is for it."""
    found = [each for each in recipes() if each.holds(model, precision, gpu, version)]
    told = ["Options that go with it, for the plan's extra_args"] if found else []
    for each in found:
        queue = str(QUEUE_PER_SEQUENCE * (max_num_seqs or 256))
        words = shlex.join(word.replace("{queue}", queue) for word in each.options)
        told.append(f"  {each.what}: {words}")
        for text in (each.also, f"{each.basis}: {each.source}"):
            told += wrap(text, WIDTH, initial_indent="    ", subsequent_indent="    ", break_on_hyphens=False)
    return told
