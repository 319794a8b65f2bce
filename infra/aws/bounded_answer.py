"""What AWS, or whoever answers in its place, says: whole within a time and a size, headers too.

botocore limits each single read, so an answer of a byte a minute, or one without an end, would go on for ever. Its
connections are told to read by this class (boto.py), which ends as a read that took too long does.
"""

import time
from contextlib import suppress
from http.client import HTTPException, HTTPResponse
from io import BufferedReader, RawIOBase
from socket import socket
from typing import Any

from infra import deadline
from infra.deadline import Clock

ANSWER_S = 60.0
"""For an answer from its first byte to its last."""
READS = 10
"""It may take so many times what one read may: who asks with little patience has little for the whole."""
MOST_BYTES = 64 * 1024 * 1024
clock: Clock = time.monotonic


class BoundedResponse(HTTPResponse):
    """An answer as http.client reads it."""

    def __init__(self, sock: socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = BufferedReader(BoundedReader(self.fp.detach(), sock))


class BoundedReader(RawIOBase):
    """What a socket says until its time is over. Raises TimeoutError then, HTTPException where it is too much."""

    def __init__(self, raw: Any, sock: socket) -> None:
        self._raw, self._sock, self._a_read_s = raw, sock, sock.gettimeout()
        self._end_s = clock() + deadline.left_s(min(ANSWER_S, READS * (self._a_read_s or ANSWER_S)))
        self._left_bytes = MOST_BYTES

    def readable(self) -> bool:
        """It is there to be read."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Read once."""
        left_s = self._end_s - clock()
        if left_s <= 0:
            raise TimeoutError("the answer was not whole in time")
        self._sock.settimeout(min(left_s, self._a_read_s or left_s))
        count: int | None = self._raw.readinto(buffer)
        self._left_bytes -= count or 0
        if self._left_bytes < 0:
            raise HTTPException(f"more than {MOST_BYTES:,} bytes")
        return count

    def close(self) -> None:
        """Let go of the socket, which may be asked again."""
        with suppress(OSError):  # it is closed already
            self._sock.settimeout(self._a_read_s)
        self._raw.close()
        super().close()
