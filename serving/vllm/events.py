"""What happened to a deployment, in order, with times and causes: kept beside its documents, and on its host."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, ValidationError

from infra.onhost import history as onhost
from infra.onhost import judge
from infra.onhost.judge import Ends, Policy
from infra.printable import one_line
from infra.record import Record


class Event(Record):
    """One thing that happened."""

    at: datetime
    """By the clock of the machine it happened on."""
    event: Annotated[str, AfterValidator(partial(one_line, most=40))]
    """One of infra/onhost/history.py's; a later corral may know more."""
    cause: Annotated[str, AfterValidator(partial(one_line, most=500))] = ""
    """Why, in words; empty where the event says all."""


def file(folder: Path) -> Path:
    """Where a deployment's history is."""
    return folder / onhost.FILE


def note(folder: Path, event: onhost.Name, cause: str = "") -> None:
    """Add what happens now. Never raises: a full disk loses the line."""
    onhost.append(str(file(folder)), event, cause)


def note_stop(folder: Path, cause: str = "") -> None:
    """Add that somebody stopped it, where something else is the last that is known of it."""
    known = read(folder)
    if known and known[-1].event != "stopped":
        note(folder, "stopped", cause)


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


def listed(events: tuple[Event, ...], as_json: bool) -> str:
    """A line each."""
    if as_json:
        return json.dumps([each.model_dump(mode="json") for each in events], indent=2)
    return "\n".join(map(line, events)) or "Nothing is on record."


def line(event: Event) -> str:
    """An event, for people."""
    return f"{event.at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC  {event.event:<11}  {event.cause}".rstrip()


def was_ready(folder: Path, started_at: datetime) -> bool:
    """Whether the server that was started then, and is the last, is on record as ready."""
    last = next((each for each in reversed(read(folder)) if each.event in ("started", "ready")), None)
    # A history counts whole seconds.
    return last is not None and last.event == "ready" and last.at >= started_at.replace(microsecond=0)


def ends(events: tuple[Event, ...], policy: Policy) -> Ends:
    """How often its server has ended, as the judge counts, since somebody last asked for it."""
    counted, ready_at = Ends(), None
    for each in events:
        if each.event in onhost.WISHES:
            counted = Ends()
        elif each.event == "ready":
            ready_at = each.at
        elif each.event in ("died", "ended"):
            served_s = (each.at - ready_at).total_seconds() if ready_at else None
            counted, ready_at = judge.ended(counted, served_s, policy), None
        elif each.event in ("started", "stopped"):
            if each.event == "stopped" and ready_at:
                served_s = (each.at - ready_at).total_seconds()
                counted = Ends() if served_s >= policy.service_s else counted
            ready_at = None
    return counted


def last_end(folder: Path) -> Event | None:
    """How the last start ended, where that is the last on record and was nobody's wish."""
    events = read(folder)
    return events[-1] if events and events[-1].event in onhost.ILL_ENDS else None
