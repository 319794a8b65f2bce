"""The documents of a deployment's releases: which one is accepted, which came before it, which one is on trial.

`deployment.json` is the accepted one, and nothing else says so: it is replaced in one step. What each was is kept in
`releases/ID.json`; `trial.json` is there while the server may be another than the accepted one.
"""

import hashlib
import json
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from deploy.targets.deployment import Deployment, folder
from infra.errors import DocumentError, UsageError
from infra.processes import Birth
from infra.record import Document, Line, Record, is_missing, removed

ADDRESS = {"host", "port"}
"""What an upgrade leaves as it is: whoever asks the server finds it where it was."""

OF_ROLLS = ("upgrade.lock", "started-anew.json")
"""What lies in a deployment's folder once it was rolled or upgraded."""


class Figures(Record):
    """What a short probe measured."""

    output_tokens_per_s: float = Field(ge=0)
    """All requests together."""
    ttft_p50_s: float | None = None
    """Half of the requests had their first token by then; null where none was answered."""
    requests: int = Field(ge=1)
    """That were sent."""
    failed: int = Field(ge=0)
    """Of these."""


class Release(Document):
    """An engine's version, the commit of the weights and the options, as one."""

    kind: ClassVar[str] = "release"
    document: Literal["release"] = "release"
    schema_version: Literal[1] = 1

    id: str = Field(pattern="^[0-9a-f]{12}$")
    """Twelve hex digits, of what it is made of."""
    vllm_version: Line
    """Of its engine."""
    deployment: Deployment
    """What it serves, whole."""
    previous: str = Field(default="", pattern="^([0-9a-f]{12})?$")
    """The release that was accepted when this one was tried; empty where there was none before."""
    tried_at: datetime | None = None
    """When it was first started for trial; null before."""
    outcome: Literal["accepted", "taken back"] | None = None
    """None while it is tried, and for one that was served before any upgrade."""
    why: str = ""
    """Why it was taken back."""
    figures: Figures | None = None
    """Of the short probe of its trial; null before."""
    answer: tuple[str, ...] = ()
    """The tokens it said to the canary's prompt."""


class Trial(Document):
    """The release that is tried, from before the accepted one is ended until one of them is settled."""

    kind: ClassVar[str] = "trial"
    document: Literal["trial"] = "trial"
    schema_version: Literal[1] = 1

    release: str = Field(pattern="^[0-9a-f]{12}$")
    """Its id."""
    begun_at: datetime
    """When (UTC)."""
    by: Birth | None = None
    """The corral that is at work; where that process is gone it was cut short."""


def id_of(deployment: Deployment, vllm_version: str) -> str:
    """The id of the release that a deployment is: over the engine's version and the options, the commit among them."""
    if deployment.release:
        return deployment.release
    options = deployment.plan.serve.model_dump(mode="json", exclude=ADDRESS)
    return hashlib.sha256(json.dumps([vllm_version, options], sort_keys=True).encode()).hexdigest()[:12]


def kept_at(name: str, release: str) -> Path:
    """Where the document of a release is."""
    return folder(name) / "releases" / f"{release}.json"


def kept(name: str, release: str) -> Release | None:
    """The document of a release; None where there is none. Raises DocumentError for one that cannot be read."""
    path = kept_at(name, release)
    return None if is_missing(path) else Release.read(path)


def keep(release: Release) -> Release:
    """Write a release's document."""
    release.write(kept_at(release.deployment.name, release.id))
    return release


def before(name: str, accepted: str) -> Release:
    """The release before the accepted one. Raises UsageError where there is none, or it is not known any more."""
    now = kept(name, accepted)
    if now is None or not now.previous:
        raise UsageError(
            f"{name} has no release before this one ({accepted}).",
            f"Nothing was changed. Bring another: corral upgrade {name} plan.json",
        )
    previous = kept(name, now.previous)
    if previous is None:
        raise UsageError(
            f"The release before this one, {now.previous}, is not known any more: its document is gone.",
            f"Nothing was changed. Bring it again by its plan: corral upgrade {name} plan.json",
        )
    return previous


def trial_file(name: str) -> Path:
    """Where it is noted that a release is tried."""
    return folder(name) / "trial.json"


def trial(name: str) -> Trial | None:
    """The release that is tried, or was when corral was killed; a note that cannot be read is of no known one."""
    path = trial_file(name)
    if is_missing(path):
        return None
    try:
        return Trial.read(path)
    except DocumentError:
        try:
            begun_s = path.lstat().st_mtime
        except OSError:  # it has ended meanwhile
            return None
        return Trial(release="0" * 12, begun_at=datetime.fromtimestamp(begun_s).astimezone())


def forget(name: str) -> tuple[str, ...]:
    """Remove the documents of a deployment's releases; those that could not be, each with the reason."""
    place = folder(name) / "releases"
    left = removed([*sorted(place.glob("*")), trial_file(name), *(folder(name) / each for each in OF_ROLLS)])
    if not is_missing(place) and not left:
        with suppress(OSError):  # the user may keep files of his own there
            place.rmdir()
    return left
