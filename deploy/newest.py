"""The newest probe and comparison of each deployment: links of its name, for what is asked by name later."""

import os
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Literal

from infra.home import home

Kind = Literal["probes", "comparisons"]


def link(kind: Kind, name: str) -> Path:
    """Where the folder of its newest is found."""
    return home() / kind / name


def note(kind: Kind, name: str, folder: Path) -> None:
    """That this is the newest; a disk that refuses costs no more than the way to it by name.

    A comparison is of the newest probe: where one is made, there is none yet.
    """
    if kind == "probes":
        unlink("comparisons", name)
    new = link(kind, name).with_name(f".{name}.{os.getpid()}")
    with suppress(OSError):
        new.parent.mkdir(parents=True, exist_ok=True)
        new.unlink(missing_ok=True)  # of one that was killed
        new.symlink_to(folder.resolve())
        new.replace(link(kind, name))


def newest(kind: Kind, name: str) -> Path | None:
    """The folder of its newest; None where there was none, or it is gone."""
    found = link(kind, name)
    return found.resolve() if found.is_dir() else None


def forget(name: str) -> None:
    """That it is gone, or another release: what is called so has another plan. Only the ways by name go."""
    unlink("probes", name)
    unlink("comparisons", name)


def unlink(kind: Kind, name: str) -> None:
    """Take the way away, where there is one."""
    with suppress(OSError):
        link(kind, name).unlink()


def dated_folder(kind: Kind) -> Path:
    """Where one goes when the user named no folder: one that is not there yet."""
    stem = home() / kind / datetime.now().strftime("%Y-%m-%dT%H%M%S.%f")
    return next(
        path for path in (stem, *(Path(f"{stem}-{n}") for n in range(2, 100))) if not os.path.lexists(path)
    )
