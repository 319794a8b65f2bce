"""A tar that came from elsewhere: read by rules stricter than any tar's, and judged before it touches the disk.

Not by Python's tarfile: a size of thirty digits has it read for ever, a header as large as the archive fills the
memory, and before 3.11.4 it has no filter. What is read is what GNU tar and Python write of files, folders and links.
"""

import os
import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Literal, NamedTuple

from infra.beneath import Beneath
from infra.errors import DocumentError

BLOCK = 512
AT_ONCE = 2**20
# An extended header holds a path, a link's target and times: this is much for them.
LONGEST_HEADER = 2**16
# A path that every program can open below a home; an engine's longest has 200 bytes and 18 parts.
LONGEST_PATH, LONGEST_NAME, DEEPEST = 1024, 255, 64
# Files and folders of one archive; an engine has 62,000.
MOST_ENTRIES = 500_000
MOST_PROBLEMS = 100
LARGEST = 2**63 - 1

Kind = Literal["file", "folder", "link", "hard link", "special"]
KINDS: dict[bytes, Kind] = {b"0": "file", b"\0": "file", b"1": "hard link", b"2": "link", b"5": "folder"}


class Member(NamedTuple):
    """One entry of an archive, as its header says it."""

    name: str
    kind: Kind
    mode: int
    size_bytes: int
    changed_s: int
    target: str


class NotWhole(Exception):
    """What is read is no archive, or not all of one; the text says why."""


def problems(stream: BinaryIO, reserved: Collection[str] = (), needed: Collection[str] = ()) -> Iterator[str]:
    """Say of each member that must not be unpacked why, and which needed file is missing; nothing is written."""
    try:
        yield from wrong((member for member, _ in members(stream)), reserved, needed)
    except NotWhole as error:
        yield f"it is no whole tar: {error}"


def wrong(entries: Iterable[Member], reserved: Collection[str], needed: Collection[str]) -> Iterator[str]:
    """The same of members however they are known."""
    judge, count = Judge(reserved), 0
    for member in entries:
        if why := judge.why_not(member):
            yield f"its member {shown(member.name)} {why}"
            count += 1
        if count == MOST_PROBLEMS:
            yield "there may be more: no further member was looked at"
            return
    if not count:
        yield from (f"it lacks {path}" for path in needed if judge.kind_of(path) != "file")


def extract(stream: BinaryIO, folder: Path, reserved: Collection[str] = ()) -> None:
    """Unpack a tar into a folder, as the user who runs this; the folder is made, and nothing in it is written over.

    Raises DocumentError at the first unsafe member, OSError when the disk refuses.
    """
    judge = Judge(reserved)
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    try:
        with Beneath(folder) as below:
            for member, content in members(stream):
                if why := judge.why_not(member):
                    raise NotWhole(f"{shown(member.name)} {why}")
                put(below, member, content)
    except NotWhole as error:
        raise DocumentError(
            f"The archive must not be unpacked: {error}.", "Have it made and brought again."
        ) from None


def put(below: Beneath, member: Member, content: Iterator[bytes]) -> None:
    """Write a member that was judged: no owner, no set-user-id, and nobody else may write it."""
    path = str(PurePosixPath(member.name))
    if path == ".":
        return
    match member.kind:
        case "folder":
            below.make_folder(path)
        case "link":
            below.link(path, member.target)
        case "hard link":
            below.same(path, str(PurePosixPath(member.target)))
        case _:
            with below.create(path, 0o755 if member.mode & 0o100 else 0o644) as file:
                for block in content:
                    file.write(block)
                file.flush()
                # What Python compiled knows its source by this time.
                os.utime(file.fileno(), (member.changed_s, member.changed_s))


def shown(name: str) -> str:
    """A name from elsewhere in quotes, on one line and not too long."""
    return repr(name if len(name) <= 300 else f"{name[:300]}...")


class Judge:
    """Which members may be unpacked into an empty folder; it remembers the paths, so that each is judged by all before.

    Stricter than Python's filter, so that it needs no disk: no way in the archive leads through a link, and a link
    climbs only at its beginning. A link can then not lead outside by way of another. `reserved` are names at the top
    that are not the archive's to bring.
    """

    def __init__(self, reserved: Collection[str]) -> None:
        self.reserved = {folded(name): name for name in reserved}
        self.known: dict[str, tuple[str, Kind]] = {}
        # The folder of the last member, which was judged: many members have the same.
        self.last = PurePosixPath()

    def kind_of(self, path: str) -> Kind | None:
        """What a path of the archive is; None where it has none of that spelling."""
        spelling, kind = self.known.get(folded(path), ("", "special"))
        return kind if spelling == path else None

    def why_not(self, member: Member) -> str:
        """Why a member must not be unpacked; "" when it may, and then it is known."""
        path = PurePosixPath(member.name)
        if is_outside(path):
            return "would be written outside of the folder"
        if member.kind == "special":
            return "is a device or another special file"
        if member.kind != "folder" and (not path.parts or member.name.endswith("/")):
            return "has a folder's name and is none"
        if why := unfit(member.name):
            return f"has a name that {why}"
        if path.parts and folded(path.parts[0]) in self.reserved:
            return f"would be {self.reserved[folded(path.parts[0])]!r}, which every machine makes itself"
        return self._of_its_place(path) or self._of_its_kind(path, member)

    def _of_its_place(self, path: PurePosixPath) -> str:
        """What is wrong with the folders on the way, which are known from now on."""
        for parent in [*path.parents][-2::-1] if path.parent != self.last else ():
            if why := self._other_spelling(str(parent)):
                return why
            _, kind = self.known.setdefault(folded(str(parent)), (str(parent), "folder"))
            if kind == "link":
                return "would be written through a link"
            if kind != "folder":
                return "would be written below a file"
        if len(self.known) > MOST_ENTRIES:
            return f"is one too many: there are over {MOST_ENTRIES} files and folders"
        self.last = path.parent
        return ""

    def _of_its_kind(self, path: PurePosixPath, member: Member) -> str:
        if why := self._other_spelling(str(path)):
            return why
        there = self.kind_of(str(path))
        if there and not there == member.kind == "folder":
            return "is there twice"
        why = ""
        if member.kind == "hard link":
            why = self._of_a_hard_link(member.target)
        elif member.kind == "link":
            why = wrong_target(path, member.target)
        if path.parts and not why:
            self.known[folded(str(path))] = (str(path), "file" if member.kind == "hard link" else member.kind)
        return why

    def _other_spelling(self, path: str) -> str:
        spelling, _ = self.known.get(folded(path), (path, ""))
        return "" if spelling == path else f"differs only in its letters from {shown(spelling)}"

    def _of_a_hard_link(self, target: str) -> str:
        path = PurePosixPath(target)
        kinds = [self.kind_of(str(way)) for way in (path, *path.parents)]
        if is_outside(path) or "link" in kinds:
            return f"is a hard link to {shown(target)}, outside of the folder or a link itself"
        return "" if kinds[0] == "file" else f"is a hard link to {shown(target)}, which is no file before it"


def folded(path: str) -> str:
    """What two paths have in common that some disks hold for one."""
    if path.isascii():
        return path.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def is_outside(path: PurePosixPath) -> bool:
    """Whether a path does not lie below the folder it is counted from, as it is written."""
    return path.is_absolute() or ".." in path.parts


def unfit(path: str) -> str:
    """What is wrong with a path as a name on a disk; "" for one that every disk and terminal takes."""
    if not path.isprintable():
        return "cannot be printed"
    parts = path.split("/")
    longest = max(len(part.encode()) for part in parts)
    if len(path.encode()) > LONGEST_PATH or longest > LONGEST_NAME or len(parts) > DEEPEST:
        return "is too long or too deep"
    return ""


def wrong_target(path: PurePosixPath, target: str) -> str:
    """What is wrong with a symbolic link there; "" when it stays inside: it climbs first, and not over the top."""
    if not target or unfit(target):
        return f"is a link to {shown(target)}, which cannot be a path"
    to = PurePosixPath(target)
    climbs = to.parts.count("..")
    is_inside = (
        not to.is_absolute() and climbs <= len(path.parts) - 1 and to.parts[:climbs] == ("..",) * climbs
    )
    return "" if is_inside else f"is a link to {shown(target)}, outside of the folder"


def members(stream: BinaryIO) -> Iterator[tuple[Member, Iterator[bytes]]]:
    """The members of an uncompressed tar with their bytes, read once, front to back, to the stream's very end.

    What follows an end mark is read on, as `tar --ignore-zeros` does: nothing lies behind it unjudged. Raises NotWhole.
    """
    told: dict[str, str] = {}
    is_ended = False
    while header := exactly(stream, BLOCK):
        is_ended = header == bytes(BLOCK)
        if is_ended:
            if told:
                raise NotWhole("invalid header")
            continue
        check_sum(header)
        kind, size_bytes = header[156:157], number(header[124:136])
        if kind in (b"x", b"g", b"L", b"K"):
            more = extended(kind, filled(stream, size_bytes))
            if told.keys() & more.keys():
                raise NotWhole("invalid header")
            told |= more
            continue
        member = member_of(header, size_bytes, told)
        told = {}
        content = contents(stream, member.size_bytes)
        yield member, content
        for _ in content:
            pass
    if not is_ended:
        raise NotWhole("unexpected end of data")


def contents(stream: BinaryIO, size_bytes: int) -> Iterator[bytes]:
    """A member's bytes; what fills its last block is read with them."""
    left = size_bytes
    while left:
        block = stream.read(min(AT_ONCE, left))
        if not block:
            raise NotWhole("unexpected end of data")
        left -= len(block)
        yield block
    if len(exactly(stream, -size_bytes % BLOCK)) < -size_bytes % BLOCK:
        raise NotWhole("unexpected end of data")


def filled(stream: BinaryIO, size_bytes: int) -> bytes:
    """The data of an extended header."""
    if size_bytes > LONGEST_HEADER:
        raise NotWhole("a header that is too long")
    return b"".join(contents(stream, size_bytes))


def exactly(stream: BinaryIO, size_bytes: int) -> bytes:
    """So many bytes, or none at the stream's end. Raises NotWhole for some of them."""
    data = stream.read(size_bytes)
    while data and len(data) < size_bytes and (more := stream.read(size_bytes - len(data))):
        data += more
    if data and len(data) < size_bytes:
        raise NotWhole("unexpected end of data")
    return data


def check_sum(header: bytes) -> None:
    """Raise NotWhole for a block that is no header."""
    if sum(header[:148]) + sum(header[156:]) + 8 * ord(" ") != number(header[148:156]):
        raise NotWhole("invalid header")


def number(field: bytes) -> int:
    """A number of a header: octal digits, or what they cannot hold in binary. Raises NotWhole for any other."""
    if field[:1] == b"\x80":
        value = int.from_bytes(field[1:])
    else:
        digits = field.partition(b"\0")[0].strip(b" ")
        if not re.fullmatch(b"[0-7]*", digits):
            raise NotWhole("invalid header")
        value = int(digits or b"0", 8)
    if value > LARGEST:
        raise NotWhole("a size that no disk holds")
    return value


def text_of(field: bytes) -> str:
    """A text of a header; bytes that are no UTF-8 stay told apart, and cannot be printed."""
    return field.decode("utf-8", "surrogateescape")


def until_nul(field: bytes) -> str:
    """A text that ends at the first NUL."""
    return text_of(field.partition(b"\0")[0])


def extended(kind: bytes, data: bytes) -> dict[str, str]:
    """What an extended header says of the next member: GNU's long names, or the records of POSIX."""
    if kind in (b"L", b"K"):
        return {"path" if kind == b"L" else "linkpath": until_nul(data)}
    told = dict(records(data))
    # A sparse file is another than its bytes here; and one header for all members would be another tar's reading.
    if any(key.startswith("GNU.sparse.") or key == "hdrcharset" for key in told) or (
        kind == b"g" and told.keys() & {"path", "linkpath", "size"}
    ):
        raise NotWhole("a header that is not read here")
    return {key: told[key] for key in told.keys() & {"path", "linkpath", "size"}}


def records(data: bytes) -> Iterator[tuple[str, str]]:
    """POSIX's records, `LENGTH KEY=VALUE` and a newline each. Raises NotWhole for anything else."""
    at = 0
    while at < len(data):
        space = data.find(b" ", at, at + 6)
        digits = data[at : max(space, at)]
        end = at + int(digits) if re.fullmatch(b"[0-9]{1,5}", digits) else 0
        key, equals, value = data[space + 1 : end - 1].partition(b"=")
        if not equals or not key or end > len(data) or data[end - 1 : end] != b"\n":
            raise NotWhole("invalid header")
        yield text_of(key), text_of(value)
        at = end


def member_of(header: bytes, size_bytes: int, told: dict[str, str]) -> Member:
    """A header, with what was told before it, as a member. Raises NotWhole for sizes that cannot be."""
    name = told.get("path")
    if name is None:
        name = until_nul(header[:100])
        if header[257:263] == b"ustar\0" and (prefix := until_nul(header[345:500])):
            name = f"{prefix}/{name}"
    if "size" in told:
        if not re.fullmatch("[0-9]{1,19}", told["size"], re.ASCII) or int(told["size"]) > LARGEST:
            raise NotWhole("a size that no disk holds")
        size_bytes = int(told["size"])
    kind = KINDS.get(header[156:157], "special")
    if header[156:157] == b"\0" and name.endswith("/"):
        kind = "folder"
    if kind in ("folder", "link", "hard link") and size_bytes:
        raise NotWhole(f"{shown(name)} is no file and has a content")
    target = told.get("linkpath", until_nul(header[157:257]))
    return Member(name, kind, number(header[100:108]), size_bytes, changed_s(header), target)


def changed_s(header: bytes) -> int:
    """When the file was last written, in seconds since 1970; 0 for a time that is none."""
    try:
        return min(number(header[136:148]), 2**32 - 1)
    except NotWhole:
        return 0
