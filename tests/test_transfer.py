"""Files on their way to a host: what is sent, what is not, and what did not arrive; over SSH itself in test_ssh."""

import hashlib
import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from infra import transfer
from infra.errors import DocumentError, HostError


class Host:
    """A host with files in one folder, by their checksums; `spoils` is a name that arrives otherwise."""

    destination = "gpu-1"

    def __init__(self, spoils: str = "") -> None:
        self.there: dict[str, str] = {}
        self.modes: dict[str, int] = {}
        self.spoils = spoils
        self.asked: list[tuple[str, ...]] = []

    def run(self, command: list[str], as_root: bool, timeout_s: float = 0.0) -> SimpleNamespace:
        assert as_root
        if command[0] == "mkdir":
            self.asked.append(tuple(command))
            return SimpleNamespace(stdout="")
        assert command == ["sh", "-c", transfer.MANIFEST_SCRIPT, "manifest", "/there"]
        assert timeout_s == 21_600
        return SimpleNamespace(stdout="".join(f"{digest}  ./{name}\n" for name, digest in self.there.items()))

    def send(self, write: Callable[[Any], None], command: list[str]) -> None:
        self.asked.append(tuple(command))
        packed = io.BytesIO()
        write(packed)
        packed.seek(0)
        with tarfile.open(fileobj=packed, mode="r|") as tar:
            for member in tar:
                file = tar.extractfile(member)
                assert file is not None
                content = b"x" if member.name == self.spoils else file.read()
                self.there[member.name] = hashlib.sha256(content).hexdigest()
                self.modes[member.name] = member.mode


@pytest.fixture
def local(tmp_path: Path) -> Path:
    """A folder with a file that only its owner can read, a link to another, and what is not asked for."""
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    (folder / "a").write_bytes(b"one")
    (folder / "a").chmod(0o600)
    (tmp_path / "blob").write_bytes(b"two")
    (folder / "sub" / "b").symlink_to(tmp_path / "blob")
    (folder / "c").write_bytes(b"three")
    return folder


NAMES = ["a", "sub/b"]
TAR = ("tar", "-x", "--no-same-owner", "--directory", "/there")


def test_what_is_there_is_not_sent_again(local: Path) -> None:
    host: Any = Host()
    assert transfer.copy_files(host, local, NAMES, "/there") == 2
    assert host.there == {
        "a": hashlib.sha256(b"one").hexdigest(),
        "sub/b": hashlib.sha256(b"two").hexdigest(),
    }
    assert host.modes == {"a": 0o644, "sub/b": 0o644}
    assert host.asked == [("mkdir", "-p", "/there"), TAR]
    assert (transfer.copy_files(host, local, NAMES, "/there"), len(host.asked)) == (0, 2)
    (local / "a").write_bytes(b"other")
    assert transfer.copy_files(host, local, NAMES, "/there") == 1
    assert host.there["a"] == hashlib.sha256(b"other").hexdigest()


def test_what_did_not_arrive_as_it_is_here_is_told(local: Path) -> None:
    host: Any = Host(spoils="sub/b")
    with pytest.raises(HostError) as error:
        transfer.copy_files(host, local, NAMES, "/there")
    assert (error.value.message, error.value.hint) == (
        "sub/b is not the same in gpu-1:/there as here after it was copied.",
        "Check that host's disk (df -h, dmesg), and run the command again.",
    )


def test_what_has_not_the_sum_that_is_known_of_it_is_not_sent_nor_anything_beside_it(local: Path) -> None:
    host: Any = Host()
    known = {
        "a": hashlib.sha256(b"one").hexdigest(),
        "sub/b": hashlib.sha256(b"tow").hexdigest(),
        "c": "0" * 64,
    }
    with pytest.raises(DocumentError) as error:
        transfer.copy_files(host, local, NAMES, "/there", known)
    assert (error.value.message, error.value.hint) == (
        f"{local}/sub/b is changed: its sha256 is not the one that was noted when it came here.",
        f"See all of it: corral fetch --verify {local}",
    )
    assert (host.asked, host.there) == ([], {})
    (local / "sub" / "b").unlink()
    (local / "sub" / "b").write_bytes(b"tow")
    assert transfer.copy_files(host, local, NAMES, "/there", known) == 2


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("f00  ./a b", "a b"),
        ("f00  ./sub/./a", "sub/a"),
        ("f00  ./a  b", "a  b"),
        ("\\f00  ./a\\nb", "a\nb"),
        ("\\f00  ./a\\\\nb\\r", "a\\nb\r"),
        ("f00  ./a\\nb", "a\\nb"),
    ],
)
def test_a_name_is_read_as_sha256sum_writes_it(line: str, name: str) -> None:
    assert transfer._entry(line) == (name, "f00")
