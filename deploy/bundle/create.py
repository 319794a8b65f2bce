"""Make a bundle. It is one once its manifest is there, which is written last; until then a create can be repeated."""

import hashlib
import math
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.metadata import version as version_of
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from deploy.bundle import readme, sbom, wheels
from deploy.bundle.filling import ELSEWHERE, Filling, written_over
from deploy.bundle.manifest import (
    CHAT_TEMPLATE,
    ENGINE,
    MANIFEST,
    MODEL,
    NAMESPACE,
    PLAN,
    SBOM,
    SIGNATURE,
    UNFINISHED,
    WHEELS,
    WRITING,
    Bundle,
    Stored,
    check_together,
    inside,
)
from deploy.bundle.media import (
    BLOCK,
    Meter,
    Summed,
    first_there,
    require_space,
    require_writable,
    store,
    store_one,
)
from deploy.bundle.packing import Packing
from deploy.bundle.sources import (
    Begun,
    Sources,
    begun,
    beside_files,
    checked_sources,
    engine_bytes,
    licences,
    model_files,
)
from deploy.bundle.verify import entries
from deploy.targets import drafts
from deploy.targets.preflight import figures
from infra import signature
from infra.beneath import Beneath
from infra.errors import HostError, UsageError
from infra.local_file import LocalFile, size_bytes
from infra.record import Record
from serving.sizing.plan import Plan
from serving.vllm.pack import pack, python_of

# What the wheels of corral and its dependencies take: 89 MB on 2026-11-26.
GIB = 2**30
WHEELS_BYTES = 100 * 2**20
# What a manifest can list (LARGEST_MANIFEST) with much to spare.
MOST_PARTS = 100_000


class Made(Record):
    """A bundle that was made."""

    folder: Path
    """Where it lies on this machine."""
    files: int
    """How many, its manifest not counted."""
    gib: float
    """All of them together."""
    manifest_sha256: str
    """Of manifest.json, which has the sum of every other file: compare it on the other side."""


def create(source: tuple[Plan, Path | None], packing: Packing, progress: Callable[[str], None]) -> Made:
    """Pack everything of a plan into a folder; its own file's folder is beside it, where it has one.

    Safe to call again: what is there and equal is not written twice.

    Raises UsageError for a folder that holds something else, HostError for a disk that is too small or refuses.
    """
    folder = packing.output
    found = begun(source, packing.engine, packing.model, progress)
    check_ahead(found, packing)
    sources = checked_sources(found, packing.model, progress)
    beside = [*sources.adapters.values(), *([sources.draft] if sources.draft else [])]
    check_folder(folder, sources.model, sources.prefix, *beside)
    check_names(sources)
    need_bytes = engine_bytes(sources.prefix) + sum(map(size_bytes, checkpoints(sources).values()))
    check_parts(need_bytes, packing.split_bytes)
    there_bytes = sum((folder / name).lstat().st_size for name in entries(folder))
    require_space(folder, need_bytes + (0 if packing.without_corral else WHEELS_BYTES), there_bytes)
    try:
        with tempfile.TemporaryDirectory(prefix="corral-wheels-") as own:
            if not packing.without_corral:
                wheels.make(sources.prefix / "bin" / "python", Path(own), progress)
            folder.mkdir(parents=True, exist_ok=True)
            with opened(folder) as filling:
                filling.begin()
                meter = Meter("packed", need_bytes, progress)
                files = tuple(write(filling, sources, Path(own), packing.split_bytes, meter))
                return finish(filling, bundle_of(sources, files), packing)
    except OSError as error:
        raise refused(folder, error) from None


def check_ahead(found: Begun, packing: Packing) -> None:
    """Refuse, before a model is fetched, what would be refused when it is here: the folder, its disk, too many parts.

    Raises UsageError and HostError as `create` does.
    """
    folder = packing.output
    check_folder(folder, found.prefix, *found.adapters.values())
    try:
        require_writable(folder)
    except OSError as error:
        raise refused(folder, error) from None
    if found.to_fetch is None:
        return
    plan = found.made.plan
    need_bytes = engine_bytes(found.prefix) + plan.weights_bytes + drafts.weights_bytes(plan)
    check_parts(need_bytes, packing.split_bytes)
    is_one_disk = device(folder) == device(Path(found.to_fetch.path))
    there_bytes = sum((folder / name).lstat().st_size for name in entries(folder))
    require_space(folder, need_bytes + (round(found.to_fetch.gib * GIB) if is_one_disk else 0), there_bytes)


def device(folder: Path) -> int:
    """The disk that a folder is on, or will be."""
    return first_there(folder.absolute()).stat().st_dev


def refused(folder: Path, error: OSError) -> HostError:
    """The disk does not take the bundle."""
    return HostError(
        f"The bundle cannot be written: {error.filename or folder}: {error.strerror}.",
        "Mend that and run the command again, it goes on; a medium that refuses large files: --split-gib 3",
    )


def check_folder(folder: Path, *inputs: Path) -> None:
    """Raise UsageError for a folder that holds anything but what an earlier create wrote, or what is to be packed."""
    if os.path.lexists(folder) and not folder.is_dir():
        raise UsageError(f"{folder} is not a folder.", ELSEWHERE)
    output = Path(os.path.realpath(folder))
    if any(path.resolve().is_relative_to(output) for path in inputs):
        raise UsageError(f"What is to be packed lies in {folder} itself.", "Name another folder: --output")
    if any(output.is_relative_to(path.resolve()) for path in inputs):
        raise UsageError(f"{folder} lies in what is to be packed.", "Name another folder: --output")
    if folder.is_dir() and any(folder.iterdir()):
        with opened(folder):
            pass


@contextmanager
def opened(folder: Path) -> Iterator[Filling]:
    """The folder to fill, while no other create does.

    Raises UsageError when one does, or when it holds anything that an earlier create did not write.
    """
    with Beneath(folder) as below:
        try:
            below.take()
        except BlockingIOError:
            raise UsageError(
                f"Another corral bundle create is at work in {folder}.", f"Let it end. Or: {ELSEWHERE}"
            ) from None
        filling = Filling(below)
        names = entries(folder) | ({MANIFEST} if os.path.lexists(folder / MANIFEST) else set())
        if names and not filling.own:
            raise UsageError(f"{folder} holds something that is no bundle.", ELSEWHERE)
        for name in sorted(names):
            filling.require_ours(name, only_small=True)
        yield filling


def check_names(sources: Sources) -> None:
    """Raise UsageError for a model whose files no bundle can name."""
    names = checkpoints(sources)
    try:
        for name in names:
            inside(f"{name}.part-0001")
        check_together(names)
    except ValueError as error:
        raise UsageError(f"The model cannot be packed: {error}.", "Rename that file.") from None


def checkpoints(sources: Sources) -> dict[str, Path]:
    """The files of the model and of what is served beside it, by their names in the bundle."""
    model = {
        f"{MODEL}/{path.relative_to(sources.model).as_posix()}": path for path in model_files(sources.model)
    }
    return model | beside_files(sources)


def check_parts(need_bytes: int, split_bytes: int | None) -> None:
    """Raise UsageError for parts so small that no manifest can list them all."""
    parts = need_bytes // split_bytes if split_bytes else 0
    if parts > MOST_PARTS:
        least_gib = math.ceil(need_bytes / MOST_PARTS / 2**30 * 1000) / 1000
        raise UsageError(
            f"The bundle would be cut into {parts:,} parts, and {MOST_PARTS:,} is the most.",
            f"Cut it into larger ones: --split-gib {least_gib}",
        )


def write(
    filling: Filling, sources: Sources, own: Path, split_bytes: int | None, meter: Meter
) -> Iterator[Stored]:
    """Write everything but the manifest and the README."""
    with packed(sources.prefix) as stream:
        yield from store(stream, filling, ENGINE, split_bytes, meter)
    copies = checkpoints(sources)
    if sources.chat_template:
        copies[CHAT_TEMPLATE] = sources.chat_template
    copies |= {f"{WHEELS}/{path.name}": path for path in sorted(own.iterdir())}
    sums: dict[str, str] = {}
    for name, path in copies.items():
        is_large = split_bytes is not None and size_bytes(path) > split_bytes
        with LocalFile(path) as file:
            whole = Summed(file) if is_large else None
            parts = tuple(store(whole or file, filling, name, split_bytes if is_large else None, meter))
        sums[name] = whole.sha256 if whole else parts[0].sha256
        yield from parts
    yield store_text(filling, PLAN, sources.plan.model_dump_json(indent=2) + "\n", meter)
    yield store_text(filling, SBOM, sbom.text(sources, own, sums), meter)


@contextmanager
def packed(prefix: Path) -> Iterator[BinaryIO]:
    """The engine as the stream that `tar` writes meanwhile; a failure of it is raised at the end."""
    reading, writing = os.pipe()

    def work() -> None:
        with open(writing, "wb") as pipe:
            pack(prefix, pipe)

    with ThreadPoolExecutor(max_workers=1) as pool, open(reading, "rb", buffering=BLOCK) as stream:
        done = pool.submit(work)
        yield stream
    done.result()


def store_text(filling: Filling, name: str, text: str, meter: Meter) -> Stored:
    """Write a small file."""
    return store_one(BytesIO(text.encode()), filling, name, sys.maxsize, meter)


def bundle_of(sources: Sources, files: tuple[Stored, ...]) -> Bundle:
    """The manifest."""
    return Bundle(
        name=sources.name,
        corral_version=version_of("corral"),
        plan=sources.plan,
        vllm_version=sources.engine.version,
        architecture=platform.machine(),
        python=python_of(sources.prefix),
        min_driver=figures()["cuda_driver"]["minimum"] if sources.plan.machine.gpu_count else None,
        licences=licences(sources.model),
        files=files,
    )


def finish(filling: Filling, bundle: Bundle, packing: Packing) -> Made:
    """Write the README, take away what an earlier create left, sign, and last write the manifest, in one step.

    The signature of an earlier bundle goes: beside this one it would make it look forged.
    """
    quiet = Meter("", 0, lambda line: None)
    explained = store_text(filling, "README.txt", readme.text(bundle, not packing.without_corral), quiet)
    whole = bundle.model_copy(update={"files": (*bundle.files, explained)})
    folder, text = filling.below.folder, whole.text().encode()
    for stale in sorted(entries(folder) - {file.path for file in whole.files} - {UNFINISHED, WRITING}):
        filling.remove(stale)
    if packing.sign_key:
        store_text(filling, SIGNATURE, signature.sign(text, packing.sign_key, NAMESPACE), quiet)
    with filling.writing() as file:
        written_over(file, text)
    filling.below.rename(WRITING, MANIFEST)
    filling.below.remove(UNFINISHED)
    return Made(
        folder=folder,
        files=len(whole.files),
        gib=whole.total_bytes / 2**30,
        manifest_sha256=hashlib.sha256(text).hexdigest(),
    )
