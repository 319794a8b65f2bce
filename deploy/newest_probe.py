"""The newest probe of each deployment: a link of its name among the probes, for what is asked by name later."""

import os
from contextlib import suppress
from pathlib import Path

from infra.home import home


def link(name: str) -> Path:
    """Where the folder of its newest probe, or sweep, is found."""
    return home() / "probes" / name


def note(name: str, folder: Path) -> None:
    """That this is the newest; a disk that refuses costs no more than the way to it by name."""
    new = link(name).with_name(f".{name}.{os.getpid()}")
    with suppress(OSError):
        new.parent.mkdir(parents=True, exist_ok=True)
        new.unlink(missing_ok=True)  # of one that was killed
        new.symlink_to(folder.resolve())
        new.replace(link(name))


def newest(name: str) -> Path | None:
    """The folder of its newest probe; None where there was none, or it is gone."""
    found = link(name)
    return found.resolve() if found.is_dir() else None


def forget(name: str) -> None:
    """That it is gone, or another release: what is called so has another plan. Only the way by name goes."""
    with suppress(OSError):
        link(name).unlink()
