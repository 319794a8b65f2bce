"""Files that a host is brought, unpacked for real: by its own tar, over those of an earlier time."""

import subprocess
from pathlib import Path

import pytest

from infra.host import HostFile
from infra.host_archive import CHECK, UNPACK, archive, sums

# No file may be longer than 4 KiB, as on a disk that is full.
FULL = ("sh", "-c", 'trap "" XFSZ; ulimit -f 8; exec "$@"', "full")


def unpack(place: Path, packed: bytes, *, before: tuple[str, ...] = ()) -> int:
    """Unpack them below a folder in place of the root; the exit code."""
    done = subprocess.run([*before, *UNPACK[:-1], str(place)], input=packed, capture_output=True, check=False)
    return done.returncode


def found(place: Path) -> dict[str, tuple[str, int]]:
    """What lies below a folder: its text and its mode."""
    files = (path for path in place.rglob("*") if path.is_file())
    return {f"/{path.relative_to(place)}": (path.read_text(), path.stat().st_mode & 0o777) for path in files}


def files_of(text: str) -> list[HostFile]:
    """A short file, a long one that is run, and a short one elsewhere."""
    return [
        HostFile(path="/opt/corral/scout/bin/codes.py", content=text),
        HostFile(path="/opt/corral/scout's own *ü/heal", content=text * 5000, mode="0755"),
        HostFile(path="/etc/systemd/system/corral-scout.service.d/judge.conf", content=text),
    ]


def whole(files: list[HostFile]) -> dict[str, tuple[str, int]]:
    """As they are when all of them are there."""
    return {file.path: (file.content, int(file.mode, 8)) for file in files}


def test_files_take_the_place_of_those_that_are_there(tmp_path: Path) -> None:
    for text in ("a", "b"):
        assert unpack(tmp_path, archive(files_of(text))) == 0
        assert found(tmp_path) == whole(files_of(text))


@pytest.mark.parametrize("is_cut", [False, True])
def test_what_the_host_does_not_take_whole_leaves_what_is_there(is_cut: bool, tmp_path: Path) -> None:
    """A disk that is full, and a connection that ended on the way."""
    assert unpack(tmp_path, archive(files_of("a"))) == 0
    packed = archive(files_of("b"))
    code = unpack(tmp_path, packed[:4000] if is_cut else packed, before=() if is_cut else FULL)
    assert (code, found(tmp_path)) == (2, whole(files_of("a")))


def test_only_what_is_another_is_told_as_such(tmp_path: Path) -> None:
    files = [file.model_copy(update={"path": f"{tmp_path}{file.path}"}) for file in files_of("a")]

    def checked() -> int:
        return subprocess.run(CHECK, input=sums(files).encode(), capture_output=True, check=False).returncode

    assert checked() == 1
    assert unpack(tmp_path, archive(files_of("a"))) == 0
    assert checked() == 0
    Path(files[1].path).write_text("a" * 4096)
    assert checked() == 1
