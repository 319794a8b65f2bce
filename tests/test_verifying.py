"""Whether what was fetched is still what it was, as values: of a cache that another tool filled, and of a folder."""

import hashlib
from pathlib import Path

import pytest

from infra.errors import DocumentError
from infra.fetch import checksums
from infra.fetch.checksums import Kept, Manifest
from infra.fetch.layouts import Layout, in_cache, in_folder
from infra.fetch.verifying import Verdict, verify

COMMIT = "c" * 40
CONFIG, WEIGHTS, PICKLE = b'{"a": 1}', b"weights", b"code"


def git_name(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@pytest.fixture
def cache(tmp_path: Path) -> Layout:
    """A snapshot as the Hub's own library leaves it: links to blobs that are called by their checksums."""
    made = in_cache(tmp_path, "some/one-model", COMMIT)
    assert made.blobs is not None
    for folder in (made.folder, made.blobs):
        folder.mkdir(parents=True)
    for name, content, blob in (
        ("config.json", CONFIG, git_name(CONFIG)),
        ("model.safetensors", WEIGHTS, hashlib.sha256(WEIGHTS).hexdigest()),
        ("optimizer.pt", PICKLE, git_name(PICKLE)),
    ):
        (made.blobs / blob).write_bytes(content)
        (made.folder / name).symlink_to(made.blobs / blob)
    return made


def verdict(layout: Layout, *problems: tuple[str, str], files: int = 2, size: int = 15) -> Verdict:
    return Verdict(
        layout.folder, "some/one-model", COMMIT, files, size, problems, ("optimizer.pt",), is_listed=False
    )


def test_a_snapshot_that_another_tool_brought_is_right_by_the_names_of_its_blobs(cache: Layout) -> None:
    assert verify(cache.folder) == verdict(cache)
    (cache.folder / "model.safetensors").resolve().write_bytes(b"another")
    changed = ("model.safetensors", "is changed: its checksum is another")
    assert verify(cache.folder) == verdict(cache, changed, size=8)
    (cache.folder / "model.safetensors").unlink()
    assert verify(cache.folder) == verdict(cache, ("*.safetensors", "is missing"), size=8)


def fetched(folder: Path, **files: bytes) -> Layout:
    """A folder with these files, and a manifest that says so."""
    layout = in_folder(folder)
    layout.make()
    kept = {}
    for name, content in files.items():
        path = folder / f"{name}.json"
        path.write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        kept[path.name] = Kept(len(content), digest, git_name(content), path.stat().st_mtime_ns)
    checksums.write(layout.manifest, Manifest("a/b", COMMIT, kept, "2026-11-30T00:00:00Z", {}))
    return layout


def test_a_folder_is_right_by_its_manifest_with_what_was_fetched_below_it(tmp_path: Path) -> None:
    top = tmp_path / "m"
    fetched(top, config=b"{}")
    fetched(top / "draft", config=b"{ }")
    fetched(top / "adapters" / "tuned", adapter_config=b"{  }")
    read: list[tuple[int, int]] = []
    assert verify(top, lambda *told: read.append(told)) == Verdict(top, "a/b", COMMIT, 3, 9, ())
    assert read == [(2, 2)]
    (top / "adapters" / "tuned" / "adapter_config.json").write_bytes(b"{x }")
    (top / "stray.txt").write_bytes(b"")
    found = verify(top)
    assert [name for name, _ in found.problems] == ["stray.txt", "adapters/tuned/adapter_config.json"]
    assert (found.files, found.bytes, found.is_listed) == (3, 9, True)


def test_what_nothing_vouches_for_is_refused(tmp_path: Path) -> None:
    for folder, message, hint in (
        (tmp_path / "none", f"There is no folder {tmp_path / 'none'}.", "Check the path: ls -l"),
        (
            tmp_path,
            f"{tmp_path} has no manifest, so nothing says what should be there.",
            "Fetch into that folder with --to: what is there and right does not come again, and a manifest is made.",
        ),
    ):
        with pytest.raises(DocumentError) as error:
            verify(folder)
        assert (error.value.message, error.value.hint) == (message, hint)
