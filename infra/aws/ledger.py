"""The ledger: what was about to be asked of AWS, written down before it is asked, and what came of it.

Append-only JSON lines. It is no source of truth (the tags are); it finds what a tag cannot: a launch whose answer
never came, a resource that lost its tags.
"""

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import AwareDatetime, ValidationError

from infra.aws.request import Request
from infra.errors import HostError
from infra.home import make_folder
from infra.record import Record

# What an answer may be when the call was carried out all the same.
UNCERTAIN = ("LostResponse", "InternalError", "InternalFailure", "ServiceUnavailable", "Unavailable")

LONG_AGO = datetime.min.replace(tzinfo=UTC)

Event = Literal["intent", "done", "failed"]


class Entry(Record):
    """One line."""

    at: AwareDatetime
    number: int
    """The same for an intent and its outcome."""
    event: Event
    service: str
    operation: str
    region: str
    parameters: dict[str, Any] = {}
    answer: dict[str, Any] = {}
    code: str = ""


class Ledger:
    """The ledger of one deployment, in one file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.next_number = max((entry.number for entry in self.entries()), default=0) + 1

    def intend(self, request: Request, now: datetime) -> int:
        """Write down, and onto the disk, what is about to be asked."""
        number, self.next_number = self.next_number, self.next_number + 1
        self.append(line(request, number, "intent", now, parameters=readable(request.parameters)))
        return number

    def done(self, request: Request, number: int, answer: dict[str, Any], now: datetime) -> None:
        """Write down what came of it."""
        self.append(line(request, number, "done", now, answer=json.loads(json.dumps(answer, default=str))))

    def failed(self, request: Request, number: int, code: str, now: datetime) -> None:
        """Write down that it was refused, or that no answer came."""
        self.append(line(request, number, "failed", now, code=code))

    def append(self, entry: Entry) -> None:
        """Add a line and see it onto the disk. Raises HostError when the disk refuses."""
        try:
            make_folder(self.path.parent)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(entry.model_dump_json(exclude_defaults=True) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise HostError(
                f"The ledger {self.path} cannot be written: {error.strerror}.",
                "Check the free space and the owner of that folder: df -h, ls -ld",
            ) from None

    def entries(self) -> Iterator[Entry]:
        """What is written down; a line torn by a crash is passed over."""
        if not self.path.exists():
            return
        for text in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                yield Entry.model_validate_json(text)
            except ValidationError:
                continue

    def calls(self) -> list[tuple[Entry, Entry | None]]:
        """Every intent with its outcome, if one is known."""
        entries = list(self.entries())
        outcomes = {entry.number: entry for entry in entries if entry.event != "intent"}
        return [(entry, outcomes.get(entry.number)) for entry in entries if entry.event == "intent"]

    def regions(self) -> tuple[str, ...]:
        """Where anything was ever asked for."""
        return tuple(sorted({entry.region for entry in self.entries() if entry.service != "iam"}))

    def launched(self, region: str, after: datetime = LONG_AGO) -> tuple[str, ...]:
        """The ids of the instances EC2 said it launched there since then."""
        return tuple(
            instance_id
            for entry in self.entries()
            if entry.event == "done" and entry.operation == "RunInstances"
            if entry.region == region and entry.at >= after
            for instance_id in ids_in(entry.answer.get("Instances"), "InstanceId")
        )

    def unanswered(self, region: str, after: datetime = LONG_AGO) -> tuple[str, ...]:
        """The client tokens of launches since then that may have happened: no answer to any of them is known."""
        launches = [
            (str(intent.parameters.get("ClientToken", "")), outcome)
            for intent, outcome in self.calls()
            if intent.operation == "RunInstances" and intent.region == region and intent.at >= after
        ]
        answered = {token for token, outcome in launches if outcome and outcome.event == "done"}
        uncertain = [token for token, outcome in launches if outcome is None or outcome.code in UNCERTAIN]
        return tuple(token for token in dict.fromkeys(uncertain) if token not in answered)

    def security_groups(self, region: str) -> tuple[str, ...]:
        """The ids of the groups that were made there."""
        return tuple(
            group_id
            for entry in self.entries()
            if entry.event == "done" and entry.operation == "CreateSecurityGroup" and entry.region == region
            for group_id in ids_in([entry.answer], "GroupId")
        )


def ids_in(rows: object, name: str) -> list[str]:
    """The ids under that name; a ledger that was damaged keeps nobody from taking away."""
    known = [row.get(name) for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    return [each for each in known if isinstance(each, str)]


def line(request: Request, number: int, event: Event, now: datetime, **rest: Any) -> Entry:
    """One entry about a request."""
    return Entry(
        at=now,
        number=number,
        event=event,
        service=request.service,
        operation=request.operation,
        region=request.region,
        **rest,
    )


def readable(parameters: dict[str, Any]) -> dict[str, Any]:
    """Parameters without the user data, which is in the order already."""
    return {key: value for key, value in parameters.items() if key != "UserData"}
