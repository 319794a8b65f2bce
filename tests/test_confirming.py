"""Before a start: what was written since it was found right is read again and said, and nothing else is."""

import hashlib
import os
from pathlib import Path

import pytest

from infra.errors import DocumentError
from infra.fetch import confirming
from infra.fetch.checksums import Kept, Manifest, read, write
from infra.fetch.layouts import Layout, in_cache, in_folder

REPO, COMMIT = "some/model", "c" * 40
TEXTS = {"config.json": b"{}", "model.safetensors": b"weights"}
LATER_NS = 1_900_000_000 * 10**9


def kept(path: Path) -> Kept:
    """A file, as it is found right."""
    content = path.read_bytes()
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    return Kept(len(content), hashlib.sha256(content).hexdigest(), blob, path.stat().st_mtime_ns)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """A folder of two files that were fetched."""
    made = in_folder(tmp_path / "to")
    made.make()
    for name, text in TEXTS.items():
        (made.folder / name).write_bytes(text)
    files = {name: kept(made.folder / name) for name in TEXTS}
    write(made.manifest, Manifest(REPO, COMMIT, files, "2026-11-30T00:00:00Z", {}))
    return made


def noted_ns(layout: Layout, name: str) -> int:
    """When a file was last written, as it is noted."""
    manifest = read(layout.manifest)
    assert manifest
    return manifest.files[name].mtime_ns


def confirmed(layout: Layout, is_doubted: bool = False) -> tuple[tuple[tuple[str, str], ...], list[str]]:
    """What is found wrong, and what is said."""
    said: list[str] = []
    return confirming.confirm(layout, said.append, is_doubted), said


def change(path: Path, ns: int | None = None) -> None:
    """Another byte; at that time, or at none that tells of it."""
    before, content = path.stat().st_mtime_ns, path.read_bytes()
    path.write_bytes(content[:-1] + b"?")
    os.utime(path, ns=(ns or before, ns or before))


WRITTEN = "model.safetensors was written since it was found right; verifying it"
FOUND_WRONG = "model.safetensors was found wrong; verifying it"
CHANGED = (("model.safetensors", "is changed: its sha256 is another"),)


def test_what_nobody_wrote_is_not_read_and_nothing_is_said(layout: Layout) -> None:
    before = layout.manifest.read_bytes()
    assert confirmed(layout) == ((), [])
    assert (layout.manifest.read_bytes(), confirming.untouched(layout)) == (before, read(layout.manifest))


def test_what_was_written_and_is_the_same_is_noted_with_its_time(layout: Layout) -> None:
    path = layout.folder / "model.safetensors"
    os.utime(path, ns=(LATER_NS, LATER_NS))
    assert confirming.untouched(layout) is None
    assert confirmed(layout) == ((), [WRITTEN])
    assert noted_ns(layout, path.name) == LATER_NS
    assert confirmed(layout) == ((), [])


def test_what_was_changed_is_told_as_often_as_it_is_looked_at(layout: Layout) -> None:
    change(layout.folder / "model.safetensors", LATER_NS)
    for _ in range(2):
        assert confirmed(layout) == (CHANGED, [WRITTEN])
    assert noted_ns(layout, "model.safetensors") != LATER_NS


def test_a_change_that_no_time_tells_of_is_found_where_it_is_doubted_and_from_then_on(layout: Layout) -> None:
    change(layout.folder / "model.safetensors")
    assert confirmed(layout) == ((), [])
    assert confirmed(layout, is_doubted=True) == (CHANGED, [])
    assert noted_ns(layout, "model.safetensors") == confirming.UNKNOWN_TIME_NS
    assert noted_ns(layout, "config.json") == (layout.folder / "config.json").stat().st_mtime_ns
    assert confirming.untouched(layout) is None
    assert confirmed(layout) == (CHANGED, [FOUND_WRONG])
    (layout.folder / "model.safetensors").write_bytes(TEXTS["model.safetensors"])
    assert confirmed(layout) == ((), [FOUND_WRONG])
    assert confirmed(layout) == ((), [])


def test_of_a_folder_that_nothing_vouches_for_nothing_is_said(layout: Layout) -> None:
    layout.manifest.unlink()
    assert confirmed(layout) == ((), [])
    layout.manifest.write_text("{}")
    assert confirming.untouched(layout) is None
    with pytest.raises(DocumentError):
        confirmed(layout)


def test_a_snapshot_of_another_tool_is_read_once_and_what_comes_later_too(tmp_path: Path) -> None:
    layout = in_cache(tmp_path, REPO, COMMIT)
    layout.folder.mkdir(parents=True)
    assert layout.blobs
    layout.blobs.mkdir()

    def bring(name: str, content: bytes) -> None:
        blob = layout.blobs / hashlib.sha256(content).hexdigest()  # type: ignore[operator]
        blob.write_bytes(content)
        (layout.folder / name).symlink_to(os.path.relpath(blob, layout.folder))

    reads = f"verifying what lies in {layout.folder}"
    bring("config.json", b"{}")
    assert confirmed(layout) == ((("*.safetensors", "is missing"),), [reads])
    assert not layout.manifest.exists()
    bring("model.safetensors", b"weights")
    assert confirmed(layout) == ((), [reads])
    manifest = read(layout.manifest)
    assert manifest
    assert (manifest.repository, manifest.commit, sorted(manifest.files), manifest.others) == (
        REPO, COMMIT, sorted(TEXTS), None,
    )  # fmt: skip
    assert confirmed(layout) == ((), [])
    bring("tokenizer.json", b"[]")
    assert confirmed(layout) == ((), [reads])
    assert confirmed(layout) == ((), [])
