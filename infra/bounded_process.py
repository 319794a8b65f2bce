"""What a program says, and takes, that speaks for another machine: never more bytes or seconds than we give it."""

import os
import selectors
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread
from typing import IO

from infra.deadline import Clock

MOST_BYTES = 64 * 1024 * 1024
LAST_BYTES = 64 * 1024
PIECE_BYTES = 65536
LONGEST_LINE_BYTES = 1024 * 1024
"""A longer one comes in pieces."""
END_S = 5.0
"""For the rest of what is in a pipe when the program that wrote has ended, and for a program to end when it is told."""


class TooMuch(Exception):
    """More than anything we ask is answered with."""


class NotTaken(Exception):
    """What is given to a program was not taken in its time. No OSError, as what is wrong on this machine is."""


class NotRead(Exception):
    """The program left before it had read what is given to it."""


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


def end(process: "subprocess.Popen[bytes]") -> None:
    """Have a program end, by force where it does not in time."""
    process.terminate()
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        process.kill()


@contextmanager
def killed_where_that_fails(process: "subprocess.Popen[bytes]") -> Iterator[None]:
    """Have a program end at once where what is done with it fails."""
    try:
        yield
    except BaseException:
        process.kill()
        raise


class Patience:
    """The time that is left for waiting: only waiting uses it up, and not what is done between two waits."""

    def __init__(self, most_s: float, clock: Clock = time.monotonic) -> None:
        self.most_s = self.left_s = most_s
        self._clock = clock

    def wait(self, ready: selectors.BaseSelector) -> bool:
        """Wait until one of them is ready; whether one is, and not the patience over."""
        begun_s = self._clock()
        # What is ready is taken however little is left; a selector takes no longer waits than a month or so.
        seen = ready.select(min(max(0.0, self.left_s), 1e6))
        self.left_s -= self._clock() - begun_s
        return bool(seen)


def lines(pipe: IO[bytes], patience: Patience) -> Iterator[bytes]:
    """The lines of a pipe as they come, with their ends. Raises TimeoutError where the patience ends before."""
    rest = b""
    with selectors.DefaultSelector() as ready:
        ready.register(pipe, selectors.EVENT_READ)
        while True:
            if not patience.wait(ready):
                raise TimeoutError
            piece = os.read(pipe.fileno(), PIECE_BYTES)
            *whole, rest = (rest + piece).split(b"\n")
            yield from (line + b"\n" for line in whole)
            while len(rest) >= LONGEST_LINE_BYTES or (rest and not piece):
                yield rest[:LONGEST_LINE_BYTES]
                rest = rest[LONGEST_LINE_BYTES:]
            if not piece:
                return


def pour(pack: Callable[[IO[bytes]], None], into: IO[bytes], piece_s: float) -> None:
    """Have `pack` write what a program reads, and close both; each piece is to be taken within that time.

    Raises NotTaken where it is not, NotRead where the program left, and what `pack` raises. `pack` writes to a pipe,
    whose other end is closed when the program is given up.
    """
    ours, theirs = os.pipe()
    raised: list[BaseException] = []

    def packing() -> None:
        try:
            with os.fdopen(theirs, "wb") as pipe:
                pack(pipe)
        except BaseException as error:
            raised.append(error)

    thread = Thread(target=packing, daemon=True)
    with into, os.fdopen(ours, "rb", buffering=0) as source, selectors.DefaultSelector() as ready:
        os.set_blocking(into.fileno(), False)
        ready.register(into, selectors.EVENT_WRITE)
        thread.start()
        while piece := source.read(PIECE_BYTES):
            give(piece, into, ready, Patience(piece_s))
    thread.join()
    if raised:
        raise raised[0]


def give(piece: bytes, into: IO[bytes], ready: selectors.BaseSelector, patience: Patience) -> None:
    """Write a piece whole into a pipe that does not block.

    Raises NotTaken where the patience ends before, NotRead where nobody reads.
    """
    while piece:
        if not patience.wait(ready):
            raise NotTaken
        try:
            piece = piece[os.write(into.fileno(), piece) :]
        except BrokenPipeError:
            raise NotRead from None


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
