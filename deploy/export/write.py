"""Rendered files, shown or written."""

from pathlib import Path

from deploy.export.rendering import Export
from infra.errors import UsageError
from infra.record import read_text, write_text_atomically


def shown(export: Export) -> str:
    """One file as it is; several with their names before them, as comments."""
    if len(export.files) == 1:
        return export.files[0].content.removesuffix("\n")
    return "\n".join(f"# {file.path}\n{file.content}" for file in export.files).removesuffix("\n")


def write(export: Export, folder: Path, force: bool) -> tuple[Path, ...]:
    """Write every file, or none: raises UsageError, before the first, for one that is there and is not the same."""
    places = {folder / file.path: file for file in export.files}
    if not force:
        for path, file in places.items():
            if path.exists() and read_text(path, "file") != file.content:
                raise UsageError(
                    f"{path} is there already, and different.", "Name another folder, or replace it: --force"
                )
    for path, file in places.items():
        write_text_atomically(path, file.content, mode=int(file.mode, 8))
    return tuple(places)
