"""Is what was fetched still what it was? Offline: by the manifest, or by the names that a cache gives its files."""

import os
from collections.abc import Callable, Collection
from pathlib import Path
from typing import NamedTuple

from infra.errors import DocumentError
from infra.fetch import discrepancies
from infra.fetch.adopting import adopted, repository_of
from infra.fetch.checksums import Manifest
from infra.fetch.confirming import doubt, doubt_of_known, is_more_there
from infra.fetch.discrepancies import NOT_FILES, shown_name, strangers, why_strange
from infra.fetch.layouts import ADAPTERS, DRAFT, Layout, in_folder, of_existing
from infra.fetch.listing import is_pickle
from infra.fetch.walk import entries


class Verdict(NamedTuple):
    """What lies in a folder, and what is wrong with it: nothing, when `problems` is empty."""

    folder: Path
    repository: str
    commit: str
    files: int
    bytes: int
    problems: tuple[tuple[str, str], ...]
    """A file, and what is wrong with it."""
    pickles: tuple[str, ...] = ()
    """Of the repository, which another tool brought: no server is given them."""
    is_listed: bool = True
    """Whether the Hub said what belongs to the commit, so that what is missing is known."""
    bundle: str = ""
    """The SHA-256 of the manifest of the bundle that brought it; empty for what was fetched."""


def verify(folder: Path, tell: Callable[[int, int], None] = lambda read, total: None) -> Verdict:
    """Read every byte and say all that is wrong; `tell` hears how many are read, and of how many.

    A draft and adapters that were fetched below it are read with it, each by its own manifest. What is wrong is noted,
    so that the next fetch and the next start do not go by its time: a disk that lies changes none. Raises DocumentError
    for a folder that nothing vouches for.
    """
    if not os.path.isdir(folder):  # nor for a name that no disk takes
        raise DocumentError(f"There is no folder {folder}.", "Check the path: ls -l")
    below = fetched_below(folder)
    found = verify_one(folder, below, tell)
    for place in below:
        beside = verify_one(folder / place, (), lambda read, total: None)
        found = found._replace(
            files=found.files + beside.files,
            bytes=found.bytes + beside.bytes,
            problems=(*found.problems, *((f"{place}/{name}", why) for name, why in beside.problems)),
            pickles=(*found.pickles, *(f"{place}/{name}" for name in beside.pickles)),
        )
    return found


def fetched_below(folder: Path) -> tuple[str, ...]:
    """A draft and adapters that were fetched below a model's folder, each with a manifest of its own; no links."""
    places = (folder / DRAFT, *sorted((folder / ADAPTERS).glob("*")))
    return tuple(
        str(place.relative_to(folder))
        for place in places
        if not place.is_symlink() and os.path.isfile(in_folder(place).manifest)
    )


def verify_one(folder: Path, below: Collection[str], tell: Callable[[int, int], None]) -> Verdict:
    """The same of a folder without those below it."""
    layout = of_existing(folder)
    manifest = layout.known()
    if manifest is None and layout.blobs is None:
        raise DocumentError(
            f"{folder} has no manifest, so nothing says what should be there.",
            "Fetch into that folder with --to: what is there and right does not come again, and a manifest is made.",
        )
    if manifest is None or is_more_there(layout, manifest):
        return by_names(layout, manifest)
    sizes = sum(file.size for file in manifest.files.values())
    found = list(discrepancies.wrong(layout.folder, manifest.files, layout.blobs, counted(tell, sizes)))
    doubt(layout, manifest, {name for name, _ in found})
    odd = [*strangers(layout.folder, manifest, layout.blobs, below)]
    problems = [(shown_name(name), why_strange(name)) for name in odd]
    problems += [(shown_name(name), why) for name, why in found]
    return Verdict(
        layout.folder,
        manifest.repository,
        manifest.commit,
        len(manifest.files),
        sizes,
        tuple(problems),
        pickles(layout, odd, below),
        manifest.others is not None,
        manifest.bundle,
    )


def counted(tell: Callable[[int, int], None], total: int) -> Callable[[int], None]:
    """Tell of all bytes that were read, where each block is told of."""
    read = 0

    def count(more: int) -> None:
        nonlocal read
        read += more
        tell(read, total)

    return count


def by_names(layout: Layout, manifest: Manifest | None) -> Verdict:
    """A snapshot that another tool fetched, or has gone on with since that was noted."""
    right, wrong = adopted(layout)
    doubt_of_known(layout, manifest, wrong)
    return Verdict(
        layout.folder,
        repository_of(layout),
        layout.folder.name,
        len(right) + len(wrong),
        sum(file.size for file in right.values()),
        tuple((shown_name(name), why) for name, why in wrong),
        pickles(layout, (), ()),
        is_listed=False,
    )


def pickles(layout: Layout, odd: Collection[str], below: Collection[str]) -> tuple[str, ...]:
    """The pickles in a folder that are no strangers there; not what is in those below."""
    there = sorted(filter(is_pickle, entries(layout.folder, {*NOT_FILES, *below})))
    return tuple(shown_name(name) for name in there if name not in odd)
