"""What a bundle would have a host serve from, by the digests that a report of `corral egress` has."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from deploy.bundle.manifest import ADAPTERS, DRAFT, ENGINE, MODEL, Stored, read, whole_files
from deploy.bundle.media import Meter, blocks, joined
from infra import archive
from infra.egress_checks import Expected
from infra.errors import DocumentError
from infra.onhost.egress_look import over

RECORDS = "lib/python3*/site-packages/*.dist-info/RECORD"


def expected(folder: Path, progress: Callable[[str], None]) -> Expected:
    """Read its engine, and of its model what lies in parts; of a whole file the manifest has the sum.

    Raises DocumentError for a folder that is no bundle, or whose engine is not what was packed.
    """
    bundle = read(folder).bundle
    whole = whole_files(bundle.files)
    meter = Meter("read", bundle.total_bytes, progress)
    found: dict[str, dict[str, str]] = {MODEL: {}}
    for name, parts in whole.items():
        place = PurePosixPath(name)
        if place.parts[0] in (MODEL, DRAFT, ADAPTERS):
            found.setdefault(str(place.parent), {})[place.name] = sum_of(folder, parts, meter)
    return Expected(
        where=f"the bundle {folder}",
        model=found.pop(MODEL),
        beside=found,
        engine_sha256=over(dict(lists(folder, whole[ENGINE], meter))),
    )


def sum_of(folder: Path, parts: tuple[Stored, ...], meter: Meter) -> str:
    """The SHA-256 of a file before it was split."""
    if parts[0].part_of is None:
        return parts[0].sha256
    digest = hashlib.sha256()
    for block in blocks(folder, parts, meter):
        digest.update(block)
    return digest.hexdigest()


def lists(folder: Path, parts: tuple[Stored, ...], meter: Meter) -> Iterator[tuple[str, str]]:
    """Each package's own list of its files in the packed engine, and its sum."""
    try:
        with joined(folder, parts, meter) as stream:
            for member, content in archive.members(stream):
                path = PurePosixPath(member.name)
                if path.match(RECORDS):
                    summed = hashlib.sha256(b"".join(content)).hexdigest()
                    yield f"{path.parent.name}/{path.name}", summed
    except (archive.NotWhole, OSError) as error:
        raise DocumentError(
            f"The engine in {folder} cannot be read: {error}.", "Copy the bundle again."
        ) from None
