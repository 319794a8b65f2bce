"""A disk that takes nothing any more: the calls of the kernel by which a folder is written, refused with one errno."""

import io
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

FULL = ("mkstemp", "mkdir", "open", "fsync", "replace")
"""What a full disk or a quota refuses: whatever needs room. A removal needs none."""
CLOSED = (*FULL, "unlink", "rmdir", "chmod")
"""What a read-only disk, or a folder of somebody else, refuses."""
DOORS = (
    (os, "replace"),
    (os, "mkdir"),
    (os, "unlink"),
    (os, "rmdir"),
    (os, "chmod"),
    (os, "fsync"),
    (io, "open"),
    (tempfile, "mkstemp"),
)


class Disk:
    """Refuses the calls on a folder from the `at`-th on, or only that one."""

    def __init__(
        self, place: Path, number: int, calls: tuple[str, ...], at: int = 1, once: bool = False
    ) -> None:
        self.place, self.number, self.calls, self.at, self.once = place, number, calls, at, once
        self.asked: list[str] = []

    def patched(self, patch: pytest.MonkeyPatch) -> "Disk":
        """This process meets the disk from now on."""
        for module, name in DOORS:
            if name in self.calls:
                patch.setattr(module, name, self.refusing(name, getattr(module, name)))
        return self

    def refusing(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        """The call as it is, but for this disk."""

        def call(*given: Any, **options: Any) -> Any:
            if self.is_here(name, given, options):
                self.asked.append(name)
                count = len(self.asked)
                if count == self.at or (count > self.at and not self.once):
                    raise OSError(self.number, os.strerror(self.number), str(given[0]) if given else name)
            return real(*given, **options)

        return call

    def is_here(self, name: str, given: tuple[Any, ...], options: dict[str, Any]) -> bool:
        """Whether the call would write below the folder."""
        if name == "open" and not set(options.get("mode", (*given, "r")[1])) & set("wax+"):
            return False
        where = options.get("dir") or options.get("dir_fd") or given[name == "replace"]
        if isinstance(where, int):
            where = os.readlink(f"/proc/self/fd/{where}")
        return Path(os.path.abspath(where)).is_relative_to(self.place)
