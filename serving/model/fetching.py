"""Weights on this machine: one copy in the Hub's own cache, for all who serve them; fetched by a process of its own."""

import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from infra.errors import AuthError, CorralError, DocumentError, EndpointError, HostError
from infra.onhost import fetch as fetcher
from serving.model import checkpoint, hub_token
from serving.model.hub_token import Token

GIB = 2**30
TELL_EVERY_S = 15.0


def repository(repo: str, environ: Mapping[str, str]) -> Path:
    """The folder of the Hub's own cache that holds a repository."""
    return hub_token.cache(environ).resolve() / f"models--{repo.replace('/', '--')}"


def snapshot(repo: str, revision: str, environ: Mapping[str, str]) -> Path:
    """Where the files of one commit are."""
    return repository(repo, environ) / "snapshots" / revision


def cached_commit(repo: str, environ: Mapping[str, str]) -> str | None:
    """The commit that the cache has as the newest it has seen; None where it has none."""
    try:
        return (repository(repo, environ) / "refs" / "main").read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None


def is_whole(folder: Path) -> bool:
    """Whether a checkpoint is there with every file of weights: they come last, so all else is there too."""
    try:
        return bool(checkpoint.shards(folder)) and (folder / "config.json").is_file()
    except DocumentError:
        return False


def size_bytes(folder: Path) -> int:
    """What the files of a folder take; links are followed, as a snapshot is made of them."""
    return sum(map(file_bytes, folder.rglob("*")))


def file_bytes(path: Path) -> int:
    """The size of a file; 0 for what is none, or is none any more: who fetches renames what is whole."""
    try:
        status = path.stat()
    except OSError:
        return 0
    return status.st_size if stat.S_ISREG(status.st_mode) else 0


def fetch(
    repo: str,
    revision: str,
    token: Token | None,
    tell: Callable[[int], None],
    every_s: float = TELL_EVERY_S,
) -> Path:
    """Fetch a commit into the cache, telling now and then how many bytes are there.

    Raises AuthError when the Hub does not let the token in, HostError for a disk that is full, EndpointError for all
    else. The token goes through the input of the one process that fetches, which ends with this one's.
    """
    command = [sys.executable, fetcher.__file__, repo, revision]
    with (
        tempfile.TemporaryFile("w+") as complaints,
        subprocess.Popen(
            command,
            env=environment(os.environ),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=complaints,
            text=True,
        ) as process,
    ):
        try:
            assert process.stdin
            process.stdin.write(f"{token.value if token else ''}\n")
            process.stdin.flush()
            while not ended(process, every_s):
                tell(size_bytes(repository(repo, os.environ) / "blobs"))
        except BaseException:
            process.kill()
            raise
        complaints.seek(0)
        said = complaints.read().strip().splitlines()
    if process.returncode:
        raise failure(repo, process.returncode, said[-1] if said else "it said nothing")
    return snapshot(repo, revision, os.environ)


def ended(process: "subprocess.Popen[str]", within_s: float) -> bool:
    """Whether a process ends within that time."""
    try:
        process.wait(within_s)
    except subprocess.TimeoutExpired:
        return False
    return True


def environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """The fetching process's: the user's own settings, no token, nothing told to anybody."""
    secret = (*hub_token.VARIABLES, "HF_TOKEN_PATH")
    kept = {name: value for name, value in inherited.items() if name not in secret}
    quiet = {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "PYTHONSAFEPATH": "1"}
    return kept | quiet


def failure(repo: str, code: int, said: str) -> CorralError:
    """The fetching process's own words and its exit code as one of our errors."""
    said = said.rstrip(".")
    if code == AuthError.exit_code:
        return AuthError(
            f"The Hub does not let this token fetch {repo}: {said}.",
            f"Accept the licence at https://huggingface.co/{repo}; is the token of that account? hf auth whoami",
        )
    if code == HostError.exit_code:
        return HostError(
            f"The weights of {repo} have no room: {said}.", "Make room, or set HF_HOME to a larger disk."
        )
    return EndpointError(
        f"The weights of {repo} could not be fetched: {said}.",
        "Again: what came is kept, and not fetched twice.",
    )
