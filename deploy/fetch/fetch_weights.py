"""Fetch weights by name or by plan, and verify what was fetched."""

import os
import time
from pathlib import Path

from pydantic import Field

from deploy.fetch.fetch_request import FetchOptions, Subject
from deploy.targets import hub_weights
from infra import bar, offline
from infra.errors import DocumentError, UsageError
from infra.fetch import confirming, verifying
from infra.fetch.layouts import Layout, in_folder
from infra.printable import sentence
from infra.record import Record
from infra.say import progress
from serving.model import fetching, hub_token

GIB = 2**30


class FetchedWeights(Record):
    """Weights that lie here, each file verified."""

    model: str
    """As it was asked for."""
    repository: str
    """OWNER/NAME on the Hub."""
    commit: str
    """The one that was fetched, 40 hex digits."""
    to: Path
    """What a server is given."""
    files: int
    """How many, each verified."""
    bytes: int
    """All of them together."""
    fetched_bytes: int
    """What had to come for it."""
    seconds: float
    """How long it took; next to nothing where all was here."""
    beside: "tuple[FetchedWeights, ...]" = Field(default=(), exclude_if=lambda beside: not beside)
    """A plan's draft and adapters; absent where it has none of the Hub."""


class VerifiedWeights(Record):
    """What is wrong with weights that were fetched: nothing, when `problems` is empty."""

    folder: Path
    """Which was read."""
    repository: str
    """OWNER/NAME on the Hub; empty where the folder does not say, and for what a bundle brought."""
    commit: str
    """As the folder says; empty where it does not."""
    files: int
    """How many were read."""
    bytes: int
    """All of them together."""
    problems: tuple[str, ...]
    """A sentence each."""
    bundle: str = Field(default="", exclude_if=lambda bundle: not bundle)
    """The SHA-256 of the manifest of the bundle that brought them; absent for what was fetched."""


def fetch(subject: Subject, options: FetchOptions) -> FetchedWeights:
    """Fetch what is not here yet, first what is beside the model: it is small. What is here, whole, needs no Hub.

    Raises what `fetching.fetch` does, and UsageError where the internet is forbidden.
    """
    check_folder(options.to)
    token_file = options.hf_token_file or ""
    beside = tuple(
        fetch_one(each, options.to and options.to / each.model, token_file) for each in subject.beside
    )
    return fetch_one(subject, options.to, token_file).model_copy(update={"beside": beside})


def fetch_one(subject: Subject, to: Path | None, token_file: str) -> FetchedWeights:
    """The same of one repository, into the cache or a folder."""
    begun_s = time.monotonic()
    if here := at_once(subject, to, begun_s):
        return here
    offline.refuse(f"the model hub for {subject.repository}")
    token = hub_token.find(os.environ, token_file)
    known = hub_weights.looked_up(subject.repository, subject.revision, token)
    commit = known.revision or ""
    progress(
        f"weights: {known.repo} at {commit}, {known.gib:.1f} GiB, licence {sentence(known.licence) or 'unknown'}"
    )
    fetched = fetching.fetch(subject.repository, commit, token, to and to.absolute())
    if to is None and subject.revision is None:
        fetching.note_newest(subject.repository, commit, os.environ)
    return FetchedWeights(
        model=subject.model,
        repository=subject.repository,
        commit=commit,
        to=fetched.folder,
        files=fetched.files,
        bytes=fetched.bytes,
        fetched_bytes=fetched.fetched_bytes,
        seconds=round(time.monotonic() - begun_s, 3),
    )


def check_folder(folder: Path | None) -> None:
    """Raise UsageError for a place that is no folder."""
    if folder is not None and os.path.lexists(folder) and not folder.is_dir():
        raise UsageError(f"{folder} is there, and is no folder.", "Name another: --to")


def at_once(subject: Subject, folder: Path | None, begun_s: float) -> FetchedWeights | None:
    """What lies here already at that commit, and nobody wrote since it was found right.

    Of what another tool has fetched only the Hub says whether it is all, so that it is asked where it may be.
    """
    if not fetching.is_commit(subject.revision):
        return None
    commit = subject.revision or ""
    place = place_of(subject.repository, commit, folder)
    manifest = confirming.untouched(place)
    if manifest is None or (manifest.repository, manifest.commit) != (subject.repository, commit):
        return None
    if manifest.others is None and not offline.is_offline():
        return None
    return FetchedWeights(
        model=subject.model,
        repository=subject.repository,
        commit=commit,
        to=place.folder,
        files=len(manifest.files),
        bytes=sum(file.size for file in manifest.files.values()),
        fetched_bytes=0,
        seconds=round(time.monotonic() - begun_s, 3),
    )


def place_of(repository: str, commit: str, folder: Path | None) -> Layout:
    """Where a commit goes."""
    return in_folder(folder.absolute()) if folder else fetching.layout(repository, commit, os.environ)


def verify(folder: Path) -> VerifiedWeights:
    """Read every byte of a folder and say all that is wrong; asks nobody. Raises DocumentError."""
    with bar.shown("verified") as tell:
        found = verifying.verify(folder.absolute(), tell)
    if found.pickles:
        more = f" and {len(found.pickles) - 1} more" if len(found.pickles) > 1 else ""
        progress(
            f"weights: {found.pickles[0]}{more} of the repository may run code when loaded; no server that corral "
            "starts is given it"
        )
    if not found.is_listed:
        progress(
            "weights: another tool has fetched these, so what else belongs to them is not known here: corral fetch "
            f"{found.repository} --revision {found.commit} asks the Hub, and fetches what is missing"
        )
    return VerifiedWeights(
        folder=found.folder,
        repository=found.repository,
        commit=found.commit,
        files=found.files,
        bytes=found.bytes,
        problems=tuple(f"{name} {why}" for name, why in found.problems),
        bundle=found.bundle,
    )


def not_to_serve(found: VerifiedWeights) -> DocumentError | None:
    """The error for weights that are wrong; None where nothing is."""
    if not found.problems:
        return None
    return DocumentError(
        f"{found.folder} must not be served: {len(found.problems)} problem(s).",
        "Remove what is extra. For the rest remove the folder that the bundle was installed into, and install it again."
        if found.bundle
        else "Remove what is extra, and fetch the rest again into the same folder.",
    )


def fetched_text(made: FetchedWeights) -> str:
    """For a person."""
    came = f"{made.fetched_bytes / GIB:.2f} GiB came" if made.fetched_bytes else "nothing had to come"
    lines = [fetched_text(each) for each in made.beside]
    line = (
        f"{made.repository} at {made.commit} is in {made.to}: {made.files} files, {made.bytes / GIB:.2f} GiB, "
        f"verified; {came}"
    )
    return "\n".join([*lines, line])


def verified_text(made: VerifiedWeights) -> str:
    """For a person: what is wrong, a line each, or that nothing is."""
    what = f"{made.repository} at {made.commit}"
    if made.bundle:
        what = f"as it was brought by the bundle whose manifest is {made.bundle}"
    whole = f"{made.folder} is {what}: {made.files} files, {made.bytes / GIB:.2f} GiB, every checksum right"
    return "\n".join(made.problems) or whole
