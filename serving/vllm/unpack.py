"""A packed engine made an environment of this machine's own Python."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from infra.archive import extract
from infra.beneath import Beneath
from infra.errors import HostError
from serving.vllm.engine import run_uv
from serving.vllm.pack import OF_EACH_MACHINE, WHOLE
from serving.vllm.serve_options import folders

# Finds its Python beside itself, so that the environment may be moved as a whole.
LAUNCHER = """\
#!/bin/sh
exec "$(dirname "$(readlink -f "$0")")/python" -m vllm.entrypoints.cli.main "$@"
"""


def unpack(stream: BinaryIO, prefix: Path, python: str, progress: Callable[[str], None]) -> None:
    """Make the environment that serving.vllm.pack left out `bin` of; without any network.

    Raises HostError when this machine has no Python of that minor version or the engine does not import,
    DocumentError for an archive that must not be unpacked.
    """
    is_ours = python == "{}.{}".format(*sys.version_info)
    which = ("--python", sys.executable if is_ours else python, "--no-python-downloads")
    complaint = run_uv(
        ("venv", "--quiet", "--offline", "--no-config", "--no-project", "--relocatable", *which, str(prefix)),
        progress,
    )
    if complaint:
        raise without_python(python)
    clear(prefix)
    extract(stream, prefix, OF_EACH_MACHINE)
    with Beneath(prefix) as below, below.create("bin/vllm", 0o755) as vllm:
        vllm.write(LAUNCHER.encode())
    (prefix / WHOLE).unlink(missing_ok=True)
    if not os.path.lexists(prefix / "lib64"):
        (prefix / "lib64").symlink_to("lib")
    prove(prefix)


def clear(prefix: Path) -> None:
    """Take away of a fresh environment what the archive brings, so that nothing is unpacked over or through it."""
    for top in prefix.iterdir():
        if top.name in OF_EACH_MACHINE:
            continue
        if top.is_dir() and not top.is_symlink():
            shutil.rmtree(top)
        else:
            top.unlink()


def without_python(python: str) -> HostError:
    """This machine cannot run an engine that was packed for that Python."""
    return HostError(
        f"The engine is packed for Python {python}, and this machine has none.",
        f"Install python{python}, or pack an engine of this machine's Python.",
    )


def prove(prefix: Path) -> None:
    """Raise HostError when vLLM cannot be imported here: another C library, or an engine that is none."""
    with tempfile.TemporaryDirectory() as written:
        done = subprocess.run(
            [prefix / "bin" / "python", "-c", "import vllm"],
            env=os.environ | folders(written) | {"TMPDIR": written},
            cwd=written,  # and not the folder the user is in, whose modules would come first
            umask=0o022,  # the bytecode that it leaves is read by the server's user, and written by nobody else
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["it said nothing"]
        raise HostError(
            f"The engine does not run on this machine: {lines[-1]}",
            "It was packed on another kind of system: pack it on one like this.",
        )
