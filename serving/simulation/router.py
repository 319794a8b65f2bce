"""PURE: several servers behind a router, one of which may die: where each request goes, and what comes of it."""

from collections.abc import Callable, Sequence
from math import inf
from random import Random
from typing import Literal, NamedTuple

from serving.sizing.batching import Done, Request, Server

Router = Literal["round-robin", "least-requests", "random"]


class Death(NamedTuple):
    """One replica dies, and comes back empty."""

    at_s: float
    restart_s: float
    again: bool
    """Whether what it had is sent to another, once."""


class Carried(NamedTuple):
    """What came of requests."""

    done: list[Done | None]
    """Of each; None for one that is lost."""
    servers: list[Server]
    """All that there were, the dead one too."""


def carried(
    requests: Sequence[Request],
    count: int,
    router: Router,
    new: Callable[[float], Server],
    dice: Random,
    death: Death | None = None,
) -> Carried:
    """Send requests to that many servers, which `new` makes, empty at a time."""
    fleet = Fleet([new(0.0) for _ in range(count)], router, dice)
    dies, back = (death.at_s, death.at_s + death.restart_s) if death else (inf, inf)
    for which, request in enumerate(requests):
        if death and request.at_s >= dies:
            fleet.die(death)
            dies = inf
        if request.at_s >= back:
            fleet.join(new(back))
            back = inf
        fleet.send(which, request, request.at_s)
    if death and dies < inf:
        fleet.die(death)
    found: list[Done | None] = [None] * len(requests)
    for server in fleet.all:
        if server not in fleet.dead:
            server.advance(inf)
        for each in server.done:
            found[each.which] = each
    return Carried(found, fleet.all)


class Fleet:
    """Servers, and who is next."""

    def __init__(self, servers: list[Server], router: Router, dice: Random) -> None:
        self.alive, self.all, self.dead = list(servers), list(servers), list[Server]()
        self.router, self.dice, self.turn = router, dice, 0

    def send(self, which: int, request: Request, now: float) -> None:
        """Give a request to a server; where none is left, it is lost."""
        if not self.alive:
            return
        chosen = self.chosen(now)
        chosen.advance(now)
        chosen.offer(which, request, now)

    def chosen(self, now: float) -> Server:
        """The server whose turn it is, or any, or the first of those with the fewest requests in flight."""
        if self.router == "random":
            return self.dice.choice(self.alive)
        self.turn += 1
        if self.router == "round-robin":
            return self.alive[self.turn % len(self.alive)]
        for server in self.alive:
            server.advance(now)
        # Of equals not always the first, which would get all of an idle fleet.
        at = self.turn % len(self.alive)
        return min((*self.alive[at:], *self.alive[:at]), key=lambda server: server.in_flight)

    def die(self, death: Death) -> None:
        """Let the first die; what it had is lost, or sent again in the order in which it came."""
        gone = self.alive.pop(0)
        gone.advance(death.at_s)
        self.dead.append(gone)
        if death.again:
            for which, request in sorted(gone.lost()):
                self.send(which, request, death.at_s)

    def join(self, server: Server) -> None:
        """One more."""
        self.alive.append(server)
        self.all.append(server)
