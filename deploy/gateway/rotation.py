"""A server in and out of a gateway's rotation, without a lost request: for whoever stops or upgrades one."""

import csv
from pathlib import Path

from deploy.gateway import admin_socket
from deploy.gateway.haproxy_config import ADMIN, MASTER
from infra.errors import ServerError
from infra.printable import one_line
from infra.record import Record

BACKEND = "engines"
LONGEST = 200
"""Of a server's answer to a check, in characters."""


class InFront(Record):
    """A server as its gateway sees it."""

    name: str
    """As `gateway drain` takes it."""
    state: str
    """HAProxy's word: UP, DOWN, DRAIN, MAINT, or on the way: "UP 1/3"."""
    sessions: int
    """Requests that it has now."""
    waiting: int
    """Requests that wait for it alone."""
    check: str = ""
    """How HAProxy's last look at its /health ended, in HAProxy's code: L7OK, L4CON, L7TOUT, L7STS; INI before the
    first."""
    check_said: str = ""
    """What HAProxy says of that look; empty where it was well."""

    @property
    def is_taken_out(self) -> bool:
        """Whether somebody has said that it gets no requests."""
        return self.state.split()[0] in TAKEN_OUT

    @property
    def is_up(self) -> bool:
        """Whether it gets requests, also while it is seen to fail."""
        return self.state.split()[0] == "UP"


TAKEN_OUT = ("DRAIN", "MAINT")
WELL = "L7OK"


def take_out(folder: Path, server: str) -> None:
    """Give a server no more requests; those it has go on. Raises ServerError where there is none of that name."""
    told(folder, f"set server {BACKEND}/{server} state drain")


def take_in(folder: Path, server: str) -> None:
    """Give it requests again, once its health is seen to be good. Raises ServerError as `take_out` does."""
    told(folder, f"set server {BACKEND}/{server} state ready")


def told(folder: Path, command: str) -> None:
    """Have the gateway do something of which it says nothing when it did."""
    if answer := admin_socket.ask(folder / ADMIN, command):
        raise ServerError(
            f"The gateway refuses: {answer.rstrip('.')}.",
            f"See its servers: corral gateway status {folder.parent.name}",
        )


def in_front(folder: Path) -> tuple[InFront, ...]:
    """Its servers as the newest worker sees them, with the requests that those of before a change still have."""
    by_worker = [
        rows(admin_socket.ask(folder / MASTER, f"@!{pid} show stat {BACKEND} 4 -1"))
        for pid in admin_socket.workers(folder / MASTER)
    ]
    return tuple(
        InFront(
            name=name,
            state=row["status"],
            sessions=sum(int(seen[name]["scur"] or 0) for seen in by_worker if name in seen),
            waiting=sum(int(seen[name]["qcur"] or 0) for seen in by_worker if name in seen),
            check=(
                check := row["check_status"].removeprefix("* ")
            ),  # so marked while the next look is on its way
            check_said="" if check == WELL else said_of(row),
        )
        for name, row in (by_worker[0] if by_worker else {}).items()
    )


def said_of(row: dict[str, str]) -> str:
    """What HAProxy says of its last look: what kind of end that was, and the answer's status or the system's words."""
    told = filter(None, (row["check_desc"], row["check_code"], row["last_chk"]))
    return one_line(", ".join(dict.fromkeys(told)), LONGEST)


def rows(stat: str) -> dict[str, dict[str, str]]:
    """Server -> its line of HAProxy's statistics."""
    return {row["svname"]: row for row in csv.DictReader(stat.removeprefix("# ").splitlines())}
