"""What belongs to a snapshot that another tool brought in part, as far as its own files tell."""

import hashlib
import json
import os
from pathlib import Path

import pytest

from infra.fetch import adopting
from infra.fetch.checksums import Kept
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


def bring(layout: Layout, name: str, content: bytes, blob: str = "") -> None:
    """A file as the Hub's library brings it: large ones by their SHA-256, small ones by git's own name."""
    assert layout.blobs
    small = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    path = layout.blobs / (blob or small)
    path.write_bytes(content)
    os.utime(path, ns=(5, 5))
    (layout.folder / name).symlink_to(os.path.relpath(path, layout.folder))


def test_what_is_right_is_kept_by_its_blob_and_what_is_not_is_told(layout: Layout) -> None:
    assert layout.blobs
    large = hashlib.sha256(b"weights").hexdigest()
    bring(layout, "config.json", b"{}")
    bring(layout, "model.safetensors", b"weights", large)
    (layout.blobs / "x").mkdir()
    for name, target in (
        ("a.json", "../../blobs/x"),
        ("b.json", "/dev/null"),
        ("c.json", "c.json"),
        ("d.json", "gone"),
    ):
        (layout.folder / name).symlink_to(target)
    (layout.folder / "e.json").write_text("{}")
    bring(layout, "f.json", b"[]", "0" * 40)
    bring(layout, "g.json", b"[]", "1" * 64)
    read: list[int] = []
    right, wrong = adopting.adopted(layout, read.append)
    small = hashlib.sha1(b"blob 2\0{}").hexdigest()
    assert right == {
        "config.json": Kept(2, hashlib.sha256(b"{}").hexdigest(), small, 5),
        "model.safetensors": Kept(7, large, large, 5),
    }
    no_link, changed = "is no link to a file of its cache", "is changed: its checksum is another"
    loop = dict(wrong).pop("c.json").removeprefix("cannot be read: ")
    assert loop in (
        "it leads to itself",
        "Too many levels of symbolic links",
    )  # by Python 3.11, and by newer ones
    assert [each for each in wrong if each[0] != "c.json"] == [
        ("a.json", no_link),
        ("b.json", no_link),
        ("d.json", "cannot be read: No such file or directory"),
        ("e.json", no_link),
        ("f.json", changed),
        ("g.json", changed),
    ]
    assert sorted(read) == [2, 2, 2, 7]
    (layout.folder / "config.json").unlink()
    assert ("config.json", "is missing") in adopting.adopted(layout)[1]
