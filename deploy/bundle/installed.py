"""What is installed of a bundle: its sums, kept beside the weights, and its bytes, read again where it is there."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from deploy.bundle.destination import wanted
from deploy.bundle.manifest import ADAPTERS, ENGINE, Bundle, Stored
from deploy.bundle.media import BLOCK, Meter
from infra.argument import pasted
from infra.beneath import Beneath
from infra.errors import DocumentError
from infra.fetch import checksums, walk
from infra.fetch.checksums import Kept, Manifest
from infra.fetch.discrepancies import NOT_FILES, shown_name
from infra.fetch.layouts import in_folder


def keep_sums(place: Path, kept: Mapping[str, Kept], manifest_sha256: str) -> None:
    """Leave in each folder of weights the manifest that `corral fetch` leaves: they are verified by it."""
    for folder in sorted({served_folder(name) for name in kept} - {""}):
        files = {
            name.removeprefix(f"{folder}/"): each
            for name, each in kept.items()
            if served_folder(name) == folder
        }
        layout = in_folder(place / folder)
        layout.own.mkdir(exist_ok=True)
        layout.own.chmod(0o755)  # whoever installs it: a server reads there as another user
        checksums.write(layout.manifest, Manifest("", "", files, others={}, bundle=manifest_sha256))


def served_folder(name: str) -> str:
    """The folder that a server is given, of a file in it; empty for what lies in none, and for what is no server's."""
    parts = name.split("/")
    depth = 2 if parts[0] == ADAPTERS else 1
    return "" if len(parts) <= depth or {*NOT_FILES} & set(parts) else "/".join(parts[:depth])


def require_as_brought(folder: Path, bundle: Bundle, place: Path, progress: Callable[[str], None]) -> None:
    """Raise DocumentError where what is installed is not what the bundle in that folder has."""
    if problems := tuple(wrong(bundle, place, progress)):
        others = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise DocumentError(
            f"What is installed in {place} is not the bundle's any more: {problems[0]}{others}.",
            f"Take it away, and install it again: rm -r {pasted(place)}; corral bundle install {pasted(folder)}",
        )


def wrong(bundle: Bundle, place: Path, progress: Callable[[str], None]) -> Iterator[str]:
    """Each file that is not as the bundle has it, by its bytes; the engine was unpacked, and is not read."""
    files = {name: parts for name, parts in wanted(bundle) if name != ENGINE}
    size_bytes = sum(part.size_bytes for parts in files.values() for part in parts)
    meter = Meter("read again", size_bytes, progress)
    with Beneath(place) as below:
        for name, parts in files.items():
            if why := why_wrong(below, name, parts, meter):
                yield f"{name} {why}"
    served = {served_folder(name) for name in files} - {""}
    extra = walk.entries(place, ("engine",)) - files.keys()
    yield from (f"{shown_name(name)} is extra" for name in sorted(extra) if served_folder(name) in served)


def why_wrong(below: Beneath, name: str, parts: Sequence[Stored], meter: Meter) -> str:
    """What is wrong with a file, which was put together of those parts; empty for nothing."""
    try:
        with below.read(name) as file:
            for part in parts:
                digest, left_bytes = hashlib.sha256(), part.size_bytes
                while left_bytes and (block := file.read(min(BLOCK, left_bytes))):
                    digest.update(block)
                    left_bytes -= len(block)
                    meter.count(len(block))
                if digest.hexdigest() != part.sha256:
                    return "is changed: its sha256 is another"
            return "is too long" if file.read(1) else ""
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
