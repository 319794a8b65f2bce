"""Fetch a commit of a repository: what is there and right stays, the rest comes, and a manifest says what it all is."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from infra.errors import DocumentError, HostError, UsageError
from infra.fetch import checksums, listing
from infra.fetch.checksums import Kept, Manifest
from infra.fetch.crew import Crew, address
from infra.fetch.hub_answers import Source, lies
from infra.fetch.layouts import PART, Layout, refused
from infra.fetch.listing import Wanted, shown
from infra.fetch.partial import Partial, Sums, sums_of
from infra.fetch.patience import Pace, answer

LARGEST_LIST_BYTES = 64 << 20
GIB = 2**30


class Fetched(NamedTuple):
    """What lies there now."""

    folder: Path
    files: int
    bytes: int
    fetched_bytes: int
    """Of these, what had to come; more than the files hold where some came twice."""
    left_out: tuple[str, ...]
    """Pickles of the repository, which are never fetched."""


class Told(NamedTuple):
    """Who hears of it."""

    say: Callable[[str], None]
    """A sentence."""
    bytes: Callable[[int, int], None]
    """How many bytes are there, and of how many."""


def fetch(source: Source, layout: Layout, told: Told, pace: Pace = Pace(), is_ours: bool = False) -> Fetched:  # noqa: B008
    """Fetch what is missing of a commit. `is_ours`: what else lies in that folder may be written over.

    Raises AuthError, DocumentError and EndpointError for what the Hub does not give, UsageError for a folder that holds
    something else, HostError for a disk that is too small or refuses. What came by then is kept, and gone on with.
    """
    files = listed(source, pace)
    wanted = listing.needed(files, index_of(files, source, pace), source)
    left_out = tuple(file.name for file in files if listing.is_pickle(file.name))
    if left_out:
        others = f" and {len(left_out) - 1} more" if len(left_out) > 1 else ""
        told.say(f"left out, as it may run code when it is loaded: {shown(left_out[0])}{others}")
    try:
        return into(source, files, wanted, layout, told, pace, is_ours)._replace(left_out=left_out)
    except OSError as error:
        raise refused(error, layout.folder) from None


def listed(source: Source, pace: Pace) -> list[Wanted]:
    """The files of the commit. Raises as `fetch` does."""
    what = source.repository
    url = f"{source.endpoint}/api/models/{quote(what)}/revision/{quote(source.commit)}?blobs=true"
    return listing.files_of(listing.parsed(answer(source, url, what, LARGEST_LIST_BYTES, pace)), source)


def index_of(files: Sequence[Wanted], source: Source, pace: Pace) -> Any:
    """What the index of the weights says, where there is one: it tells which of several copies are read."""
    index = next((file for file in files if file.name == listing.INDEX), None)
    if index is None:
        return None
    what = shown(index.name)
    text = answer(source, address(source, index.name), what, LARGEST_LIST_BYTES, pace)
    sums = Sums(index)
    sums.update(text)
    if len(text) != index.size or not sums.are_right():
        raise lies(what, "what came has another checksum than it tells")
    index_said = listing.parsed(text)
    return {} if index_said is None else index_said  # one that says nothing is there all the same


def into(
    source: Source,
    files: Sequence[Wanted],
    wanted: Sequence[Wanted],
    layout: Layout,
    told: Told,
    pace: Pace,
    is_ours: bool,
) -> Fetched:
    """The same, of those files that are wanted. Raises OSError too."""
    there = survey(source, wanted, layout, told, is_ours)
    check_room(wanted, there, layout)
    layout.make()
    with layout.held(
        lambda: told.say(f"another fetch is at work in {layout.own.parent}; waiting for it")
    ) as waited:
        if waited:
            there = survey(source, wanted, layout, told, is_ours)
        fetched = brought(source, wanted, there, layout, told, pace)
        for file in wanted:
            layout.name(file)
        others = {file.name: file.size for file in files if file.name not in there}
        keep(Manifest(source.repository, source.commit, there, now(), others), layout)
    return Fetched(layout.folder, len(wanted), sum(file.size for file in wanted), fetched, ())


def survey(
    source: Source, wanted: Sequence[Wanted], layout: Layout, told: Told, is_ours: bool
) -> dict[str, Kept]:
    """What lies there and is right: known by an earlier manifest, else by its bytes. Raises UsageError, OSError."""
    known = earlier(layout)
    is_told = False
    found = {}
    for file in wanted:
        path = layout.path(file)
        if not os.path.lexists(path):
            continue
        was = known.files.get(file.name) if known else None
        if was and was.etag == file.etag and was.is_untouched(path):
            found[file.name] = was
            continue
        if not is_told:
            told.say(f"checking what lies in {layout.folder} already")
            is_told = True
        if sums := right(path, file):
            found[file.name] = layout.kept(file, sums)
        elif not (is_ours or layout.blobs or (known and known.repository == source.repository)):
            raise UsageError(
                f"{path} is there, and is not that of {source.repository} at {source.commit[:12]}.",
                "Name another folder, or an empty one: --to",
            )
    return found


def earlier(layout: Layout) -> Manifest | None:
    """What an earlier fetch found right; one that was changed is no witness."""
    try:
        return layout.known()
    except DocumentError:
        return None


def right(path: Path, file: Wanted) -> Sums | None:
    """The sums of a file that lies there, when it is what is wanted."""
    if path.is_symlink() or not path.is_file() or path.stat().st_size != file.size:
        return None
    sums = sums_of(path, file)
    return sums if sums.are_right() else None


def check_room(wanted: Sequence[Wanted], there: dict[str, Kept], layout: Layout) -> None:
    """Raise HostError, before any byte comes, where the disk cannot hold all that is to come."""
    missing = {layout.path(file): file for file in wanted if file.name not in there}.values()
    parts = {layout.part(file) for file in missing}
    need = sum(file.size for file in missing) - sum(map(blocks, parts))
    place = layout.folder.absolute()
    while not place.exists():
        place = place.parent
    disk = os.statvfs(place)
    free = disk.f_bavail * disk.f_frsize
    if need > free:
        others = sum(map(blocks, set(layout.own.glob(f"*{PART}")) - parts))
        left = f" {others / GIB:.2f} GiB lie in {layout.own}, of fetches that were ended." if others else ""
        raise HostError(
            f"The weights need {need / GIB:.2f} GiB at {layout.folder}, and {free / GIB:.2f} GiB are free.",
            f"Nothing was fetched. Make room, or name a larger disk: --to, or HF_HOME.{left}",
        )


def blocks(path: Path) -> int:
    """The bytes that a file takes on its disk; one that is on its way has holes."""
    try:
        return path.stat().st_blocks * 512
    except OSError:
        return 0


def brought(
    source: Source, wanted: Sequence[Wanted], there: dict[str, Kept], layout: Layout, told: Told, pace: Pace
) -> int:
    """Bring what is missing, each file into its place once it is right, and note it in `there`; the bytes that came."""
    missing = [file for file in wanted if file.name not in there]
    # In a cache two files of the same bytes are one.
    places: dict[Path, list[Wanted]] = {}
    for file in missing:
        places.setdefault(layout.path(file), []).append(file)
    layout.sweep({layout.part(file) for file in missing})
    total = sum(file.size for file in wanted)
    begun = total - sum(same[0].size for same in places.values())

    def opened() -> Iterator[Partial]:
        nonlocal begun
        for file, *_ in places.values():
            partial = Partial(layout.part(file), file, pace.chunk_bytes)
            begun += partial.there
            yield partial

    def finish(partial: Partial) -> None:
        partial.finish()
        path = layout.path(partial.file)
        os.replace(partial.path, path)
        there.update({same.name: layout.kept(same, partial.sums) for same in places[path]})

    if not missing:
        return 0
    crew = Crew(source, opened(), finish, pace)
    crew.run(lambda came: told.bytes(min(total, begun + came), total))
    told.bytes(total, total)
    return crew.fetched


def keep(found: Manifest, layout: Layout) -> None:
    """Write the manifest, and remove what only an earlier commit had."""
    before = earlier(layout)
    if before and before._replace(fetched_at=found.fetched_at) == found:
        return
    if before and layout.blobs is None and before.repository == found.repository:
        for name in filter(listing.is_fetched, before.files.keys() - found.files.keys()):
            (layout.folder / name).unlink(missing_ok=True)
    checksums.write(layout.manifest, found)


def now() -> str:
    """The time, as a manifest has it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
