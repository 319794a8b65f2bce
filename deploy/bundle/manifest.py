"""The bundle's manifest: what the folder holds, file by file, and which machine it is for."""

import hashlib
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated, ClassVar, Literal, NamedTuple, Self

from pydantic import AfterValidator, Field, model_validator

from infra.archive import LARGEST, Judge, Member, shown, unfit
from infra.argument import pasted
from infra.asked import Flag
from infra.beneath import Beneath
from infra.errors import DocumentError, UsageError
from infra.record import Document, Record
from infra.signed import Signers
from serving.sizing.plan import Plan

MANIFEST = "manifest.json"
SIGNATURE = f"{MANIFEST}.sig"
"""Beside the manifest, and no more listed in it than itself."""
NAMESPACE = "corral-bundle"
"""What that signature is made for."""
ENGINE = "engine.tar"
MODEL = "model"
DRAFT = "draft"
ADAPTERS = "adapters"
"""Of each adapter a folder of its name."""
PLAN = "plan.json"
SBOM = "sbom.cdx.json"
"""A bill of materials: what somebody who scans for known faults reads."""
CHAT_TEMPLATE = "chat_template.jinja"
WHEELS = "wheels"
# There from the first byte of a create to the last: a folder with it is no bundle yet.
UNFINISHED = "unfinished"
# What is being written, until it has its own name.
WRITING = ".writing"
# A line of some hundred bytes a file.
LARGEST_MANIFEST = 2**26


def inside(path: str) -> str:
    """A path below the bundle's folder, in its one spelling. Raises ValueError for any other."""
    pure = PurePosixPath(path)
    if str(pure) != path or pure.is_absolute() or ".." in pure.parts or path == "." or unfit(path):
        raise ValueError(f"{shown(path)} is no path inside of the bundle")
    return path


def one_line(text: str) -> str:
    """A text that is printed as it is. Raises ValueError for one that would be more than a line, or does things."""
    if unfit(text):
        raise ValueError("it cannot be printed on one line")
    return text


Line = Annotated[str, AfterValidator(one_line)]
InsidePath = Annotated[str, AfterValidator(inside)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


def checked_sha256(text: str) -> str:
    """The checksum a user typed, in small letters. Raises UsageError for one that is none."""
    if not re.fullmatch("[0-9a-fA-F]{64}", text):
        raise UsageError(
            f"--manifest-sha256 {text!r} is no SHA-256: that is 64 hexadecimal digits.",
            f"corral bundle create printed it; or, in the bundle's folder: sha256sum {MANIFEST}",
        )
    return text.lower()


class Known(Signers):
    """What is known of a bundle beside it."""

    manifest_sha256: Annotated[Annotated[str, AfterValidator(checked_sha256)] | None, Flag(metavar="HEX")] = (
        None
    )
    """The checksum that create printed, told another way."""


class Stored(Record):
    """One file of the folder."""

    path: InsidePath
    """Below the bundle's folder."""
    size_bytes: int = Field(ge=0, le=LARGEST)
    """Its length."""
    sha256: Sha256
    """Of its bytes."""
    part_of: InsidePath | None = None
    """The file this is a part of; the parts of one follow each other here in their order."""


class Bundle(Document):
    """manifest.json: equal inputs make it equal to the byte, so that its checksum stands for the whole folder."""

    kind: ClassVar[str] = "bundle manifest"
    document: Literal["bundle"] = "bundle"
    schema_version: Literal[1] = 1

    name: str = Field(pattern="^[a-z0-9][a-z0-9-]{0,39}$")
    """Of what is packed, as a deployment of its plan is called."""
    corral_version: Line
    """That packed it."""
    plan: Plan
    """What is to be served, with the paths that it has inside the bundle."""
    vllm_version: Line
    """Of the engine in it."""
    architecture: Line
    """As uname -m says it."""
    python: str = Field(pattern=r"^3\.[0-9]{1,2}$")
    """The minor version the engine is packed for, which the machine must have."""
    min_driver: int | None
    """The NVIDIA driver the engine needs; None for a CPU engine."""
    licences: tuple[Line, ...]
    """The licence files that came with the model."""
    files: tuple[Stored, ...]
    """Every file but the manifest, in the order of their paths."""

    @model_validator(mode="after")
    def _paths_differ(self) -> Self:
        paths = [file.path for file in self.files]
        if len(set(paths)) < len(paths) or {MANIFEST, SIGNATURE, UNFINISHED, WRITING} & set(paths):
            raise ValueError("a path is there twice, or is the manifest's own")
        check_together(paths)
        if {file.part_of for file in self.files} & set(paths):
            raise ValueError("a file is a part of another file that is there")
        check_together(whole_files(self.files))
        return self

    @property
    def total_bytes(self) -> int:
        """The size of all files."""
        return sum(file.size_bytes for file in self.files)


class Opened(NamedTuple):
    """A manifest as it was read, and the very bytes it was read from, with their checksum."""

    bundle: Bundle
    sha256: str
    text: bytes


def read(folder: Path) -> Opened:
    """Read a bundle's manifest. Raises DocumentError for a folder that is no bundle, or not a finished one."""
    if not folder.is_dir():
        raise DocumentError(f"There is no folder {folder}.", f"Check the path: ls -l {pasted(folder.parent)}")
    if os.path.lexists(folder / UNFINISHED):
        raise DocumentError(
            f"The bundle in {folder} is not finished.", "Run its corral bundle create again; it goes on."
        )
    try:
        with Beneath(folder) as below, below.read(MANIFEST) as file:
            text = file.read(LARGEST_MANIFEST)
    except OSError as error:
        raise DocumentError(
            f"{folder} is not a bundle: its {MANIFEST} cannot be read ({error.strerror}).",
            "Name the folder that corral bundle create wrote, copied whole.",
        ) from None
    return Opened(Bundle.parse(text, str(folder / MANIFEST)), hashlib.sha256(text).hexdigest(), text)


def whole_files(files: Sequence[Stored]) -> dict[str, tuple[Stored, ...]]:
    """Each file as it was before it was split: its path, and the stored files it is made of."""
    parts: dict[str, list[Stored]] = {}
    for file in files:
        parts.setdefault(file.part_of or file.path, []).append(file)
    return {name: tuple(of_one) for name, of_one in parts.items()}


def check_together(paths: Iterable[str]) -> None:
    """Raise ValueError for files that cannot all be in one folder: one below another, or equal but for capitals."""
    judge = Judge(())
    for path in paths:
        if why := judge.why_not(Member(path, "file", 0o644, 0, 0, "")):
            raise ValueError(f"{path} {why}")
