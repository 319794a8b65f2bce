"""Is a bundle whole, unchanged, harmless, and for this machine? Asked of the folder alone, without a network."""

import os
import platform
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from deploy.bundle.manifest import ENGINE, MANIFEST, Bundle, Stored, read, whole_files
from deploy.bundle.media import Meter, blocks, joined
from infra import archive
from infra.errors import DocumentError
from infra.record import Record


class Verdict(Record):
    """What is wrong with a bundle: nothing, when `problems` is empty."""

    folder: Path
    manifest_sha256: str
    files: int
    gib: float
    problems: tuple[str, ...]


def verify(folder: Path, manifest_sha256: str | None, progress: Callable[[str], None]) -> Verdict:
    """Look at everything and say all that is wrong. Raises DocumentError for a folder that is no bundle."""
    bundle, sha256 = read(folder)
    problems = [
        *other_manifest(sha256, manifest_sha256),
        *other_machine(bundle),
        *wrong_files(folder, bundle, progress),
    ]
    return Verdict(
        folder=folder,
        manifest_sha256=sha256,
        files=len(bundle.files),
        gib=bundle.total_bytes / 2**30,
        problems=tuple(problems),
    )


def other_manifest(sha256: str, wanted: str | None) -> Iterator[str]:
    """Whether this is another bundle than the one that was announced."""
    if wanted and sha256 != wanted:
        yield f"{MANIFEST} is another: its sha256 is {sha256}, not {wanted}"


def other_machine(bundle: Bundle) -> Iterator[str]:
    """Why this machine cannot run the bundle."""
    if bundle.architecture != platform.machine():
        yield f"it is for {bundle.architecture}, and this machine is {platform.machine()}"
    ours = "{}.{}".format(*sys.version_info)
    if bundle.python != ours and not shutil.which(f"python{bundle.python}"):
        yield f"its engine is for Python {bundle.python}, and this machine has no python{bundle.python}"


def wrong_files(folder: Path, bundle: Bundle, progress: Callable[[str], None]) -> Iterator[str]:
    """Every file that is missing, extra, truncated, changed or no file; then what is unsafe in the engine."""
    there = entries(folder)
    wanted = {file.path: file for file in bundle.files}
    yield from (f"{path} is extra: the manifest does not know it" for path in sorted(there - wanted.keys()))
    meter = Meter("verified", bundle.total_bytes, progress)
    wrong = {path: why for path, file in wanted.items() if (why := problem_of(folder, file, there, meter))}
    yield from (f"{path} {why}" for path, why in wrong.items())
    engine = whole_files(bundle.files).get(ENGINE)
    if engine is None:
        yield f"{ENGINE} is missing from the manifest"
    elif not any(part.path in wrong for part in engine):
        quiet = Meter("", 0, lambda line: None)
        yield from (f"{ENGINE}: {why}" for why in archive.problems(joined(folder, engine, quiet)))


def entries(folder: Path) -> set[str]:
    """Everything below the folder but real folders and the manifest; links are not followed."""
    paths = set()
    for here, folders, files in os.walk(folder):
        links = [name for name in folders if os.path.islink(os.path.join(here, name))]
        paths |= {Path(here, name).relative_to(folder).as_posix() for name in (*files, *links)}
    return paths - {MANIFEST}


def problem_of(folder: Path, file: Stored, there: set[str], meter: Meter) -> str:
    """What is wrong with one file; "" when it is what was stored."""
    if file.path not in there:
        return "is missing"
    path = folder / file.path
    stored = path.lstat()
    if not stat.S_ISREG(stored.st_mode):
        return "is not a file but a link or a special file"
    if stored.st_size < file.size_bytes:
        return f"is truncated: {stored.st_size} of {file.size_bytes} bytes"
    if stored.st_size > file.size_bytes:
        return f"is too long: {stored.st_size} bytes, not {file.size_bytes}"
    try:
        for _ in blocks(folder, (file,), meter):
            pass
    except DocumentError:
        return "is changed: its sha256 is another"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return ""
