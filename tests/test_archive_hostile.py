"""Tars that somebody made by hand: each is refused with its reason, by looking as by unpacking, in one bounded read."""

import gzip
import io
import os
import random
import signal
import stat
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from tars import END, file, filled, header, pax, record, said

from infra import archive
from infra.errors import DocumentError

RESERVED = ("bin", "pyvenv.cfg")
INVALID = "it is no whole tar: invalid header"
NO_SIZE = "it is no whole tar: a size that no disk holds"
CUT = "it is no whole tar: unexpected end of data"
OTHER_READING = "it is no whole tar: a header that is not read here"
LONG = "it is no whole tar: a header that is too long"
DEVICE = "is a device or another special file"
TOO_LONG = "has a name that is too long or too deep"
A64 = "a/" * 64
HAS_CONTENT = "it is no whole tar: 'x' is no file and has a content"
BELOW_FILE = "its member 'x/y' would be written below a file"
TWICE = "its member 'x' is there twice"
OURS = "which every machine makes itself"


def link(name: bytes, target: bytes) -> bytes:
    """A symbolic link."""
    return header(name, b"2", link=target)


def hard(name: bytes, target: bytes) -> bytes:
    """A hard link."""
    return header(name, b"1", link=target)


def folder(name: bytes) -> bytes:
    """A folder."""
    return header(name, b"5")


HOSTILE: dict[str, tuple[bytes, str]] = {
    # Sizes.
    "thirty digits": (said(b"size", b"9" * 30), NO_SIZE),
    "a size of 64 bits": (said(b"size", b"9" * 19), NO_SIZE),
    "one byte more than a disk holds": (said(b"size", b"%d" % 2**63), NO_SIZE),
    "the same in binary": (header(size=b"\x80" + (2**63).to_bytes(11)), NO_SIZE),
    "the largest": (said(b"size", b"%d" % (2**63 - 1)), CUT),
    "a size below nothing": (said(b"size", b"-512"), NO_SIZE),
    "a size of no digits": (said(b"size", b""), NO_SIZE),
    "digits of another script": (said(b"size", "\u0663".encode()), NO_SIZE),
    "eighty bits": (header(size=b"\x80" + b"\xff" * 11), NO_SIZE),
    "binary, below nothing": (header(size=b"\xff" * 12), INVALID),
    "no octal": (header(size=b"00000000009\0"), INVALID),
    "larger than the archive": (header(size=2**32), CUT),
    "larger than the archive, by POSIX": (said(b"size", b"%d" % 2**62), CUT),
    "cut in the filling of a block": (header(size=1) + b"x", CUT),
    # Names.
    "NUL": (said(b"path", b"a\0b"), r"its member 'a\x00b' has a name that cannot be printed"),
    "newline": (said(b"path", b"a\nOK: whole"), r"its member 'a\nOK: whole' has a name that cannot be printed"),
    "escape": (file(b"\x1b]52;c;eA==\x07"), r"its member '\x1b]52;c;eA==\x07' has a name that cannot be printed"),
    "right to left": (file("\u202egnp".encode()), r"its member '\u202egnp' has a name that cannot be printed"),
    "no UTF-8": (file(b"\xff"), r"its member '\udcff' has a name that cannot be printed"),
    "3000 folders": (
        said(b"path", b"a/" * 3000 + b"x"),
        f"its member '{'a/' * 150}...' {TOO_LONG}",
    ),
    "65 folders": (said(b"path", A64.encode() + b"x"), f"its member '{A64}x' {TOO_LONG}"),
    "a name of 256 bytes": (
        said(b"path", b"a" * 256), f"its member '{'a' * 256}' {TOO_LONG}"),
    "no name": (file(b""), "its member '' has a folder's name and is none"),
    "the folder itself": (file(b"./"), "its member './' has a folder's name and is none"),
    "a file by its kind, a folder by its name": (file(b"x/"), "its member 'x/' has a folder's name and is none"),
    "the folder above": (folder(b".."), "its member '..' would be written outside of the folder"),
    "climbs inside": (file(b"a/../b"), "its member 'a/../b' would be written outside of the folder"),
    "absolute by its prefix": (
        header(b"passwd", magic=b"ustar\x0000" + bytes(80) + b"/etc"),
        "its member '/etc/passwd' would be written outside of the folder",
    ),
    # Kinds.
    **{
        f"kind {kind!r}": (header(kind=kind), f"its member 'x' {DEVICE}")
        for kind in (b"3", b"4", b"6", b"7", b"S", b"M", b"V", b"D", b"N", b"Z")
    },
    "sparse, by GNU": (header(kind=b"S", size=512) + bytes(512), f"its member 'x' {DEVICE}"),
    "sparse, by POSIX": (said(b"GNU.sparse.major", b"1"), OTHER_READING),
    "another set of letters": (said(b"hdrcharset", b"BINARY"), OTHER_READING),
    "a folder with a content": (header(kind=b"5", size=512) + bytes(512), HAS_CONTENT),
    "a link with a content": (header(kind=b"2", size=512) + bytes(512), HAS_CONTENT),
    # One after another.
    "twice": (file(b"x") * 2, TWICE),
    "twice, once with a dot": (file(b"x") + file(b"./x"), "its member './x' is there twice"),
    "a link where a file is": (file(b"x") + link(b"x", b"y"), TWICE),
    "a file where a link is": (link(b"x", b"y") + file(b"x"), TWICE),
    "a link where a folder is": (file(b"x/y") + link(b"x", b"y"), TWICE),
    "a folder where a file is": (file(b"x") + folder(b"x"), TWICE),
    "a file where a folder is": (folder(b"x") + file(b"x"), TWICE),
    "below a file": (file(b"x") + file(b"x/y"), BELOW_FILE),
    "below a hard link": (file(b"a") + hard(b"x", b"a") + file(b"x/y"), BELOW_FILE),
    "below a link": (link(b"x", b"y") + file(b"x/y/z"), "its member 'x/y/z' would be written through a link"),
    "a capital": (file(b"x") + file(b"X"), "its member 'X' differs only in its letters from 'x'"),
    "a capital folder": (
        link(b"lib", b"y") + file(b"Lib/x"),
        "its member 'Lib/x' differs only in its letters from 'lib'",
    ),
    "composed": (
        file("\u00e9".encode()) + file("e\u0301".encode()),
        "its member 'e\u0301' differs only in its letters from '\u00e9'",
    ),
    # Links.
    "a hard link to nothing": (hard(b"x", b"y"), "its member 'x' is a hard link to 'y', which is no file before it"),
    "a hard link to itself": (hard(b"x", b"x"), "its member 'x' is a hard link to 'x', which is no file before it"),
    "a hard link to a folder": (
        folder(b"y") + hard(b"x", b"y"),
        "its member 'x' is a hard link to 'y', which is no file before it",
    ),
    "a hard link to a later file": (
        hard(b"x", b"y") + file(b"y"),
        "its member 'x' is a hard link to 'y', which is no file before it",
    ),
    "a hard link by way of a link": (
        file(b"a/y") + link(b"l", b"a") + hard(b"x", b"l/y"),
        "its member 'x' is a hard link to 'l/y', outside of the folder or a link itself",
    ),
    "a hard link to what the machine has": (
        hard(b"x", b"bin/python"),
        "its member 'x' is a hard link to 'bin/python', which is no file before it",
    ),
    "a link to nothing at all": (link(b"x", b""), "its member 'x' is a link to '', which cannot be a path"),
    "a link to NUL": (
        said(b"linkpath", b"a\0", header(kind=b"2")),
        r"its member 'x' is a link to 'a\x00', which cannot be a path",
    ),
    "a link of 5000 letters": (
        said(b"linkpath", b"a" * 5000, header(kind=b"2")),
        f"its member 'x' is a link to '{'a' * 300}...', which cannot be a path",
    ),
    "a link out, later": (
        link(b"a/x", b"y/../../.."),
        "its member 'a/x' is a link to 'y/../../..', outside of the folder",
    ),
    # What the machine makes itself.
    "the interpreter": (file(b"bin/python"), f"its member 'bin/python' would be 'bin', {OURS}"),
    "the interpreter, with a dot": (file(b"./bin/python"), f"its member './bin/python' would be 'bin', {OURS}"),
    "the interpreter in capitals": (file(b"BIN/python"), f"its member 'BIN/python' would be 'bin', {OURS}"),
    "its folder": (folder(b"bin"), f"its member 'bin' would be 'bin', {OURS}"),
    "its folder as a link": (link(b"bin", b"lib"), f"its member 'bin' would be 'bin', {OURS}"),
    "its settings": (file(b"pyvenv.cfg"), f"its member 'pyvenv.cfg' would be 'pyvenv.cfg', {OURS}"),
    # Headers.
    "a header of 10 MB": (pax(record(b"comment", b"x" * 10**7)) + header(), LONG),
    "a long name of 10 MB": (header(kind=b"L", size=10**7) + filled(bytes(10**7)) + header(), LONG),
    "a header said to be of a TB": (header(kind=b"x", size=2**32), LONG),
    "60000 digits": (pax(b"1" * 60000) + header(), INVALID),
    "a record of no length": (pax(b"0 path=x\n") + header(), INVALID),
    "a record beyond its header": (pax(b"99 path=x\n") + header(), INVALID),
    "a record without its newline": (pax(b"9 path=xy") + header(), INVALID),
    "a record without a key": (pax(b"5 =x\n") + header(), INVALID),
    "two long names": (said(b"path", b"a", said(b"path", b"b")), INVALID),
    "a long name of nothing": (pax(record(b"path", b"a")), INVALID),
    "one name for all": (pax(record(b"path", b"a"), b"g") + header(), OTHER_READING),
    "a wrong sum": (file(b"a") + header().replace(b"x", b"y", 1), INVALID),
    # What comes after, and what does not.
    "garbage at the end": (file(b"a") + END + b"garbage".ljust(512, b"!"), INVALID),
    "a little garbage at the end": (file(b"a") + END + b"garbage", INVALID),
    "an archive behind the end": (
        file(b"a") + END + file(b"../evil"),
        "its member '../evil' would be written outside of the folder",
    ),
    "gzip": (gzip.compress(file(b"a") + END).ljust(512, b"\0"), INVALID),
    "zstd": (b"\x28\xb5\x2f\xfd".ljust(512, b"\0"), INVALID),
}  # fmt: skip


@pytest.fixture(autouse=True)
def in_time() -> Iterator[None]:
    """What spins is ended."""

    def ended(*_: object) -> None:
        raise AssertionError("it spins")

    signal.signal(signal.SIGALRM, ended)
    signal.alarm(20)
    yield
    signal.alarm(0)


def test_looking_and_unpacking_refuse_the_same_and_nothing_is_outside(tmp_path: Path) -> None:
    problems, refused, there = {}, {}, set()
    for number, (name, (content, _)) in enumerate(HOSTILE.items()):
        problems[name] = next(archive.problems(io.BytesIO(content + END), RESERVED), "nothing")
        place = tmp_path / str(number)
        with pytest.raises(DocumentError) as caught:
            archive.extract(io.BytesIO(content + END), place / "in" / "engine", RESERVED)
        refused[name] = caught.value.message
        there |= {str(path.relative_to(place)) for path in [*place.glob("*"), *place.glob("in/*")]}
    assert problems == {name: why for name, (_, why) in HOSTILE.items()}
    assert refused == {
        name: f"The archive must not be unpacked: {reason(why)}." for name, why in problems.items()
    }
    assert (there, len(list(tmp_path.iterdir()))) == ({"in", "in/engine"}, len(HOSTILE))


def reason(why: str) -> str:
    """A problem as it is told of an archive that is being unpacked."""
    return why.removeprefix("its member ").removeprefix("it is no whole tar: ")


def test_a_tar_cut_between_two_members_is_not_whole() -> None:
    assert list(archive.problems(io.BytesIO(file(b"a") + file(b"b")))) == [CUT]


NAMES = (
    b"a", b"A", b"a/b", b"a/b/c", b"./a", b"lib/x", b"lib64", b"lib", b"bin/python", b"..", b"a/..", b"/x", b"x/", b"",
    b"\xc3\xa9", b"e\xcc\x81", b"a\x01", b"\xff", b"d/e", b"d", b"a//b", b".", b"./", "\u017f".encode(), b"s",
)  # fmt: skip
TARGETS = (b"a", b"..", b"../a", b"a/b", b"/etc", b"", b"./a", b"lib", b"d/e", b"../../x", b"a/../..", b".")
SAID = (b"path", b"linkpath", b"size", b"mtime")


def drawn(dice: random.Random) -> bytes:
    """A tar of a few members, of which some bytes may be others and the end may be missing."""
    members = []
    for _ in range(dice.randint(1, 6)):
        kind, name = dice.choice((b"0", b"0", b"\0", b"1", b"2", b"5", b"5", b"3", b"x")), dice.choice(NAMES)
        if kind == b"x":
            after = header(name, dice.choice((b"0", b"1", b"2", b"5")), link=dice.choice(TARGETS))
            members.append(
                said(dice.choice(SAID), dice.choice((*NAMES, *TARGETS, b"0", b"1", b"007")), after)
            )
        elif kind in (b"0", b"\0"):
            content = b"c" * dice.choice((0, 1, 511, 512, 513))
            members.append(header(name, kind, len(content)) + filled(content))
        else:
            members.append(header(name, kind, link=dice.choice(TARGETS)))
    changed = bytearray(b"".join(members) + END)
    for _ in range(dice.choice((0, 0, 1, 2))):
        changed[dice.randrange(len(changed))] = dice.randrange(256)
    return bytes(changed[: dice.choice((*[len(changed)] * 3, dice.randrange(len(changed))))])


def test_what_looking_passes_is_unpacked_as_gnu_tar_would_and_nothing_else_is(tmp_path: Path) -> None:
    dice, outcomes = random.Random(20261129), Counter[bool]()
    for number in range(500):
        content, place = drawn(dice), tmp_path / str(number)
        problems = list(archive.problems(io.BytesIO(content), RESERVED))
        try:
            archive.extract(io.BytesIO(content), place / "ours", RESERVED)
            is_unpacked = True
        except DocumentError:
            is_unpacked = False
        assert is_unpacked == (not problems), (number, problems)
        assert {path.name for path in place.iterdir()} <= {"ours"}
        if is_unpacked:
            (place / "gnu").mkdir()
            command = ("tar", "-x", "--ignore-zeros", "--no-same-owner", "--directory", str(place / "gnu"))
            subprocess.run(command, input=content, check=True)
            assert shape(place / "ours") == shape(place / "gnu"), number
        outcomes[is_unpacked] += 1
    assert min(outcomes.values()) > 20


def shape(folder: Path) -> dict[str, object]:
    """Every path below a folder: where it leads, what it holds, or nothing for a folder."""

    def held(path: Path) -> object:
        if path.is_symlink():
            return os.readlink(path)
        return path.read_bytes() if path.is_file() else None

    return {str(path.relative_to(folder)): held(path) for path in folder.rglob("*")}


def test_what_tars_may_hold_is_unpacked_to_the_byte(tmp_path: Path) -> None:
    """GNU's and POSIX's long names, sizes in binary and by a record, a prefix, a link to nothing yet, two end marks."""
    long = b"d/" * 60 + b"n" * 200
    content = (
        folder(b"./")
        + folder(b"d/")
        + header(kind=b"L", size=len(long) + 1, magic=b"ustar  \0") + filled(long + b"\0") + file(b"short", b"one")
        + said(b"size", b"3", header(b"two") + filled(b"two"))
        + header(b"three", size=b"\x80" + (5).to_bytes(11)) + filled(b"three")
        + header(b"four", magic=b"ustar\x0000" + bytes(80) + b"pre") + pax(record(b"comment", b"x"), b"g")
        + header(b"gone/", b"\0") + link(b"to", b"gone/x") + link(b"d/up", b"../two") + hard(b"same", b"./two")
        + END + file(b".whole") + END * 9
    )  # fmt: skip
    assert list(archive.problems(io.BytesIO(content), RESERVED, ("two", "same"))) == []
    assert list(archive.problems(io.BytesIO(content), RESERVED, ("d", "six"))) == [
        "it lacks d",
        "it lacks six",
    ]
    archive.extract(io.BytesIO(content), tmp_path, RESERVED)
    there = {path.relative_to(tmp_path).as_posix(): path for path in tmp_path.rglob("*")}
    files = {name: path.read_bytes() for name, path in there.items() if path.is_file()}
    assert files == {
        long.decode(): b"one", "two": b"two", "three": b"three", "pre/four": b"", "same": b"two", "d/up": b"two",
        ".whole": b"",
    }  # fmt: skip
    assert {name: os.readlink(path) for name, path in there.items() if path.is_symlink()} == {
        "to": "gone/x",
        "d/up": "../two",
    }
    assert there["two"].stat().st_mtime == 1_700_000_000


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_modes_are_the_same_whatever_the_umask(umask: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        archive.extract(io.BytesIO(file(b"a/b/c") + folder(b"d") + END), tmp_path)
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*")}
    assert modes == {"a": 0o755, "b": 0o755, "c": 0o644, "d": 0o755}


@pytest.mark.parametrize("way", ["a", "a/b", "a/b/c"])
@pytest.mark.parametrize("kind", ["link", "file", "pipe"])
def test_what_is_there_is_neither_written_over_nor_through(way: str, kind: str, tmp_path: Path) -> None:
    """As when somebody else can write there too, or an interpreter is a link in an environment."""
    outside, into = tmp_path / "outside", tmp_path / "in"
    outside.mkdir()
    (outside / "precious").write_text("x")
    place = into / way
    place.parent.mkdir(parents=True)
    match kind:
        case "link":
            place.symlink_to(outside / "precious" if way == "a/b/c" else outside)
        case "file":
            place.write_text("theirs")
        case _:
            os.mkfifo(place)
    with pytest.raises(OSError, match=str(into / "a/b/c")):
        archive.extract(io.BytesIO(file(b"a/b/c", b"evil") + END), into)
    assert [path.name for path in outside.iterdir()] == ["precious"]
    assert (outside / "precious").read_text() == "x"
    assert kind != "file" or place.read_text() == "theirs"


def test_too_many_members_and_too_many_reasons_end_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder on the way is one of them too."""
    monkeypatch.setattr(archive, "MOST_ENTRIES", 10)
    members = b"".join(file(b"d%d/x" % number) for number in range(5)) + file(b"d5/x") + END
    why = "its member 'd5/x' is one too many: there are over 10 files and folders"
    assert list(archive.problems(io.BytesIO(members))) == [why]
    problems = list(archive.problems(io.BytesIO(file(b"../x") * 1000 + END)))
    assert (len(problems), problems[-1]) == (101, "there may be more: no further member was looked at")
