"""Which replicas a roll that stopped had started anew: the same command again goes on with the others."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar, Literal

from deploy.targets.deployment import folder
from infra.errors import DocumentError, HostError
from infra.record import Document, is_missing, removed

HOLDS_FOR = timedelta(days=1)
"""What was started anew before that is started anew again."""


class StartedAnew(Document):
    """A roll that has not come to its end."""

    kind: ClassVar[str] = "note of a roll"
    document: Literal["started-anew"] = "started-anew"
    schema_version: Literal[1] = 1

    at: datetime
    """When the last of them was (UTC)."""
    replicas: tuple[str, ...]
    """By the names that their gateway gives them."""


def file(name: str) -> Path:
    """Where it is noted; absent where the last roll came to its end."""
    return folder(name) / "started-anew.json"


def noted(name: str) -> tuple[str, ...]:
    """The replicas that were, by a roll that stopped within the last day; none where that cannot be read."""
    if is_missing(file(name)):
        return ()
    with suppress(DocumentError):
        note = StartedAnew.read(file(name))
        return note.replicas if note.at + HOLDS_FOR > datetime.now(UTC) else ()
    return ()


def note(name: str, replicas: tuple[str, ...]) -> None:
    """Note them; a disk that does not take it has them started anew once more."""
    with suppress(HostError):
        StartedAnew(at=datetime.now(UTC), replicas=replicas).write(file(name))


def forget(name: str) -> None:
    """The roll has come to its end, or is of another release: nothing is left of one that stopped."""
    removed([file(name)])
