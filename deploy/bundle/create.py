"""Make a bundle. It is one once its manifest is there, which is written last; until then a create can be repeated."""

import os
import platform
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.metadata import version as version_of
from pathlib import Path
from typing import BinaryIO

from deploy.bundle import readme, wheels
from deploy.bundle.manifest import (
    CHAT_TEMPLATE,
    ENGINE,
    MANIFEST,
    MODEL,
    PLAN,
    UNFINISHED,
    WHEELS,
    Bundle,
    Stored,
)
from deploy.bundle.media import BLOCK, Meter, require_space, store
from deploy.bundle.packing import Packing
from deploy.bundle.sources import Sources, checked_sources, engine_bytes, licences, model_files
from deploy.bundle.verify import entries
from deploy.targets.preflight import figures
from infra.errors import HostError, UsageError
from infra.record import Record
from infra.transfer import sha256
from serving.vllm.pack import pack, python_of

# What the wheels of corral and its dependencies take: 89 MB on 2026-11-26.
WHEELS_BYTES = 100 * 2**20


class Made(Record):
    """A bundle that was made."""

    folder: Path
    files: int
    gib: float
    manifest_sha256: str


def create(plan_file: Path, folder: Path, packing: Packing, progress: Callable[[str], None]) -> Made:
    """Pack everything into a folder. Safe to call again: what is there and equal is not written twice.

    Raises UsageError for a folder that holds something else, HostError for a disk that is too small or refuses.
    """
    sources = checked_sources(plan_file, packing.engine, packing.model, progress)
    check_folder(folder, sources)
    need_bytes = engine_bytes(sources.prefix) + sum(
        path.stat().st_size for path in model_files(sources.model)
    )
    there_bytes = sum((folder / name).lstat().st_size for name in entries(folder))
    require_space(folder, need_bytes + (0 if packing.without_corral else WHEELS_BYTES), there_bytes)
    try:
        with tempfile.TemporaryDirectory(prefix="corral-wheels-") as own:
            if not packing.without_corral:
                wheels.make(sources.prefix / "bin" / "python", Path(own), progress)
            claim(folder)
            meter = Meter("packed", need_bytes, progress)
            files = tuple(write(folder, sources, Path(own), packing.split_bytes, meter))
        return finish(folder, bundle_of(sources, files), with_corral=not packing.without_corral)
    except OSError as error:
        raise HostError(
            f"The bundle cannot be written: {error.filename or folder}: {error.strerror}.",
            "Mend that and run the command again, it goes on; a medium that refuses large files: --split-gib 3",
        ) from None


def check_folder(folder: Path, sources: Sources) -> None:
    """Raise UsageError for a folder that holds anything but a bundle, or the model itself."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is not a folder.", "Name one that is empty or does not exist yet.")
    ours = any((folder / name).is_file() for name in (MANIFEST, UNFINISHED))
    if folder.is_dir() and any(folder.iterdir()) and not ours:
        raise UsageError(
            f"{folder} holds something that is no bundle.",
            "Name a folder that is empty or does not exist yet.",
        )
    inputs = (sources.model.resolve(), sources.prefix.resolve())
    if any(path.is_relative_to(folder.resolve()) for path in inputs):
        raise UsageError(f"What is to be packed lies in {folder} itself.", "Name another folder: --output")


def claim(folder: Path) -> None:
    """From now on the folder is no bundle, until it is finished."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / UNFINISHED).write_text(
        "corral bundle create was not finished here. Run it again; it goes on.\n"
    )


def write(
    folder: Path, sources: Sources, own: Path, split_bytes: int | None, meter: Meter
) -> Iterator[Stored]:
    """Write everything but the manifest and the README."""
    with packed(sources.prefix) as stream:
        yield from store(stream, folder, ENGINE, split_bytes, meter)
    copies = {
        f"{MODEL}/{path.relative_to(sources.model).as_posix()}": path for path in model_files(sources.model)
    }
    if sources.chat_template:
        copies[CHAT_TEMPLATE] = sources.chat_template
    copies |= {f"{WHEELS}/{path.name}": path for path in sorted(own.iterdir())}
    for name, path in copies.items():
        is_large = split_bytes is not None and path.stat().st_size > split_bytes
        with path.open("rb") as file:
            yield from store(file, folder, name, split_bytes if is_large else None, meter)
    yield write_text(folder, PLAN, sources.plan.model_dump_json(indent=2) + "\n")


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


def write_text(folder: Path, name: str, text: str) -> Stored:
    """Write a small file. Its mode is left alone: media such as USB sticks refuse to change it."""
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return Stored(path=name, size_bytes=path.stat().st_size, sha256=sha256(path))


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


def finish(folder: Path, bundle: Bundle, with_corral: bool) -> Made:
    """Write the README, take away what an earlier create left, and last the manifest, in one step."""
    explained = write_text(folder, "README.txt", readme.text(bundle, with_corral))
    whole = bundle.model_copy(update={"files": (*bundle.files, explained)})
    for stale in entries(folder) - {file.path for file in whole.files} - {UNFINISHED}:
        (folder / stale).unlink()
    half = folder / f".{MANIFEST}"
    with half.open("w", encoding="utf-8") as file:
        file.write(whole.model_dump_json(indent=2) + "\n")
        file.flush()
        os.fsync(file.fileno())
    half.replace(folder / MANIFEST)
    (folder / UNFINISHED).unlink()
    return Made(
        folder=folder,
        files=len(whole.files),
        gib=whole.total_bytes / 2**30,
        manifest_sha256=sha256(folder / MANIFEST),
    )
