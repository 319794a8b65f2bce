"""An engine as one stream: what a host without internet is given instead of an index."""

import os
import tarfile
from pathlib import Path
from typing import IO

from infra.errors import ServerError

# They hold the absolute paths of this machine; the host makes its own.
LEFT_HERE = {"bin", "pyvenv.cfg", ".lock", "corral-engine.json", "excludes.txt"}


def prefix_of(vllm: Path) -> Path:
    """The environment a `vllm` executable belongs to. Raises ServerError when it is not in one."""
    prefix = vllm.parent.parent
    if not (prefix / "pyvenv.cfg").is_file():
        raise ServerError(
            f"{vllm} is not in a virtual environment, so it cannot be packed.",
            "Name one that is: CORRAL_VLLM=/path/to/venv/bin/vllm",
        )
    return prefix


def python_of(prefix: Path) -> str:
    """The Python version an environment is for, as in 3.11. Raises ServerError when it says none."""
    found = sorted(path.name.removeprefix("python") for path in prefix.glob("lib/python3.*"))
    if not found:
        raise ServerError(
            f"{prefix} holds no Python packages.", "Install the engine again: corral engine install"
        )
    return found[-1]


def pack(prefix: Path, into: IO[bytes]) -> None:
    """Write an engine's packages as a tar; the host unpacks it over a fresh environment of its own Python."""
    with tarfile.open(fileobj=into, mode="w|", bufsize=2**20) as tar:
        for entry in sorted(os.scandir(prefix), key=lambda entry: entry.name):
            if entry.name not in LEFT_HERE:
                tar.add(entry.path, arcname=entry.name)
