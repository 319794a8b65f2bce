"""corral itself and all it depends on as wheels, for a machine without an index."""

import hashlib
import json
from collections.abc import Callable
from importlib.metadata import distribution
from pathlib import Path
from urllib.parse import unquote, urlsplit

from infra import offline
from infra.errors import HostError
from serving.vllm.engine import run_uv

REQUIREMENTS = "requirements.txt"
"""Beside the wheels, their versions and sums as pip reads them: so it installs these, whatever else lies there."""
WITHOUT = "Leave it out (--without-corral) and bring corral to that machine another way."


def make(python: Path, folder: Path, progress: Callable[[str], None]) -> None:
    """Fill a folder with wheels for that Python, and the list of them.

    Raises HostError where no index answers, UsageError with --offline.
    """
    offline.refuse("a package index for corral's own wheels (leave them out: --without-corral)")
    progress("bundle: fetching corral's own wheels")
    # pip's own settings of this machine hold inside; one try more than none, for an index that is far away.
    complaint = run_uv(
        (
            "tool", "run", "--quiet", "--no-config", "--python", str(python), "pip", "wheel", "--quiet",
            "--retries", "1", "--wheel-dir", str(folder), str(source()),
        ),
        progress,
    )  # fmt: skip
    if complaint:
        raise HostError(f"corral's own wheels cannot be had here: {complaint}", WITHOUT)
    (folder / REQUIREMENTS).write_text(requirements(folder), encoding="utf-8")


def requirements(folder: Path) -> str:
    """PURE but for reading: the wheels of a folder, a line each."""
    lines = []
    for path in sorted(folder.glob("*.whl")):
        name, version = path.name.split("-")[:2]
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        lines.append(f"{name}=={version} --hash=sha256:{sha256}\n")
    return "".join(lines)


def source() -> Path:
    """The folder or the wheel this corral was installed from. Raises HostError when it is not there any more."""
    said = json.loads(distribution("corral").read_text("direct_url.json") or "{}")
    url = urlsplit(said.get("url", ""))
    path = Path(unquote(url.path))
    is_there = path.is_file() if path.suffix == ".whl" else (path / "pyproject.toml").is_file()
    if url.scheme != "file" or not is_there:
        raise HostError(
            "This corral was not installed from a folder or a wheel that is still there.", WITHOUT
        )
    return path
