"""What happened to a deployment, in order, with times and causes: kept beside its documents, and on its host."""

from collections.abc import Iterator
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, ValidationError

from infra.onhost import history as onhost
from infra.printable import one_line
from infra.record import Record


class Event(Record):
    """One thing that happened."""

    at: datetime
    """By the clock of the machine it happened on."""
    event: Annotated[str, AfterValidator(partial(one_line, most=40))]
    """One of infra/onhost/history.py's; a later corral may know more."""
    cause: Annotated[str, AfterValidator(partial(one_line, most=500))] = ""


def file(folder: Path) -> Path:
    """Where a deployment's history is."""
    return folder / onhost.FILE


def note(folder: Path, event: str, cause: str = "") -> None:
    """Add what happens now. Never raises: a full disk loses the line."""
    onhost.append(str(file(folder)), event, cause)


def read(folder: Path) -> tuple[Event, ...]:
    """What is on record, oldest first; empty where nothing is, or it cannot be read."""
    try:
        with file(folder).open("rb") as lines:
            return parsed(lines.read(2 * onhost.MOST_BYTES))
    except OSError:
        return ()


def parsed(text: bytes) -> tuple[Event, ...]:
    """The events of such a file, here or on a host; a line that was cut short, or is none, is passed over."""
    return tuple(events(text))


def events(text: bytes) -> Iterator[Event]:
    """Each line that is one."""
    for line in text.splitlines():
        try:
            yield Event.model_validate_json(line)
        except ValidationError:
            continue


def told(events: tuple[Event, ...]) -> str:
    """A line each, for people."""
    return "\n".join(
        f"{each.at:%Y-%m-%d %H:%M:%S} UTC  {each.event:<11}  {each.cause}".rstrip() for each in events
    )
