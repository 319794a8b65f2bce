"""Is what was fetched still what it was? Offline: by the manifest, or by the names that a cache gives its files."""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from infra.errors import DocumentError, HostError
from infra.fetch.checksums import Kept, Manifest, entries, problem_of, problems, shown_name, write
from infra.fetch.hub_answers import Source
from infra.fetch.layouts import Layout, of_existing
from infra.fetch.listing import INDEX, WEIGHTS, Wanted, is_digest, is_pickle, is_weights, named, parsed
from infra.fetch.partial import sums_of


class Verdict(NamedTuple):
    """What lies in a folder, and what is wrong with it: nothing, when `problems` is empty."""

    folder: Path
    repository: str
    commit: str
    files: int
    bytes: int
    problems: tuple[tuple[str, str], ...]
    """A file, and what is wrong with it."""


def verify(folder: Path, tell: Callable[[int, int], None] = lambda read, total: None) -> Verdict:
    """Read every byte and say all that is wrong; `tell` hears how many are read, and of how many.

    Raises DocumentError for a folder that nothing vouches for.
    """
    if not os.path.isdir(folder):  # nor for a name that no disk takes
        raise DocumentError(f"There is no folder {folder}.", "Check the path: ls -l")
    layout = of_existing(folder)
    manifest = layout.known()
    if manifest:
        sizes = sum(file.size for file in manifest.files.values())
        read = 0

        def count(more: int) -> None:
            nonlocal read
            read += more
            tell(read, sizes)

        found = tuple(problems(layout.folder, manifest, layout.blobs, count))
        return Verdict(folder, manifest.repository, manifest.commit, len(manifest.files), sizes, found)
    if layout.blobs is None:
        raise DocumentError(
            f"{folder} has no manifest, so nothing says what should be there.",
            "Fetch into that folder with --to: what is there and right does not come again, and a manifest is made.",
        )
    return by_names(layout)


def by_names(layout: Layout) -> Verdict:
    """A snapshot that another tool fetched: what a file is called among the blobs is its checksum."""
    right, wrong = adopted(layout)
    return Verdict(
        layout.folder,
        repository_of(layout),
        layout.folder.name,
        len(right) + len(wrong),
        sum(file.size for file in right.values()),
        tuple(wrong),
    )


def repository_of(layout: Layout) -> str:
    """The repository that a cache's folder is called by."""
    return layout.own.parent.name.removeprefix("models--").replace("--", "/", 1)


def adopted(layout: Layout) -> tuple[dict[str, Kept], list[tuple[str, str]]]:
    """The files of a cache's snapshot that are right, and the others with what is wrong with each."""
    right: dict[str, Kept] = {}
    wrong: list[tuple[str, str]] = []
    for name in sorted(entries(layout.folder)):
        why, kept = judged(layout, name)
        if kept:
            right[name] = kept
        else:
            wrong.append((shown_name(name), why))
    wrong += [(shown_name(name), "is missing") for name in missing(layout, right)]
    return right, wrong


def judged(layout: Layout, name: str) -> tuple[str, Kept | None]:
    """What is wrong with a file of a snapshot, or how it is kept."""
    assert layout.blobs is not None
    if is_pickle(name):
        return "is a pickle, which may run code when it is loaded", None
    try:
        blob = (layout.folder / name).resolve(strict=True)
        if blob.parent != layout.blobs.resolve() or not blob.is_file():
            return "is no link to a file of its cache", None
        status = blob.stat()
        is_large, is_small = is_digest(blob.name, 64), is_digest(blob.name, 40)
        file = Wanted(name, status.st_size, blob.name if is_large else "", blob.name if is_small else "")
        sums = sums_of(blob, file)
        if not sums.are_right():
            return "is changed: its checksum is another", None
        return "", Kept(status.st_size, sums.sha256, blob.name, status.st_mtime_ns)
    except (OSError, RuntimeError) as error:
        return f"cannot be read: {getattr(error, 'strerror', None) or 'it leads to itself'}", None


def missing(layout: Layout, right: dict[str, Kept]) -> Iterator[str]:
    """What the index of a snapshot names and is not there; without an index, the weights where there are none."""
    if INDEX in right:
        index = parsed((layout.folder / INDEX).read_bytes())
        names = named(index, Source("", layout.folder.name, ""))
        yield from (name for name in names if not os.path.lexists(layout.folder / name))
    elif not any(map(is_weights, entries(layout.folder))):
        yield f"*{WEIGHTS}"


def confirm(layout: Layout, say: Callable[[str], None]) -> tuple[tuple[str, str], ...]:
    """What is wrong with the files: only those are read that were written since they were found right.

    What another tool put into a cache is read once, and noted. Nothing is said of a folder that nothing vouches for.
    Raises DocumentError for a manifest that was changed.
    """
    manifest = layout.known()
    if manifest:
        return again(layout, manifest, say)
    if layout.blobs is None:
        return ()
    say(f"verifying what lies in {layout.folder}")
    right, wrong = adopted(layout)
    if not wrong:
        found = Manifest(repository_of(layout), layout.folder.name, right)
        with suppress(OSError, HostError):  # a cache that is not ours to write
            layout.own.mkdir(exist_ok=True)
            write(layout.manifest, found)
    return tuple(wrong)


def again(layout: Layout, manifest: Manifest, say: Callable[[str], None]) -> tuple[tuple[str, str], ...]:
    """The same, where a manifest is."""
    touched = [name for name, kept in manifest.files.items() if not is_as_found(layout, name, kept)]
    wrong = []
    for name in touched:
        say(f"{name} was written since it was found right; verifying it")
        if why := problem_of(layout.folder / name, manifest.files[name], layout.blobs):
            wrong.append((name, why))
    if touched and not wrong:
        with suppress(OSError, HostError):  # the blob is gone, or the disk not ours to write
            seen = {
                name: kept._replace(mtime_ns=place_of(layout, name, kept).stat().st_mtime_ns)
                for name, kept in manifest.files.items()
            }
            write(layout.manifest, manifest._replace(files=seen))
    return tuple(wrong)


def untouched(layout: Layout) -> Manifest | None:
    """The manifest of files that were all found right, and that nobody wrote since; None where that is not so."""
    try:
        manifest = layout.known()
    except DocumentError:
        return None
    files = manifest.files.items() if manifest else ()
    if all(is_as_found(layout, name, kept) for name, kept in files):
        return manifest
    return None


def is_as_found(layout: Layout, name: str, kept: Kept) -> bool:
    """Whether nobody wrote a file since it was found right, and its name is still that of those bytes."""
    place = place_of(layout, name, kept)
    with suppress(OSError):
        return kept.is_untouched(place) and (layout.folder / name).samefile(place)
    return False


def place_of(layout: Layout, name: str, kept: Kept) -> Path:
    """Where a file's bytes are."""
    return layout.path(Wanted(name, kept.size, "", kept.etag))
