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
REPOSITORY = "https://raw.githubusercontent.com/vllm-project/vllm/v{version}/"


class Recipe(Record):
    """Options for `extra_args`, and what else belongs to them."""

    name: str
    what: str
    models: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ()
    gpus: tuple[str, ...] = ()
    from_version: str = Field(alias="from")
    options: tuple[str, ...]
    also: str
    chat_template: str = ""
    """What of vLLM's repository it needs as the chat template."""
    basis: Literal["tested", "derived"]
    source: str

    def holds(self, model: str, precision: str, gpu: str, version: str) -> bool:
        """Whether it is for that model, precision, GPU and version."""
        named = ((self.models, model), (self.precisions, precision), (self.gpus, gpu))
        return release(version) >= release(self.from_version) and all(
            not names or name in names for names, name in named
        )

    def words(self, max_num_seqs: int | None) -> tuple[str, ...]:
        """Its options for a server of so many requests at once."""
        queue = str(QUEUE_PER_SEQUENCE * (max_num_seqs or 256))
        return tuple(word.replace("{queue}", queue) for word in self.options)


@cache
def recipes() -> tuple[Recipe, ...]:
    """The table."""
    return tuple(
        Recipe.model_validate(row) for row in shipped_table("serving.vllm", "recipes.toml")["recipe"]
    )


def of(model: str, precision: str, gpu: str, version: str) -> list[Recipe]:
    """Those that are for that model, precision, GPU and version."""
    return [each for each in recipes() if each.holds(model, precision, gpu, version)]


def lines(model: str, precision: str, gpu: str, version: str, max_num_seqs: int | None) -> list[str]:
    """The options that go with it, with their basis and source; none where no row is for it."""
    found = of(model, precision, gpu, version)
    told = ["Options that go with it; `size --recipe` with a name puts them into a plan"] if found else []
    for each in found:
        told.append(f"  {each.name} ({each.what}): {shlex.join(each.words(max_num_seqs))}")
        for text in (each.also, f"{each.basis}: {each.source}"):
            told += wrap(text, WIDTH, initial_indent="    ", subsequent_indent="    ", break_on_hyphens=False)
    return told
