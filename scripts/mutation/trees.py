"""A copy of the tree for each core, and pytest in it: in a fork, so that what others wrote is imported only once."""

import contextlib
import ctypes
import gc
import importlib
import json
import os
import select
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

# Slow to import, and nothing of ours; what is not installed is left out.
SLOW_IMPORTS = (
    "anyio.pytest_plugin",
    "boto3",
    "httpx2",
    "hypothesis",
    "jsonschema",
    "matplotlib.figure",
    "moto.server",
    "numpy",
    "pydantic",
    "pytest_timeout",
    "rich.console",
    "typer",
    "xdist.plugin",
)
NOT_COPIED = shutil.ignore_patterns(".git", ".venv", ".mutants", "__pycache__", ".*_cache", ".hypothesis")
IMPORTED_EARLY = "ignore:Module already imported:pytest.PytestAssertRewriteWarning"
MARKS = "not engine and not fleet"
PR_SET_CHILD_SUBREAPER = 36


def import_slow() -> None:
    """Import, before any fork, what most tests import."""
    for name in SLOW_IMPORTS:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    gc.freeze()  # no fork need look at them again


class Plugin(Protocol):
    """Listens to a pytest run, and has the answer in the end."""

    def begin(self) -> None: ...
    def answer(self, status: int) -> Any: ...


class Tree:
    """A copy of a source tree in which nobody else works."""

    def __init__(self, source: Path, place: Path) -> None:
        self.place = place / str(os.getpid())
        self.root = self.place / "tree"
        shutil.copytree(source, self.root, ignore=NOT_COPIED, symlinks=True)
        if (source / ".venv").exists():
            (self.root / ".venv").symlink_to(source / ".venv")
        # What a test leaves behind becomes a child of ours, and is ended.
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # who ends us ends them

    @contextlib.contextmanager
    def changed(self, path: str, text: bytes) -> Iterator[None]:
        """The tree with that text in one of its files."""
        file = self.root / path
        before, times = file.read_bytes(), file.stat()
        file.write_bytes(text)
        yield
        file.write_bytes(before)
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
        for compiled in (file.parent / "__pycache__").glob(f"{file.stem}.*.pyc"):
            compiled.unlink()

    def pytest(self, arguments: list[str], plugin: Plugin, limit_s: float) -> Any:
        """Run tests; the plugin's answer (JSON), or None when they came to no end within the limit."""
        answer = self.place / "answer.json"
        answer.unlink(missing_ok=True)
        child = os.fork()
        if child == 0:
            try:
                self.in_child(arguments, plugin, answer)
            finally:
                os._exit(1)
        ended = os.pidfd_open(child)
        try:
            select.select([ended], [], [], limit_s)
        finally:
            os.close(ended)
            end_children()
        return json.loads(answer.read_bytes()) if answer.exists() else None

    def in_child(self, arguments: list[str], plugin: Plugin, answer: Path) -> None:
        """The fork: pytest as from the command line, in a session of its own, with this tree before all others."""
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.chdir(self.root)
        os.environ["PYTHONPATH"] = str(self.root)
        sys.path[:] = [place for place in sys.path if place != str(Path(__file__).parent)]
        log = os.open(self.place / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream, replaced in enumerate((os.open(os.devnull, os.O_RDONLY), log, log)):
            os.dup2(replaced, stream)
        plugin.begin()
        quiet = [
            "-q",
            "-m",
            MARKS,
            "-p",
            "no:cacheprovider",
            "-W",
            IMPORTED_EARLY,
            f"--basetemp={self.place / 't'}",
        ]
        status = pytest.main([*quiet, *arguments], plugins=[plugin])
        part = answer.with_suffix(".part")
        part.write_text(json.dumps(plugin.answer(int(status))), encoding="utf-8")
        part.rename(answer)


def end_children() -> None:
    """End all our children, those that come to us by the end of others too."""
    with contextlib.suppress(ChildProcessError):
        while True:
            for thread in Path("/proc/self/task").iterdir():
                for child in (thread / "children").read_text().split():
                    os.kill(int(child), signal.SIGKILL)
            os.waitpid(-1, 0)
