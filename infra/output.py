"""Files that a line names to be written: over one that lies there only where that is of the same kind."""

import os
from pathlib import Path

from infra import bounded_json
from infra.argument import pasted
from infra.errors import DocumentError, UsageError
from infra.record import Document, read_text, write_text_atomically

BEGINNING = 12
"""Characters that tell a page, a table or a document from a file of another kind."""


def refuse_another(path: Path, kind: type[Document]) -> None:
    """Raise UsageError where something else than such a document, of whatever version, would be written over.

    And where there is no folder for it: a name with a slip in it makes none. An empty file may be written over, as
    `mktemp` makes one, and what is no file, as /dev/stdout.
    """
    refuse_nowhere(path)
    if holds_something(path) and not is_document(path, kind):
        raise another(path, f"{kind.kind} of corral's")


def is_document(path: Path, kind: type[Document]) -> bool:
    """Whether a file says that it is such a document, of whatever version."""
    try:
        said = bounded_json.load(read_text(path, kind.kind).encode())
    except (DocumentError, ValueError):
        return False
    return isinstance(said, dict) and said.get("document") == kind.model_fields["document"].default


def write_form(path: Path, text: str, what: str, mode: int = 0o600) -> None:
    """Write a page, or another form of a document. Raises UsageError over a file that does not begin as it does.

    And where there is no folder for it. Raises HostError when the disk refuses.
    """
    refuse_nowhere(path)
    if holds_something(path) and beginning(path) != text[:BEGINNING].encode():
        raise another(path, what)
    write_text_atomically(path, text, mode)


def refuse_unlike(path: Path, beginnings: tuple[bytes, ...], what: str) -> None:
    """Raise UsageError where a file, or what a link leads to, would be written over that begins with none of these.

    And where there is no folder for it.
    """
    refuse_nowhere(path)
    if holds_something(Path(os.path.realpath(path))) and not beginning(path).startswith(beginnings):
        raise another(path, what)


def refuse_nowhere(path: Path) -> None:
    """Raise UsageError where a file is to be written into a folder that is not there; of a file in its place the disk.

    What is named as a folder, for several files, is made: this is for the name of one file.
    """
    if not os.path.lexists(path.parent):
        raise UsageError(
            f"{path} cannot be written: there is no folder {path.parent}.",
            f"Name another place, or make that folder first: mkdir -p {pasted(path.parent)}",
        )


def holds_something(path: Path) -> bool:
    """Whether it is a file with something in it; a link to one is replaced, and what it leads to stays."""
    return os.path.isfile(path) and not os.path.islink(path) and os.path.getsize(path) > 0


def beginning(path: Path) -> bytes:
    """How a file begins; of one that cannot be read, nothing."""
    try:
        with path.open("rb") as file:
            return file.read(BEGINNING)
    except OSError:
        return b""


def another(path: Path, what: str) -> UsageError:
    """What is said of a file of another kind."""
    return UsageError(
        f"{path} is there and is no {what}.", f"Name another file, or remove that one: rm {pasted(path)}"
    )
