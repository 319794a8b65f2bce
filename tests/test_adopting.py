"""What belongs to a snapshot that another tool brought in part, as far as its own files tell."""

import json
from pathlib import Path

import pytest

from infra.fetch import adopting
from infra.fetch.layouts import Layout, in_cache

SHARDS = [f"model-0000{number}-of-00003.safetensors" for number in (1, 2, 3)]


@pytest.mark.parametrize(
    ("there", "all_of_them"),
    [
        ([], []),
        (["model.safetensors"], ["model.safetensors"]),
        *(([shard], SHARDS) for shard in SHARDS),
        (["b-00002-of-00002.safetensors", "a.safetensors"],
         ["a.safetensors", "b-00001-of-00002.safetensors", "b-00002-of-00002.safetensors"]),
        # No such series: a number of another length.
        (["model-2-of-3.safetensors"], ["model-2-of-3.safetensors"]),
        (["model-00002-of-00003.safetensors.tmp"], ["model-00002-of-00003.safetensors.tmp"]),
    ],
)  # fmt: skip
def test_the_numbers_of_the_shards_that_are_there_tell_of_the_others(
    there: list[str], all_of_them: list[str]
) -> None:
    assert adopting.series(iter(there)) == all_of_them


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    made = in_cache(tmp_path, "some/one-model", "c" * 40)
    made.make()
    return made


INDEX = "model.safetensors.index.json"
TUNED = ["adapter_config.json", "adapter_model.safetensors"]


@pytest.mark.parametrize(
    ("there", "index", "missing"),
    [
        ([], None, ["config.json", "*.safetensors"]),
        (["config.json"], None, ["*.safetensors"]),
        (["config.json", SHARDS[1]], None, [SHARDS[0], SHARDS[2]]),
        (["config.json", SHARDS[1], INDEX], {"weight_map": {"a": SHARDS[0], "b": SHARDS[1]}}, [SHARDS[0]]),
        (SHARDS, None, ["config.json"]),
        # An index that is none tells nothing: its own checksum says so.
        (["config.json", *SHARDS[:2], INDEX], {}, [SHARDS[2]]),
        (TUNED, None, []),
        (TUNED[:1], None, TUNED[1:]),
        (["config.json", *TUNED], None, []),
    ],
)
def test_what_is_missing_of_a_snapshot(
    there: list[str], index: object, missing: list[str], layout: Layout
) -> None:
    for name in there:
        (layout.folder / name).write_text(json.dumps(index) if name == INDEX else "")
    assert list(adopting.missing(layout, there)) == missing


def test_of_two_copies_of_the_weights_a_server_reads_what_the_index_names(layout: Layout) -> None:
    names = ["config.json", "consolidated.safetensors", "model.safetensors", "notes.md", "tokenizer.json"]
    for name in names:
        (layout.folder / name).touch()
    assert adopting.read_by_a_server(layout) == [names[0], *names[1:3], names[4]]
    (layout.folder / INDEX).write_text('{"weight_map": {"a": "model.safetensors"}}')
    assert adopting.read_by_a_server(layout) == ["config.json", "model.safetensors", INDEX, "tokenizer.json"]
    (layout.folder / INDEX).write_text("{")
    assert adopting.read_by_a_server(layout) == [names[0], *names[1:3], INDEX, names[4]]


def test_a_caches_folder_names_its_repository(layout: Layout) -> None:
    assert adopting.repository_of(layout) == "some/one-model"
    assert adopting.repository_of(in_cache(Path("/c"), "a/b--c", "d")) == "a/b--c"
