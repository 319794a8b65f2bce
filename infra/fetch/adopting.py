"""A snapshot that another tool brought into the Hub's cache: what a file is called among the blobs is its checksum.

Only what a server reads has to be there and right. Whether the repository has more of that only the Hub can say.
"""

import os
import re
from collections.abc import Callable, Collection, Iterator

from infra.errors import DocumentError
from infra.fetch.checksums import Kept
from infra.fetch.discrepancies import NOT_FILES
from infra.fetch.hub_answers import Source
from infra.fetch.layouts import Layout
from infra.fetch.listing import (
    ADAPTER,
    CONFIG,
    INDEX,
    WEIGHTS,
    Wanted,
    is_digest,
    is_fetched,
    is_weights,
    named,
    parsed,
)
from infra.fetch.partial import sums_of
from infra.fetch.walk import entries

NUMBERED = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.safetensors", re.DOTALL)
"""One shard of so many."""


def read_by_a_server(layout: Layout) -> list[str]:
    """The files of a snapshot that a server reads: all but pickles, code, notes, and a second copy of the weights."""
    there = sorted(filter(is_fetched, entries(layout.folder, NOT_FILES)))
    by_index = indexed(layout, there)
    return [name for name in there if by_index is None or not is_weights(name) or name in by_index]


def indexed(layout: Layout, there: Collection[str]) -> list[str] | None:
    """The weights that the index names; None without one, or with one that is none: then its checksum says so."""
    if INDEX not in there:
        return None
    try:
        return named(parsed((layout.folder / INDEX).read_bytes()), Source("", layout.folder.name, ""))
    except (OSError, DocumentError):
        return None


def adopted(
    layout: Layout, read_bytes: Callable[[int], None] = lambda count: None
) -> tuple[dict[str, Kept], list[tuple[str, str]]]:
    """What a server reads of a snapshot and is right, and the rest with what is wrong with each."""
    right: dict[str, Kept] = {}
    wrong: list[tuple[str, str]] = []
    there = read_by_a_server(layout)
    for name in there:
        why, kept = judged(layout, name, read_bytes)
        if kept:
            right[name] = kept
        else:
            wrong.append((name, why))
    wrong += [(name, "is missing") for name in missing(layout, there)]
    return right, wrong


def judged(layout: Layout, name: str, read_bytes: Callable[[int], None]) -> tuple[str, Kept | None]:
    """What is wrong with a file of a snapshot, or how it is kept."""
    assert layout.blobs is not None
    try:
        blob = (layout.folder / name).resolve(strict=True)
        if blob.parent != layout.blobs.resolve() or not blob.is_file():
            return "is no link to a file of its cache", None
        status = blob.stat()
        is_large, is_small = is_digest(blob.name, 64), is_digest(blob.name, 40)
        file = Wanted(name, status.st_size, blob.name if is_large else "", blob.name if is_small else "")
        sums = sums_of(blob, file, read_bytes)
        if not sums.are_right():
            return "is changed: its checksum is another", None
        return "", Kept(status.st_size, sums.sha256, blob.name, status.st_mtime_ns)
    except (OSError, RuntimeError) as error:
        return f"cannot be read: {getattr(error, 'strerror', None) or 'it leads to itself'}", None


def missing(layout: Layout, there: Collection[str]) -> Iterator[str]:
    """What belongs to a snapshot and is not in it, as far as its own files tell: a download may have been ended."""
    if CONFIG not in there and ADAPTER[0] in there:
        yield from (name for name in ADAPTER if name not in there)
        return
    if CONFIG not in there:
        yield CONFIG
    weights = indexed(layout, there)
    if weights is None:
        weights = series(filter(is_weights, there)) or [f"*{WEIGHTS}"]
    yield from (name for name in weights if not os.path.lexists(layout.folder / name))


def series(names: Iterator[str]) -> list[str]:
    """All shards that there must be, by the numbers of those that are there."""
    found = set()
    for name in names:
        shard = NUMBERED.fullmatch(name)
        of = range(1, int(shard[3]) + 1) if shard else ()
        found |= {name, *(f"{shard[1]}-{number:05}-of-{shard[3]}{WEIGHTS}" for number in of if shard)}
    return sorted(found)


def repository_of(layout: Layout) -> str:
    """The repository that a cache's folder is called by."""
    return layout.own.parent.name.removeprefix("models--").replace("--", "/", 1)
