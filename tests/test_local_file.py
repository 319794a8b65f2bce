"""A file of this machine that cannot be read is named, with why, whatever it was read for."""

from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.targets.ssh import host_setup
from infra.errors import HostError
from infra.local_file import LocalFile, size_bytes
from infra.transfer import manifest

# Linux reads it where nothing lies: an error of the disk's, and no made one.
BROKEN = Path("/proc/self/mem")


def opened_and_read(path: Path) -> bytes:
    with LocalFile(path) as file:
        return file.read(1)


@pytest.mark.parametrize(
    ("path", "read", "why"),
    [
        (BROKEN, opened_and_read, "Input/output error"),
        (BROKEN, lambda path: manifest(path.parent, [path.name]), "Input/output error"),
        (Path("/proc/gone"), size_bytes, "No such file or directory"),
        (Path("/proc/gone"), LocalFile, "No such file or directory"),
        (Path("/proc/gone"), lambda path: manifest(path.parent, [path.name]), "No such file or directory"),
        (Path("/proc/gone"), lambda path: host_setup._files(path.parent, (path.name,)), "No such file or directory"),
        (Path("/proc"), LocalFile, "Is a directory"),
    ],
    ids=["read", "hashed", "its size", "opened", "opened to be hashed", "shown", "a folder"],
)  # fmt: skip
def test_what_cannot_be_read_here_is_named(path: Path, read: Callable[[Path], object], why: str) -> None:
    with pytest.raises(HostError) as caught:
        read(path)
    assert (caught.value.message, caught.value.hint) == (
        f"{path} cannot be read on this machine: {why}.",
        f"Read it by hand: sha256sum {path}; then run the command again.",
    )


def test_one_that_can_be_read_is_read_whole_and_closed(tmp_path: Path) -> None:
    (tmp_path / "shard").write_bytes(b"weights")
    with LocalFile(tmp_path / "shard") as file:
        assert (file.read(3), file.read(), file.read(9)) == (b"wei", b"ghts", b"")
    assert size_bytes(tmp_path / "shard") == 7
    with pytest.raises(ValueError, match="closed"):
        file.read()
