"""Weights on this machine: one copy in the Hub's own cache, for all who serve them, or in a folder that is named."""

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path

from infra import bar
from infra.errors import DocumentError, HostError
from infra.fetch import confirming, download
from infra.fetch.checksums import Manifest
from infra.fetch.download import Fetched, Told
from infra.fetch.hub_answers import Source
from infra.fetch.layouts import Layout, in_cache, in_folder, of_existing
from infra.fetch.patience import Pace
from infra.say import progress
from serving.model import checkpoint, hub_token
from serving.model.hub_token import Token

HUB = "https://huggingface.co"


def repository(repo: str, environ: Mapping[str, str]) -> Path:
    """The folder of the Hub's own cache that holds a repository."""
    return layout(repo, "", environ).own.parent


def snapshot(repo: str, revision: str, environ: Mapping[str, str]) -> Path:
    """Where the files of one commit are."""
    return layout(repo, revision, environ).folder


def layout(repo: str, revision: str, environ: Mapping[str, str]) -> Layout:
    """A commit in the Hub's own cache."""
    return in_cache(hub_token.cache(environ).resolve(), repo, revision)


def cached_commit(repo: str, environ: Mapping[str, str]) -> str | None:
    """The commit that the cache has as the newest it has seen; None where it has none."""
    try:
        return (repository(repo, environ) / "refs" / "main").read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None


def note_newest(repo: str, commit: str, environ: Mapping[str, str]) -> None:
    """Note the commit as the newest that the cache has seen, as the Hub's library does. Raises HostError."""
    refs = repository(repo, environ) / "refs"
    try:
        refs.mkdir(parents=True, exist_ok=True)
        (refs / "main").write_text(commit, encoding="ascii")
    except OSError as error:
        raise HostError(f"{refs} cannot be written: {error.strerror}.", "Look whose it is: ls -ld") from None


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
    """What a file holds, without its holes; 0 for what is none, or none any more: who fetches renames what is whole."""
    try:
        status = path.stat()
    except OSError:
        return 0
    return min(status.st_size, status.st_blocks * 512) if stat.S_ISREG(status.st_mode) else 0


def fetch(
    repo: str, revision: str, token: Token | None, folder: Path | None = None, pace: Pace | None = None
) -> Fetched:
    """Fetch a commit into the cache, or into a folder, and say how far it is.

    Raises AuthError when the Hub does not let the token in, HostError for a disk that is full, DocumentError and
    EndpointError for what the Hub does not give. The token is sent to the Hub alone.
    """
    place = in_folder(folder) if folder else layout(repo, revision, os.environ)
    source = Source(endpoint(os.environ), repo, revision, token.value if token else "")
    with bar.shown("weights") as tell:
        return download.fetch(
            source, place, Told(lambda text: progress(f"weights: {text}"), tell), pace or Pace()
        )


def endpoint(environ: Mapping[str, str]) -> str:
    """The Hub, as its own library reads it."""
    return (environ.get("HF_ENDPOINT") or HUB).rstrip("/")


def is_commit(revision: str | None) -> bool:
    """Whether it is the full name of a commit, and no branch, which may move."""
    return bool(revision and re.fullmatch("[0-9a-f]{40}", revision))


def confirm(folder: Path) -> tuple[tuple[str, str], ...]:
    """The files of a checkpoint that are not what was fetched, and what is wrong with each; none where nobody can tell.

    Only what was written since is read. Raises DocumentError for a manifest that was changed.
    """
    return confirming.confirm(of_existing(folder), lambda text: progress(f"weights: {text}"))


def is_vouched_for(folder: Path) -> bool:
    """Whether anything says what the files should be: a manifest, or the names that a cache gives them."""
    found = of_existing(folder)
    return found.blobs is not None or found.manifest.exists()


def origin(folder: Path) -> Manifest | None:
    """What was noted of a folder: whose files it has, at which commit or of which bundle; None where nothing was.

    Raises DocumentError for a manifest that was changed.
    """
    return of_existing(folder).known()


def sums(folder: Path) -> dict[str, str]:
    """The SHA-256 that each file of a folder should have, by its name, as far as it was noted. Raises as `origin`."""
    noted = origin(folder)
    return {name: kept.sha256 for name, kept in noted.files.items()} if noted else {}


def is_listed(folder: Path) -> bool:
    """Whether the Hub has said what belongs to a checkpoint, and not only another tool what it had brought by then."""
    try:
        manifest = origin(folder)
    except DocumentError:
        return False
    return manifest is not None and manifest.others is not None
