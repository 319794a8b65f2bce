"""Is a bundle whole, unchanged and harmless, and can it be installed on this machine? No network is asked."""

import os
import platform
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from deploy.bundle.destination import in_the_way
from deploy.bundle.manifest import (
    ADAPTERS,
    CHAT_TEMPLATE,
    DRAFT,
    ENGINE,
    MANIFEST,
    MODEL,
    SIGNATURE,
    Bundle,
    Stored,
    read,
    whole_files,
)
from deploy.bundle.media import Meter, blocks, joined
from deploy.bundle.signer import ANYBODY, signer
from infra import archive
from infra.beneath import Beneath
from infra.errors import DocumentError
from infra.fetch import walk
from infra.record import Record
from infra.signed import Signers
from serving.model.lora_files import FILES
from serving.vllm.pack import OF_EACH_MACHINE


class Verdict(Record):
    """What is wrong with a bundle: nothing, when `problems` is empty."""

    folder: Path
    """Which was read."""
    manifest_sha256: str
    """Of its manifest.json as it lies there."""
    files: int
    """How many were read."""
    gib: float
    """All of them together."""
    signature: str
    """Whose it is, as ssh-keygen says it; or that there is none, or nobody said whose counts."""
    problems: tuple[str, ...]
    """One sentence each: a file that lacks, is of another sum, or is not in the manifest; a signature that
    does not hold."""


def verify(
    folder: Path,
    manifest_sha256: str | None,
    progress: Callable[[str], None],
    signers: Signers = ANYBODY,
) -> Verdict:
    """Look at everything and say all that is wrong.

    Raises DocumentError for a folder that is no bundle, or not signed by who must have.
    """
    opened = read(folder)
    bundle, sha256, _ = opened
    signed = signer(folder, opened, signers)
    problems = [
        *other_manifest(sha256, manifest_sha256),
        *other_machine(bundle),
        *wrong_files(folder, bundle, progress),
        *(error.message for error in in_the_way(bundle, sha256)),
    ]
    return Verdict(
        folder=folder,
        manifest_sha256=sha256,
        files=len(bundle.files),
        gib=bundle.total_bytes / 2**30,
        signature=signed,
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
    yield from (
        f"{path if path.isprintable() else archive.shown(path)} is extra: the manifest does not know it"
        for path in sorted(there - wanted.keys() - {SIGNATURE})
    )
    meter = Meter("verified", bundle.total_bytes, progress)
    wrong = {path: why for path, file in wanted.items() if (why := problem_of(folder, file, there, meter))}
    yield from (f"{path} {why}" for path, why in wrong.items())
    whole = whole_files(bundle.files)
    yield from (f"{path} is missing from the manifest" for path in needed(bundle) if path not in whole)
    if ENGINE in whole and not any(part.path in wrong for part in whole[ENGINE]):
        quiet = Meter("", 0, lambda line: None)
        # For another Python than it says, it is told above.
        is_ours = not any(other_machine(bundle))
        vllm = (f"lib/python{bundle.python}/site-packages/vllm/__init__.py",) if is_ours else ()
        with joined(folder, whole[ENGINE], quiet) as stream:
            yield from (f"{ENGINE}: {why}" for why in archive.problems(stream, OF_EACH_MACHINE, vllm))


def needed(bundle: Bundle) -> Iterator[str]:
    """What its plan cannot be served without."""
    serve = bundle.plan.serve
    yield from (ENGINE, f"{MODEL}/config.json")
    if serve.chat_template:
        yield CHAT_TEMPLATE
    if serve.draft:
        yield f"{DRAFT}/config.json"
    yield from (f"{ADAPTERS}/{name}/{file}" for name in serve.adapters for file in FILES)


def entries(folder: Path) -> set[str]:
    """Everything below the folder but real folders and the manifest."""
    return walk.entries(folder, (MANIFEST,))


def disk_bytes(folder: Path) -> int:
    """How much the disk of a folder holds; of a file with holes that is larger, the reading would not end."""
    disk = os.statvfs(folder)
    return disk.f_blocks * disk.f_frsize


def problem_of(folder: Path, file: Stored, there: set[str], meter: Meter) -> str:
    """What is wrong with one file; "" when it is what was stored."""
    if file.path not in there:
        return "is missing"
    try:
        with Beneath(folder) as below:
            stored = below.status(file.path)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if not stat.S_ISREG(stored.st_mode):
        return "is not a file but a link or a special file"
    if stored.st_size < file.size_bytes:
        return f"is truncated: {stored.st_size} of {file.size_bytes} bytes"
    if stored.st_size > file.size_bytes:
        return f"is too long: {stored.st_size} bytes, not {file.size_bytes}"
    if stored.st_size > disk_bytes(folder):
        return "is larger than the disk it is on"
    try:
        for _ in blocks(folder, (file,), meter):
            pass
    except DocumentError:
        return "is changed: its sha256 is another"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return ""
