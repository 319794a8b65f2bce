"""Records: the frozen values the steps hand to each other, and the documents they are stored as."""

import errno
import os
import re
import stat
import tempfile
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import Annotated, ClassVar, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from infra.argument import pasted
from infra.errors import DocumentError, HostError
from infra.home import home, make_folder
from infra.near import meant_file
from infra.printable import one_line, sentence

# No document of ours has a tenth of it.
LARGEST_BYTES = 64 * 1024 * 1024

MOST_VERSIONS = 1000

MOST_PROBLEMS = 1000
MOST_VALUES = 1_000_000
"""No document of ours has a tenth of them."""
MOST_OF_A_VALUE = 2 * MOST_VALUES
"""A shorter text holds fewer."""

# What is reckoned with a larger one ends in no number.
LARGEST_NUMBER = 2**63

# What st_blocks counts in.
BLOCK = 512

DOCUMENT_NAME = re.compile("[a-z][a-z-]{0,40}")


def printed_line(text: str) -> str:
    """The text, when it is one line that can be printed as it is. Raises ValueError."""
    if sentence(text) != text:
        raise ValueError("it holds what cannot be printed in one line")
    return text


Line = Annotated[str, AfterValidator(printed_line)]
"""What documents that travel say in words: it is shown to people, between lines of ours."""


class Record(BaseModel):
    """A frozen value. Field names carry their unit; an unknown field is an error, so a unit cannot go missing."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        defer_build=True,  # few of what a verb imports are made in a run
    )


class Document(Record):
    """A record that is stored as a JSON file and read back equal.

    A subclass sets `kind` and declares `document` and `schema_version` as Literals, so that a file of another
    kind or version is refused by name.
    """

    kind: ClassVar[str]

    def write(self, path: Path) -> None:
        """Write the document in one step: a reader sees the old file or the new one, never half of either.

        Raises HostError when the disk refuses.
        """
        write_text_atomically(path, self.text())

    def text(self) -> str:
        """The document as it is stored."""
        return self.model_dump_json(indent=2) + "\n"

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a document back. Raises DocumentError when it is missing, corrupt, or of another kind or version."""
        return cls.parse(read_text(path, cls.kind), str(path))

    @classmethod
    def parse(cls, text: str | bytes, where: str) -> Self:
        """Parse a document's JSON text; `where` names its origin in the error. Raises DocumentError."""
        again = f"Make it again with the command that wrote it, or look at it: head {pasted(where)}"
        unreadable = f"{where} is not {with_article(cls.kind)} this version can read"
        if len(text) > MOST_OF_A_VALUE and values_in(text) > MOST_VALUES:
            raise DocumentError(f"{unreadable}: it holds more than {MOST_VALUES:,} values.", again)
        try:
            made = cls.model_validate_json(text)
        except ValidationError as error:
            # Each problem that is told takes as long as a thousand values that are right.
            if (count := error.error_count()) > MOST_PROBLEMS:
                raise DocumentError(
                    f"{unreadable}: {count:,} of its values do not belong there.", again
                ) from None
            if other := other_kind(error):
                raise DocumentError(
                    f"{unreadable}: it is a document of another kind ({other}).",
                    f"Name {with_article(cls.kind)} in its place.",
                ) from None
            said = other_version(error, cls, where) or f"{unreadable}: {first_problem(error)}."
            raise DocumentError(said, again) from None
        if holds_beyond(made.model_dump(), LARGEST_NUMBER):
            raise DocumentError(f"{unreadable}: it holds a number beyond {LARGEST_NUMBER:.2g}.", again)
        return made


def with_article(kind: str) -> str:
    """A kind of document, as one of them."""
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"


def write_over(path: Path, text: str) -> None:
    """Write a file's text over the one it holds, into the room it has: a full disk takes that too.

    Raises HostError where the room is too small, or the disk refuses.
    """
    data = text.encode()
    try:
        with path.open("r+b", buffering=0) as file:
            if os.fstat(file.fileno()).st_blocks * BLOCK < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            file.write(data)
            file.truncate()
            os.fsync(file.fileno())
    except OSError as error:
        raise refused(path, error) from None


def removed(paths: Iterable[Path]) -> tuple[str, ...]:
    """Remove files; those that could not be, each with the reason."""
    left = []
    for path in paths:
        try:
            if not is_missing(path):
                path.unlink(missing_ok=True)
        except OSError as error:
            left.append(f"file {path}: {error.strerror}")
    return tuple(left)


def is_missing(path: Path) -> bool:
    """Whether there is surely nothing; a place that cannot be looked at may hold something."""
    try:
        path.lstat()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return False


def holds_beyond(whole: object, largest: int) -> bool:
    """Whether a record, as plain values, holds a number beyond that, said as a number or as its digits."""
    values = [whole]
    while values:
        value = values.pop()
        if isinstance(value, dict):
            values.extend(value.values())
        elif isinstance(value, list | tuple | set | frozenset):
            values.extend(value)
        elif isinstance(value, int | float | Decimal) and not -largest <= value <= largest:
            return True
    return False


def values_in(text: str | bytes) -> int:
    """No fewer values than a JSON text holds."""
    if isinstance(text, str):
        return sum(map(text.count, ",[{"))
    return sum(map(text.count, (b",", b"[", b"{")))


def other_kind(error: ValidationError) -> str:
    """What a document says that it is, where that is another of corral's; "" where it says nothing of the kind."""
    stated = {problem["loc"]: problem["input"] for problem in error.errors()}.get(("document",))
    return stated if isinstance(stated, str) and DOCUMENT_NAME.fullmatch(stated) else ""


def other_version(error: ValidationError, document: type[Document], where: str) -> str:
    """What to say of a document of another schema version; "" when that is not what is wrong."""
    problems = {problem["loc"]: problem["input"] for problem in error.errors()}
    stated = problems.get(("schema_version",))
    if not isinstance(stated, int) or abs(stated) > MOST_VERSIONS or ("document",) in problems:
        return ""
    reads = document.model_fields["schema_version"].default
    return f"{where} was written by another version of corral (schema {stated}, this one reads {reads})."


def first_problem(error: ValidationError) -> str:
    """Say the first problem of a validation error in words a user can act on."""
    problem = error.errors(include_url=False)[0]
    place = one_line(".".join(str(part) for part in problem["loc"]))
    words = one_line(str(problem["msg"]))
    return f"{place}: {words}" if place else words


def nearest(folder: Path) -> Path:
    """That folder, or the first one above it that is there, to be looked at."""
    return next((each for each in (folder, *folder.parents) if each.exists()), folder)


def where_to_look(path: Path) -> str:
    """What helps where nothing is at a path: a file of nearly that name, else a look at what is there."""
    return meant_file(path) or f"Check the path: ls -l {pasted(nearest(path.parent))}"


def read_text(path: Path, kind: str) -> str:
    """Read a document's text. Raises DocumentError when it is missing, unreadable or larger than any.

    One that is given may come through a pipe; in corral's home a pipe or a device is nobody's document, and has no end.
    """
    is_kept = home() in path.absolute().parents
    try:
        with open(
            os.open(path, os.O_RDONLY | os.O_CLOEXEC | (os.O_NONBLOCK if is_kept else 0)), "rb"
        ) as file:
            kind_of_file = os.fstat(file.fileno()).st_mode
            if is_kept and not (stat.S_ISREG(kind_of_file) or stat.S_ISDIR(kind_of_file)):
                raise OSError(errno.EINVAL, "it is no regular file")
            data = file.read(LARGEST_BYTES + 1)
        if len(data) > LARGEST_BYTES:
            raise DocumentError(
                f"{path} is larger than {LARGEST_BYTES:,} bytes, so it is no {kind}.",
                f"See what it is: file {pasted(path)}",
            )
        return data.decode()
    except FileNotFoundError:
        raise DocumentError(
            f"There is no {kind} at {path}.",
            where_to_look(path),
        ) from None
    except IsADirectoryError:
        raise DocumentError(
            f"{path} is a folder, not {with_article(kind)}.", f"Name the file: ls {pasted(path)}"
        ) from None
    except UnicodeDecodeError:
        raise DocumentError(
            f"{path} is not text, so it is no {kind}.", f"See what it is: file {pasted(path)}"
        ) from None
    except (OSError, ValueError) as error:
        raise DocumentError(
            f"The {kind} at {path} cannot be read: {getattr(error, 'strerror', None) or error}.",
            "Check the file and its owner.",
        ) from None


def read_bytes(path: Path, hint: str, most_bytes: int = LARGEST_BYTES, *, is_named: bool = False) -> bytes:
    """A file that others wrote. Raises DocumentError for one that is no regular file, cannot be read, or is too large.

    A pipe or a device in a folder of files would be read without an end. Where a user named it and nothing is there,
    the hint is where to look.
    """
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise OSError(errno.EINVAL, "it is no regular file")
            data = file.read(most_bytes + 1)
    except OSError as error:
        if is_named and isinstance(error, FileNotFoundError):
            hint = where_to_look(path)
        raise DocumentError(f"{path} cannot be read: {error.strerror}.", hint) from None
    if len(data) > most_bytes:
        raise DocumentError(f"{path} is larger than {most_bytes:,} bytes.", hint)
    return data


def write_text_atomically(path: Path, text: str, mode: int = 0o600) -> None:
    """Write a file through a temporary one beside it. Raises HostError when the disk refuses.

    What is there and no file, such as /dev/stdout, is written to and not replaced.
    """
    try:
        if path.exists() and not path.is_file():
            path.write_text(text, encoding="utf-8")
            return
        make_folder(path.parent)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, mode)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise refused(path, error) from None


def refused(path: Path, error: OSError) -> HostError:
    """What to say of a disk that does not take a file; of a folder, or of a file in place of one, what helps there."""
    if error.errno == errno.EISDIR:
        return HostError(
            f"{path} is a folder, and a file is to be written there.",
            f"Name a file in it: {pasted(path / 'FILE')}",
        )
    if path.parent.is_file():
        return HostError(
            f"{path} cannot be written: what should be its folder is a file.",
            f"Name another place: ls -ld {pasted(path.parent)}",
        )
    return HostError(
        f"{path} cannot be written: {error.strerror or error}.",
        "Check the free space and the owner of that folder: df -h, ls -ld",
    )
