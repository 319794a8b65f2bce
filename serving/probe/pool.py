"""The connections of a process: all of them, those at work, and those that can take a request."""

import asyncio
import time
from collections.abc import Callable

from infra import wait
from serving.probe.connection import Connection, Owner, Peer
from serving.probe.shared import Shared

OPEN_LIMIT_S = 10.0


class Pool:
    """Who is in which of its sets is up to those who send."""

    def __init__(self, shared: Shared, owner: Owner, peer: Peer) -> None:
        self.shared = shared
        self._owner = owner
        self._peer = peer
        self.all: set[Connection] = set()
        self.idle: list[Connection] = []
        self.busy: set[Connection] = set()

    def open(self, count: int, must_stop: Callable[[], bool]) -> None:
        """Open so many and wait for them, but not for ever."""
        for _ in range(count):
            self.add().open()

        def run_the_loop(seconds: float) -> None:
            self.shared.loop.run_until_complete(asyncio.sleep(seconds))

        wait.until(
            lambda: must_stop() or len(self.idle) == len(self.all),
            bool,
            wait.Pace(OPEN_LIMIT_S, 0.002, run_the_loop, time.monotonic),
        )

    def add(self) -> Connection:
        """One more, which opens at its first request."""
        connection = Connection(self.shared, self._owner, self._peer)
        self.all.add(connection)
        return connection

    def free(self) -> Connection:
        """One that can take a request."""
        return self.idle.pop() if self.idle else self.add()

    def discard(self, connection: Connection) -> None:
        """Nobody needs that one any more."""
        connection.close()
        self.all.discard(connection)

    def abort_all(self, error_class: str, message: str) -> None:
        """Give up every request that is on its way."""
        for connection in list(self.busy):
            connection.abort(error_class, message)

    def close(self) -> None:
        """Close all of them."""
        for connection in list(self.all):
            connection.close()
