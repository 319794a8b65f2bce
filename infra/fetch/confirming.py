"""Before what was fetched is served: what was written since it was found right is read again, and nothing else."""

from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

from infra.errors import DocumentError, HostError
from infra.fetch import discrepancies
from infra.fetch.adopting import adopted, read_by_a_server, repository_of
from infra.fetch.checksums import Kept, Manifest, write
from infra.fetch.discrepancies import shown_name
from infra.fetch.layouts import Layout
from infra.fetch.listing import Wanted

UNKNOWN_TIME_NS = -1
"""In the place of the time when a file was written: whatever that is now, the file is read again."""


def is_more_there(layout: Layout, manifest: Manifest) -> bool:
    """Whether a snapshot has more to read than was there when it was noted: another tool has gone on with it."""
    return (
        manifest.others is None
        and layout.blobs is not None
        and not manifest.files.keys() >= set(read_by_a_server(layout))
    )


def confirm(
    layout: Layout, say: Callable[[str], None], is_doubted: bool = False
) -> tuple[tuple[str, str], ...]:
    """What is wrong with the files: only those are read that were written since they were found right, or all.

    What another tool put into a cache is read once, and noted. Nothing is said of a folder that nothing vouches for.
    Raises DocumentError for a manifest that was changed.
    """
    manifest = layout.known()
    if manifest and not is_more_there(layout, manifest):
        return again(layout, manifest, say, is_doubted)
    if layout.blobs is None:
        return ()
    say(f"verifying what lies in {layout.folder}")
    right, wrong = adopted(layout)
    if wrong:
        doubt_of_known(layout, manifest, wrong)
    else:
        found = Manifest(repository_of(layout), layout.folder.name, right)
        with suppress(OSError, HostError):  # a cache that is not ours to write
            layout.own.mkdir(exist_ok=True)
            write(layout.manifest, found)
    return tuple((shown_name(name), why) for name, why in wrong)


def again(
    layout: Layout, manifest: Manifest, say: Callable[[str], None], is_doubted: bool
) -> tuple[tuple[str, str], ...]:
    """The same, where a manifest is."""
    touched = {name: kept for name, kept in manifest.files.items() if not is_as_found(layout, name, kept)}
    for name, kept in touched.items():
        why = (
            "was found wrong" if kept.mtime_ns == UNKNOWN_TIME_NS else "was written since it was found right"
        )
        say(f"{shown_name(name)} {why}; verifying it")
    read = manifest.files if is_doubted else touched
    wrong = tuple(discrepancies.wrong(layout.folder, read, layout.blobs, lambda count: None))
    if wrong:
        doubt(layout, manifest, {name for name, _ in wrong})
    elif touched:
        with suppress(OSError, HostError):  # the blob is gone, or the disk not ours to write
            seen = {
                name: kept._replace(mtime_ns=place_of(layout, name, kept).stat().st_mtime_ns)
                for name, kept in manifest.files.items()
            }
            write(layout.manifest, manifest._replace(files=seen))
    return wrong


def doubt(layout: Layout, manifest: Manifest, names: Collection[str]) -> None:
    """Note that files are wrong which nobody wrote: by their time they would be taken for right."""
    if any(is_as_found(layout, name, manifest.files[name]) for name in names):
        files = {
            name: kept._replace(mtime_ns=UNKNOWN_TIME_NS) if name in names else kept
            for name, kept in manifest.files.items()
        }
        with suppress(HostError):  # a disk that is not ours to write: nor is it then to be fetched to
            write(layout.manifest, manifest._replace(files=files))


def doubt_of_known(layout: Layout, manifest: Manifest | None, wrong: Collection[tuple[str, str]]) -> None:
    """The same of what is wrong of an adopted snapshot, as far as it was found right before."""
    if manifest:
        doubt(layout, manifest, manifest.files.keys() & {name for name, _ in wrong})


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
