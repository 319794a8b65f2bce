"""A tar from elsewhere: what must not be unpacked is named and not written."""

import io
import os
import stat
import tarfile
from pathlib import Path
from typing import Any, Self

import pytest

from infra import archive
from infra.errors import DocumentError


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", mode: int = 0o644) -> tarfile.TarInfo:
    """One empty member."""
    made = tarfile.TarInfo(name)
    made.type, made.linkname, made.mode, made.uid = kind, link, mode, 12345
    return made


def tar(*members: tarfile.TarInfo) -> io.BytesIO:
    """A tar of empty members."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as made:
        for one in members:
            made.addfile(one)
    stream.seek(0)
    return stream


SYM, LNK, DIR = tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE
OUTSIDE = "would be written outside of the folder"
BAD = {
    "absolute": ([member("/etc/passwd")], f"'/etc/passwd' {OUTSIDE}"),
    "climbs": ([member("lib/../../x")], f"'lib/../../x' {OUTSIDE}"),
    "device": ([member("null", tarfile.CHRTYPE)], "'null' is a device or another special file"),
    "pipe": ([member("pipe", tarfile.FIFOTYPE)], "'pipe' is a device or another special file"),
    "absolute link": ([member("a", SYM, "/etc")], "'a' is a link to '/etc', outside of the folder"),
    "climbing link": ([member("a/b", SYM, "../../x")], "'a/b' is a link to '../../x', outside of the folder"),
    "through a link": (
        [member("a", SYM, "b"), member("a/x")],
        "'a/x' would be written through a link",
    ),
    # Each of these two looks harmless by its text alone; on the disk f would be the folder above.
    "link by way of a link": (
        [member("d/e", SYM, ".."), member("f", SYM, "d/e/..")],
        "'f' is a link to 'd/e/..', outside of the folder",
    ),
    "absolute hard link": (
        [member("a", LNK, "/etc/passwd")],
        "'a' is a hard link to '/etc/passwd', outside of the folder or a link itself",
    ),
    "climbing hard link": (
        [member("a", LNK, "../x")],
        "'a' is a hard link to '../x', outside of the folder or a link itself",
    ),
    # A hard link to a symbolic one is that one at another depth.
    "hard link to a link": (
        [member("d/e", SYM, ".."), member("f", LNK, "./d/e")],
        "'f' is a hard link to './d/e', outside of the folder or a link itself",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_an_unsafe_member_is_named_and_never_written(name: str, tmp_path: Path) -> None:
    members, why = BAD[name]
    content = tar(member("good"), *members, member("after")).getvalue()
    assert list(archive.problems(io.BytesIO(content))) == [f"its member {why}"]
    with pytest.raises(DocumentError) as caught:
        archive.extract(io.BytesIO(content), tmp_path / "in")
    assert caught.value.message == f"The archive must not be unpacked: {why}."
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
    assert not (tmp_path / "in" / "after").exists()


def test_what_an_engine_has_is_unpacked_as_ours(tmp_path: Path) -> None:
    members = (
        member("lib", DIR, mode=0o500),
        member("lib/tool", mode=0o6777),
        member("lib/same", LNK, "lib/tool", mode=0o6777),
        member("lib64", SYM, "lib"),
        member("lib/deep/up", SYM, "../tool"),
    )
    assert list(archive.problems(tar(*members))) == []
    archive.extract(tar(*members), tmp_path)
    tool = (tmp_path / "lib" / "tool").stat()
    assert (stat.S_IMODE(tool.st_mode), tool.st_uid, tool.st_nlink) == (0o755, os.getuid(), 2)
    assert os.readlink(tmp_path / "lib64") == "lib"
    assert (tmp_path / "lib" / "deep" / "up").resolve() == (tmp_path / "lib" / "tool").resolve()


@pytest.mark.parametrize("content", [b"", b"no tar at all" * 100])
def test_what_is_no_tar_is_said(content: bytes, tmp_path: Path) -> None:
    (problem,) = archive.problems(io.BytesIO(content))
    assert problem.startswith("it is no whole tar: ")
    with pytest.raises(DocumentError, match="must not be unpacked"):
        archive.extract(io.BytesIO(content), tmp_path)


def test_a_tar_cut_inside_of_a_file_is_said() -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as made:
        large = member("large")
        large.size = 10**6
        made.addfile(large, io.BytesIO(bytes(10**6)))
    assert list(archive.problems(io.BytesIO(stream.getvalue()[:500_000]))) == [
        "it is no whole tar: unexpected end of data"
    ]


def test_a_field_of_a_header_ends_where_the_next_begins() -> None:
    """No field ends with a NUL, and none of what follows is one's own."""
    fields = (
        (b"n" * 100, b"00000755", b"11111111", b"11111111", b"0" * 12, b"14524434400".rjust(12, b"0")),
        (b"2" + b"l" * 100, b"ustar\0", b"11", b"u" * 32, b"g" * 32, b"1" * 16, b"p" * 155, b"x" * 12),
    )
    before, after = (b"".join(part) for part in fields)
    total = sum(before) + sum(after) + 8 * ord(" ")
    content = before + b"%08o" % total + after + bytes(1024)
    assert [each for each, _ in archive.members(io.BytesIO(content))] == [
        archive.Member("p" * 155 + "/" + "n" * 100, "link", 0o755, 0, 0o14524434400, "l" * 100)
    ]
    # Of an older kind, which has no prefix.
    content = content.replace(b"ustar\0", b"ustar ", 1)
    content = before + b"%08o" % (total + ord(" ")) + content[156:]
    assert [member.name for member, _ in archive.members(io.BytesIO(content))] == ["n" * 100]


class Counted(archive.Member):
    """A member that counts how many of it there are at once."""

    alive = most = 0

    def __new__(cls, *said: Any) -> Self:
        Counted.alive += 1
        Counted.most = max(Counted.most, Counted.alive)
        return super().__new__(cls, *said)

    def __del__(self) -> None:
        Counted.alive -= 1


class Stream(io.BytesIO):
    """Remembers how much was asked of it at once."""

    most = 0

    def read(self, size: int | None = -1, /) -> bytes:
        assert size is not None
        self.most = max(self.most, size if size >= 0 else 2**62)
        return super().read(size)


def test_of_4000_members_no_more_are_kept_than_of_10(monkeypatch: pytest.MonkeyPatch) -> None:
    """And of the stream at most a MiB is read at once."""
    monkeypatch.setattr(archive, "Member", Counted)
    most = []
    for members in (10, 4000):
        stream = Stream(tar(*(member(f"lib/{number}") for number in range(members))).getvalue())
        monkeypatch.setattr(Counted, "most", 0)
        assert list(archive.problems(stream)) == []
        assert stream.most <= 2**20
        most.append(Counted.most)
    large = member("large")
    large.size = 2**21
    stream = Stream()
    with tarfile.open(fileobj=stream, mode="w") as made:
        made.addfile(large, io.BytesIO(bytes(2**21)))
    stream.seek(0)
    assert (list(archive.problems(stream)), stream.most) == ([], 2**20)
    assert most[0] > 0
    assert (most[1] - most[0], Counted.alive) == (0, 0)
