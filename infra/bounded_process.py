"""What a program says that speaks for another machine: no more than so many bytes, no longer than so many seconds."""

import os
import selectors
import subprocess
import time
from threading import Thread
from typing import IO

MOST_BYTES = 64 * 1024 * 1024
LAST_BYTES = 64 * 1024
PIECE_BYTES = 65536
END_S = 5.0
"""For the rest of what is in a pipe when the program that wrote has ended."""


class TooMuch(Exception):
    """More than anything we ask is answered with."""


def heard(
    process: "subprocess.Popen[bytes]", timeout_s: float, most_bytes: int = MOST_BYTES
) -> tuple[bytes, bytes]:
    """Its stdout and stderr, when it has ended. Raises TooMuch or subprocess.TimeoutExpired, and leaves it running."""
    assert process.stdout is not None
    assert process.stderr is not None
    end_s = time.monotonic() + timeout_s
    out, err = bytearray(), bytearray()
    with selectors.DefaultSelector() as ready:
        ready.register(process.stdout, selectors.EVENT_READ, out)
        ready.register(process.stderr, selectors.EVENT_READ, err)
        while ready.get_map():
            left_s = end_s - time.monotonic()
            if left_s <= 0:
                raise subprocess.TimeoutExpired(process.args, timeout_s)
            for key, _ in ready.select(left_s):
                piece = os.read(key.fd, PIECE_BYTES)
                key.data.extend(piece)
                if not piece:
                    ready.unregister(key.fileobj)
            if len(out) + len(err) > most_bytes:
                raise TooMuch
    process.wait(max(0.1, end_s - time.monotonic()))
    return bytes(out), bytes(err)


class LastWords:
    """The end of what a program says on its stderr, read meanwhile so that it never waits for us."""

    def __init__(self, pipe: IO[bytes] | None) -> None:
        assert pipe is not None
        self._own = os.dup(pipe.fileno())  # whoever started the program closes the other when it likes
        self._kept = b""
        self._reading = Thread(target=self._read, daemon=True)
        self._reading.start()

    def _read(self) -> None:
        with os.fdopen(self._own, "rb", buffering=0) as pipe:
            while piece := pipe.read(PIECE_BYTES):
                self._kept = (self._kept + piece)[-LAST_BYTES:]

    def text(self) -> str:
        """What there is of it, the program having ended."""
        self._reading.join(END_S)
        return self._kept.decode(errors="replace")
