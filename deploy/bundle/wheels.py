"""corral itself and all it depends on as wheels, for a machine without an index."""

import json
from collections.abc import Callable
from importlib.metadata import distribution
from pathlib import Path
from urllib.parse import unquote, urlsplit

from infra import offline
from infra.errors import HostError
from serving.vllm.engine import run_uv

WITHOUT = "Leave it out (--without-corral) and bring corral to that machine another way."


def make(python: Path, folder: Path, progress: Callable[[str], None]) -> None:
    """Fill a folder with wheels for that Python. Raises HostError where no index answers, UsageError with --offline."""
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


def source() -> Path:
    """The folder this corral was installed from. Raises HostError when there is none any more."""
    said = json.loads(distribution("corral").read_text("direct_url.json") or "{}")
    url = urlsplit(said.get("url", ""))
    folder = Path(unquote(url.path))
    if url.scheme != "file" or not (folder / "pyproject.toml").is_file():
        raise HostError("This corral was not installed from a folder that is still there.", WITHOUT)
    return folder
