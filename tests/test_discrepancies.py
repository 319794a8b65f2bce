"""A folder held against what was fetched: each way in which a file is another, and what lies there beside."""

import hashlib
import os
import socket
from pathlib import Path

import pytest

from infra.fetch import discrepancies
from infra.fetch.checksums import Kept, Manifest
from infra.fetch.walk import DEEPEST, entries

FILE = Kept(7, hashlib.sha256(b"weights").hexdigest(), "a" * 40, 1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "to"
    made.mkdir()
    return made


def problem(folder: Path, blobs: Path | None = None) -> str:
    return discrepancies.problem_of(folder / "f", FILE, blobs)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"weights", ""),
        (b"weight", "is cut off: 6 of 7 bytes"),
        (b"weights!", "is too long: 8 of 7 bytes"),
        (b"weightz", "is changed: its sha256 is another"),
    ],
)
def test_a_file_is_what_was_fetched_or_another(content: bytes, why: str, folder: Path) -> None:
    (folder / "f").write_bytes(content)
    assert problem(folder) == why
    (folder / "f").rename(folder.parent / "blob")
    (folder / "f").symlink_to("../blob")
    assert problem(folder, folder.parent) == why
    left = "is a link that leaves the folder"
    assert [problem(folder), problem(folder, folder)] == [left] * 2


def test_what_is_no_file(folder: Path) -> None:
    assert problem(folder) == "is missing"
    (folder / "f").mkdir()
    assert problem(folder) == "is no file"
    (folder / "f").rmdir()
    os.mkfifo(folder / "f")  # which nobody writes: nothing is waited for
    assert problem(folder) == "is no file"
    (folder / "f").unlink()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "f"))
        assert problem(folder) == "is no file"
    (folder / "f").unlink()
    (folder / "f").symlink_to("f")
    assert problem(folder) in (
        "cannot be read: it leads to itself",
        "cannot be read: Too many levels of symbolic links",
    )
    (folder / "f").unlink()
    (folder / "f").symlink_to("nowhere")
    assert problem(folder) == "cannot be read: No such file or directory"


def test_every_wrong_file_is_told_in_order_and_every_byte_counted(folder: Path) -> None:
    for name, content in (("b", b"weights"), ("c", b"weightz")):
        (folder / name).write_bytes(content)
    read: list[int] = []
    found = discrepancies.wrong(folder, dict.fromkeys("cab", FILE), None, read.append)
    assert list(found) == [("a", "is missing"), ("c", "is changed: its sha256 is another")]
    assert read == [7, 7]


def test_a_stranger_is_what_neither_was_fetched_nor_is_the_repositorys(folder: Path) -> None:
    files = (
        "f", "notes.md", "sub/notes.md", "old.bin", "big.bin", "model.pt", ".corral/lock", ".cache/x", "draft/y",
        "stray",
    )  # fmt: skip
    for name in files:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"12345")
    others = {"notes.md": 9, "sub/notes.md": 5, "old.bin": 5, "big.bin": 6}

    def strangers(others: dict[str, int] | None, *below: str) -> list[str]:
        manifest = Manifest("r", "c", {"f": FILE}, "", others)
        return list(discrepancies.strangers(folder, manifest, None, below))

    assert strangers(others, "draft") == ["big.bin", "model.pt", "stray"]
    assert strangers(others) == ["big.bin", "draft/y", "model.pt", "stray"]
    assert strangers(None, "draft") == sorted(set(files) - {"f", ".corral/lock", ".cache/x", "draft/y"})
    assert {name: discrepancies.why_strange(name) for name in ("stray", "model.pt")} == {
        "stray": "is extra",
        "model.pt": "is a pickle, which may run code when it is loaded",
    }


def test_what_the_hubs_library_linked_is_no_stranger_where_the_list_is_not_known(folder: Path) -> None:
    blobs = folder.parent / "blobs"
    blobs.mkdir()
    (blobs / "x").touch()
    (folder / "linked").symlink_to("../blobs/x")
    (folder / "out").symlink_to("/dev/null")
    (folder / "plain").touch()
    (folder / "round").symlink_to("round")
    names = ("linked", "out", "plain", "round")
    assert [discrepancies.is_listed(folder / name, name, None, blobs) for name in names] == [True] + [
        False
    ] * 3
    assert not discrepancies.is_listed(folder / "gone.bin", "gone.bin", {"gone.bin": 1}, blobs)


def test_a_name_that_cannot_be_printed_is_spelled_out() -> None:
    assert [discrepancies.shown_name(name) for name in ("a b.md", "a\nb")] == ["a b.md", r"'a\nb'"]


def test_links_are_things_and_what_lies_too_deep_is_one(folder: Path) -> None:
    (folder / "a/b").mkdir(parents=True)
    (folder / "a/b/f").touch()
    (folder / "a/l").symlink_to("b")
    (folder / "empty").mkdir()
    assert entries(folder) == {"a/b/f", "a/l"}
    assert entries(folder, ("a/b",)) == {"a/l"}
    assert entries(folder / "nowhere") == set()
    deep = folder.joinpath("d", *["x"] * DEEPEST)
    deep.mkdir(parents=True)
    (deep / "f").touch()
    assert entries(folder, ("a",)) == {"/".join(["d", *["x"] * DEEPEST])}
    deep.rename(folder / "moved")
    (deep.parent / "f").touch()
    assert entries(folder, ("a", "moved")) == {"/".join(["d", *["x"] * (DEEPEST - 1), "f"])}
