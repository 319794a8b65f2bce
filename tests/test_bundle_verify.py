"""A bundle looked at: everything that is wrong is said, and nothing outside of the folder is read."""

import hashlib
import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from bundling import SPLIT_BYTES, a_bundle, steps
from pydantic import ValidationError

from deploy.bundle import media
from deploy.bundle.manifest import Stored, read
from deploy.bundle.verify import verify
from deploy.cli.main import run
from infra.archive import LARGEST
from infra.beneath import Beneath

WEIGHTS = "model/model-00001-of-00002.safetensors.part-0002"
SMALL = "model/config.json"
TAR = "engine.tar.part-0001"


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One good bundle for all tests of this file, which only change copies of it."""
    return a_bundle(tmp_path_factory.mktemp("good")).folder


@pytest.fixture
def folder(good: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return shutil.copytree(good, tmp_path / "bundle")


def problems(folder: Path) -> tuple[str, ...]:
    """What verify says is wrong."""
    return verify(folder, None, print).problems


def restate(folder: Path, **changes: object) -> None:
    """Write the manifest with other statements, as whoever made it could have."""
    stated = json.loads((folder / "manifest.json").read_bytes()) | changes
    (folder / "manifest.json").write_text(json.dumps(stated))


def with_tar(folder: Path, content: bytes) -> None:
    """Put another engine into the bundle, with the right checksum."""
    (folder / TAR).write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()
    stored = Stored(path=TAR, size_bytes=len(content), sha256=sha256, part_of="engine.tar")
    files = [stored if file.path == TAR else file for file in read(folder).bundle.files]
    restate(folder, files=[file.model_dump() for file in files])


def evil_tar(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> bytes:
    """A tar with one member that must not be unpacked."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, link
        tar.addfile(member)
    return stream.getvalue()


def flip(path: Path) -> None:
    """Change one bit in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    """Lose the last byte."""
    os.truncate(path, path.stat().st_size - 1)


def replaced_by_link(path: Path) -> None:
    """Have the same bytes, but elsewhere."""
    shutil.move(path, path.parents[2] / "elsewhere")
    path.symlink_to(path.parents[2] / "elsewhere")


SPOILED: dict[str, tuple[Callable[[Path], object], tuple[str, ...]]] = {
    "one flipped bit in a shard": (
        lambda folder: flip(folder / WEIGHTS), (f"{WEIGHTS} is changed: its sha256 is another",)
    ),
    "one flipped bit in the engine": (
        lambda folder: flip(folder / TAR), (f"{TAR} is changed: its sha256 is another",)
    ),
    "a missing part": (lambda folder: (folder / WEIGHTS).unlink(), (f"{WEIGHTS} is missing",)),
    "a missing licence": (lambda folder: (folder / "model/LICENSE").unlink(), ("model/LICENSE is missing",)),
    "a truncated part": (
        lambda folder: cut(folder / WEIGHTS), (f"{WEIGHTS} is truncated: 1179647 of 1179648 bytes",)
    ),
    "a part that is too long": (
        lambda folder: os.truncate(folder / WEIGHTS, SPLIT_BYTES + 1),
        (f"{WEIGHTS} is too long: 1179649 bytes, not 1179648",),
    ),
    "an extra file": (
        lambda folder: (folder / "model" / "evil.py").write_text("x"),
        ("model/evil.py is extra: the manifest does not know it",),
    ),
    "an extra link to a folder": (
        lambda folder: (folder / "more").symlink_to("/etc"),
        ("more is extra: the manifest does not know it",),
    ),
    "a link in place of a file": (
        lambda folder: replaced_by_link(folder / SMALL),
        (f"{SMALL} is not a file but a link or a special file",),
    ),
    "another architecture": (
        lambda folder: restate(folder, architecture="sparc64"),
        (f"it is for sparc64, and this machine is {os.uname().machine}",),
    ),
    "another Python": (
        lambda folder: restate(folder, python="3.99"),
        ("its engine is for Python 3.99, and this machine has no python3.99",),
    ),
    "a way out of the tar": (
        lambda folder: with_tar(folder, evil_tar("../../.ssh/authorized_keys")),
        ("engine.tar: its member '../../.ssh/authorized_keys' would be written outside of the folder",),
    ),
    "a link out of the tar": (
        lambda folder: with_tar(folder, evil_tar("lib", tarfile.SYMTYPE, "/etc")),
        ("engine.tar: its member 'lib' is a link to '/etc', outside of the folder",),
    ),
    "an engine that is no tar": (
        lambda folder: with_tar(folder, b"x" * 4000), ("engine.tar: it is no whole tar: invalid header",)
    ),
    "three things at once": (
        steps(
            lambda folder: flip(folder / TAR),
            lambda folder: cut(folder / SMALL),
            lambda folder: (folder / "README.txt").unlink(),
        ),
        (
            f"{TAR} is changed: its sha256 is another",
            f"{SMALL} is truncated: 1462 of 1463 bytes",
            "README.txt is missing",
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SPOILED)
def test_everything_that_is_wrong_is_said(
    name: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil, wanted = SPOILED[name]
    spoil(folder)
    assert problems(folder) == wanted
    assert run(["bundle", "verify", str(folder), "--json"]) == 4
    said = capsys.readouterr()
    assert json.loads(said.out)["problems"] == list(wanted)
    assert f"error: {folder} must not be used: {len(wanted)} problem(s).\n" in said.err


def test_a_file_that_cannot_be_read_is_one_of_the_problems(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worn disk, say."""
    module = import_module("deploy.bundle.verify")
    whole = module.blocks

    def blocks(place: Path, files: Any, meter: Any) -> Iterator[bytes]:
        if files[0].path == SMALL:
            raise OSError(5, "Input/output error")
        yield from whole(place, files, meter)

    monkeypatch.setattr(module, "blocks", blocks)
    assert problems(folder) == (f"{SMALL} cannot be read: Input/output error",)


def test_a_good_bundle_and_the_checksum_told_on_another_way(
    good: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sha256 = hashlib.sha256((good / "manifest.json").read_bytes()).hexdigest()
    assert run(["bundle", "verify", str(good), "--manifest-sha256", sha256.upper()]) == 0
    assert f"manifest {sha256}" in capsys.readouterr().out
    assert run(["bundle", "verify", str(good), "--manifest-sha256", "0" * 64]) == 4
    assert f"its sha256 is {sha256}, not {'0' * 64}" in capsys.readouterr().out
    assert run(["bundle", "verify", str(good), "--manifest-sha256", "abc"]) == 2


NO_BUNDLES: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (steps(shutil.rmtree, Path.mkdir), "is not a bundle"),
    "missing": (shutil.rmtree, "There is no folder"),
    "a newer schema": (
        lambda folder: restate(folder, schema_version=2),
        "was written by another version of corral (schema 2, this one reads 1)",
    ),
    "another document": (
        lambda folder: shutil.copy(folder / "plan.json", folder / "manifest.json"),
        "is not a bundle manifest this version can read",
    ),
    "half a manifest": (
        lambda folder: os.truncate(folder / "manifest.json", 500),
        "is not a bundle manifest",
    ),
    "not finished": (lambda folder: (folder / "unfinished").write_text(""), "is not finished"),
}


@pytest.mark.parametrize("name", NO_BUNDLES)
def test_what_is_no_bundle_is_one_sentence(
    name: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil, sentence = NO_BUNDLES[name]
    spoil(folder)
    for verb in ("verify", "install"):
        assert run(["bundle", verb, str(folder)]) == 4
        assert sentence in capsys.readouterr().err


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "model/../../x", "model//x", "./x", "", "a\nb"])
def test_a_manifest_that_names_a_file_outside_is_refused_before_anything_is_read(
    path: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = {"path": path, "size_bytes": 1, "sha256": "0" * 64, "part_of": None}
    restate(folder, files=[file])
    assert run(["bundle", "verify", str(folder)]) == 4
    assert "is no path inside of the bundle" in capsys.readouterr().err
    restate(folder, files=[file | {"path": "x", "part_of": path}])
    assert run(["bundle", "verify", str(folder)]) == 4


def test_a_path_stated_twice_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [file.model_dump() for file in read(folder).bundle.files]
    restate(folder, files=[*files, files[-1]])
    assert run(["bundle", "verify", str(folder)]) == 4
    assert "a path is there twice" in capsys.readouterr().err


class Block(bytes):
    """A block that was read; how many of them are held, and how many were at most."""

    held = most = 0

    def __init__(self, content: bytes) -> None:
        Block.held += 1
        Block.most = max(Block.most, Block.held)

    def __del__(self) -> None:
        Block.held -= 1


def test_memory_does_not_grow_with_the_files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All are read by blocks, and of these two are held at most: the one before, and the one that comes."""
    sizes = set()

    class Blocks(io.FileIO):
        def read(self, size: int | None = -1) -> bytes:
            sizes.add(size)
            return Block(super().read(size) or b"")

    real = Beneath.read

    def opened(below: Beneath, path: str) -> Any:
        if path == "manifest.json":
            return real(below, path)
        with real(below, path) as file:
            return Blocks(os.dup(file.fileno()))

    monkeypatch.setattr(media, "BLOCK", 1000)
    monkeypatch.setattr(Beneath, "read", opened)
    assert problems(folder) == ()
    assert (sizes, Block.most) == ({1000}, 2)


@pytest.mark.parametrize("size_bytes", [0, LARGEST])
def test_a_file_of_a_bundle_is_empty_or_as_large_as_may_be(size_bytes: int) -> None:
    file = {"path": "model/a", "sha256": "0" * 64}
    assert Stored.model_validate(file | {"size_bytes": size_bytes}).size_bytes == size_bytes
    beyond = -1 if size_bytes == 0 else LARGEST + 1
    with pytest.raises(ValidationError, match="size_bytes"):
        Stored.model_validate(file | {"size_bytes": beyond})
